//! Whom a node believes: the herd's CAs, and what they took back.

use std::fmt;
use std::sync::Arc;

use rdcq_wire::{Digest, HerdId, Identity};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};

use crate::identify::{IdentifyError, identify};
use crate::memory::Memory;
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
    /// The digest of its name and its key, by which it is remembered.
    pub(crate) key: Digest,
    pub(crate) not_after_unix_s: u64,
    /// What it took back.
    pub(crate) list: Option<List>,
}

/// What a CA took back. Whoever made it has checked that the CA signed it, and that it is about all of its certificates.
pub(crate) struct List {
    pub(crate) revoked: CertRevocationList<'static>,
    pub(crate) number: Option<u64>,
    pub(crate) this_update_unix_s: u64,
    pub(crate) next_update_unix_s: u64,
}

impl List {
    /// Whether this list was made before `other`, by the numbers that the CA counts its lists with; those of other
    /// programs may have none.
    fn is_older_than(&self, other: &Self) -> bool {
        match (self.number, other.number) {
            (Some(own), Some(other)) => own < other,
            _ => self.this_update_unix_s < other.this_update_unix_s,
        }
    }
}

/// The CAs of a herd. All of them bear its name, so that a certificate says only by its signature whose it is.
pub(crate) struct Trust {
    herd: HerdId,
    roots: Vec<Root>,
    lists: Lists,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
    memory: Arc<Memory>,
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
        memory: Arc<Memory>,
    ) -> Self {
        Self { herd, roots, lists, algorithms, memory }
    }

    /// What was found out about certificates so far, which holds under other CAs and lists, too.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// A list that is older than that of the same CA in `before`: from when both are, in seconds since 1970.
    pub(crate) fn older_list(&self, before: &Self) -> Option<(u64, u64)> {
        let older = |root: &Root| {
            let list = root.list.as_ref()?;
            let known = before.roots.iter().find(|known| known.key == root.key)?.list.as_ref()?;
            list.is_older_than(known).then_some((list.this_update_unix_s, known.this_update_unix_s))
        };
        self.roots.iter().find_map(older)
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

        let digest = Digest::of(cert);
        let known = self.memory.find(&digest).filter(|known| known.serves(side));
        let root = match known.and_then(|known| self.roots.iter().find(|root| root.key == known.signer)) {
            Some(root) => {
                check_period(&fields, now)?;
                root
            }
            None => {
                let root = self.find_root(&leaf, side, now)?;
                check_use(&fields)?;
                root
            }
        };
        self.check_root(root, &leaf, &fields, now)?;
        let peer = identify(certs)?;
        if peer.herd != self.herd {
            return Err(PeerError::OtherHerd { peer: Box::new(peer), herd: self.herd.clone() });
        }
        if known.is_none() {
            self.memory.add(digest, root.key, side);
        }
        Ok(peer)
    }

    /// Finds the CA that signed `leaf`. CAs of one name are tried one by one.
    fn find_root(&self, leaf: &EndEntityCert<'_>, side: Side, now: UnixTime) -> Result<&Root, PeerError> {
        let mut named =
            self.roots.iter().filter(|root| root.anchor.subject.as_ref() == leaf.issuer()).peekable();
        if named.peek().is_none() {
            let own = leaf.issuer() == leaf.subject();
            return Err(if own { PeerError::SelfSigned } else { PeerError::UnknownIssuer });
        }
        for root in named {
            let anchor = std::slice::from_ref(&root.anchor);
            match leaf.verify_for_usage(self.algorithms, anchor, &[], now, side, None, None) {
                Ok(_) => return Ok(root),
                Err(error) if is_of_another_key(&error) => {}
                Err(error) => return Err(refused(error, side)),
            }
        }
        Err(PeerError::NotSigned)
    }

    /// Whether the CA that signed still stands, and stands by the certificate.
    ///
    /// webpki could ask the lists. It takes the first list of a name, which all CAs of a herd share, and checks the list's
    /// signature again for every peer: twice the work of a whole judgement, and more with every entry.
    fn check_root(
        &self,
        root: &Root,
        leaf: &EndEntityCert<'_>,
        fields: &x509::Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), PeerError> {
        let not_after_unix_s = root.not_after_unix_s;
        if now.as_secs() > not_after_unix_s {
            return Err(PeerError::CaExpired { not_after_unix_s });
        }
        let Some(list) = &root.list else {
            return match self.lists {
                Lists::Unused => Ok(()),
                Lists::Required => Err(PeerError::ListMissing),
            };
        };
        let next_update_unix_s = list.next_update_unix_s;
        if now.as_secs() >= next_update_unix_s {
            return Err(PeerError::ListExpired { next_update_unix_s });
        }
        match list.revoked.find_serial(leaf.serial()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                let peer = leaf.valid_uri_names().next().unwrap_or("nobody").to_owned();
                Err(PeerError::Revoked { peer, serial: fields.serial.clone() })
            }
            Err(error) => Err(PeerError::Chain(error)),
        }
    }
}

/// What webpki asks of a certificate's dates.
fn check_period(fields: &x509::Certificate<'_>, now: UnixTime) -> Result<(), PeerError> {
    let &x509::Certificate { not_before_unix_s, not_after_unix_s, .. } = fields;
    if now.as_secs() < not_before_unix_s {
        Err(PeerError::NotYetValid { not_before_unix_s })
    } else if now.as_secs() > not_after_unix_s {
        Err(PeerError::Expired { not_after_unix_s })
    } else {
        Ok(())
    }
}

/// What webpki does not ask of a certificate's key.
fn check_use(fields: &x509::Certificate<'_>) -> Result<(), PeerError> {
    if let Some(bits) = fields.rsa_bits().filter(|bits| *bits < MIN_RSA_BITS) {
        return Err(PeerError::WeakKey(bits));
    }
    match fields.usage() {
        Usage::Signs => Ok(()),
        Usage::Issues => Err(PeerError::ForIssuing),
        Usage::Other | Usage::Unsaid => Err(PeerError::NotForSigning),
    }
}

/// Whether another CA of the same name may have signed.
fn is_of_another_key(error: &webpki::Error) -> bool {
    use webpki::Error::{InvalidSignatureForPublicKey, UnsupportedSignatureAlgorithmForPublicKeyContext};
    matches!(error, InvalidSignatureForPublicKey | UnsupportedSignatureAlgorithmForPublicKeyContext(_))
}

fn refused(error: webpki::Error, side: Side) -> PeerError {
    use webpki::Error;
    match error {
        Error::CertExpired { not_after, .. } => PeerError::Expired { not_after_unix_s: not_after.as_secs() },
        Error::CertNotValidYet { not_before, .. } => {
            PeerError::NotYetValid { not_before_unix_s: not_before.as_secs() }
        }
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
