//! What the tests of every message share: values of all kinds, golden bytes, the round trip.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::frame::{self, PREFIX_LEN, Prefix};
use crate::list::List;
use crate::message::{Line, Word};
use crate::tag::Field;
use crate::{
    Class, Context, DecodeError, Digest, HerdId, Message, NodeId, Nonce, Piece, PieceTable, Record, Role,
    RoleSet, State, TagKey, Version,
};

pub(crate) const CONTEXT: Context =
    Context { request: 1, trace: 2, time_left_ms: 3000, class: Class::Normal };

/// The message's frame is `hex`, and reads back.
#[track_caller]
pub(crate) fn check_golden<M: Message + PartialEq>(message: &M, hex: &str) {
    let bytes = frame::encode(CONTEXT, message, 0).unwrap();
    let got: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(got, hex, "the wire form of {message:?} has changed");
    check_round_trip(CONTEXT, message);
}

/// The message reads back from its frame, and from no part of it.
#[track_caller]
pub(crate) fn check_round_trip<M: Message + PartialEq>(context: Context, message: &M) {
    let bytes = frame::encode(context, message, 0).unwrap();
    let (prefix, header) = bytes.split_at(PREFIX_LEN);
    let prefix = Prefix::decode(prefix.try_into().unwrap()).unwrap();
    assert_eq!(prefix.known_kind(), Ok(M::KIND));
    let (read_context, read) = frame::decode::<M>(header).unwrap();
    assert_eq!((read_context, &read), (context, message));
    for cut in 0..header.len() {
        assert!(frame::decode::<M>(&header[..cut]).is_err(), "{message:?} cut to {cut} bytes");
    }
}

/// Bytes after a good envelope are refused, or are a message that reads back.
#[track_caller]
pub(crate) fn check_garbage<M: Message + PartialEq>(bytes: &[u8]) {
    check_read(frame::decode::<M>(bytes));
    let envelope = [0, 1, 2, 3];
    check_read(frame::decode::<M>(&[&envelope, bytes].concat()));
}

/// A header with one byte changed is refused, or is another message that reads back.
#[track_caller]
pub(crate) fn check_damage<M: Message + PartialEq>(message: &M, place: Index, byte: u8) {
    let mut header = frame::encode(CONTEXT, message, 0).unwrap().split_off(PREFIX_LEN).to_vec();
    let place = place.index(header.len());
    header[place] = byte;
    check_read(frame::decode::<M>(&header));
}

#[track_caller]
fn check_read<M: Message + PartialEq>(read: Result<(Context, M), DecodeError>) {
    if let Ok((context, message)) = read {
        check_round_trip(context, &message);
    }
}

macro_rules! message_tests {
    ($type:ty, $sample:expr, $golden:literal) => {
        #[test]
        fn golden_bytes() {
            $crate::testing::check_golden::<$type>(&$sample, $golden);
        }

        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

            #[test]
            fn every_value_reads_back(context: $crate::Context, message: $type) {
                $crate::testing::check_round_trip(context, &message);
            }

            #[test]
            fn any_bytes_are_refused_or_read_back(bytes in $crate::testing::garbage()) {
                $crate::testing::check_garbage::<$type>(&bytes);
            }

            #[test]
            fn a_changed_byte_is_refused_or_reads_back(
                message: $type,
                place: proptest::sample::Index,
                byte: u8,
            ) {
                $crate::testing::check_damage(&message, place, byte);
            }
        }
    };
}
pub(crate) use message_tests;

/// Bytes that are no message on purpose; small ones are the likelier to look like one.
pub(crate) fn garbage() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![0..4_u8, any::<u8>()], 0..200)
}

/// Addresses as they can travel: serde leaves out an IPv6 address's flow information and scope.
pub(crate) fn socket_addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

pub(crate) fn sample_name() -> crate::Name {
    crate::Name::conventional("h1".parse().unwrap(), "/d", "交易.txt").unwrap()
}

pub(crate) fn sample_attributes() -> crate::Attributes {
    let description = "日终 data".parse().unwrap();
    crate::Attributes { mode: 0o640, modified_unix_ns: 1_700_000_000_000_000_001, description }
}

pub(crate) fn sample_record() -> Record {
    Record {
        name: sample_name(),
        version: "7".parse().unwrap(),
        seq: 7,
        digest: Digest::from_bytes([1; 32]),
        manifest: Digest::from_bytes([2; 32]),
        size: 70_000,
        pieces: 4,
        by: "h1".parse().unwrap(),
        at_unix_ms: 1_700_000_000_000,
        push: 5,
        attributes: sample_attributes(),
        state: State::Live,
    }
}

macro_rules! arbitrary {
    ($type:ty, $strategy:expr) => {
        impl Arbitrary for $type {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with((): ()) -> Self::Strategy {
                $strategy.boxed()
            }
        }
    };
}

fn text<T: TryFrom<String, Error: Debug> + Debug>(pattern: &'static str) -> impl Strategy<Value = T> {
    pattern.prop_filter_map("a legal text", |text| T::try_from(text).ok())
}

arbitrary!(Digest, any::<[u8; 32]>().prop_map(Self::from_bytes));
arbitrary!(Nonce, any::<[u8; Nonce::LEN]>().prop_map(Self::from_bytes));
arbitrary!(HerdId, text("[a-z0-9.-]{1,63}"));
arbitrary!(RoleSet, vec(any::<Role>(), 0..4).prop_map(Self::from_iter));
arbitrary!(NodeId, text("[A-Za-z0-9._-]{1,128}"));
arbitrary!(TagKey, text("\\PC{1,80}"));
arbitrary!(Version, text("[A-Za-z0-9._+-]{1,128}"));
arbitrary!(Field, text("\\PC{0,80}"));
arbitrary!(crate::Description, text("\\PC{0,80}"));
arbitrary!(Word, text("[a-z0-9-]{1,32}"));
arbitrary!(
    PieceTable,
    vec((1..=Self::MAX_PIECE_BYTES, any::<Digest>()), 0..20)
        .prop_map(
            |pieces| Self::new(pieces.into_iter().map(|(len, hash)| Piece { len, hash }).collect()).unwrap()
        )
);

impl<const MAX: usize> Arbitrary for Line<MAX> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        "\\PC{0,80}".prop_map(Self::from).boxed()
    }
}

impl<T: Arbitrary + 'static, const MAX: usize> Arbitrary for List<T, MAX> {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        vec(any::<T>(), 0..=MAX.min(20)).prop_map(Self::first_of).boxed()
    }
}
