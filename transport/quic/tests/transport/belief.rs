//! Whom a node believes may change while it runs; how many connections a node may have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rdcq_transport::{CallError, ConnectError, Connection, Limits, Lost, Security};
use rdcq_wire::{Class, CloseCode, Identity, NodeId};

use crate::pair::{CALLER, Ca, Pair, SERVING, get_pieces, reply_pieces, soon};
use crate::raw::{Port, RawClient, RawServer, bytes_of, hello, tell};

/// The same, but it also has a say about whom certificates name.
fn asking(
    security: Security,
    say: impl Fn(&Identity) -> Result<(), String> + Send + Sync + 'static,
) -> Security {
    let before = Arc::clone(&security.judge);
    let judge = move |certs: &[rustls_pki_types::CertificateDer<'_>]| {
        let identity = before(certs)?;
        say(&identity).map(|()| identity)
    };
    Security { judge: Arc::new(judge), ..security }
}

/// The same, but it refuses one node.
fn without(security: Security, node: &str) -> Security {
    let refused: NodeId = node.parse().unwrap();
    asking(
        security,
        move |identity| {
            if identity.node == refused { Err(format!("{refused} is revoked")) } else { Ok(()) }
        },
    )
}

async fn works(connection: &Connection) -> Result<(), CallError> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let scope = rdcq_transport::Scope { trace: 0, deadline, class: Class::Normal };
    connection.call(scope, &get_pieces(0), Vec::new()).await.map(drop)
}

#[tokio::test]
async fn connections_of_a_peer_that_is_no_longer_believed_are_closed_at_once_and_no_other() {
    let pair = Pair::new(reply_pieces);
    let (stays, goes) = (pair.connect().await, pair.node("revoked", CALLER));
    let gone = pair.connect_from(&goes).await.unwrap();
    let security = pair.ca.security("revoked", CALLER);
    let data = RawClient::connect_to(Port::Data, &security, pair.server.local_addr()).await;
    let idle = RawClient::connect(&security, pair.server.local_addr()).await;
    let own = pair.ca.security("server", &[SERVING]);
    pair.server.replace_security(without(own, "revoked")).unwrap();
    for client in [data, idle] {
        let code = tokio::time::timeout(Duration::from_secs(3), client.close_code()).await.unwrap();
        assert_eq!(code, Some(CloseCode::Denied));
    }
    let error = works(&gone).await.unwrap_err();
    assert!(matches!(error, CallError::Lost(Lost::Closed { code: CloseCode::Denied, .. })), "{error}");
    works(&stays).await.unwrap();
    let again = pair.connect_from(&goes).await.unwrap_err();
    assert!(
        matches!(again, ConnectError::Lost { why: Lost::Closed { code: CloseCode::Denied, .. }, .. }),
        "{again}"
    );
    pair.connect().await;
}

#[tokio::test]
async fn a_connection_to_a_server_that_is_no_longer_believed_is_closed_too() {
    let pair = Pair::new(reply_pieces);
    let connection = pair.connect().await;
    let own = pair.ca.security("client", CALLER);
    pair.client.replace_security(without(own, "server")).unwrap();
    soon(async {
        while connection.is_usable() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let error = pair.connect_from(&pair.client).await.unwrap_err();
    assert!(matches!(error, ConnectError::Nameless { .. }), "{error}");
}

#[tokio::test]
async fn peers_are_judged_again_when_a_node_says_so() {
    let pair = Pair::new(reply_pieces);
    let revoked = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&revoked);
    let judging = asking(pair.ca.security("server", &[SERVING]), move |_| {
        if now.load(Ordering::SeqCst) { Err("revoked".to_owned()) } else { Ok(()) }
    });
    pair.server.replace_security(judging).unwrap();
    let connections = [pair.connect().await, pair.connect().await];
    pair.server.judge_again().await;
    works(&connections[0]).await.unwrap();
    revoked.store(true, Ordering::SeqCst);
    pair.server.judge_again().await;
    for connection in &connections {
        let error = works(connection).await.unwrap_err();
        assert!(matches!(error, CallError::Lost(Lost::Closed { code: CloseCode::Denied, .. })), "{error}");
    }
}

#[tokio::test]
async fn a_judge_that_panics_costs_no_room_for_handshakes() {
    let pair = Pair::with(Limits { max_handshakes: 1, ..Limits::default() }, reply_pieces);
    let judging = asking(pair.ca.security("server", &[SERVING]), |identity| {
        assert!(identity.node.as_str() != "odd", "a judge that cannot make sense of it");
        Ok(())
    });
    pair.server.replace_security(judging).unwrap();
    assert!(pair.connect_from(&pair.node("odd", CALLER)).await.is_err());
    // A failure costs its address a moment.
    soon(async { while pair.connect_from(&pair.client).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_judge_that_panics_when_it_is_asked_again_leaves_no_connection_behind() {
    let pair = Pair::with(Limits { max_connections: 1, ..Limits::default() }, reply_pieces);
    let (server, asked) = (pair.server.clone(), AtomicU32::new(0));
    let judging = asking(pair.ca.security("server", &[SERVING]), move |identity| {
        if identity.node.as_str() == "odd" {
            assert!(asked.fetch_add(1, Ordering::Relaxed) == 0, "a judge that cannot make sense of it");
            // All are judged before this one is listed, so it is judged once more.
            server.judge_again().now_or_never().expect("nobody is listed");
        }
        Ok(())
    });
    pair.server.replace_security(judging).unwrap();
    assert!(pair.connect_from(&pair.node("odd", CALLER)).await.is_err());
    soon(async { while pair.connect_from(&pair.client).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_node_whose_certificate_was_renewed_for_other_roles_is_still_asked_for_pieces() {
    let pair = Pair::new(reply_pieces);
    let pool = rdcq_transport::Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    pair.server.replace_security(pair.ca.security("server", &[SERVING])).unwrap();
    pool.call(addr, SERVING, pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    assert_eq!(pair.server.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_is_revoked_while_it_is_met_is_not_believed() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("revoked", &[SERVING]);
    let slow = RawServer::open(&security);
    let telling = async {
        let connection = slow.accept().await;
        // The client has looked at the certificate, and waits for the first word.
        connection.accept_uni().await.unwrap();
        let own = pair.ca.security("client", CALLER);
        pair.client.replace_security(without(own, "revoked")).unwrap();
        tell(&connection, &bytes_of(&hello(&security, SERVING))).await;
        soon(connection.closed()).await
    };
    let connecting = async {
        match pair.client.connect(slow.addr(), SERVING, pair.deadline()).await {
            Ok(connection) => {
                let _ = works(&connection).await;
                connection.is_usable()
            }
            Err(_) => false,
        }
    };
    let (usable, closed) = tokio::join!(connecting, telling);
    let denied = matches!(Lost::from(&closed), Lost::Closed { code: CloseCode::Denied, .. });
    assert!(denied && !usable, "{closed}");
}

#[tokio::test]
async fn new_connections_show_and_trust_the_new_certificates_and_live_ones_stay() {
    let pair = Pair::new(reply_pieces);
    let before = pair.connect().await;
    let herd = Ca::new(crate::pair::HERD);
    pair.server.replace_security(herd.security("server", &[SERVING])).unwrap();
    works(&before).await.unwrap();
    let error = pair.connect_from(&pair.client).await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    pair.client.replace_security(herd.security("client", CALLER)).unwrap();
    let after = pair.connect().await;
    works(&after).await.unwrap();
    works(&before).await.unwrap();
}

#[tokio::test]
async fn a_data_port_takes_a_quarter_of_a_node_s_connections() {
    let pair = Pair::with(Limits { max_connections_per_node: 8, ..Limits::default() }, reply_pieces);
    let security = pair.ca.security("wide", CALLER);
    let data = crate::raw::data_addr(&security, pair.server.local_addr()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(RawClient::connect(&security, data).await);
    }
    let third = RawClient::mute(&security, data).await;
    assert_eq!(soon(third.close_code()).await, Some(CloseCode::Busy));
}

#[tokio::test]
async fn a_node_has_as_many_connections_to_a_port_as_it_may_and_no_other_is_the_poorer() {
    let pair = Pair::with(Limits { max_connections_per_node: 1, ..Limits::default() }, reply_pieces);
    let first = pair.connect().await;
    let error = pair.connect_from(&pair.node("client", CALLER)).await.unwrap_err();
    let ConnectError::Lost { why: Lost::Closed { code, .. }, .. } = &error else { panic!("{error}") };
    assert_eq!(*code, CloseCode::Busy);
    works(&first).await.unwrap();
    // Data is counted apart, and so are others.
    let other = pair.ca.security("other", CALLER);
    let asking = RawClient::connect(&other, pair.server.local_addr()).await;
    let data = SocketAddr::new(pair.server.local_addr().ip(), asking.server().data_ports.as_ref()[0]);
    let piece = RawClient::connect(&other, data).await;
    for client in [asking, piece] {
        assert!(!client.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty());
    }
    drop(first);
    soon(async {
        while pair.connect_from(&pair.client).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
