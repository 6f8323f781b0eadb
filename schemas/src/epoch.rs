//! The unit of dataflow progress, and the timely timestamp: one `u64` in three fields.
//!
//! ```text
//!  63            44 43                             12 11           0
//! +----------------+---------------------------------+--------------+
//! | generation 20  |            commit 32            |  micro 12    |
//! +----------------+---------------------------------+--------------+
//! ```
//!
//! * **generation**: one incarnation of a topology's workers. An aborted number is never used again,
//!   because the next attempt has a higher generation.
//! * **commit**: state and output become durable when the frontier leaves a commit. Whether an epoch
//!   ends a commit is therefore known from its number alone, on every worker, without a message.
//! * **micro**: small steps inside a commit, for flow control.
//!
//! The order of the `u64` is the order of time. A generation whose 32-bit commit counter is spent
//! (497 days at 10 ms) ends and a new one begins.

use std::fmt;

/// One incarnation of a topology's workers; everything durable that a worker writes carries it.
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
pub struct Generation(pub u32);

impl Generation {
    /// The highest generation an [`Epoch`] can carry.
    pub const MAX: Generation = Generation((1 << 20) - 1);

    /// The generation after this one, `None` when the numbers are used up.
    pub fn next(self) -> Option<Generation> {
        (self < Generation::MAX).then(|| Generation(self.0 + 1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G{}", self.0)
    }
}

/// Generation, commit and micro-epoch in one number; see the [module](self). Prints `G2.17.3`.
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
pub struct Epoch(pub u64);

impl Epoch {
    /// The highest micro-epoch of a commit.
    pub const MICRO_MAX: u32 = (1 << 12) - 1;

    /// Puts the three fields together.
    ///
    /// # Panics
    /// When the generation or the micro-epoch is out of range: both are checked where they are made.
    pub fn new(generation: Generation, commit: u32, micro: u32) -> Epoch {
        assert!(generation <= Generation::MAX, "{generation} does not fit an epoch");
        assert!(micro <= Epoch::MICRO_MAX, "micro-epoch {micro} does not fit an epoch");
        Epoch(u64::from(generation.0) << 44 | u64::from(commit) << 12 | u64::from(micro))
    }

    /// The first epoch of a generation.
    pub fn first(generation: Generation) -> Epoch {
        Epoch::new(generation, 0, 0)
    }

    /// The generation this epoch belongs to.
    pub fn generation(self) -> Generation {
        Generation(u32::try_from(self.0 >> 44).expect("20 bits fit"))
    }

    /// The commit this epoch belongs to, inside its generation.
    pub fn commit(self) -> u32 {
        u32::try_from(self.0 >> 12 & u64::from(u32::MAX)).expect("masked to 32 bits")
    }

    /// The micro-epoch inside the commit.
    pub fn micro(self) -> u32 {
        u32::try_from(self.0 & u64::from(Epoch::MICRO_MAX)).expect("masked to 12 bits")
    }

    /// This epoch's commit as an order: the first epoch of the commit it belongs to.
    pub fn commit_start(self) -> Epoch {
        Epoch(self.0 & !u64::from(Epoch::MICRO_MAX))
    }

    /// The last epoch number of the commit this epoch belongs to.
    pub fn commit_end(self) -> Epoch {
        Epoch(self.0 | u64::from(Epoch::MICRO_MAX))
    }

    /// The first epoch of the next commit, `None` when the generation's commits are used up.
    pub fn next_commit(self) -> Option<Epoch> {
        (self.commit() < u32::MAX).then(|| Epoch(self.commit_end().0 + 1))
    }

    /// The next micro-epoch of the same commit, `None` when it has no more.
    pub fn next_micro(self) -> Option<Epoch> {
        (self.micro() < Epoch::MICRO_MAX).then(|| Epoch(self.0 + 1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.generation(), self.commit(), self.micro())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_come_back_and_order_is_lexicographic(
            a in (0u32..1 << 20, any::<u32>(), 0u32..1 << 12),
            b in (0u32..1 << 20, any::<u32>(), 0u32..1 << 12),
        ) {
            let make = |(g, c, m): (u32, u32, u32)| Epoch::new(Generation(g), c, m);
            let e = make(a);
            prop_assert_eq!((e.generation().0, e.commit(), e.micro()), a);
            prop_assert_eq!(make(a).cmp(&make(b)), a.cmp(&b));
            prop_assert!(e.commit_start() <= e && e <= e.commit_end());
        }
    }

    #[test]
    fn a_commit_ends_where_the_next_begins() {
        let e = Epoch::new(Generation(3), 7, 9);
        let next = e.next_commit().unwrap();
        assert_eq!(next, Epoch::new(Generation(3), 8, 0));
        assert!(e.commit_end() < next);
        assert_eq!(Epoch::new(Generation(3), u32::MAX, 0).next_commit(), None);
        assert_eq!(Epoch::new(Generation(3), 0, Epoch::MICRO_MAX).next_micro(), None);
    }
}
