//! What a server makes of what a client says of itself, on either of its ports.

use std::net::SocketAddr;
use std::time::Duration;

use rdcq_transport::{Limits, PROTOCOL_VERSION, Security};
use rdcq_wire::frame::FLAG_IGNORABLE;
use rdcq_wire::message::{Drain, Hello, Ping, Stored};
use rdcq_wire::{CloseCode, Kind, Role, RoleSet};

use crate::pair::{CALLER, Pair, SERVING, get_pieces, reply_pieces, soon};
use crate::raw::{Port, RawClient, bytes_of, hello, prefix, tell};

/// How a client is closed whose first words are these.
async fn closed_after(
    server: SocketAddr,
    security: &Security,
    port: Port,
    words: &[u8],
) -> Option<CloseCode> {
    let addr = port.addr(security, server).await;
    let client = RawClient::mute(security, addr).await;
    tell(&client.connection, words).await;
    soon(client.close_code()).await
}

#[tokio::test]
async fn a_client_that_says_no_hello_in_time_is_closed_with_no_hello() {
    let limits = Limits { hello_timeout: Duration::from_secs(1), ..Limits::default() };
    let pair = Pair::with(limits, reply_pieces);
    let security = pair.ca.security("mute", CALLER);
    let word = bytes_of(&hello(&security, Role::Agent));
    for port in Port::BOTH {
        let addr = port.addr(&security, pair.server.local_addr()).await;
        for said in [0, 1, word.len() - 1] {
            let client = RawClient::mute(&security, addr).await;
            let begun = pair.env.now();
            let mut words = client.connection.open_uni().await.unwrap();
            words.write_all(&word[..said]).await.unwrap();
            let code = soon(client.close_code()).await;
            assert_eq!(code, Some(CloseCode::NoHello), "after {said} bytes at {port:?}");
            assert!(pair.env.now() - begun > Duration::from_millis(500), "after {said} bytes at {port:?}");
        }
    }
    soon(async {
        while pair.server.accepted() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_whose_word_contradicts_its_certificate_is_closed_with_wrong_peer() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("liar", &[Role::Agent]);
    let honest = Hello { serving: None, ..hello(&security, Role::Agent) };
    let lies = [
        Hello { node: "somebody-else".parse().unwrap(), ..honest.clone() },
        Hello { herd: "herd-2".parse().unwrap(), ..honest.clone() },
        Hello { roles: RoleSet::from(Role::Operator), ..honest.clone() },
        Hello { serving: Some(Role::Origin), ..honest.clone() },
    ];
    for port in Port::BOTH {
        for lie in &lies {
            let code = closed_after(pair.server.local_addr(), &security, port, &bytes_of(lie)).await;
            assert_eq!(code, Some(CloseCode::WrongPeer), "{lie:?} at {port:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_its_control_stream_back_before_its_hello_is_closed_with_no_hello() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("shy", CALLER);
    for port in Port::BOTH {
        let addr = port.addr(&security, pair.server.local_addr()).await;
        let client = RawClient::mute(&security, addr).await;
        let mut words = client.connection.open_uni().await.unwrap();
        words.write_all(&[1]).await.unwrap();
        words.reset(0u32.into()).unwrap();
        assert_eq!(soon(client.close_code()).await, Some(CloseCode::NoHello), "{port:?}");
    }
}

#[tokio::test]
async fn a_second_control_stream_closes_the_connection() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("twofold", CALLER);
    for port in Port::BOTH {
        let mut client = RawClient::connect_to(port, &security, pair.server.local_addr()).await;
        client.end_words();
        tell(&client.connection, &bytes_of(&Ping {})).await;
        assert_eq!(soon(client.close_code()).await, Some(CloseCode::Protocol), "{port:?}");
    }
}

#[tokio::test]
async fn a_client_of_other_versions_is_closed_and_one_of_more_versions_is_not() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("newer", CALLER);
    let own = Hello { serving: None, ..hello(&security, Role::Agent) };
    let later = Hello { oldest: PROTOCOL_VERSION + 1, newest: PROTOCOL_VERSION + 2, ..own.clone() };
    let both = Hello { newest: PROTOCOL_VERSION + 2, ..own };
    for port in Port::BOTH {
        let code = closed_after(pair.server.local_addr(), &security, port, &bytes_of(&later)).await;
        assert_eq!(code, Some(CloseCode::Protocol), "{port:?}");
        let addr = port.addr(&security, pair.server.local_addr()).await;
        let client = RawClient::mute(&security, addr).await;
        tell(&client.connection, &bytes_of(&both)).await;
        assert!(!client.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_first_word_that_is_no_hello_closes_the_connection() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("rude", CALLER);
    let words = [bytes_of(&get_pieces(0)), bytes_of(&Ping {}), vec![1], vec![], vec![0xff; 100]];
    for port in Port::BOTH {
        for words in &words {
            let code = closed_after(pair.server.local_addr(), &security, port, words).await;
            assert_eq!(code, Some(CloseCode::Protocol), "{words:?} at {port:?}");
        }
    }
}

#[tokio::test]
async fn pings_and_a_farewell_are_heeded_and_the_end_of_the_words_is_no_end() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("polite", CALLER);
    for port in Port::BOTH {
        let mut client = RawClient::connect_to(port, &security, pair.server.local_addr()).await;
        let later = [&prefix(200, FLAG_IGNORABLE, 7, 9)[..], &[1; 16]].concat();
        for words in [bytes_of(&Ping {}).repeat(3), later, bytes_of(&Drain { grace_ms: 100 })] {
            client.say(&words).await;
            assert!(!client.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty(), "{port:?}");
        }
        client.end_words();
        // Longer than the words take to arrive.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!client.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty(), "{port:?}");
        assert_eq!(client.connection.close_reason(), None, "{port:?}");
    }
}

#[tokio::test]
async fn anything_else_on_a_control_stream_closes_the_connection() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("chatty", CALLER);
    let cases = [
        ("a second hello", bytes_of(&Hello { serving: None, ..hello(&security, SERVING) })),
        ("a reply", bytes_of(&Stored {})),
        ("a request", bytes_of(&get_pieces(0))),
        ("an unknown kind", prefix(200, 0, 0, 0)),
        ("a ping with a body", [&prefix(Kind::Ping.number(), 0, 4, 1)[..], &[0; 5]].concat()),
        ("a ping of nonsense", [&prefix(Kind::Ping.number(), 0, 3, 0)[..], &[9; 3]].concat()),
    ];
    for port in Port::BOTH {
        for (case, words) in &cases {
            let mut client = RawClient::connect_to(port, &security, pair.server.local_addr()).await;
            client.say(words).await;
            assert_eq!(soon(client.close_code()).await, Some(CloseCode::Protocol), "{case} at {port:?}");
        }
        let mut client = RawClient::connect_to(port, &security, pair.server.local_addr()).await;
        let half = bytes_of(&Ping {});
        client.say(&half[..half.len() - 1]).await;
        client.end_words();
        assert_eq!(soon(client.close_code()).await, Some(CloseCode::Protocol), "half a ping at {port:?}");
    }
}
