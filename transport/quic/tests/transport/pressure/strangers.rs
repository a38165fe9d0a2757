//! Datagrams from nobody, as many as a network carries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rdcq_transport::Endpoint;

use super::unread::ask_without_reading;
use super::{Generous, limits, until, works};
use crate::pair::{CALLER, Handler, Pair, SERVING, get_pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, Port, RawClient, bytes_of};

/// Datagrams that come at once: a socket's buffer takes them.
const BURST: u32 = 100;
/// More than a node takes up of all in a second.
const MANY: u32 = 4000;

#[tokio::test]
async fn while_nothing_moves_whoever_knocks_is_heard() {
    let generous = Generous::default();
    let pair = Pair::with(limits(), move |call| generous.clone().serve(call));
    knock(pair.server.local_addr(), &[2], MANY).await;
    soon(pair.connect()).await;
    assert_eq!(dropped(&pair.server), 0);
}

#[tokio::test]
async fn beside_data_a_host_that_floods_is_dropped_and_another_gets_in() {
    let generous = Generous::default();
    let pair = Pair::with(limits(), move |call| generous.clone().serve(call));
    let addr = pair.server.local_addr();
    let security = pair.ca.security("puller", CALLER);
    let puller = RawClient::connect_to(Port::Data, &security, addr).await;
    let _moving = ask_without_reading(&puller, CONTEXT, 1).await;
    let flood = tokio::spawn(knock(addr, &[2], u32::MAX));
    until(|| dropped(&pair.server) > u64::from(MANY)).await;
    let honest = soon(pair.connect()).await;
    works(&pair, &honest).await;
    flood.abort();
    assert!(!puller.request(&bytes_of(&get_pieces(1))).await.unwrap().is_empty());
}

#[tokio::test]
async fn beside_data_and_a_flood_from_everywhere_a_node_still_hears_whom_it_dials() {
    let generous = Generous::default();
    let pair = Pair::with(limits(), move |call| generous.clone().serve(call));
    let addr = pair.server.local_addr();
    let other = pair.node("other", &[SERVING]);
    other.serve(SERVING, Arc::new(Handler { handle: reply_pieces, calls: AtomicUsize::new(0) }));
    let security = pair.ca.security("puller", CALLER);
    let puller = RawClient::connect_to(Port::Data, &security, addr).await;
    let _moving = ask_without_reading(&puller, CONTEXT, 1).await;
    let flood = tokio::spawn(knock(addr, &[2, 3, 4, 5, 6, 7, 8, 9], u32::MAX));
    until(|| dropped(&pair.server) > u64::from(MANY)).await;
    // Its answer begins as a client's first datagram does.
    for _ in 0..10 {
        let dialled = pair.server.connect(other.local_addr(), SERVING, pair.deadline()).await;
        dialled.expect("a node that is flooded can dial");
    }
    flood.abort();
}

/// How many datagrams a server did not take up.
fn dropped(server: &Endpoint) -> u64 {
    server.stats().iter().filter_map(|socket| socket.refused.get("flood")).sum()
}

/// Sends what looks like the first datagrams of so many clients, in turn from each of these hosts of the loopback network.
async fn knock(to: SocketAddr, hosts: &'static [u8], count: u32) {
    let mut sockets = Vec::new();
    for host in hosts {
        let addr = SocketAddr::from(([127, 0, 0, *host], 0));
        sockets.push(tokio::net::UdpSocket::bind(addr).await.unwrap());
    }
    // RFC 9000, section 17.2.2: an Initial of version 1, IDs of 8 bytes, no token, and a length of all that follows.
    let mut initial = vec![0; 1200];
    initial[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
    initial[14] = 8;
    initial[24..26].copy_from_slice(&(0x4000_u16 | (1200 - 26)).to_be_bytes());
    for number in 0..count {
        initial[6..10].copy_from_slice(&number.to_be_bytes());
        let _ = sockets[number as usize % sockets.len()].send_to(&initial, to).await;
        if number % BURST == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
