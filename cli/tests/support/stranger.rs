//! Callers that the command line would not let speak: they do not check their own certificate first.

use std::sync::Arc;
use std::time::Duration;

use rdcq_runtime::{Host, security};
use rdcq_transport::{ConnectError, Endpoint, Limits, Security};
use rdcq_wire::Role;
use rustls::client::ResolvesClientCert;

use crate::herd::Herd;
use crate::shown::credentials;

/// How long a role may take to refuse.
const PATIENCE: Duration = Duration::from_secs(10);

/// Calls every role of the herd as a client that trusts it and shows what `shown` gives; returns how each answered.
pub(crate) fn call_every_role(
    herd: &Herd,
    shown: Arc<dyn ResolvesClientCert>,
) -> Vec<(Role, Result<(), ConnectError>)> {
    let certs = herd.folder().join("certs");
    let member = credentials(&certs.join("ca.pem"), &certs.join("client"));
    let text = std::fs::read_to_string(herd.folder().join("client.toml")).unwrap();
    let config = rdcq_config::Config::parse(&text, "client.toml").unwrap();
    let roles = [
        (Role::Proxy, config.herd.proxies[0]),
        (Role::Origin, config.herd.origins[0]),
        (Role::BuildIndex, config.herd.build_indexes[0]),
        (Role::Tracker, config.herd.trackers[0]),
        (Role::Agent, config.client.unwrap().agent),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let host = Host::system();
        let security = security(&member);
        let mut client = (*security.client).clone();
        client.client_auth_cert_resolver = shown;
        let security = Security { client: Arc::new(client), ..security };
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
        let mut answers = Vec::new();
        for (role, addr) in roles {
            let deadline = host.env.now() + PATIENCE;
            answers.push((role, endpoint.connect(addr, role, deadline).await.map(|_| ())));
        }
        answers
    })
}
