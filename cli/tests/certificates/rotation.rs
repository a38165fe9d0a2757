//! Certificates and CAs that are replaced while files are pulled.

use rdcq_transport::Connection;

use crate::caller::{Caller, of, operator};
use crate::cluster::{Cluster, ORIGIN, TRACKER, agent};
use crate::load::under_load;

/// A connection to each node, and who holds them.
struct Held {
    caller: Caller,
    connections: Vec<Connection>,
}

impl Held {
    fn open(cluster: &Cluster) -> Self {
        let caller = Caller::operator(cluster);
        let connections = cluster.seats().map(|seat| caller.connect(cluster, seat).unwrap()).collect();
        Self { caller, connections }
    }

    #[track_caller]
    fn stayed(&self) {
        for connection in &self.connections {
            self.caller.ask(connection).unwrap_or_else(|why| panic!("{connection:?}: {why}"));
        }
    }

    /// How often anybody has connected to the tracker: agents do, and no command.
    fn dials_of_the_tracker(&self) -> u64 {
        let tracker = self.connections.iter().find(|connection| connection.peer().node == TRACKER.node());
        self.caller.ask(tracker.unwrap()).unwrap().handshakes
    }
}

/// Every node shows the certificate that is in its folder.
#[track_caller]
fn all_show_what_they_have(cluster: &Cluster) {
    let caller = Caller::operator(cluster);
    for seat in cluster.seats() {
        assert!(caller.shown_by(cluster, seat) == cluster.certificate(seat), "{seat} shows the old one");
    }
}

/// Does something to all nodes' files, and waits until it is in force.
fn changed(cluster: &Cluster, change: impl FnOnce()) {
    let marks = cluster.marks();
    change();
    cluster.wait_in_force(&marks);
}

#[test]
fn all_certificates_are_replaced_and_no_pull_fails_and_no_connection_is_lost() {
    let cluster = Cluster::start(2);
    let held = Held::open(&cluster);
    all_show_what_they_have(&cluster);
    let before: Vec<_> = cluster.seats().map(|seat| cluster.certificate(seat)).collect();
    let marks = cluster.marks();
    let pulls = under_load(&cluster, &[agent(1), agent(2)], |load| {
        let dials = held.dials_of_the_tracker();
        for _ in 0..2 {
            changed(&cluster, || cluster.rotate_all());
            load.more();
        }
        assert_eq!(held.dials_of_the_tracker(), dials, "agents had to connect again");
    });
    assert!(cluster.seats().map(|seat| cluster.certificate(seat)).zip(before).all(|(now, old)| now != old));
    all_show_what_they_have(&cluster);
    held.stayed();
    cluster.nobody_was_turned_away(&marks);
    println!("{pulls} pulls");
}

#[test]
fn the_ca_is_replaced_and_no_pull_fails_and_who_is_of_the_old_one_is_refused() {
    let cluster = Cluster::with_revocation_lists(2);
    let held = Held::open(&cluster);
    let of_the_old_ca = operator(&cluster).client_config();
    let marks = cluster.marks();
    let pulls = under_load(&cluster, &[agent(1), agent(2)], |load| {
        cluster.certs(&["rotate-ca"]);
        changed(&cluster, || cluster.distribute("ca.pem"));
        load.more();
        changed(&cluster, || cluster.distribute("crl.pem"));
        load.more();
        held.stayed();
        changed(&cluster, || cluster.rotate_all());
        load.more();
        held.stayed();
        cluster.nobody_was_turned_away(&marks);
        cluster.certs(&["rotate-ca", "--finish"]);
        changed(&cluster, || cluster.distribute("crl.pem"));
        load.more();
        changed(&cluster, || cluster.distribute("ca.pem"));
    });
    all_show_what_they_have(&cluster);
    println!("{pulls} pulls");

    for connection in &held.connections {
        held.caller.ask(connection).unwrap_err();
    }
    let mark = cluster.mark(ORIGIN);
    let shown = of_the_old_ca.client_auth_cert_resolver.clone();
    let stranger = Caller::showing(&of(&cluster, "client"), shown);
    stranger.connect(&cluster, ORIGIN).unwrap_err();
    cluster.wait_said(mark, &["rdcq::audit", "connection refused", "not signed by the key of any CA"]);
}
