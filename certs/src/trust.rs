//! Whom a node believes: the herd's CAs, and what they took back.

use std::fmt;

use rdcq_wire::{HerdId, Identity};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeId,
    KeyPurposeIdIter, KeyUsage, RequiredEkuNotFoundContext, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::identify::{IdentifyError, identify};
use crate::refusal::{PeerError, Side};
use crate::x509::{self, Usage};

/// Longest certificate read, in bytes. One of the longest identity in all roles, with an RSA key of 4096 bits, is half as
/// long.
pub const MAX_CERTIFICATE_BYTES: usize = 4096;

/// Shortest RSA key believed, in bits. rdcq makes none, other programs' CAs may.
pub const MIN_RSA_BITS: usize = 2048;

/// id-kp-serverAuth and id-kp-clientAuth: 1.3.6.1.5.5.7.3.1 and .2.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// A CA that is trusted.
pub(crate) struct Root {
    pub(crate) anchor: TrustAnchor<'static>,
    pub(crate) not_after_unix_s: u64,
    /// What it took back.
    pub(crate) list: Option<CertRevocationList<'static>>,
}

/// The CAs of a herd. All of them bear its name, so that a certificate says only by its signature whose it is.
pub(crate) struct Trust {
    herd: HerdId,
    roots: Vec<Root>,
    lists: Lists,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

/// Whether certificates can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// No list is asked for.
    Unused,
    /// Nobody is believed whose CA has no list in force.
    Required,
}

impl Trust {
    pub(crate) fn new(
        herd: HerdId,
        roots: Vec<Root>,
        lists: Lists,
        algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    ) -> Self {
        Self { herd, roots, lists, algorithms }
    }

    /// Judges what a peer showed: its own certificate and, wrongly, others.
    pub(crate) fn judge(
        &self,
        certs: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<Identity, PeerError> {
        let [cert] = certs else {
            return Err(match certs.len().checked_sub(1) {
                None => IdentifyError::NoCertificate.into(),
                Some(others) => PeerError::Intermediates(others),
            });
        };
        if cert.len() > MAX_CERTIFICATE_BYTES {
            return Err(PeerError::TooLong(cert.len()));
        }
        let leaf = EndEntityCert::try_from(cert).map_err(IdentifyError::Malformed)?;
        let fields = x509::Certificate::parse(cert).ok_or(IdentifyError::Malformed(webpki::Error::BadDer))?;
        self.find_root(&leaf, &fields, side, now)?;

        if let Some(bits) = fields.rsa_bits().filter(|bits| *bits < MIN_RSA_BITS) {
            return Err(PeerError::WeakKey(bits));
        }
        match fields.usage() {
            Usage::Signs => {}
            Usage::Issues => return Err(PeerError::ForIssuing),
            Usage::Other | Usage::Unsaid => return Err(PeerError::NotForSigning),
        }
        let peer = identify(certs)?;
        if peer.herd != self.herd {
            return Err(PeerError::OtherHerd { peer: Box::new(peer), herd: self.herd.clone() });
        }
        Ok(peer)
    }

    /// Finds the CA that signed `leaf`. CAs of one name are tried one by one, each with its own list: webpki would take
    /// the first list of that name for all of them.
    fn find_root(
        &self,
        leaf: &EndEntityCert<'_>,
        fields: &x509::Certificate<'_>,
        side: Side,
        now: UnixTime,
    ) -> Result<&Root, PeerError> {
        let mut named =
            self.roots.iter().filter(|root| root.anchor.subject.as_ref() == leaf.issuer()).peekable();
        if named.peek().is_none() {
            let own = leaf.issuer() == leaf.subject();
            return Err(if own { PeerError::SelfSigned } else { PeerError::UnknownIssuer });
        }
        for root in named {
            match self.check_chain(leaf, root, side, now) {
                Ok(()) => return self.check_root(root, now),
                Err(error) if is_of_another_key(&error) => {}
                Err(error) => return Err(refused(error, leaf, fields, side)),
            }
        }
        Err(PeerError::NotSigned)
    }

    /// What webpki does not ask of the CA that signed.
    fn check_root<'a>(&self, root: &'a Root, now: UnixTime) -> Result<&'a Root, PeerError> {
        let not_after_unix_s = root.not_after_unix_s;
        if now.as_secs() > not_after_unix_s {
            return Err(PeerError::CaExpired { not_after_unix_s });
        }
        match (self.lists, &root.list) {
            (Lists::Required, None) => Err(PeerError::ListMissing),
            _ => Ok(root),
        }
    }

    fn check_chain(
        &self,
        leaf: &EndEntityCert<'_>,
        root: &Root,
        side: Side,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = root.list.iter().collect();
        let anchor = std::slice::from_ref(&root.anchor);
        leaf.verify_for_usage(self.algorithms, anchor, &[], now, side, options(&lists), None)?;
        Ok(())
    }
}

/// A list that has ended says nothing, and who is not known to be in force is not believed.
fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options
        .with_depth(RevocationCheckDepth::EndEntity)
        .with_status_policy(UnknownStatusPolicy::Deny)
        .with_expiration_policy(ExpirationPolicy::Enforce);
    Some(options.build())
}

/// Whether another CA of the same name may have signed.
fn is_of_another_key(error: &webpki::Error) -> bool {
    use webpki::Error::{InvalidSignatureForPublicKey, UnsupportedSignatureAlgorithmForPublicKeyContext};
    matches!(error, InvalidSignatureForPublicKey | UnsupportedSignatureAlgorithmForPublicKeyContext(_))
}

fn refused(
    error: webpki::Error,
    leaf: &EndEntityCert<'_>,
    fields: &x509::Certificate<'_>,
    side: Side,
) -> PeerError {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => PeerError::Expired { not_after_unix_s: not_after.as_secs() },
        Error::CertNotValidYet { not_before, .. } => {
            PeerError::NotYetValid { not_before_unix_s: not_before.as_secs() }
        }
        Error::CertRevoked => {
            // The signature was found good before the list was asked.
            let peer = leaf.valid_uri_names().next().unwrap_or("nobody").to_owned();
            PeerError::Revoked { peer, serial: fields.serial.clone() }
        }
        Error::CrlExpired { next_update, .. } => {
            PeerError::ListExpired { next_update_unix_s: next_update.as_secs() }
        }
        Error::UnknownRevocationStatus => PeerError::ListMissing,
        Error::CaUsedAsEndEntity => PeerError::IsCa,
        Error::UnsupportedSignatureAlgorithmContext(_) => PeerError::Algorithm,
        Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { present, .. }) => {
            if present.is_empty() { PeerError::NoPurpose } else { PeerError::OtherPurpose(side) }
        }
        other => PeerError::Chain(other),
    }
}

impl ExtendedKeyUsageValidator for Side {
    /// Unlike webpki's own, asks for the extension to be there.
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let wanted: &[&[u8]] = match self {
            Self::Server => &[SERVER_AUTH],
            Self::Client => &[CLIENT_AUTH],
            Self::Either => &[SERVER_AUTH, CLIENT_AUTH],
        };
        let mut present = Vec::new();
        for purpose in purposes {
            let purpose = purpose?;
            if wanted.iter().any(|wanted| KeyPurposeId::new(wanted) == purpose) {
                return Ok(());
            }
            present.push(purpose.to_decoded_oid());
        }
        let required = KeyUsage::required(wanted[0]);
        Err(webpki::Error::RequiredEkuNotFoundContext(RequiredEkuNotFoundContext { required, present }))
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("herd", &self.herd)
            .field("roots", &self.roots.len())
            .field("lists", &self.lists)
            .finish()
    }
}
