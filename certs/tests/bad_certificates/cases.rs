//! The table.

use rcgen::{
    BasicConstraints, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rdcq_certs::{Authority, KeyKind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::world::{
    NOW_UNIX_MS, PEER, Shown, World, ca, ca_name, credentials, days_from_now, forge, forge_under, issue,
    leaf_params, shown, uri,
};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// A part of the reason.
    pub(crate) reason: &'static str,
    pub(crate) world: fn() -> World,
}

const fn case(name: &'static str, reason: &'static str, world: fn() -> World) -> Case {
    Case { name, reason, world }
}

pub(crate) const CASES: &[Case] = &[
    // Nothing to judge.
    case("nothing", "showed no certificate", || World::new(credentials(&ca()), Shown::Nothing)),
    case("empty certificate", "not a certificate that can be read", || garbage(&[])),
    case("no DER", "not a certificate that can be read", || garbage(&[0x30, 0x82, 0xff, 0xff, 0x02])),
    case("more behind the certificate", "(TrailingData(Certificate))", || altered(|der| der.push(0))),
    case("longer than read", "bytes long, at most", || World::forged(|leaf| pad(leaf, 8 * 1024))),
    case("64 KiB", "HandshakePayloadTooLarge", || World::forged(|leaf| pad(leaf, 64 * 1024))),
    case("version 1", "UnsupportedCertVersion", || World::fixture("version1.pem")),
    case("unknown critical extension", "UnsupportedCriticalExtension", || {
        World::forged(|leaf| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555], vec![5, 0]);
            unknown.set_criticality(true);
            leaf.custom_extensions.push(unknown);
        })
    }),
    // Who signed.
    case("signed by itself", "signed by itself", self_signed),
    case("CA of another name", "names an issuer that is no CA of this herd", other_name),
    case("CA of the same name", "not signed by the key of any CA", || {
        World::new(credentials(&ca()), shown(&issue(&ca(), PEER)))
    }),
    case("changed after signing", "not signed by the key of any CA", || {
        altered(|der| *der.last_mut().unwrap() ^= 1)
    }),
    case("ended CA", "the CA of the peer's certificate ended", World::ca_ended),
    case("SHA-1", "an algorithm that is not trusted", || World::fixture("sha1.pem")),
    case("RSA of 1024 bits", "RSA key has 1024 bits", || World::fixture("rsa1024.pem")),
    // Chains.
    case("intermediate", "1 certificates besides its own", || chain(1)),
    case("long chain", "8 certificates besides its own", || chain(8)),
    case("chain in a circle", "2 certificates besides its own", circle),
    case("intermediate left out", "names an issuer that is no CA of this herd", || chain(0)),
    // When.
    case("ended", "certificate ended", || {
        World::forged(|leaf| (leaf.not_before, leaf.not_after) = (days_from_now(-2), days_from_now(-1)))
    }),
    case("not begun", "still to come", || {
        World::forged(|leaf| (leaf.not_before, leaf.not_after) = (days_from_now(1), days_from_now(2)))
    }),
    case("ends before it begins", "InvalidCertValidity", || {
        World::forged(|leaf| (leaf.not_before, leaf.not_after) = (days_from_now(1), days_from_now(-1)))
    }),
    // Taken back.
    case("revoked", "of spiffe://herd/host-1/agent/client is revoked", World::revoked),
    case("list ended", "the revocation list ended", World::list_ended),
    case("list missing", "there is no revocation list of the peer's CA", World::list_missing),
    // What for.
    case("a CA", "a CA's certificate as its own", || {
        World::forged(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    }),
    case("no purpose", "no extended key usage", || World::forged(|leaf| leaf.extended_key_usages.clear())),
    case("other purpose", "extended key usage does not let it be a", || {
        World::forged(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning])
    }),
    case("key not for signing", "does not say digital signature", || {
        World::forged(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement])
    }),
    case("key for certificates", "lets it sign certificates or lists", || {
        World::forged(|leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign))
    }),
    // Who.
    case("no names", "carries no URI", || named(vec![])),
    case("host name only", "carries no URI", || named(vec![host("host-1.example")])),
    case("any host", "carries no URI", || named(vec![host("*.example")])),
    case("common name only", "carries no URI", || {
        World::forged(|leaf| {
            leaf.subject_alt_names.clear();
            leaf.distinguished_name.push(DnType::CommonName, PEER);
        })
    }),
    case("two URIs", "carries 2 URIs", two_uris),
    case("another herd", "is no member of herd herd", || named(vec![uri("spiffe://other/host-1/agent")])),
    case("unknown role", "unknown role", || named(vec![uri("spiffe://herd/host-1/king")])),
    case("no role", "not an identity", || named(vec![uri("spiffe://herd/host-1")])),
    case("no herd's name", "not a herd name", || named(vec![uri("spiffe://Herd/host-1/agent")])),
    case("no node's name", "not a node name", || named(vec![uri("spiffe://herd/host%201/agent")])),
    // Proof, and the rest of the handshake.
    case("key of another certificate", "does not hold the key", || other_key(&KeyPair::generate().unwrap())),
    case("key of another kind", "UnsupportedSignatureAlgorithmForPublicKeyContext", || {
        other_key(&KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }),
    case("another protocol", "does not speak this version", || {
        World::new(credentials(&ca()), Shown::OtherProtocol)
    }),
];

fn garbage(bytes: &'static [u8]) -> World {
    let ca = ca();
    let key_pem = KeyPair::generate().unwrap().serialize_pem();
    World::new(credentials(&ca), Shown::Chain { certs: vec![bytes.into()], key_pem })
}

/// A good certificate whose bytes are changed.
fn altered(change: impl FnOnce(&mut Vec<u8>)) -> World {
    let mut world = World::forged(|_| {});
    let Shown::Chain { certs, .. } = &mut world.shown else { panic!("it shows a certificate") };
    let mut der = certs[0].to_vec();
    change(&mut der);
    certs[0] = der.into();
    world
}

/// Makes a certificate about this long.
fn pad(leaf: &mut rcgen::CertificateParams, len: usize) {
    let mut content = vec![4, 0x83];
    content.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes()[1..]);
    content.resize(content.len() + len, 0);
    leaf.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555], content));
}

fn self_signed() -> World {
    let key = KeyPair::generate().unwrap();
    let mut params = leaf_params();
    params.distinguished_name.push(DnType::CommonName, "host-1");
    let certs = vec![params.self_signed(&key).unwrap().into()];
    World::new(credentials(&ca()), Shown::Chain { certs, key_pem: key.serialize_pem() })
}

fn other_name() -> World {
    let other = Authority::generate("other".parse().unwrap(), KeyKind::P256, NOW_UNIX_MS).unwrap();
    World::new(credentials(&ca()), shown(&issue(&other, "spiffe://other/host-1/agent")))
}

/// A certificate below as many CAs as wanted, or below one that is not shown.
fn chain(shown: usize) -> World {
    let ca = ca();
    let name = |number: usize| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, format!("intermediate {number}"));
        name
    };
    let (mut issuer_name, mut issuer_key) = (ca_name(), ca.key_pem().to_owned());
    let mut chain = Vec::new();
    for number in 0..shown.max(1) {
        let own_name = name(number);
        let made = forge_under(issuer_name, &issuer_key, |params| {
            params.distinguished_name = own_name.clone();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        });
        let Shown::Chain { certs, key_pem } = made else { panic!("it shows a certificate") };
        chain.splice(0..0, certs);
        (issuer_name, issuer_key) = (own_name, key_pem);
    }
    let leaf = forge_under(issuer_name, &issuer_key, |_| {});
    let Shown::Chain { mut certs, key_pem } = leaf else { panic!("it shows a certificate") };
    certs.extend(chain.into_iter().take(shown));
    World::new(credentials(&ca), Shown::Chain { certs, key_pem })
}

/// Two CAs that signed each other.
fn circle() -> World {
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let names = ["one", "other"].map(|text| {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, text);
        name
    });
    let crossed = |own: usize| {
        let mut params = leaf_params();
        params.distinguished_name = names[own].clone();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut issuer = rcgen::CertificateParams::default();
        issuer.distinguished_name = names[1 - own].clone();
        CertificateDer::from(
            params.signed_by(&keys[own], &rcgen::Issuer::new(issuer, &keys[1 - own])).unwrap(),
        )
    };
    let leaf = forge_under(names[0].clone(), &keys[0].serialize_pem(), |_| {});
    let Shown::Chain { mut certs, key_pem } = leaf else { panic!("it shows a certificate") };
    certs.extend([crossed(0), crossed(1)]);
    World::new(credentials(&ca()), Shown::Chain { certs, key_pem })
}

fn named(names: Vec<SanType>) -> World {
    World::forged(|leaf| leaf.subject_alt_names = names)
}

fn host(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn two_uris() -> World {
    named(vec![uri(PEER), uri("https://example.org/")])
}

/// A good certificate, shown by somebody who has another key.
fn other_key(key: &KeyPair) -> World {
    let ca = ca();
    let Shown::Chain { certs, .. } = forge(&ca, |_| {}) else { panic!("it shows a certificate") };
    World::new(credentials(&ca), Shown::Chain { certs, key_pem: key.serialize_pem() })
}

#[test]
fn the_ca_s_own_certificate_is_no_member_s() {
    let ca = ca();
    let certs = vec![CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap()];
    let refused = credentials(&ca).judge(&certs).unwrap_err();
    assert_eq!(refused, rdcq_certs::PeerError::IsCa);
}
