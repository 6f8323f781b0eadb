//! Who stores an entry: quorum sizes and the bookies of a fragment.

use std::fmt;

use egret_schemas::{BookieId, EntryId, Incarnation};

/// Sizes that cannot work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// The sizes are out of order or zero.
    #[error(
        "ensemble {ensemble}, write quorum {write}, ack quorum {ack}: they must be in this order, \
         each at least the next, the last at least 1"
    )]
    Order {
        /// Bookies of a fragment.
        ensemble: u8,
        /// Copies of an entry.
        write: u8,
        /// Copies before an entry is acknowledged.
        ack: u8,
    },
    /// One acknowledged copy of several could be lost without anyone being able to tell.
    #[error(
        "write quorum {write} with ack quorum 1: acknowledge at least 2 copies, or write only 1"
    )]
    LoneAck {
        /// Copies of an entry.
        write: u8,
    },
    /// Larger than any ensemble may be.
    #[error("an ensemble of {ensemble} is over the limit of {max}")]
    TooLarge {
        /// Bookies of a fragment.
        ensemble: u8,
        /// The limit.
        max: u8,
    },
}

/// How many bookies: E ≥ Qw ≥ Qa ≥ 1, and never Qa = 1 with Qw > 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quorum {
    ensemble: u8,
    write: u8,
    ack: u8,
}

impl Quorum {
    /// One bookie: embedded mode.
    pub const ONE: Quorum = Quorum { ensemble: 1, write: 1, ack: 1 };

    /// The most bookies of a fragment; a set of slots fits a `u32`.
    pub const ENSEMBLE_MAX: u8 = 32;

    /// Checks the sizes.
    pub fn new(ensemble: u8, write: u8, ack: u8) -> Result<Quorum, QuorumError> {
        if !(ensemble >= write && write >= ack && ack >= 1) {
            return Err(QuorumError::Order { ensemble, write, ack });
        }
        if ack == 1 && write > 1 {
            return Err(QuorumError::LoneAck { write });
        }
        if ensemble > Quorum::ENSEMBLE_MAX {
            return Err(QuorumError::TooLarge { ensemble, max: Quorum::ENSEMBLE_MAX });
        }
        Ok(Quorum { ensemble, write, ack })
    }

    /// Bookies of a fragment.
    pub fn ensemble(self) -> usize {
        usize::from(self.ensemble)
    }

    /// Copies of an entry.
    pub fn write(self) -> usize {
        usize::from(self.write)
    }

    /// Copies before an entry is acknowledged.
    pub fn ack(self) -> usize {
        usize::from(self.ack)
    }

    /// The same with an ensemble of `bookies`, no fewer than acknowledge.
    ///
    /// # Panics
    /// When they are fewer.
    pub fn at_most(self, bookies: usize) -> Quorum {
        assert!(bookies >= self.ack(), "{bookies} bookies for a quorum of {self}");
        let bookies = u8::try_from(bookies).unwrap_or(u8::MAX);
        let ensemble = self.ensemble.min(bookies);
        Quorum { ensemble, write: self.write.min(ensemble), ack: self.ack }
    }

    pub(crate) fn sizes(self) -> (u8, u8, u8) {
        (self.ensemble, self.write, self.ack)
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.ensemble, self.write, self.ack)
    }
}

/// One bookie of an ensemble. The address is not the identity: the incarnation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The bookie's name.
    pub bookie: BookieId,
    /// Which life of its directory.
    pub incarnation: Incarnation,
}

/// The bookies of one fragment, in slot order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ensemble {
    members: Vec<Member>,
}

impl Ensemble {
    /// # Panics
    /// When a bookie is in it twice: two copies on one disk are one copy.
    pub fn new(members: Vec<Member>) -> Ensemble {
        for (i, member) in members.iter().enumerate() {
            let again = members[..i].iter().any(|other| other.bookie == member.bookie);
            assert!(!again, "{} is in an ensemble twice", member.bookie);
        }
        Ensemble { members }
    }

    /// The bookie in a slot.
    pub fn member(&self, slot: usize) -> Member {
        self.members[slot]
    }

    /// All of them, in slot order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The slots that store `entry`: `write` consecutive ones, starting at `entry mod E`.
    pub fn write_set(&self, entry: EntryId, quorum: Quorum) -> impl Iterator<Item = usize> + use<> {
        let size = self.members.len();
        let first = usize::try_from(entry.0 % size as u64).expect("below the ensemble's size");
        (0..quorum.write()).map(move |i| (first + i) % size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_order_are_refused() {
        assert!(Quorum::new(3, 3, 2).is_ok());
        assert!(Quorum::new(5, 3, 3).is_ok());
        assert_eq!(Quorum::new(1, 1, 1), Ok(Quorum::ONE));
        assert!(matches!(Quorum::new(2, 3, 2), Err(QuorumError::Order { .. })));
        assert!(matches!(Quorum::new(3, 2, 3), Err(QuorumError::Order { .. })));
        assert!(matches!(Quorum::new(3, 3, 0), Err(QuorumError::Order { .. })));
        assert!(matches!(Quorum::new(3, 3, 1), Err(QuorumError::LoneAck { .. })));
        assert!(matches!(Quorum::new(33, 3, 2), Err(QuorumError::TooLarge { .. })));
    }

    #[test]
    fn write_sets_go_round_the_ensemble() {
        let members =
            (0..4).map(|n| Member { bookie: BookieId(n), incarnation: Incarnation(9) }).collect();
        let ensemble = Ensemble::new(members);
        let quorum = Quorum::new(4, 3, 2).unwrap();
        let set = |e| ensemble.write_set(EntryId(e), quorum).collect::<Vec<_>>();
        assert_eq!(set(0), [0, 1, 2]);
        assert_eq!(set(2), [2, 3, 0]);
        assert_eq!(set(7), [3, 0, 1]);
    }
}
