//! Bad revocation lists: a file with one is refused as a whole, before anybody is judged by it.

use rdcq_certs::{Authority, CLOCK_SKEW, CredentialsError, LIST_LIFETIME, Part, Revoked, describe_lists};

use crate::world::{NOW_UNIX_MS, NOW_UNIX_S, PEER, ca, fixed, issue, load};

fn list(ca: &Authority) -> String {
    ca.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap()
}

/// A list's bytes, changed, and again as PEM.
fn altered(pem: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    use rustls::pki_types::CertificateRevocationListDer;
    use rustls::pki_types::pem::PemObject;
    let mut der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    change(&mut der);
    to_pem(&der)
}

fn to_pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in der.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * place) & 63]);
            text.push(if place <= three.len() { digit } else { '=' });
        }
    }
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
}

#[test]
fn a_file_with_a_bad_list_is_refused_as_a_whole_for_a_reason_of_its_own() {
    let (own_ca, other) = (ca(), ca());
    let good = list(&own_ca);
    let cases = [
        ("no list", "# nothing here\n".to_owned(), "holds no PEM revocation list"),
        ("a certificate", own_ca.cert_pem().to_owned(), "holds no PEM revocation list"),
        ("cut off text", good[..good.len() / 2].to_owned(), "section end"),
        ("no base64", good.replace('M', "!"), "base64"),
        ("garbage", to_pem(b"not DER at all"), "list 1 is none"),
        ("cut off list", altered(&good, |der| der.truncate(der.len() - 9)), "list 1 is none"),
        ("empty list", to_pem(&[]), "list 1 is none"),
        ("bad signature", altered(&good, |der| *der.last_mut().unwrap() ^= 1), "signed by no CA"),
        ("changed list", altered(&good, |der| der[60] ^= 1), "list 1"),
        ("another CA's", list(&other), "list 1 is signed by no CA"),
        ("a good and a bad one", format!("{good}{}", list(&other)), "list 2 is signed by no CA"),
        ("two of one CA", format!("{good}{good}"), "list 2 is the second of one CA"),
    ];
    for (name, pem, why) in cases {
        let error = load(own_ca.cert_pem(), &issue(&own_ca, PEER), Some(&pem), fixed()).unwrap_err();
        let CredentialsError::Unreadable { part: Part::Lists, .. } = error else { panic!("{name}: {error}") };
        assert!(error.to_string().contains(why), "{name}: {error}");
    }
    load(own_ca.cert_pem(), &issue(&own_ca, PEER), Some(&good), fixed()).unwrap();
}

#[test]
fn no_byte_of_a_list_can_be_changed_or_left_out() {
    let ca = ca();
    let own = issue(&ca, PEER);
    let good = list(&ca);
    let len = {
        let mut len = 0;
        altered(&good, |der| len = der.len());
        len
    };
    for at in 0..len {
        let changed = altered(&good, |der| der[at] ^= 0x81);
        let cut = altered(&good, |der| der.truncate(at));
        for bad in [changed, cut] {
            let error = load(ca.cert_pem(), &own, Some(&bad), fixed()).unwrap_err();
            assert!(
                matches!(error, CredentialsError::Unreadable { part: Part::Lists, .. }),
                "byte {at}: {error}"
            );
        }
    }
}

#[test]
fn a_node_does_not_start_with_a_list_that_refuses_itself() {
    let ca = ca();
    let own = issue(&ca, PEER);
    let old = NOW_UNIX_MS - u64::try_from(LIST_LIFETIME.as_millis()).unwrap() - 1000;
    let ended = ca.revocation_list(&[], LIST_LIFETIME, old).unwrap();
    let error = load(ca.cert_pem(), &own, Some(&ended), fixed()).unwrap_err();
    assert!(matches!(error, CredentialsError::ListExpired { .. }), "{error}");

    let revoked = [Revoked { serial: own.serial.clone(), at_unix_s: NOW_UNIX_S }];
    let revoking = ca.revocation_list(&revoked, LIST_LIFETIME, NOW_UNIX_MS).unwrap();
    let error = load(ca.cert_pem(), &own, Some(&revoking), fixed()).unwrap_err();
    assert!(error.to_string().contains("is revoked"), "{error}");
}

#[test]
fn a_list_says_what_it_was_made_of() {
    let ca = ca();
    let serials: Vec<_> = (0..3).map(|_| issue(&ca, PEER).serial).collect();
    let revoked: Vec<_> =
        serials.iter().map(|serial| Revoked { serial: serial.clone(), at_unix_s: NOW_UNIX_S }).collect();
    let pem = ca.revocation_list(&revoked, LIST_LIFETIME, NOW_UNIX_MS).unwrap();
    let lists = describe_lists(&format!("{pem}{}", list(&ca))).unwrap();
    assert_eq!(lists[0].revoked, serials);
    assert_eq!(lists[0].number, Some(NOW_UNIX_MS));
    assert_eq!(lists[0].this_update_unix_s, NOW_UNIX_S - CLOCK_SKEW.as_secs());
    assert_eq!(lists[0].next_update_unix_s, NOW_UNIX_S + LIST_LIFETIME.as_secs());
    assert_eq!(lists[1].revoked, []);
    assert_eq!(lists[0].issuer_key_id, lists[1].issuer_key_id);
    assert!(lists[0].issuer_key_id.is_some());
}
