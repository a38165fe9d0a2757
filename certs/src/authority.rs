//! The herd's CA.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, SanType, SerialNumber,
};
use rdcq_wire::identity::IdentityError;
use rdcq_wire::{HerdId, Identity};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use webpki::EndEntityCert;

use crate::credentials::{CredentialsError, MAX_CAS, Part, certificates};
use crate::identify::{IdentifyError, sole_uri};
use crate::serial::Serial;
use crate::tls;

/// How long a node's certificate lasts: long enough that a herd without automatic renewal is not a monthly chore.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a CA lasts: longer than the machines that it is made for.
pub const CA_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How long a revocation list lasts unless told otherwise: a new one every week leaves three weeks to notice that none came.
pub const LIST_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long before its making a certificate begins, for hosts whose clocks are behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// Length of a serial number. It is fixed, so that certificates of one identity are of one size.
pub const SERIAL_LEN: usize = 16;

/// What a CA's certificate says before its herd, in its one URI: the SPIFFE ID of a trust domain.
const SCHEME: &str = "spiffe://";

/// The kind of a key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// ECDSA over P-256 with SHA-256, for herds.
    #[default]
    P256,
    /// Ed25519, whose signatures are all of one length: for simulations, where sizes must not vary between runs.
    Ed25519,
}

impl KeyKind {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::generate_for(match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        })
    }

    /// The kind of `key`, for the certificates that it signs to be of the same.
    fn of(key: &KeyPair) -> Option<Self> {
        if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            Some(Self::P256)
        } else if key.is_compatible(&rcgen::PKCS_ED25519) {
            Some(Self::Ed25519)
        } else {
            None
        }
    }
}

/// A herd's CA: its certificate, and the key that makes nodes members.
pub struct Authority {
    herd: HerdId,
    kind: KeyKind,
    key: KeyPair,
    cert_pem: String,
    key_pem: String,
}

/// A node's certificate and key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
    /// The certificate's number.
    pub serial: Serial,
    /// When the certificate ends, in seconds since 1970.
    pub not_after_unix_s: u64,
}

/// A certificate that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// When, in seconds since 1970.
    pub at_unix_s: u64,
}

impl Authority {
    /// Makes a new CA, which lasts for [`CA_LIFETIME`].
    pub fn generate(herd: HerdId, kind: KeyKind, now_unix_ms: u64) -> Result<Self, AuthorityError> {
        let key = kind.generate()?;
        let mut params = ca_params(&herd)?;
        params.serial_number = Some(serial()?);
        (params.not_before, params.not_after) = lifetime(now_unix_ms, CA_LIFETIME)?;
        let cert_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { herd, kind, key, cert_pem, key_pem })
    }

    /// Reads a CA that [`generate`](Self::generate) made. Of several certificates it is the one that the key belongs to.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let certs = certificates(Part::Ca, cert_pem, MAX_CAS)?;
        let key = KeyPair::from_pem(key_pem).map_err(AuthorityError::Key)?;
        let kind = KeyKind::of(&key).ok_or(AuthorityError::KeyKind)?;
        let at = certs.iter().position(|cert| is_of_key(cert, &key)).unwrap_or(0);
        let cert = &certs[at];
        let cert_pem = pem_sections(cert_pem).nth(at).unwrap_or(cert_pem);
        let uri = sole_uri(cert)?;
        let herd = herd_of_ca(&uri).ok_or(AuthorityError::NotACa(uri))?;
        check_ca(cert, &herd, &key)?;
        Ok(Self { herd, kind, key, cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned() })
    }

    /// Issues a certificate for `identity`, with a key of its own, which lasts for [`LEAF_LIFETIME`].
    pub fn issue(&self, identity: &Identity, now_unix_ms: u64) -> Result<Issued, AuthorityError> {
        if identity.herd != self.herd {
            return Err(AuthorityError::OtherHerd {
                identity: Box::new(identity.clone()),
                herd: self.herd.clone(),
            });
        }
        let uri = identity.to_spiffe();
        Identity::from_spiffe(&uri)?;

        let mut params = leaf_params(&uri)?;
        let number = serial()?;
        let serial = Serial::from_der(&number.to_bytes());
        params.serial_number = Some(number);
        (params.not_before, params.not_after) = lifetime(now_unix_ms, LEAF_LIFETIME)?;
        let not_after_unix_s = u64::try_from(params.not_after.unix_timestamp())
            .map_err(|_| AuthorityError::Time(now_unix_ms))?;
        let key = self.kind.generate()?;
        let ca = ca_params(&self.herd)?;
        let cert = params.signed_by(&key, &Issuer::from_params(&ca, &self.key))?;
        Ok(Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem(), serial, not_after_unix_s })
    }

    /// Signs the list of all certificates that were taken back, as PEM. It lasts for `lasting`; its number is the time of
    /// its making, so that a later one has a larger one without anybody keeping count.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        lasting: Duration,
        now_unix_ms: u64,
    ) -> Result<String, AuthorityError> {
        let (this_update, next_update) = lifetime(now_unix_ms, lasting)?;
        let revoked_certs = revoked.iter().map(|revoked| {
            let at = i64::try_from(revoked.at_unix_s).ok();
            let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
                revocation_time: at.ok_or(AuthorityError::Time(revoked.at_unix_s.saturating_mul(1000)))?,
                reason_code: None,
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from_slice(Serial::from_der(&now_unix_ms.to_be_bytes()).as_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect::<Result<_, AuthorityError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let ca = ca_params(&self.herd)?;
        Ok(list.signed_by(&Issuer::from_params(&ca, &self.key))?.pem()?)
    }

    /// The CA's certificate, which every node of the herd trusts.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's key. Whoever has it can be anybody.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The herd whose members this CA makes.
    pub fn herd(&self) -> &HerdId {
        &self.herd
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("herd", &self.herd).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

/// What a CA's certificate says whose it is.
pub(crate) fn ca_uri(herd: &HerdId) -> String {
    format!("{SCHEME}{herd}")
}

/// The herd whose CA names itself by this URI.
pub(crate) fn herd_of_ca(uri: &str) -> Option<HerdId> {
    uri.strip_prefix(SCHEME)?.parse().ok()
}

/// Whether `cert` is of this key.
fn is_of_key(cert: &CertificateDer<'_>, key: &KeyPair) -> bool {
    EndEntityCert::try_from(cert)
        .is_ok_and(|cert| cert.subject_public_key_info().as_ref() == key.subject_public_key_info())
}

/// The certificates in a text, each with its first and its last line.
fn pem_sections(pem: &str) -> impl Iterator<Item = &str> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----\n";
    pem.split_inclusive(END).filter_map(|section| section.find(BEGIN).map(|begin| &section[begin..]))
}

/// A CA's certificate but for its serial number and lifetime. It follows from the herd alone, so that a CA read back
/// signs under the same name.
fn ca_params(herd: &HerdId) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "rdcq");
    params.distinguished_name.push(DnType::CommonName, herd.as_str());
    params.subject_alt_names = vec![SanType::URI(ca_uri(herd).try_into()?)];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(uri: &str) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.to_owned().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Checks that certificates issued with `key` under the herd's name will chain to `cert`.
fn check_ca(cert: &CertificateDer<'_>, herd: &HerdId, key: &KeyPair) -> Result<(), AuthorityError> {
    let parse = |cert: &CertificateDer<'_>| -> Result<(Vec<u8>, Vec<u8>), AuthorityError> {
        let cert = EndEntityCert::try_from(cert).map_err(IdentifyError::Malformed)?;
        Ok((cert.subject().to_vec(), cert.subject_public_key_info().to_vec()))
    };
    let (subject, public_key) = parse(cert)?;
    if public_key != key.subject_public_key_info() {
        return Err(AuthorityError::OtherKey(herd.clone()));
    }
    let (expected, _) = parse(ca_params(herd)?.self_signed(key)?.der())?;
    if subject != expected {
        return Err(AuthorityError::NotACa(ca_uri(herd)));
    }
    Ok(())
}

/// A random positive integer of exactly [`SERIAL_LEN`] bytes in DER: a first byte of zero would be dropped, one with
/// the top bit set would get a zero before it.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; SERIAL_LEN];
    tls::provider().secure_random.fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    bytes[0] = (bytes[0] & 0x7f).max(1);
    Ok(SerialNumber::from_slice(&bytes))
}

fn lifetime(now_unix_ms: u64, length: Duration) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let out_of_range = || AuthorityError::Time(now_unix_ms);
    let now = i64::try_from(now_unix_ms / 1000).map_err(|_| out_of_range())?;
    let now = OffsetDateTime::from_unix_timestamp(now).map_err(|_| out_of_range())?;
    let begin = now.checked_sub(time_span(CLOCK_SKEW)).ok_or_else(out_of_range)?;
    let end = now.checked_add(time_span(length)).ok_or_else(out_of_range)?;
    Ok((begin, end))
}

fn time_span(length: Duration) -> time::Duration {
    time::Duration::try_from(length).unwrap_or(time::Duration::MAX)
}

/// A CA or a certificate that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CredentialsError),
    /// The CA's certificate carries no herd.
    #[error("the CA certificate names no herd: {0}")]
    Identify(#[from] IdentifyError),
    /// The certificate is a node's, or another program's.
    #[error("the certificate of {0:?} is not a herd's CA; give the one that `rdcq certs init` made")]
    NotACa(String),
    /// The CA's key cannot be read.
    #[error("the CA's key cannot be read: {0}; give the one that `rdcq certs init` made")]
    Key(#[source] rcgen::Error),
    /// The CA's key is neither P-256 nor Ed25519.
    #[error("the CA's key is neither P-256 nor Ed25519; give the one that `rdcq certs init` made")]
    KeyKind,
    /// The key is not the CA's.
    #[error(
        "the key does not belong to the CA certificate of herd {0}; take both files of one `rdcq certs init`"
    )]
    OtherKey(HerdId),
    /// The identity is not of the CA's herd.
    #[error("cannot issue a certificate for {identity}: this CA is that of herd {herd}")]
    OtherHerd {
        /// Who it was asked for.
        identity: Box<Identity>,
        /// The CA's herd.
        herd: HerdId,
    },
    /// The identity has no form that a peer would read: it has no role.
    #[error("cannot issue a certificate that peers would refuse: {0}; give it at least one role")]
    Identity(#[from] IdentityError),
    /// The time cannot be written into a certificate.
    #[error("{0} ms after 1970 is not a time that a certificate can begin at; check this host's clock")]
    Time(u64),
    /// No randomness.
    #[error("the operating system gave no random bytes")]
    Random,
    /// rcgen failed.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}
