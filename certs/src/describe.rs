//! What is in a file, for people.

use rdcq_wire::{HerdId, Identity};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::OwnedCertRevocationList;

use crate::authority::herd_of_ca;
use crate::identify::{IdentifyError, sole_uri};
use crate::serial::Serial;
use crate::x509;

/// What a certificate says. Nothing of it is checked: that is what [`Credentials`](crate::Credentials) are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedCertificate {
    /// Whose it is.
    pub kind: CertificateKind,
    /// Its number.
    pub serial: Serial,
    /// When it begins, in seconds since 1970.
    pub not_before_unix_s: u64,
    /// When it ends, in seconds since 1970.
    pub not_after_unix_s: u64,
    /// What the issuer is called.
    pub issuer: String,
    /// What the key is called by what it signs, in hex; of a CA.
    pub key_id: Option<String>,
    /// What the issuer's key is called, in hex.
    pub issuer_key_id: Option<String>,
}

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateKind {
    /// A herd's CA.
    Ca(HerdId),
    /// A node's.
    Node(Identity),
    /// Some other program's.
    Other(String),
}

/// What a revocation list says. Its signature is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedList {
    /// Its number, if it is not larger than any of ours.
    pub number: Option<u64>,
    /// When it begins, in seconds since 1970.
    pub this_update_unix_s: u64,
    /// When it ends, in seconds since 1970.
    pub next_update_unix_s: u64,
    /// What the issuer's key is called, in hex.
    pub issuer_key_id: Option<String>,
    /// The certificates that were taken back.
    pub revoked: Vec<Serial>,
}

/// Reads the certificates in a text of PEM; there may be none.
pub fn describe(pem: &str) -> Result<Vec<DescribedCertificate>, String> {
    let certs = CertificateDer::pem_slice_iter(pem.as_bytes());
    certs.map(|cert| certificate(&cert.map_err(|error| error.to_string())?)).collect()
}

fn certificate(cert: &CertificateDer<'_>) -> Result<DescribedCertificate, String> {
    let kind = match sole_uri(cert) {
        Ok(uri) => match (herd_of_ca(&uri), Identity::from_spiffe(&uri)) {
            (Some(herd), _) => CertificateKind::Ca(herd),
            (_, Ok(identity)) => CertificateKind::Node(identity),
            _ => CertificateKind::Other(uri),
        },
        Err(IdentifyError::UriCount(_)) => CertificateKind::Other(String::new()),
        Err(error) => return Err(error.to_string()),
    };
    let fields = x509::Certificate::parse(cert).ok_or("a certificate has no dates")?;
    Ok(DescribedCertificate {
        kind,
        not_before_unix_s: fields.not_before_unix_s,
        not_after_unix_s: fields.not_after_unix_s,
        issuer: fields.issuer_name().unwrap_or_default().to_owned(),
        key_id: fields.key_id().map(hex),
        issuer_key_id: fields.issuer_key_id().map(hex),
        serial: fields.serial,
    })
}

/// Reads the revocation lists in a text of PEM; there may be none.
pub fn describe_lists(pem: &str) -> Result<Vec<DescribedList>, String> {
    let lists = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes());
    lists.map(|list| list_of(&list.map_err(|error| error.to_string())?)).collect()
}

fn list_of(der: &CertificateRevocationListDer<'_>) -> Result<DescribedList, String> {
    OwnedCertRevocationList::from_der(der).map_err(|error| format!("not a revocation list: {error}"))?;
    let list = x509::List::parse(der).ok_or("a revocation list has no dates or no signature")?;
    Ok(DescribedList {
        number: list.number(),
        this_update_unix_s: list.this_update_unix_s,
        next_update_unix_s: list.next_update_unix_s,
        issuer_key_id: list.issuer_key_id().map(hex),
        revoked: list.serials().collect(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
