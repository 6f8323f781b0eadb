//! Bytes of a registration.
//!
//! ```text
//! version u8 = 1 | bookie u64 | incarnation u128 | state u8 | since_ms u64
//! address bytes | rack bytes | crc32c u32 over everything before it
//! ```
//! States: 0 active, 1 read-only, 2 draining, 3 decommissioned. Numbers are never used again for
//! something else.

use std::fmt;
use std::str::FromStr;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{BookieId, Incarnation};

use super::sealed::{seal, unseal};

const VERSION: u8 = 1;

/// Who a bookie is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its name in ensembles.
    pub bookie: BookieId,
    /// This life of its directory.
    pub incarnation: Incarnation,
    /// Where it is reached: `host:port`.
    pub address: String,
    /// What fails together with it; empty is a rack of its own.
    pub rack: String,
    /// When it was registered, in wall-clock milliseconds, for people.
    pub since_ms: u64,
    /// What it takes.
    pub state: BookieState,
}

/// What a bookie takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BookieState {
    /// New ledgers and entries.
    Active,
    /// Nothing new; what it has is read.
    ReadOnly,
    /// Nothing new; what it has is copied elsewhere.
    Draining,
    /// Nothing; it has nothing any more.
    Decommissioned,
}

impl BookieState {
    /// Every one of them.
    pub const ALL: [BookieState; 4] = [
        BookieState::Active,
        BookieState::ReadOnly,
        BookieState::Draining,
        BookieState::Decommissioned,
    ];

    const fn number(self) -> u8 {
        match self {
            BookieState::Active => 0,
            BookieState::ReadOnly => 1,
            BookieState::Draining => 2,
            BookieState::Decommissioned => 3,
        }
    }
}

impl fmt::Display for BookieState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BookieState::Active => "active",
            BookieState::ReadOnly => "read-only",
            BookieState::Draining => "draining",
            BookieState::Decommissioned => "decommissioned",
        })
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state: write `active`, `read-only`, `draining` or `decommissioned`")]
pub struct NoState(pub String);

impl FromStr for BookieState {
    type Err = NoState;

    fn from_str(text: &str) -> Result<BookieState, NoState> {
        let mut all = BookieState::ALL.into_iter();
        all.find(|state| state.to_string() == text).ok_or_else(|| NoState(text.to_owned()))
    }
}

impl Registration {
    /// Encodes a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.address.len() + self.rack.len());
        out.put_u8(VERSION);
        out.put_u64(self.bookie.0);
        out.put_u128(self.incarnation.0);
        out.put_u8(self.state.number());
        out.put_u64(self.since_ms);
        out.put_bytes(self.address.as_bytes());
        out.put_bytes(self.rack.as_bytes());
        seal(out)
    }

    /// Decodes a record.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Registration, DecodeError> {
        let what = "registration";
        let mut r = Reader::new(unseal(what, bytes)?);
        if r.u8("version")? != VERSION {
            return Err(r.wrong("registration version", "not known to this build"));
        }
        let bookie = BookieId(r.u64("bookie")?);
        let incarnation = Incarnation(r.u128("incarnation")?);
        let number = r.u8("state")?;
        let mut states = BookieState::ALL.into_iter();
        let Some(state) = states.find(|state| state.number() == number) else {
            return Err(r.wrong("state", "not known to this build"));
        };
        let since_ms = r.u64("since")?;
        let address = r.text("address")?.to_owned();
        let rack = r.text("rack")?.to_owned();
        r.end(what)?;
        Ok(Registration { bookie, incarnation, address, rack, since_ms, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn registration() -> impl Strategy<Value = Registration> {
        let states = select(BookieState::ALL.to_vec());
        (any::<(u64, u128, u64)>(), ".{0,40}", ".{0,40}", states).prop_map(
            |(n, address, rack, state)| Registration {
                bookie: BookieId(n.0),
                incarnation: Incarnation(n.1),
                address,
                rack,
                since_ms: n.2,
                state,
            },
        )
    }

    proptest! {
        #[test]
        fn a_registration_comes_back(held in registration()) {
            prop_assert_eq!(Registration::decode(&held.encode()), Ok(held));
        }

        #[test]
        fn no_flipped_bit_is_taken(held in registration(), at: proptest::sample::Index) {
            let mut bytes = held.encode();
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Registration::decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_registration(bytes: Vec<u8>) {
            prop_assert!(Registration::decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_layout_does_not_change() {
        let held = Registration {
            bookie: BookieId(1),
            incarnation: Incarnation(2),
            address: "a:1".into(),
            rack: "r".into(),
            since_ms: 3,
            state: BookieState::Draining,
        };
        let golden = b"\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\
            \x03\0\0\0\0\0\0\0\x03\0\0\0a:1\x01\0\0\0r";
        let bytes = held.encode();
        assert_eq!(&bytes[..bytes.len() - 4], golden);
    }

    #[test]
    fn a_state_parses_back_from_what_it_prints() {
        for state in BookieState::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
    }
}
