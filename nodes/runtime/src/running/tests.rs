use std::future::pending;
use std::path::Path;

use rdcq_certs::{Authority, CredentialFiles, Issued, KeyKind, LIST_LIFETIME, Revoked};
use rdcq_config::IdentityFiles;
use rdcq_env::disk::write_durable;
use rdcq_env::{Mode, SimDisk};
use rdcq_transport::{Connection, IncomingCall, Refusal, Scope, Udp};
use rdcq_wire::message::Collect;
use rdcq_wire::{Class, Digest, List};
use tokio::time::timeout;

use super::*;
use crate::{Catalogues, Reloads, watch_credentials};

/// Longer than anything here takes that is not an error.
const PATIENCE: Duration = Duration::from_secs(20);

/// Never answers.
struct Slow;

impl Service for Slow {
    async fn call(self: Arc<Self>, _call: IncomingCall) -> Result<(), Refusal> {
        pending().await
    }
}

/// An origin on the machine's network, with its files on a disk of its own, and its herd's CA.
struct Herd {
    host: Host,
    ca: Authority,
    live: LiveCredentials,
    bound: Bound,
}

impl Herd {
    async fn bind() -> Self {
        let env = Env::simulated(1, SimDisk::new());
        let network = Arc::new(Udp::default());
        let bandwidth = rdcq_transport::Bandwidth::unlimited(&env);
        let catalogues = Catalogues::Memory(Arc::default());
        let host = Host { env, network, bandwidth, catalogues, reloads: Reloads::default() };
        let ca = Authority::generate("herd".parse().unwrap(), KeyKind::Ed25519, host.env.unix_ms()).unwrap();
        let own = issue(&ca, "spiffe://herd/o1/origin", &host.env);
        let texts = [("/ca", ca.cert_pem()), ("/cert", &own.cert_pem), ("/key", &own.key_pem)];
        texts.into_iter().for_each(|(file, text)| write(&host.env, file, text));
        write(&host.env, "/crl", &list(&ca, &[], LIST_LIFETIME, &host.env));
        let files = IdentityFiles {
            ca: "/ca".into(),
            cert: "/cert".into(),
            key: "/key".into(),
            crl: Some("/crl".into()),
        };
        let (live, watch) = watch_credentials(&host.env, &files).await.unwrap();
        host.env.spawn(async move { match watch.run().await {} });
        let member = Member {
            credentials: live.current(),
            data_dir: "/data".into(),
            limits: Limits::default(),
            transport: Transport::default(),
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let bound = Bound::bind(&host, member, Role::Origin, listen, DataPorts::Any).unwrap();
        Self { host, ca, live, bound }
    }

    fn issue(&self) -> Issued {
        issue(&self.ca, "spiffe://herd/b1/build-index", &self.host.env)
    }

    async fn revoke(&self, revoked: &Issued) {
        self.replace_list(&[revoked], LIST_LIFETIME).await;
    }

    async fn replace_list(&self, revoked: &[&Issued], lifetime: Duration) {
        let mut changes = self.live.subscribe();
        self.live.reload();
        write(&self.host.env, "/crl", &list(&self.ca, revoked, lifetime, &self.host.env));
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }

    async fn connect(&self, shown: &Issued) -> Result<Connection, String> {
        let Issued { cert_pem, key_pem, .. } = shown;
        let files = CredentialFiles { ca_pem: self.ca.cert_pem(), cert_pem, key_pem, crl_pem: None };
        let env = self.host.env.clone();
        let time = rdcq_certs::time_from(move || env.unix_ms());
        let security = security(&Credentials::load(files, time).unwrap());
        let (env, any) = (&self.host.env, "127.0.0.1:0".parse().unwrap());
        let limits = rdcq_transport::Limits::default();
        let endpoint =
            Endpoint::open(env, self.host.network.as_ref(), any, security, limits, &self.host.bandwidth)
                .unwrap();
        let connected = endpoint.connect(self.bound.addr(), Role::Origin, env.now() + PATIENCE).await;
        connected.map_err(|error| error.to_string())
    }

    fn serve(&self) -> Running {
        let Bound { host, member, endpoint, pool, role } = &self.bound;
        let (host, member) = (host.clone(), member.clone());
        let bound = Bound { host, member, endpoint: endpoint.clone(), pool: pool.clone(), role: *role };
        let running = bound.serve(Arc::new(Slow), CancellationToken::new());
        running.follow(&self.host.env, &self.live);
        running
    }
}

fn issue(ca: &Authority, uri: &str, env: &Env) -> Issued {
    ca.issue(&Identity::from_spiffe(uri).unwrap(), env.unix_ms()).unwrap()
}

fn list(ca: &Authority, revoked: &[&Issued], lifetime: Duration, env: &Env) -> String {
    let revoked = revoked.iter().map(|issued| Revoked { serial: issued.serial.clone(), at_unix_s: 0 });
    ca.revocation_list(&revoked.collect::<Vec<_>>(), lifetime, env.unix_ms()).unwrap()
}

fn write(env: &Env, file: &str, text: &str) {
    write_durable(&**env.disk(), Path::new(file), text.as_bytes(), Mode::Private).unwrap();
}

#[tokio::test]
async fn who_was_revoked_while_the_role_started_is_refused_from_the_start() {
    let herd = Herd::bind().await;
    let (revoked, good) = (herd.issue(), herd.issue());
    herd.revoke(&revoked).await;
    let _running = herd.serve();
    herd.connect(&good).await.unwrap();
    let refused = herd.connect(&revoked).await;
    // A client's handshake ends before the server has judged it.
    if let Ok(connection) = refused {
        let scope = Scope { trace: 1, deadline: herd.host.env.now() + PATIENCE, class: Class::Normal };
        let hint = Collect { digests: List::first_of([Digest::of(b"x")]) };
        let asked = connection.call(scope, &hint, Vec::new());
        let asked = timeout(PATIENCE / 2, asked).await;
        assert!(matches!(asked, Ok(Err(_))), "a revoked node's call is served");
    }
}

#[tokio::test]
async fn who_is_revoked_while_requests_end_is_cut_off() {
    let herd = Herd::bind().await;
    let running = herd.serve();
    let peer = herd.issue();
    let connection = herd.connect(&peer).await.unwrap();
    let scope = Scope { trace: 1, deadline: herd.host.env.now() + 3 * PATIENCE, class: Class::Normal };
    let hint = Collect { digests: List::first_of([Digest::of(b"x")]) };
    let asking = tokio::spawn(async move { connection.call(scope, &hint, Vec::new()).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asking.is_finished());
    let draining = tokio::spawn(running.drain(3 * PATIENCE));
    tokio::time::sleep(Duration::from_millis(200)).await;
    herd.revoke(&peer).await;
    timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap_err();
    timeout(PATIENCE, draining).await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_keeps_a_connection_when_the_lists_end_that_say_who_is_revoked() {
    let herd = Herd::bind().await;
    let _running = herd.serve();
    let connection = herd.connect(&herd.issue()).await.unwrap();
    herd.replace_list(&[], Duration::from_secs(6)).await;
    assert!(connection.is_usable());
    let closed = async {
        while connection.is_usable() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn peers_are_judged_again_when_their_lists_end_and_else_now_and_then() {
    let env = Env::simulated(1, SimDisk::new());
    let judged = Judged::now(&env);
    let soon_s = env.unix_ms() / 1000 + 5;
    let (soon, later) = (Some(soon_s), Some(soon_s + 3600));
    assert_eq!((judged.wait(later, &env), judged.wait(None, &env)), (LOOK, LOOK));
    tokio::time::advance(judged.wait(soon, &env)).await;
    assert_eq!(env.unix_ms(), soon_s * 1000 + 1);
    let outdated = |judged: Judged| [soon, later, None].map(|end| judged.is_outdated(end, &env));
    assert_eq!(outdated(judged), [true, false, false]);
    assert_eq!(outdated(Judged::now(&env)), [false; 3], "ended, and known to be");
    assert_eq!(judged.wait(soon, &env), LOOK);
    tokio::time::advance(JUDGE_AGAIN).await;
    assert_eq!(outdated(judged), [true; 3]);
}
