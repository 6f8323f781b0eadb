//! Known bugs of the commit protocol that can be switched back in, one at a time, to see whether the tests find
//! them.
//!
//! `on` is a constant `false` unless the crate is built with the feature `mutants`, which nothing enables by
//! default: a normal build has no trace of them. `integration/model/src/bin/find_mutants.rs` looks for each.

macro_rules! mutants {
    ($(#[doc = $what:literal] $name:ident,)+) => {
        /// A known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(
            not(feature = "mutants"),
            allow(unreachable_pub, reason = "public in the build that can switch them in")
        )]
        pub enum Mutant {
            $(#[doc = $what] $name,)+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)+];

            /// What is wrong with it.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$name => $what.trim_ascii(),)+
                }
            }
        }
    };
}

mutants! {
    // The coordinator.
    /// a commit needs no report, only a frontier that passed it
    FrontierIsEnough,
    /// a commit is shown when its record is handed over, not when it is acknowledged
    ShownBeforeAck,
    /// a record whose answer was lost counts as written
    UnheardCounts,
    /// reports of other generations count
    OtherGenerationsReport,
    /// splits and partitions that a commit says nothing of are forgotten
    NotNamedIsForgotten,
    // Recovery.
    /// a change of the topology's record that conflicts counts as made
    ConflictCountsAsSaved,
    /// a change of the topology's record whose answer was lost counts as made
    UnheardSaveIsSaved,
    /// the oldest commit ledger with a record is read, not the newest
    OldestLedgerRead,
    /// a record that cannot be read counts as that of a topology that never began
    UnreadableIsEmpty,
    /// output is cut at its beginning, wherever the commit has it
    OutputCutAway,
    /// ledgers that the commit is restored from are given up
    NeededIsRetired,
    /// a topology is marked as begun before its first record is written
    BegunBeforeRecord,
}

/// Whether this bug is switched in.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{choose, on};

#[cfg(feature = "mutants")]
mod chosen {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    const NONE: usize = usize::MAX;

    static CHOSEN: AtomicUsize = AtomicUsize::new(NONE);

    /// Switches one bug in, or all out.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.store(mutant.map_or(NONE, |mutant| mutant as usize), Ordering::SeqCst);
    }

    /// Whether this bug is switched in.
    pub fn on(mutant: Mutant) -> bool {
        CHOSEN.load(Ordering::Relaxed) == mutant as usize
    }
}
