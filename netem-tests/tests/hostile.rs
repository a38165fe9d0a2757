//! What every role's port does with peers that break the protocol, or have no right to be there: a whole herd on loopback,
//! and clients that write what they want.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rdcq::{Herd, HerdPlan, issue};
use rdcq_certs::{ALPN, Authority, Credentials, KeyKind};
use rdcq_client::pull::{self, Pull};
use rdcq_client::push::{self, Push};
use rdcq_runtime::Host;
use rdcq_wire::frame::{FLAG_IGNORABLE, MAX_HEADER, PREFIX_LEN};
use rdcq_wire::message::{Announce, Failure, Goal, Offer, Pull as PullRequest, PutPieces, Resolve};
use rdcq_wire::{
    Class, CloseCode, Context, Digest, ErrorCode, Identity, Kind, List, Message, Name, Prefix, Role, Span,
    TagQuery, access, frame,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

const PATIENCE: Duration = Duration::from_secs(20);
const CONTEXT: Context = Context { request: 1, trace: 2, time_left_ms: 10_000, class: Class::Normal };
const SEED: u64 = 7;
/// Every role that listens.
const SERVERS: [Role; 5] = [Role::Proxy, Role::Origin, Role::BuildIndex, Role::Tracker, Role::Agent];

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_cost_the_connection_at_every_port() {
    let victim = Victim::start().await;
    let mut rng = StdRng::seed_from_u64(SEED);
    for server in SERVERS {
        for round in 0..20 {
            let mut bytes = vec![0; rng.random_range(PREFIX_LEN..2000)];
            rng.fill_bytes(&mut bytes);
            victim.check_closed(server, &bytes, &format!("random bytes, round {round} of seed {SEED}")).await;
        }
        victim.check_works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_cut_off_at_any_byte_costs_the_connection_at_every_port() {
    let victim = Victim::start().await;
    for server in SERVERS {
        let frame = request_to(server);
        for len in 0..frame.len() {
            victim.check_closed(server, &frame[..len], &format!("{len} of {} bytes", frame.len())).await;
        }
        victim.check_works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_off_costs_the_connection_at_every_port_that_takes_one() {
    let victim = Victim::start().await;
    let digest = Digest::of(b"");
    let offer = Offer { push: 1, name: name("f"), version: None, digest };
    let put = PutPieces { push: 1, digest, span: Span::new(0, 1) };
    let offer = frame::encode(CONTEXT, &offer, 1000).unwrap();
    let put = frame::encode(CONTEXT, &put, 1000).unwrap();
    for len in [0, 1, 999] {
        for head in [&offer, &put] {
            let bytes = [&head[..], &vec![0; len]].concat();
            victim.check_closed(Role::Proxy, &bytes, &format!("{len} bytes of a body")).await;
        }
        let bytes = [&offer[..], &vec![0; len]].concat();
        victim.check_closed(Role::Origin, &bytes, &format!("{len} bytes of a body")).await;
    }
    victim.check_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_over_the_maximum_cost_the_connection_at_every_port_before_anything_follows() {
    let victim = Victim::start().await;
    for server in SERVERS {
        let kind = Kind::from_number(request_to(server)[0]).unwrap();
        let cases = [
            ("the largest header and body", u16::MAX, u32::MAX),
            ("the largest header", u16::MAX, 0),
            ("a header over the maximum", MAX_HEADER + 1, 0),
            ("the largest body", 100, u32::MAX),
            ("a body over the maximum", 100, kind.max_body() + 1),
        ];
        for (case, header_len, body_len) in cases {
            let client = victim.caller(server).await;
            let (mut send, _receive) = client.connection.open_bi().await.unwrap();
            // The stream stays open: what was announced might still come, and is not waited for.
            send.write_all(&prefix(kind.number(), 0, header_len, body_len)).await.unwrap();
            assert_eq!(client.close_code().await, Some(CloseCode::Protocol), "{case}, sent to a {server}");
        }
        victim.check_works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_kind_costs_the_connection_at_every_port_unless_it_may_be_ignored() {
    let victim = Victim::start().await;
    let unknown: Vec<u8> = (0..=u8::MAX).filter(|number| Kind::from_number(*number).is_none()).collect();
    for server in SERVERS {
        for number in unknown.iter().copied().step_by(16) {
            let bytes = [&prefix(number, 0, 10, 0)[..], &[0; 10]].concat();
            victim.check_closed(server, &bytes, &format!("the unknown kind {number}")).await;
        }
        let client = victim.caller(server).await;
        let ignorable = [&prefix(unknown[0], FLAG_IGNORABLE, 10, 0)[..], &[0; 10]].concat();
        assert_eq!(client.request(&ignorable).await.unwrap(), [0; 0], "of a {server}");
        assert_eq!(client.connection.close_reason(), None, "by a {server}");
        victim.check_works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_no_request_costs_the_connection_at_every_port() {
    let victim = Victim::start().await;
    for server in SERVERS {
        for kind in Kind::ALL.iter().copied().filter(|kind| !access::is_request(*kind)) {
            let bytes = [&prefix(kind.number(), 0, 10, 0)[..], &[0; 10]].concat();
            victim.check_closed(server, &bytes, kind.name()).await;
        }
        victim.check_works().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_datagrams_change_nothing_at_any_port() {
    let victim = Victim::start().await;
    let mut rng = StdRng::seed_from_u64(SEED);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bystanders = [victim.caller(Role::Proxy).await, victim.caller(Role::Agent).await];
    for server in SERVERS {
        for _ in 0..500 {
            let mut datagram = vec![0; rng.random_range(0..1500)];
            rng.fill_bytes(&mut datagram);
            // Half of them look like the first of a handshake.
            if rng.random() && datagram.len() > 5 {
                datagram[..5].copy_from_slice(&[0xc0, 0, 0, 0, 1]);
            }
            socket.send_to(&datagram, victim.addr(server)).await.unwrap();
        }
        victim.check_works().await;
    }
    assert!(bystanders.iter().all(|client| client.connection.close_reason().is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_is_refused_at_every_port() {
    let victim = Victim::start().await;
    let builder =
        || ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = builder().unwrap().dangerous().with_custom_certificate_verifier(Arc::new(Trusting));
    let config = config.with_no_client_auth();
    for server in SERVERS {
        victim.check_refused(server, config.clone()).await;
    }
    victim.check_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_ca_is_refused_at_every_port() {
    let victim = Victim::start().await;
    let stranger = authority(&victim.host);
    for server in SERVERS {
        // The same herd and the right role, by its own word.
        let identity = identity("client", access_caller(server));
        let issued = stranger.issue(&identity, victim.host.env.unix_ms()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(provider());
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap().dangerous();
        let config = config.with_custom_certificate_verifier(Arc::new(Trusting));
        victim.check_refused(server, config.with_client_auth_cert(chain, key).unwrap()).await;
    }
    victim.check_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_denied_what_the_role_table_denies_it_at_every_port_before_a_body_is_read() {
    let victim = Victim::start().await;
    let mut denied = 0;
    for server in SERVERS {
        let client = victim.connect(server, Role::Client).await;
        for kind in Kind::ALL.iter().copied().filter(|kind| access::is_request(*kind)) {
            if access::allows(server, kind, Role::Client.into()) {
                continue;
            }
            let wanted =
                if access::serves(server, kind) { ErrorCode::Denied } else { ErrorCode::Unsupported };
            denied += usize::from(wanted == ErrorCode::Denied);
            assert_eq!(client.refusal_of(kind).await, wanted, "{kind} of a {server}");
        }
        assert_eq!(client.connection.close_reason(), None, "a {server}");
    }
    let to_clients = access::RULES.iter().filter(|rule| rule.callers.contains(&Role::Client)).count();
    assert_eq!(denied, access::RULES.len() - to_clients);
    victim.check_works().await;
}

/// A herd on loopback that is mistreated.
struct Victim {
    folder: tempfile::TempDir,
    host: Host,
    authority: Authority,
    herd: Herd,
}

impl Victim {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::system();
        let authority = authority(&host);
        let nodes = folder.path().join("nodes");
        let herd = Herd::start_here(&host, &nodes, &authority, HerdPlan::with_agents(1)).await.unwrap();
        Self { folder, host, authority, herd }
    }

    fn addr(&self, server: Role) -> SocketAddr {
        let addresses = self.herd.addresses();
        match server {
            Role::Proxy => addresses.proxies[0],
            Role::Origin => addresses.origins[0],
            Role::BuildIndex => addresses.build_indexes[0],
            Role::Tracker => addresses.trackers[0],
            Role::Agent => self.herd.agents()[0],
            other => panic!("no {other} listens"),
        }
    }

    fn credentials(&self, role: Role) -> Credentials {
        issue(&self.authority, &identity("client", role), self.host.env.unix_ms()).unwrap()
    }

    async fn connect(&self, server: Role, role: Role) -> RawClient {
        let config = self.credentials(role).client_config();
        RawClient::connect(config, self.addr(server)).await
    }

    /// Somebody who may ask the server something: only what comes in the request's name can be wrong.
    async fn caller(&self, server: Role) -> RawClient {
        self.connect(server, access_caller(server)).await
    }

    /// A stream of these bytes costs its connection.
    async fn check_closed(&self, server: Role, bytes: &[u8], case: &str) {
        let client = self.caller(server).await;
        let answer = client.request(bytes).await;
        assert!(answer.is_err(), "{case}, sent to a {server}, was answered with {answer:?}");
        assert_eq!(client.close_code().await, Some(CloseCode::Protocol), "{case}, sent to a {server}");
    }

    /// Who connects so hears no Hello, and is told why in TLS's words.
    async fn check_refused(&self, server: Role, mut config: ClientConfig) {
        config.alpn_protocols = vec![ALPN.to_vec()];
        let (_endpoint, connecting) = dial(Arc::new(config), self.addr(server));
        // Under TLS 1.3 the client is done before the server has seen its certificate.
        let error = match connecting.await {
            Ok(connection) => {
                let hello = tokio::time::timeout(PATIENCE, connection.accept_uni()).await.unwrap();
                hello.err().unwrap_or_else(|| panic!("a {server} said hello"))
            }
            Err(error) => error,
        };
        let quinn::ConnectionError::ConnectionClosed(close) = &error else {
            panic!("a {server} did not refuse: {error}");
        };
        let code = u64::from(close.error_code);
        assert!((0x100..0x200).contains(&code), "a {server} refused for another reason than TLS's: {error}");
    }

    /// A push and a pull go through the herd.
    async fn check_works(&self) {
        let (path, target) = (self.folder.path().join("file"), self.folder.path().join("pulled"));
        let content = self.host.env.random_u64().to_string();
        std::fs::write(&path, &content).unwrap();
        let session = self.herd.session(&self.host, &self.credentials(Role::Client), 1).unwrap();
        let order = Push::new(path, name("file"), None, PATIENCE);
        push::push(&session, &order, &|_| ()).await.unwrap();
        let query = TagQuery { key: name("file").key, version: None };
        pull::pull(&session, &Pull::new(query, target.clone(), PATIENCE), &|_| ()).await.unwrap();
        assert_eq!(std::fs::read_to_string(target).unwrap(), content);
        session.close();
    }
}

/// A client that writes what it wants.
struct RawClient {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
}

impl RawClient {
    async fn connect(config: Arc<ClientConfig>, addr: SocketAddr) -> Self {
        let (endpoint, connecting) = dial(config, addr);
        Self { _endpoint: endpoint, connection: connecting.await.unwrap() }
    }

    /// Writes a whole stream, and reads what comes back on it.
    async fn request(&self, bytes: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        // The server may stop reading, or close, at any time.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        tokio::time::timeout(PATIENCE, receive.read_to_end(64 * 1024)).await.unwrap()
    }

    /// Announces a request with a header and the longest body, sends neither, and returns the code that it is refused
    /// with.
    async fn refusal_of(&self, kind: Kind) -> ErrorCode {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        send.write_all(&prefix(kind.number(), 0, 100, kind.max_body())).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, receive.read_to_end(64 * 1024)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{kind} is not answered")).unwrap();
        let start = Prefix::decode(answer[..PREFIX_LEN].try_into().unwrap()).unwrap();
        assert_eq!(start.known_kind(), Ok(Kind::Failure), "{kind}");
        frame::decode::<Failure>(&answer[PREFIX_LEN..]).unwrap().1.code
    }

    /// How the server closes the connection.
    async fn close_code(&self) -> Option<CloseCode> {
        let closed = tokio::time::timeout(PATIENCE, self.connection.closed()).await;
        match closed.expect("the connection is closed soon") {
            quinn::ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(close.error_code.into())
            }
            other => panic!("not closed by the server: {other}"),
        }
    }
}

fn dial(config: Arc<ClientConfig>, addr: SocketAddr) -> (quinn::Endpoint, quinn::Connecting) {
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connecting = endpoint.connect_with(config, addr, "rdcq").unwrap();
    (endpoint, connecting)
}

/// A request without a body that the server serves, whole.
fn request_to(server: Role) -> Vec<u8> {
    let (digest, query) = (Digest::of(b""), TagQuery { key: name("f").key, version: None });
    match server {
        Role::Proxy => frame_of(&PutPieces { push: 1, digest, span: Span::new(0, 1) }),
        Role::Origin => frame_of(&PutPieces { push: 1, digest, span: Span::new(0, 1) }),
        Role::BuildIndex => frame_of(&Resolve { query }),
        Role::Tracker => {
            frame_of(&Announce { digests: List::first_of([digest]), goal: Goal::Leave, port: 1 })
        }
        Role::Agent => frame_of(&PullRequest { query }),
        other => panic!("no {other} listens"),
    }
}

/// A role that the server allows what [`request_to`] asks.
fn access_caller(server: Role) -> Role {
    let kind = Kind::from_number(request_to(server)[0]).unwrap();
    let rule = access::RULES.iter().find(|rule| rule.server == server && rule.request == kind).unwrap();
    *rule.callers.last().unwrap()
}

fn frame_of<M: Message>(message: &M) -> Vec<u8> {
    frame::encode(CONTEXT, message, 0).unwrap().to_vec()
}

fn prefix(kind: u8, flags: u8, header_len: u16, body_len: u32) -> [u8; PREFIX_LEN] {
    Prefix { kind, flags, header_len, body_len }.encode()
}

fn name(file: &str) -> Name {
    Name::conventional("client".parse().unwrap(), "/", file).unwrap()
}

fn identity(node: &str, role: Role) -> Identity {
    Identity { herd: "hostile".parse().unwrap(), node: node.parse().unwrap(), roles: role.into() }
}

fn authority(host: &Host) -> Authority {
    Authority::generate("hostile".parse().unwrap(), KeyKind::P256, host.env.unix_ms()).unwrap()
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Believes any server: what is tested is whom the server believes.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC has no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
