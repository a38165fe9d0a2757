//! The rustls configurations, built by hand: quinn's helpers switch on 0-RTT and leave clients unchecked.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, ServerConfig};

use crate::credentials::TimeSource;
use crate::verifier::PeerVerifier;

/// The protocol and its version, as both sides name it in the handshake.
pub const ALPN: &[u8] = b"rdcq/1";

/// AES-128-GCM first: QUIC's first packets need it, and it is faster than rustls's own first choice, AES-256.
///
/// X25519 alone, without the post-quantum hybrid that rustls puts first: that one's key share of 1216 bytes would
/// spread a client's first flight over two datagrams.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// Without tickets or a session store: a resumed session would skip the check of the client's certificate.
pub(crate) fn server_config(
    provider: Arc<CryptoProvider>,
    time: TimeSource,
    verifier: Arc<PeerVerifier>,
    own: Arc<SingleCertAndKey>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Without resumption and early data, as the server's side, and without a server name: nobody reads it.
pub(crate) fn client_config(
    provider: Arc<CryptoProvider>,
    time: TimeSource,
    verifier: Arc<PeerVerifier>,
    own: Arc<SingleCertAndKey>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(Arc::new(config))
}
