//! What a topology promises about each input's effect on its results.

use std::fmt;
use std::str::FromStr;

/// How often an input may count, whatever crashes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Guarantee {
    /// Nothing is committed and output is visible at once. A later run begins at the visible end of its
    /// sources, or where it is told that its own input begins, and without state.
    AtMostOnce,
    /// State and positions commit together; output is visible at once, so a crash repeats some.
    AtLeastOnce,
    /// State, positions and output commit together.
    #[default]
    EffectivelyOnce,
}

/// A text that names no guarantee.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a guarantee: write at-most-once, at-least-once or effectively-once")]
pub struct ParseGuaranteeError(pub String);

impl Guarantee {
    /// Whether commit records are appended.
    pub fn commits(self) -> bool {
        self != Guarantee::AtMostOnce
    }

    /// Its durable ordinal; never reused.
    pub(crate) fn ordinal(self) -> u8 {
        match self {
            Guarantee::AtMostOnce => 1,
            Guarantee::AtLeastOnce => 2,
            Guarantee::EffectivelyOnce => 3,
        }
    }

    pub(crate) fn from_ordinal(ordinal: u8) -> Option<Guarantee> {
        match ordinal {
            1 => Some(Guarantee::AtMostOnce),
            2 => Some(Guarantee::AtLeastOnce),
            3 => Some(Guarantee::EffectivelyOnce),
            _ => None,
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::AtMostOnce => "at-most-once",
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::EffectivelyOnce => "effectively-once",
        })
    }
}

impl FromStr for Guarantee {
    type Err = ParseGuaranteeError;
    fn from_str(text: &str) -> Result<Guarantee, ParseGuaranteeError> {
        [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::EffectivelyOnce]
            .into_iter()
            .find(|guarantee| guarantee.to_string() == text)
            .ok_or_else(|| ParseGuaranteeError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarantee_parses_back_from_what_it_prints() {
        for g in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::EffectivelyOnce] {
            assert_eq!(g.to_string().parse(), Ok(g));
            assert_eq!(Guarantee::from_ordinal(g.ordinal()), Some(g));
        }
        assert!("exactly-once".parse::<Guarantee>().is_err());
    }
}
