//! Datagrams from nobody, as many as a network carries.

use std::net::SocketAddr;
use std::time::Duration;

use rdcq_transport::Endpoint;

use super::unread::ask_without_reading;
use super::{Generous, limits, until, works};
use crate::pair::{CALLER, Pair, get_pieces, soon};
use crate::raw::{CONTEXT, Port, RawClient, bytes_of};

/// Far more than a node looks at in a second.
const FLOOD: u32 = 20_000;
/// Datagrams that come at once: a socket's buffer takes them.
const BURST: u32 = 100;
/// Another host than the one that all others of these tests are on.
const STRANGER: &str = "127.0.0.2:0";

#[tokio::test]
async fn what_looks_like_the_begin_of_connections_is_dropped_beside_data_and_honest_peers_still_get_in() {
    let generous = Generous::default();
    let pair = Pair::with(limits(), move |call| generous.clone().serve(call));
    let addr = pair.server.local_addr();

    // While nothing moves there is a core to look at each.
    knock(addr, FLOOD / 10).await;
    assert_eq!(dropped(&pair.server), 0);

    let security = pair.ca.security("puller", CALLER);
    let puller = RawClient::connect_to(Port::Data, &security, addr).await;
    let _moving = ask_without_reading(&puller, CONTEXT, 1).await;
    let flood = tokio::spawn(knock(addr, FLOOD));
    until(|| dropped(&pair.server) > 0).await;
    let honest = soon(pair.connect()).await;
    works(&pair, &honest).await;
    assert!(!flood.is_finished(), "the flood was over too soon to tell");
    flood.abort();
    assert!(!puller.request(&bytes_of(&get_pieces(1))).await.unwrap().is_empty());
}

/// How many datagrams a server has dropped unseen.
fn dropped(server: &Endpoint) -> u64 {
    server.stats().iter().filter_map(|socket| socket.refused.get("flood")).sum()
}

/// Sends what looks like the first datagrams of so many clients.
async fn knock(to: SocketAddr, count: u32) {
    let socket = tokio::net::UdpSocket::bind(STRANGER).await.unwrap();
    // RFC 9000, section 17.2.2: an Initial of version 1, IDs of 8 bytes, no token, and a length of all that follows.
    let mut initial = vec![0; 1200];
    initial[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
    initial[14] = 8;
    initial[24..26].copy_from_slice(&(0x4000_u16 | (1200 - 26)).to_be_bytes());
    for number in 0..count {
        initial[6..10].copy_from_slice(&number.to_be_bytes());
        let _ = socket.send_to(&initial, to).await;
        if number % BURST == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
