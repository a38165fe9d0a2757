//! Somebody who keeps connections open, looks at what nodes show, and shows what the command line would not let them.

use rdcq_wire::Class;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdcq::Seat;
use rdcq_certs::Credentials;
use rdcq_runtime::{Host, security};
use rdcq_transport::{Connection, Endpoint, Limits, Scope, Security};
use rdcq_wire::message::{Status, StatusReport};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::shown::credentials;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A caller with a socket of its own.
pub(crate) struct Caller {
    runtime: Runtime,
    host: Host,
    endpoint: Endpoint,
    /// The certificate that was judged last.
    judged: Arc<Mutex<Vec<u8>>>,
}

impl Caller {
    /// The herd's operator, with the certificates that are in their folder now.
    pub(crate) fn operator(cluster: &Cluster) -> Self {
        Self::with(&operator(cluster))
    }

    /// Believes `member`'s CA, and shows what `shown` gives.
    pub(crate) fn showing(member: &Credentials, shown: Arc<dyn ResolvesClientCert>) -> Self {
        let security = security(member);
        let mut client = (*security.client).clone();
        client.client_auth_cert_resolver = shown;
        Self::open(Security { client: Arc::new(client), ..security })
    }

    fn with(credentials: &Credentials) -> Self {
        Self::open(security(credentials))
    }

    fn open(security: Security) -> Self {
        let judged = Arc::new(Mutex::new(Vec::new()));
        let (seen, judge) = (Arc::clone(&judged), Arc::clone(&security.judge));
        let judge = move |certs: &[CertificateDer<'_>]| {
            *seen.lock().unwrap() = certs.first().map(|cert| cert.to_vec()).unwrap_or_default();
            judge(certs)
        };
        let security = Security { judge: Arc::new(judge), ..security };
        let runtime = Runtime::new().unwrap();
        let entered = runtime.enter();
        let host = Host::system();
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoint = Endpoint::open(
            &host.env,
            host.network.as_ref(),
            any,
            security,
            Limits::default(),
            &host.bandwidth,
        )
        .unwrap();
        drop(entered);
        Self { runtime, host, endpoint, judged }
    }

    /// Connects; says why not, if not.
    pub(crate) fn connect(&self, cluster: &Cluster, seat: Seat) -> Result<Connection, String> {
        let addr: SocketAddr = cluster.addr(seat).parse().unwrap();
        let deadline = self.host.env.now() + PATIENCE;
        let connecting = self.endpoint.connect(addr, seat.role, deadline);
        self.runtime.block_on(connecting).map_err(|error| error.to_string())
    }

    /// How the node at the other end says that it is, if it still answers.
    pub(crate) fn ask(&self, connection: &Connection) -> Result<StatusReport, String> {
        let scope = Scope { trace: 1, deadline: self.host.env.now() + PATIENCE, class: Class::Normal };
        let asking = connection.call(scope, &Status {}, Vec::new());
        self.runtime.block_on(asking).map(|answer| answer.message).map_err(|error| error.to_string())
    }

    /// The certificate that a node shows to whoever connects now.
    pub(crate) fn shown_by(&self, cluster: &Cluster, seat: Seat) -> CertificateDer<'static> {
        self.connect(cluster, seat).unwrap();
        self.judged.lock().unwrap().clone().into()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.endpoint.close(rdcq_wire::CloseCode::Done);
    }
}

/// The operator's credentials, without revocation lists: all nodes are believed.
pub(crate) fn operator(cluster: &Cluster) -> Credentials {
    of(cluster, "operator")
}

/// The credentials in a folder of the herd.
pub(crate) fn of(cluster: &Cluster, name: &str) -> Credentials {
    let folder = cluster.path(name);
    credentials(&folder.join("ca.pem"), &folder.join(name))
}
