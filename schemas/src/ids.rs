//! Newtypes for everything that has a number, with one short text form each.
//!
//! The text form is the only one people see: `L42` a ledger, `L42:17` an entry of it, `S3` a segment
//! of a partition, `S3:17:0` a position in it (segment, entry, slot).

use std::fmt;
use std::str::FromStr;

/// A text that is not the id or position it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: write it as `{example}`")]
pub struct ParseIdError {
    /// The text as given.
    pub text: String,
    /// What was expected, with its article.
    pub what: &'static str,
    /// A well-formed example.
    pub example: &'static str,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($repr:ty), $prefix:literal, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub struct $name(pub $repr);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map($name)
                    .ok_or_else(|| ParseIdError { text: text.to_owned(), what: $what, example: $example })
            }
        }
    };
}

number!(
    /// A ledger: a single-writer, append-only run of entries. Never reused.
    LedgerId(u64), "L", "a ledger", "L42"
);
number!(
    /// The number of an entry inside its ledger, from 0, without gaps.
    EntryId(u64), "", "an entry number", "17"
);
number!(
    /// The number by which a newer owner of a ledger or stream shuts out an older one.
    Term(u64), "T", "a term", "T3"
);
number!(
    /// A ledger's number inside one partition's chain, from 1, rising along the partition.
    SegmentId(u64), "S", "a segment", "S3"
);

impl EntryId {
    /// The entry after this one.
    pub const fn next(self) -> EntryId {
        EntryId(self.0 + 1)
    }

    /// The first id after `last`, where `None` means "no entry yet".
    pub const fn after(last: Option<EntryId>) -> EntryId {
        match last {
            Some(last) => last.next(),
            None => EntryId(0),
        }
    }

    /// The entry before this one, `None` for the first.
    pub const fn before(self) -> Option<EntryId> {
        match self.0 {
            0 => None,
            n => Some(EntryId(n - 1)),
        }
    }
}

impl Term {
    /// The next higher term.
    pub const fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl SegmentId {
    /// The segment after this one.
    pub const fn next(self) -> SegmentId {
        SegmentId(self.0 + 1)
    }
}

/// One entry of one ledger; prints `L42:17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryAddress {
    /// The ledger.
    pub ledger: LedgerId,
    /// The entry in it.
    pub entry: EntryId,
}

impl fmt::Display for EntryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}

impl FromStr for EntryAddress {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong =
            || ParseIdError { text: text.to_owned(), what: "an entry address", example: "L42:17" };
        let (ledger, entry) = text.split_once(':').ok_or_else(wrong)?;
        Ok(EntryAddress {
            ledger: ledger.parse().map_err(|_| wrong())?,
            entry: entry.parse().map_err(|_| wrong())?,
        })
    }
}

/// Where a record stands in a partition; prints `S3:17:0` (segment, entry, slot) and orders as read.
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
pub struct Position {
    /// The segment in the partition.
    pub segment: SegmentId,
    /// The entry in the segment's ledger.
    pub entry: EntryId,
    /// The record inside the entry.
    pub slot: u32,
}

impl Position {
    /// The first position a partition can have.
    pub const START: Position = Position { segment: SegmentId(1), entry: EntryId(0), slot: 0 };

    /// Behind every position a partition can have: where an end is asked for and not known.
    pub const BEYOND: Position =
        Position { segment: SegmentId(u64::MAX), entry: EntryId(0), slot: 0 };

    /// The first position of the entry after this one's.
    pub const fn next_entry(self) -> Position {
        Position { segment: self.segment, entry: self.entry.next(), slot: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.segment, self.entry, self.slot)
    }
}

impl FromStr for Position {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong =
            || ParseIdError { text: text.to_owned(), what: "a position", example: "S3:17:0" };
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or_else(wrong);
        let segment = part()?.parse().map_err(|_| wrong())?;
        let entry = part()?.parse().map_err(|_| wrong())?;
        let slot = part()?;
        let slot = if slot.bytes().all(|b| b.is_ascii_digit()) { slot.parse().ok() } else { None };
        let slot = slot.ok_or_else(wrong)?;
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Position { segment, entry, slot })
    }
}

/// What distinguishes one life of a data directory from another at the same address: 128 random
/// bits, minted when the directory is formatted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A bookie's name in ensembles. An address is not an identity: the [`Incarnation`] goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BookieId(pub u64);

impl fmt::Display for BookieId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "B{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_position_parses_back_from_what_it_prints(s: u64, e: u64, slot: u32) {
            let p = Position { segment: SegmentId(s), entry: EntryId(e), slot };
            prop_assert_eq!(p.to_string().parse::<Position>(), Ok(p));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Position>();
            let _ = text.parse::<EntryAddress>();
            let _ = text.parse::<LedgerId>();
        }
    }

    #[test]
    fn a_wrong_text_is_told_how_to_write_it() {
        let error = "3:17".parse::<Position>().unwrap_err();
        assert_eq!(error.to_string(), "`3:17` is not a position: write it as `S3:17:0`");
        assert!("L+1".parse::<LedgerId>().is_err());
        assert!("S1:1:+1".parse::<Position>().is_err());
    }
}
