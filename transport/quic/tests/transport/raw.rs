//! Peers that have certificates of the herd, and no manners.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rdcq_transport::{PROTOCOL_VERSION, Security};
use rdcq_wire::frame::PREFIX_LEN;
use rdcq_wire::message::Hello;
use rdcq_wire::{Class, CloseCode, Context, Message, Prefix, Role, frame};

pub(crate) const CONTEXT: Context =
    Context { request: 1, trace: 2, time_left_ms: 10_000, class: Class::Normal };

/// A client that writes what it wants.
pub(crate) struct RawClient {
    _endpoint: quinn::Endpoint,
    pub(crate) connection: quinn::Connection,
    /// What was said at the beginning; none if the client is mute.
    greeting: Option<Greeting>,
}

/// Both control streams, kept open, and the server's first word.
struct Greeting {
    own: quinn::SendStream,
    _theirs: quinn::RecvStream,
    server: Hello,
}

impl RawClient {
    /// A client that says Hello as it should, and hears the server's.
    pub(crate) async fn connect(security: &Security, addr: SocketAddr) -> Self {
        Self::connect_with(security, addr, quinn::TransportConfig::default()).await
    }

    pub(crate) async fn connect_to(port: Port, security: &Security, control: SocketAddr) -> Self {
        let addr = port.addr(security, control).await;
        Self::connect(security, addr).await
    }

    pub(crate) async fn connect_with(
        security: &Security,
        addr: SocketAddr,
        transport: quinn::TransportConfig,
    ) -> Self {
        let mut config = config(security);
        config.transport_config(Arc::new(transport));
        Self::connect_as(config, security, addr).await
    }

    pub(crate) async fn connect_as(
        config: quinn::ClientConfig,
        security: &Security,
        addr: SocketAddr,
    ) -> Self {
        let mut client = Self::dial(config, addr).await;
        let mut own = client.connection.open_uni().await.unwrap();
        own.write_all(&bytes_of(&Hello { serving: None, ..hello(security, Role::Agent) })).await.unwrap();
        let mut theirs = client.connection.accept_uni().await.unwrap();
        let server = read_hello(&mut theirs).await;
        client.greeting = Some(Greeting { own, _theirs: theirs, server });
        client
    }

    /// A client that has not said anything yet.
    pub(crate) async fn mute(security: &Security, addr: SocketAddr) -> Self {
        Self::dial(config(security), addr).await
    }

    async fn dial(config: quinn::ClientConfig, addr: SocketAddr) -> Self {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connection = endpoint.connect_with(config, addr, "rdcq").unwrap().await.unwrap();
        Self { _endpoint: endpoint, connection, greeting: None }
    }

    /// What the server said of itself.
    pub(crate) fn server(&self) -> &Hello {
        &self.greeting.as_ref().unwrap().server
    }

    /// Says something more on the control stream.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.greeting.as_mut().unwrap().own.write_all(bytes).await.unwrap();
    }

    /// Ends the control stream.
    pub(crate) fn end_words(&mut self) {
        self.greeting.as_mut().unwrap().own.finish().unwrap();
    }

    /// Writes a whole stream, and waits for what comes back on it.
    pub(crate) async fn request(&self, bytes: &[u8]) -> Result<Vec<u8>, quinn::ReadToEndError> {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        // The server may stop reading at any time.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        receive.read_to_end(64 * 1024).await
    }

    /// How the server closed the connection.
    pub(crate) async fn close_code(&self) -> Option<CloseCode> {
        match self.connection.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => {
                CloseCode::from_number(close.error_code.into_inner())
            }
            other => panic!("not closed by the server: {other}"),
        }
    }
}

/// Where at a server a client knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Control,
    Data,
}

impl Port {
    pub(crate) const BOTH: [Self; 2] = [Self::Control, Self::Data];

    pub(crate) async fn addr(self, security: &Security, control: SocketAddr) -> SocketAddr {
        match self {
            Self::Control => control,
            Self::Data => data_addr(security, control).await,
        }
    }
}

/// The first of the data ports that a server tells of.
pub(crate) async fn data_addr(security: &Security, control: SocketAddr) -> SocketAddr {
    let asking = RawClient::connect(security, control).await;
    SocketAddr::new(control.ip(), asking.server().data_ports.as_ref()[0])
}

pub(crate) fn config(security: &Security) -> quinn::ClientConfig {
    let crypto = QuicClientConfig::try_from(Arc::clone(&security.client)).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

async fn read_hello(words: &mut quinn::RecvStream) -> Hello {
    let mut start = [0; PREFIX_LEN];
    words.read_exact(&mut start).await.unwrap();
    let start = Prefix::decode(start).unwrap();
    let mut header = vec![0; start.header_len.into()];
    words.read_exact(&mut header).await.unwrap();
    frame::decode(&header).unwrap().1
}

/// A server that says what it wants.
pub(crate) struct RawServer {
    pub(crate) endpoint: quinn::Endpoint,
}

impl RawServer {
    pub(crate) fn open(security: &Security) -> Self {
        let crypto = QuicServerConfig::try_from(Arc::clone(&security.server)).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        Self { endpoint }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> quinn::Connection {
        self.endpoint.accept().await.unwrap().await.unwrap()
    }

    /// Accepts a connection, greets on it as a proper server would, and answers the first request with `bytes`.
    pub(crate) async fn answer_one(
        &self,
        security: &Security,
        serving: Role,
        bytes: &[u8],
    ) -> quinn::Connection {
        let connection = self.accept().await;
        tell(&connection, &bytes_of(&hello(security, serving))).await;
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        receive.read_to_end(1024 * 1024).await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        connection
    }
}

/// Writes a whole unidirectional stream.
pub(crate) async fn tell(connection: &quinn::Connection, bytes: &[u8]) {
    let mut send = connection.open_uni().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
}

pub(crate) fn hello(security: &Security, serving: Role) -> Hello {
    let own = security.identity.clone();
    Hello {
        herd: own.herd,
        node: own.node,
        roles: own.roles,
        serving: Some(serving),
        oldest: PROTOCOL_VERSION,
        newest: PROTOCOL_VERSION,
        data_ports: rdcq_wire::List::default(),
    }
}

/// A whole frame without a body.
pub(crate) fn bytes_of<M: Message>(message: &M) -> Vec<u8> {
    frame::encode(CONTEXT, message, 0).unwrap().to_vec()
}

pub(crate) fn prefix(kind: u8, flags: u8, header_len: u16, body_len: u32) -> Vec<u8> {
    Prefix { kind, flags, header_len, body_len }.encode().to_vec()
}

/// Stands between a client and a server until it is aborted; from then on, both hear nothing of each other.
pub(crate) async fn relay(server: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    relay_at("127.0.0.1:0".parse().unwrap(), server).await
}

/// The same at an address of choice.
pub(crate) async fn relay_at(
    listen: SocketAddr,
    server: SocketAddr,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = tokio::net::UdpSocket::bind(listen).await.unwrap();
    let addr = socket.local_addr().unwrap();
    let forward = async move {
        let (mut client, mut datagram) = (None, vec![0; 65536]);
        loop {
            let Ok((len, from)) = socket.recv_from(&mut datagram).await else { continue };
            if from != server {
                client = Some(from);
            }
            let to = if from == server { client } else { Some(server) };
            if let Some(to) = to {
                let _ = socket.send_to(&datagram[..len], to).await;
            }
        }
    };
    (addr, tokio::spawn(forward))
}
