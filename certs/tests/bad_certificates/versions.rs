//! Peers of an older TLS. Ours is built without it, so that what they say is written here by hand.

use rdcq_certs::refusal;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, ServerConnection, Version};

use crate::world::{ca, credentials};

/// The extension supported_versions of a client, with TLS 1.3 in it and nothing else.
const TLS13_ONLY: [u8; 7] = [0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04];

fn client() -> ClientConnection {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    ClientConnection::new(credentials(&ca()).client_config(), Version::V1, name, Vec::new()).unwrap()
}

#[test]
fn a_client_that_speaks_tls_1_2_at_most_is_refused() {
    let mut hello = Vec::new();
    client().write_hs(&mut hello);
    let at = hello.windows(7).position(|bytes| bytes == TLS13_ONLY).expect("only TLS 1.3 is offered");
    hello[at + 6] = 0x03;
    let own = credentials(&ca()).server_config();
    let error = ServerConnection::new(own, Version::V1, Vec::new()).unwrap().read_hs(&hello).unwrap_err();
    assert_eq!(refusal(&error), "peer is incompatible: Tls12NotOfferedOrEnabled");
}

#[test]
fn a_server_that_speaks_tls_1_2_at_most_is_refused() {
    let mut client = client();
    let mut hello = Vec::new();
    client.write_hs(&mut hello);
    // ServerHello: version 1.2, random, no session, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    let body = [&[0x03, 0x03][..], &[7; 32], &[0], &[0xc0, 0x2b], &[0]].concat();
    let answer = [&[2, 0, 0, u8::try_from(body.len()).unwrap()][..], &body].concat();
    let error = client.read_hs(&answer).unwrap_err();
    assert_eq!(refusal(&error), "peer is incompatible: ServerTlsVersionIsDisabledByOurConfig");
}
