//! Fields of certificates and revocation lists that webpki does not show.

use crate::der::{
    BIT_STRING, BOOLEAN, Element, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, SET, explicit, implicit,
};
use crate::serial::Serial;

/// id-ce, the arc that the extensions used here are in: 2.5.29.
const ID_CE: [u8; 2] = [0x55, 0x1d];
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const LIST_NUMBER: u8 = 20;
const AUTHORITY_KEY_ID: u8 = 35;

/// Bits of the key usage, counted from the first.
const DIGITAL_SIGNATURE: u8 = 0;
const KEY_CERT_SIGN: u8 = 5;
const CRL_SIGN: u8 = 6;

/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// commonName, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// A certificate that webpki could read.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    pub(crate) serial: Serial,
    pub(crate) not_before_unix_s: u64,
    pub(crate) not_after_unix_s: u64,
    issuer: Reader<'a>,
    public_key: Reader<'a>,
    extensions: Reader<'a>,
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Reader::new(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
        tbs.optional(explicit(0));
        let serial = Serial::from_der(tbs.optional(INTEGER)?);
        tbs.enter(SEQUENCE)?;
        let issuer = tbs.enter(SEQUENCE)?;
        let mut validity = tbs.enter(SEQUENCE)?;
        tbs.enter(SEQUENCE)?;
        let public_key = tbs.enter(SEQUENCE)?;
        let extensions = match tbs.enter(explicit(3)) {
            Some(mut tagged) => tagged.enter(SEQUENCE)?,
            None => Reader::new(&[]),
        };
        Some(Self {
            serial,
            not_before_unix_s: validity.time()?,
            not_after_unix_s: validity.time()?,
            issuer,
            public_key,
            extensions,
        })
    }

    /// Whether the key may sign a handshake, and nothing but.
    pub(crate) fn usage(&self) -> Usage {
        let Some(mut value) = extension(self.extensions, KEY_USAGE).map(Reader::new) else {
            return Usage::Unsaid;
        };
        let bits = value.optional(BIT_STRING).and_then(|bits| bits.get(1).copied()).unwrap_or_default();
        let set = |bit: u8| bits & (0x80 >> bit) != 0;
        if set(KEY_CERT_SIGN) || set(CRL_SIGN) {
            Usage::Issues
        } else if set(DIGITAL_SIGNATURE) {
            Usage::Signs
        } else {
            Usage::Other
        }
    }

    /// Length of an RSA key in bits; of other kinds of keys, webpki knows the sizes that there are.
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        let mut key = self.public_key;
        if key.enter(SEQUENCE)?.optional(OID)? != RSA {
            return None;
        }
        let bits = key.optional(BIT_STRING)?.get(1..)?;
        let modulus = Reader::new(bits).enter(SEQUENCE)?.optional(INTEGER)?;
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        Some((modulus.len() - zeros) * 8)
    }

    /// The first common name of the issuer.
    pub(crate) fn issuer_name(&self) -> Option<&'a str> {
        let mut parts = self.issuer;
        while let Some(mut set) = parts.enter(SET) {
            let mut part = set.enter(SEQUENCE)?;
            if part.optional(OID)? == COMMON_NAME {
                return str::from_utf8(part.element()?.value).ok();
            }
        }
        None
    }

    /// What the key is called by the certificates that it signs.
    pub(crate) fn key_id(&self) -> Option<&'a [u8]> {
        Reader::new(extension(self.extensions, SUBJECT_KEY_ID)?).optional(OCTET_STRING)
    }

    /// What the issuer's key is called.
    pub(crate) fn issuer_key_id(&self) -> Option<&'a [u8]> {
        Reader::new(extension(self.extensions, AUTHORITY_KEY_ID)?).enter(SEQUENCE)?.optional(implicit(0))
    }
}

/// What a certificate says that its key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Handshakes.
    Signs,
    /// Other certificates or revocation lists.
    Issues,
    /// Neither.
    Other,
    /// It says nothing.
    Unsaid,
}

/// A revocation list that webpki could read.
#[derive(Debug)]
pub(crate) struct List<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    pub(crate) this_update_unix_s: u64,
    pub(crate) next_update_unix_s: u64,
    revoked: Reader<'a>,
    extensions: Reader<'a>,
}

impl<'a> List<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut list = Reader::new(der).enter(SEQUENCE)?;
        let Element { tag: SEQUENCE, value, whole: signed } = list.element()? else { return None };
        let algorithm = list.optional(SEQUENCE)?;
        // The first byte counts the bits that are unused: a signature has none.
        let signature = list.optional(BIT_STRING)?.strip_prefix(&[0])?;

        let mut tbs = Reader::new(value);
        tbs.optional(INTEGER)?;
        tbs.enter(SEQUENCE)?;
        tbs.enter(SEQUENCE)?;
        let this_update_unix_s = tbs.time()?;
        let next_update_unix_s = tbs.time()?;
        let revoked = tbs.enter(SEQUENCE).unwrap_or_else(|| Reader::new(&[]));
        let extensions = tbs.enter(explicit(0))?.enter(SEQUENCE)?;
        Some(Self {
            signed,
            algorithm,
            signature,
            this_update_unix_s,
            next_update_unix_s,
            revoked,
            extensions,
        })
    }

    /// Whether the holder of a key signed the list. `public_key` is the inside of a SubjectPublicKeyInfo.
    pub(crate) fn is_signed_by(
        &self,
        public_key: &[u8],
        algorithms: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm],
    ) -> bool {
        let mut key = Reader::new(public_key);
        let (Some(kind), Some([0, key @ ..])) = (key.optional(SEQUENCE), key.optional(BIT_STRING)) else {
            return false;
        };
        algorithms.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == kind
                && algorithm.verify_signature(key, self.signed, self.signature).is_ok()
        })
    }

    /// The number, if it is not larger than any that [`Authority`](crate::Authority) writes.
    pub(crate) fn number(&self) -> Option<u64> {
        let number = Reader::new(extension(self.extensions, LIST_NUMBER)?).optional(INTEGER)?;
        let number = Serial::from_der(number);
        (number.as_bytes().len() <= size_of::<u64>())
            .then(|| number.as_bytes().iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// What the issuer's key is called.
    pub(crate) fn issuer_key_id(&self) -> Option<&'a [u8]> {
        Reader::new(extension(self.extensions, AUTHORITY_KEY_ID)?).enter(SEQUENCE)?.optional(implicit(0))
    }

    /// The serial numbers on the list.
    pub(crate) fn serials(&self) -> impl Iterator<Item = Serial> {
        let mut revoked = self.revoked;
        std::iter::from_fn(move || Some(Serial::from_der(revoked.enter(SEQUENCE)?.optional(INTEGER)?)))
    }
}

/// The value of the extension of this number under [`ID_CE`].
fn extension(mut extensions: Reader<'_>, number: u8) -> Option<&[u8]> {
    while let Some(mut extension) = extensions.enter(SEQUENCE) {
        let oid = extension.optional(OID)?;
        extension.optional(BOOLEAN);
        let value = extension.optional(OCTET_STRING)?;
        if oid.strip_prefix(&ID_CE) == Some(&[number]) {
            return Some(value);
        }
    }
    None
}
