//! Who may connect to whom.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rdcq_transport::{ConnectError, Limits, Lost, Security};
use rdcq_wire::{CloseCode, ErrorCode, NodeId, Role};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use crate::pair::{CALLER, Ca, HERD, Pair, SERVING, get_pieces, open, reply_pieces, soon};
use crate::raw::{RawServer, bytes_of, hello, tell};

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let pair = Pair::new(reply_pieces);
    let mut security = pair.ca.security("bare", CALLER);
    let mut config = (*security.client).clone();
    config.client_auth_cert_resolver = Arc::new(NoCertificate);
    security.client = Arc::new(config);
    let error = pair.connect_from(&open(&pair.env, security, Limits::default())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    assert_eq!((error.code(), pair.server.accepted()), (ErrorCode::Denied, 0));
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused_even_if_it_trusts_the_server() {
    let pair = Pair::new(reply_pieces);
    let impostor = Ca::new(HERD).credentials("impostor", CALLER);
    let mut config = (*pair.ca.security("unused", CALLER).client).clone();
    config.client_auth_cert_resolver = Arc::clone(&impostor.client_config().client_auth_cert_resolver);
    let security = Security { client: Arc::new(config), ..pair.ca.security("impostor", CALLER) };
    let error = pair.connect_from(&open(&pair.env, security, Limits::default())).await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    assert_eq!(pair.server.accepted(), 0);
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_believed() {
    let pair = Pair::new(reply_pieces);
    let stranger = open(&pair.env, Ca::new(HERD).security("stranger", CALLER), Limits::default());
    let error = pair.connect_from(&stranger).await.unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn a_server_without_the_wanted_role_is_not_believed() {
    let pair = Pair::new(reply_pieces);
    let addr = pair.server.local_addr();
    let error = pair.client.connect(addr, Role::Proxy, pair.deadline()).await.unwrap_err();
    assert!(matches!(error, ConnectError::WrongPeer { expect: Role::Proxy, .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_serves_in_another_of_its_roles_is_refused() {
    let pair = Pair::new(reply_pieces);
    let addr = pair.server.local_addr();
    let error = pair.client.connect(addr, Role::Tracker, pair.deadline()).await.unwrap_err();
    assert_eq!(error, ConnectError::WrongRole { addr, expect: Role::Tracker, serving: Some(SERVING) });
}

#[tokio::test]
async fn a_hello_that_contradicts_the_certificate_is_refused() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("liar", &[SERVING]);
    let liar = RawServer::open(&security);
    let mut said = hello(&security, SERVING);
    said.node = NodeId::try_from("someone-else".to_owned()).unwrap();
    let telling = async {
        let connection = liar.accept().await;
        tell(&connection, &bytes_of(&said)).await;
        connection.closed().await
    };
    let connecting = pair.client.connect(liar.addr(), SERVING, pair.deadline());
    let (result, closed) = tokio::join!(connecting, telling);
    assert!(matches!(result, Err(ConnectError::Contradiction { .. })), "{result:?}");
    assert!(matches!(Lost::from(&closed), Lost::Closed { code: CloseCode::WrongPeer, .. }), "{closed}");
}

#[tokio::test]
async fn a_server_of_other_versions_is_refused() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("newer", &[SERVING]);
    let newer = RawServer::open(&security);
    let mut said = hello(&security, SERVING);
    (said.oldest, said.newest) = (2, 3);
    let telling = async {
        let connection = newer.accept().await;
        tell(&connection, &bytes_of(&said)).await;
        connection.closed().await
    };
    let connecting = pair.client.connect(newer.addr(), SERVING, pair.deadline());
    let (result, _) = tokio::join!(connecting, telling);
    assert_eq!(result.unwrap_err(), ConnectError::Version { addr: newer.addr(), oldest: 2, newest: 3 });
}

#[tokio::test]
async fn something_else_than_a_hello_is_refused() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("rude", &[SERVING]);
    let rude = RawServer::open(&security);
    for said in [bytes_of(&get_pieces(0)), vec![1], vec![], vec![0xff; 100]] {
        let telling = async {
            let connection = rude.accept().await;
            tell(&connection, &said).await;
            connection.closed().await
        };
        let connecting = pair.client.connect(rude.addr(), SERVING, pair.deadline());
        let (result, _) = tokio::join!(connecting, telling);
        assert!(matches!(result, Err(ConnectError::NoHello { .. })), "{said:?}: {result:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_says_hello_is_given_up_at_the_deadline() {
    let pair = Pair::new(reply_pieces);
    let mute = RawServer::open(&pair.ca.security("mute", &[SERVING]));
    let deadline = pair.env.now() + Duration::from_millis(300);
    let listening = async {
        let connection = mute.accept().await;
        connection.closed().await
    };
    let (result, _) = tokio::join!(pair.client.connect(mute.addr(), SERVING, deadline), listening);
    assert_eq!(result.unwrap_err(), ConnectError::TimedOut { addr: mute.addr() });
}

#[tokio::test]
async fn an_address_where_nobody_is_times_out() {
    let pair = Pair::new(reply_pieces);
    let nobody = rdcq_env::bind_udp("127.0.0.1:0".parse().unwrap(), 65536).unwrap();
    let addr = nobody.socket.local_addr().unwrap();
    let deadline = pair.env.now() + Duration::from_millis(200);
    let error = pair.client.connect(addr, SERVING, deadline).await.unwrap_err();
    assert_eq!(error, ConnectError::TimedOut { addr });
    assert_eq!(error.code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_until_one_goes() {
    let pair = Pair::with(Limits { max_connections: 1, ..Limits::default() }, reply_pieces);
    let first = pair.connect().await;
    let error = pair.connect_from(&pair.client).await.unwrap_err();
    assert_eq!(error, ConnectError::Refused { addr: pair.server.local_addr() });
    drop(first);
    loop {
        match pair.connect_from(&pair.client).await {
            Ok(connection) => {
                connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
                break;
            }
            Err(error) => assert!(matches!(error, ConnectError::Refused { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn handshakes_beyond_the_limit_wait_their_turn_and_prove_their_address() {
    let pair = Pair::with(Limits { max_handshakes: 1, ..Limits::default() }, reply_pieces);
    let dials = (0..8).map(|_| pair.connect_from(&pair.client));
    let connections = futures_util::future::join_all(dials).await;
    assert!(connections.iter().all(Result::is_ok), "{connections:?}");
}

#[tokio::test]
async fn closing_an_endpoint_tells_its_peers_why() {
    let pair = Pair::new(reply_pieces);
    let connection = pair.connect().await;
    pair.server.close(CloseCode::Denied);
    let error = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied, "{error}");
    assert!(!connection.is_usable());
}

#[tokio::test]
async fn a_limit_of_nothing_is_no_configuration() {
    let ca = Ca::new(HERD);
    let env = rdcq_env::Env::system();
    let limits = [
        Limits { max_connections: 0, ..Limits::default() },
        Limits { max_streams: 0, ..Limits::default() },
        Limits { max_datagram: 1000, ..Limits::default() },
        Limits { idle_timeout: Duration::ZERO, keep_alive: Duration::ZERO, ..Limits::default() },
        Limits { keep_alive: Duration::from_secs(57), ..Limits::default() },
    ];
    for limits in limits {
        let addr = "127.0.0.1:0".parse().unwrap();
        let security = ca.security("node", CALLER);
        let opened = rdcq_transport::Endpoint::open(
            &env,
            &rdcq_transport::Udp::default(),
            addr,
            security,
            limits.clone(),
            &rdcq_transport::Bandwidth::unlimited(&env),
        );
        assert!(opened.is_err(), "{limits:?}");
    }
}

#[tokio::test]
async fn another_alpn_is_refused_by_either_side() {
    /// TLS's alert `no_application_protocol`, as QUIC tells it.
    const NO_PROTOCOL: u64 = 0x178;
    let pair = Pair::new(reply_pieces);
    let mut security = pair.ca.security("web", CALLER);
    for alpn in [vec![b"h3".to_vec()], vec![b"rdcq/0".to_vec(), b"rdcq/2".to_vec()], Vec::new()] {
        let mut client = (*security.client).clone();
        client.alpn_protocols = alpn.clone();
        let crypto = QuicClientConfig::try_from(Arc::new(client)).unwrap();
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(config, pair.server.local_addr(), "rdcq").unwrap();
        let error = match soon(connecting).await {
            // Whoever names no protocol at all is done before the server has said no.
            Ok(connection) => soon(connection.closed()).await,
            Err(error) => error,
        };
        let quinn::ConnectionError::ConnectionClosed(close) = &error else { panic!("{alpn:?}: {error}") };
        assert_eq!(u64::from(close.error_code), NO_PROTOCOL, "{alpn:?}");
    }
    assert_eq!((pair.server.accepted(), pair.calls()), (0, 0));

    let mut server = (*pair.ca.security("web", &[SERVING]).server).clone();
    server.alpn_protocols = vec![b"h3".to_vec()];
    security.server = Arc::new(server);
    let web = RawServer::open(&security);
    let accepting = async { web.endpoint.accept().await.unwrap().await.unwrap_err() };
    let connecting = pair.client.connect(web.addr(), SERVING, pair.deadline());
    let (connected, _) = soon(async { tokio::join!(connecting, accepting) }).await;
    let error = connected.unwrap_err();
    assert!(!matches!(error, ConnectError::TimedOut { .. }), "{error}");
}
