//! From an operator to any server: read the settings anew.

use serde::{Deserialize, Serialize};

use super::Line;
use crate::{Kind, List, Message, NodeId, Request};

/// Asks a node to read its settings file again. Answered by every role; a file that makes no sense changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Reload {}

impl Message for Reload {
    const KIND: Kind = Kind::Reload;
}

impl Request for Reload {
    type Reply = Reloaded;
}

/// What became of the settings that are different.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Reloaded {
    /// The node's name.
    pub node: NodeId,
    /// The settings.
    pub settings: List<Setting, { Reloaded::MAX_SETTINGS }>,
    /// How many more are different.
    pub left_out: u32,
}

impl Message for Reloaded {
    const KIND: Kind = Kind::Reloaded;
}

impl Reloaded {
    /// Most settings in one answer. At their longest they fill a header to four fifths.
    pub const MAX_SETTINGS: usize = 48;

    /// An answer with as many of these as fit.
    pub fn new(node: NodeId, settings: Vec<Setting>) -> Self {
        let left_out = u32::try_from(settings.len().saturating_sub(Self::MAX_SETTINGS)).unwrap_or(u32::MAX);
        Self { node, settings: List::first_of(settings), left_out }
    }
}

/// A setting that is different, or was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Setting {
    /// What becomes of it.
    pub effect: Effect,
    /// Its key, and its values before and after.
    pub text: Note,
}

/// What becomes of a setting that is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Effect {
    /// It was taken away and holds on.
    Kept,
    /// It holds from now on.
    Changed,
    /// It holds when the node starts anew.
    Restart,
}

/// A remark for people: at most 256 bytes of one line.
pub type Note = Line<256>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod reload {
        use super::*;

        message_tests!(Reload, Reload {}, "4200000600000000000102b81701");
    }

    mod reloaded {
        use super::*;

        message_tests!(
            Reloaded,
            Reloaded {
                node: "o1".parse().unwrap(),
                settings: List::first_of([Setting {
                    effect: Effect::Restart,
                    text: Note::from("a: 1 -> 2".to_owned())
                }]),
                left_out: 3
            },
            "4300001600000000000102b81701026f31010209613a2031202d3e203203"
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let setting = |n: usize| Setting { effect: Effect::Changed, text: Note::from(n.to_string()) };
        let all: Vec<_> = (0..Reloaded::MAX_SETTINGS + 2).map(setting).collect();
        let reloaded = Reloaded::new("o1".parse().unwrap(), all.clone());
        assert_eq!((&*reloaded.settings, reloaded.left_out), (&all[..Reloaded::MAX_SETTINGS], 2));
        assert_eq!(Reloaded::new("o1".parse().unwrap(), vec![setting(1)]).left_out, 0);
    }
}
