//! Peers that break the protocol lose their own connection, and nobody else's.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdcq_transport::{CallError, IncomingCall};
use rdcq_wire::frame::{FLAG_IGNORABLE, MAX_HEADER, PREFIX_LEN};
use rdcq_wire::message::{Failure, GetPieces, PutPieces, Stored};
use rdcq_wire::{CloseCode, DecodeError, ErrorCode, Kind, Message, Prefix, Role, frame};

use crate::pair::{CALLER, Pair, SERVING, get_pieces, pattern, pieces, put_pieces, reply_pieces};
use crate::raw::{CONTEXT, RawClient, RawServer, bytes_of, hello, prefix, tell};

async fn serve(mut call: IncomingCall) -> Result<(), rdcq_transport::Refusal> {
    if call.kind() == Kind::PutPieces {
        let _: PutPieces = call.request()?;
        call.take_body().collect().await?;
        return call.reply(&Stored {}, Vec::new()).await;
    }
    reply_pieces(call).await
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_closes_its_connection_and_no_other() {
    let pair = Pair::new(serve);
    let bystander = pair.connect().await;
    let security = pair.ca.security("rude", CALLER);
    let whole = bytes_of(&get_pieces(0));
    let put = frame::encode(CONTEXT, &put_pieces(), 100).unwrap();
    let number = GetPieces::KIND.number();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing at all", vec![]),
        ("half a prefix", whole[..4].to_vec()),
        ("garbage", vec![0xee; 500]),
        ("unknown flags", prefix(number, 0b1000_0000, 0, 0)),
        ("an unknown kind", prefix(200, 0, 0, 0)),
        ("a header over the maximum", prefix(number, 0, MAX_HEADER + 1, 0)),
        ("a body over the kind's maximum", prefix(number, 0, 10, 1)),
        ("an unknown kind's body over the maximum", prefix(200, FLAG_IGNORABLE, 0, u32::MAX)),
        ("half a header", whole[..whole.len() - 5].to_vec()),
        ("no header", prefix(number, 0, 0, 0)),
        ("another envelope", [&prefix(number, 0, 60, 0)[..], &[9; 60]].concat()),
        ("bytes after the header's end", {
            let len = u16::try_from(whole.len() - PREFIX_LEN + 3).unwrap();
            [&prefix(number, 0, len, 0)[..], &whole[PREFIX_LEN..], &[0; 3]].concat()
        }),
        ("half a body", [&put[..], &pattern(50)[..]].concat()),
    ];
    for (case, bytes) in cases {
        let rude = RawClient::connect(&security, pair.server.local_addr()).await;
        let answer = rude.request(&bytes).await;
        assert!(answer.is_err(), "{case} was answered with {answer:?}");
        assert_eq!(rude.close_code().await, Some(CloseCode::Protocol), "{case}");
        bystander.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_frame_with_some_bytes_changed_is_answered_or_closes_its_connection() {
    const SEED: u64 = 1;
    let mut rng = StdRng::seed_from_u64(SEED);
    let pair = Pair::new(serve);
    let security = pair.ca.security("mutant", CALLER);
    let whole = [&frame::encode(CONTEXT, &put_pieces(), 40).unwrap()[..], &pattern(40)[..]].concat();
    let mut mutant = RawClient::connect(&security, pair.server.local_addr()).await;
    for round in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        bytes.truncate(rng.random_range(0..=2 * bytes.len()).min(bytes.len()));
        if mutant.request(&bytes).await.is_err() {
            assert_eq!(mutant.close_code().await, Some(CloseCode::Protocol), "seed {SEED}, round {round}");
            mutant = RawClient::connect(&security, pair.server.local_addr()).await;
        }
    }
    pair.connect().await.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_frame_of_a_later_version_that_may_be_ignored_is_left_out() {
    let pair = Pair::new(serve);
    let client = RawClient::connect(&pair.ca.security("newer", CALLER), pair.server.local_addr()).await;
    let later = [&prefix(200, FLAG_IGNORABLE, 7, 9)[..], &[1; 16]].concat();
    assert_eq!(client.request(&later).await.unwrap(), b"");
    assert!(!client.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_role_check_needs_no_more_than_the_prefix() {
    let pair = Pair::new(serve);
    let security = pair.ca.security("agent", &[Role::Agent]);
    let agent = RawClient::connect(&security, pair.server.local_addr()).await;
    let (mut send, mut receive) = agent.connection.open_bi().await.unwrap();
    // Header and body are announced, and never come.
    send.write_all(&prefix(PutPieces::KIND.number(), 0, 100, 1000)).await.unwrap();
    let answer = receive.read_to_end(4096).await.unwrap();
    let start = Prefix::decode(answer[..PREFIX_LEN].try_into().unwrap()).unwrap();
    assert_eq!(start.known_kind(), Ok(Kind::Failure));
    let (_, failure) = frame::decode::<Failure>(&answer[PREFIX_LEN..]).unwrap();
    assert_eq!((failure.code, pair.calls()), (ErrorCode::Denied, 0));
    let stopped = send.stopped().await.unwrap();
    assert_eq!(stopped, Some(quinn::VarInt::from_u32(rdcq_wire::ResetCode::Refused.number())));
}

#[tokio::test]
async fn random_datagrams_are_no_concern_of_anybody() {
    let pair = Pair::new(serve);
    let stranger = rdcq_env::bind_udp("127.0.0.1:0".parse().unwrap(), 65536).unwrap().socket;
    let connection = pair.connect().await;
    for round in 0..50_usize {
        for len in [1, 20, 1200, 1452] {
            let mut datagram = pattern(len + round)[round..].to_vec();
            // Half of them look like the first datagram of a handshake.
            datagram[0] = if round % 2 == 0 { 0xc3 } else { datagram[0] };
            if let Some(version) = datagram.get_mut(1..5) {
                version.copy_from_slice(&[0, 0, 0, 1]);
            }
            // The socket's buffer may be full; what is lost is lost.
            let _ = stranger.send_to(&datagram, pair.server.local_addr());
        }
        connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    }
    pair.connect().await.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let pair = Pair::new(serve);
    let security = pair.ca.security("fickle", CALLER);
    for _ in 0..20 {
        let fickle = RawClient::connect(&security, pair.server.local_addr()).await;
        let (mut send, _receive) = fickle.connection.open_bi().await.unwrap();
        send.write_all(&frame::encode(CONTEXT, &put_pieces(), 100).unwrap()).await.unwrap();
        fickle.connection.close(0u32.into(), b"");
    }
    pair.connect().await.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    while pair.server.accepted() > 1 {
        tokio::task::yield_now().await;
    }
}

/// What a client makes of an answer.
async fn answered_with(bytes: &[u8]) -> (CallError, quinn::ConnectionError) {
    let pair = Pair::new(serve);
    let security = pair.ca.security("rude", &[SERVING]);
    let rude = RawServer::open(&security);
    let serving = async {
        let connection = rude.answer_one(&security, SERVING, bytes).await;
        connection.closed().await
    };
    let calling = async {
        let connection = pair.client.connect(rude.addr(), SERVING, pair.deadline()).await.unwrap();
        match connection.call(pair.scope(), &get_pieces(0), Vec::new()).await {
            Ok(answer) => answer.body.collect().await.unwrap_err(),
            Err(error) => error,
        }
    };
    tokio::join!(calling, serving)
}

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_closes_the_connection() {
    let answer = frame::encode(CONTEXT, &pieces(0), 10).unwrap();
    let mut unknown_code = bytes_of(&Failure::new(ErrorCode::Busy, ""));
    let at = unknown_code.iter().rposition(|byte| *byte == ErrorCode::Busy.number() as u8).unwrap();
    unknown_code[at] = 99;
    let cases: Vec<(Vec<u8>, DecodeError)> = vec![
        (vec![], DecodeError::Truncated),
        (answer[..12].to_vec(), DecodeError::Truncated),
        ([&answer[..], &[0; 9]].concat(), DecodeError::Truncated),
        (unknown_code, DecodeError::Header(Kind::Failure)),
        (bytes_of(&Stored {}), DecodeError::UnexpectedKind { wanted: Kind::Pieces, got: Kind::Stored }),
        (prefix(200, 0, 0, 0), DecodeError::UnknownKind(200)),
        (prefix(Kind::Pieces.number(), 0, u16::MAX, 0), DecodeError::HeaderTooLong(u16::MAX)),
    ];
    for (bytes, wanted) in cases {
        let (error, closed) = answered_with(&bytes).await;
        assert_eq!(error, CallError::Protocol(wanted));
        let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
        assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::Protocol.number()));
    }
}

#[tokio::test]
async fn a_frame_before_the_answer_that_may_be_ignored_is_left_out() {
    let pair = Pair::new(serve);
    let security = pair.ca.security("newer", &[SERVING]);
    let newer = RawServer::open(&security);
    let later = [&prefix(200, FLAG_IGNORABLE, 7, 9)[..], &[1; 16]].concat();
    let answer = [&later[..], &frame::encode(CONTEXT, &pieces(4), 3).unwrap()[..], b"abc"].concat();
    let calling = async {
        let connection = pair.client.connect(newer.addr(), SERVING, pair.deadline()).await.unwrap();
        let answer = connection.call(pair.scope(), &get_pieces(4), Vec::new()).await.unwrap();
        assert_eq!(answer.message, pieces(4));
        assert_eq!(answer.body.collect().await.unwrap().concat(), b"abc");
    };
    tokio::join!(calling, newer.answer_one(&security, SERVING, &answer));
}

#[tokio::test]
async fn a_body_never_brings_more_than_was_announced() {
    let pair = Pair::new(serve);
    let security = pair.ca.security("generous", &[SERVING]);
    let generous = RawServer::open(&security);
    let answer = [&frame::encode(CONTEXT, &pieces(4), 3).unwrap()[..], &[b'x'; 5000]].concat();
    let calling = async {
        let connection = pair.client.connect(generous.addr(), SERVING, pair.deadline()).await.unwrap();
        let answer = connection.call(pair.scope(), &get_pieces(4), Vec::new()).await.unwrap();
        assert_eq!(answer.body.collect().await.unwrap().concat(), b"xxx");
    };
    tokio::join!(calling, generous.answer_one(&security, SERVING, &answer));
}

#[tokio::test]
async fn a_server_that_talks_out_of_turn_loses_the_connection() {
    let pair = Pair::new(serve);
    let security = pair.ca.security("chatty", &[SERVING]);
    let chatty = RawServer::open(&security);
    let talking = async {
        let connection = chatty.accept().await;
        tell(&connection, &bytes_of(&hello(&security, SERVING)).repeat(2)).await;
        connection.closed().await
    };
    let connecting = pair.client.connect(chatty.addr(), SERVING, pair.deadline());
    let (connection, closed) = tokio::join!(connecting, talking);
    let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed}") };
    assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::Protocol.number()));
    assert!(!connection.unwrap().is_usable());
}
