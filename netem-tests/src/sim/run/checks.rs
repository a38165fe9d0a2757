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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdcq_swarm::Time;
    use rdcq_wire::{PieceIndex, PieceSet};

    use super::*;

    /// Checks a request for the second of so many pieces of which the first is held, beside others for the same.
    fn check(pieces: u32, open: &[u32], peer: u32, piece: u32) {
        let mut have = PieceSet::empty(pieces);
        have.insert(PieceIndex(0));
        let settings = Settings::default();
        let swarm = Swarm::new(settings.clone(), vec![1; pieces as usize], have, 1, Time(Duration::ZERO));
        let open = open.iter().map(|peer| (RequestId(0), PeerId(*peer), Span::new(1, 1)));
        request(&swarm, &settings, &open.collect::<Vec<_>>(), PeerId(peer), Span::new(piece, 1));
    }

    #[test]
    fn a_piece_may_be_asked_of_two_in_the_end_game() {
        check(1000, &[], 1, 1);
        check(10, &[1], 2, 1);
    }

    #[test]
    #[should_panic(expected = "is asked for twice with 999 pieces missing")]
    fn not_before() {
        check(1000, &[1], 2, 1);
    }

    #[test]
    #[should_panic(expected = "is asked for a third time")]
    fn not_of_three() {
        check(10, &[1, 2], 3, 1);
    }

    #[test]
    #[should_panic(expected = "is asked of one peer twice")]
    fn not_of_one_twice() {
        check(10, &[1], 1, 1);
    }

    #[test]
    #[should_panic(expected = "is verified and asked for")]
    fn what_is_held_is_not_asked_for() {
        check(10, &[], 1, 0);
    }
}
