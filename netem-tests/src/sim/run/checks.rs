//! What must hold of each request, seen from outside of the scheduler.

use rdcq_swarm::{PeerId, RequestId, Settings, Swarm};
use rdcq_wire::Span;

/// Asserts that a new request asks for nothing that is verified, for nothing that is asked of the same peer, and for what is
/// asked of another only in the end game and only once.
pub(super) fn request(
    swarm: &Swarm,
    settings: &Settings,
    open: &[(RequestId, PeerId, Span)],
    peer: PeerId,
    span: Span,
) {
    let have = swarm.have();
    assert!(span.fits(have.pieces()), "{span:?} names pieces");
    let missing = have.pieces() - have.len();
    for piece in span.indices() {
        assert!(!have.contains(piece), "{piece:?} is verified and asked for");
        let asked = open.iter().filter(|(_, _, asked)| asked.range().contains(&piece.0));
        let others =
            asked.inspect(|(_, other, _)| assert_ne!(*other, peer, "{piece:?} is asked of one peer twice"));
        let times = others.count();
        assert!(times < 2, "{piece:?} is asked for a third time");
        let is_end_game = missing <= settings.end_game_pieces;
        assert!(times == 0 || is_end_game, "{piece:?} is asked for twice with {missing} pieces missing");
    }
}
