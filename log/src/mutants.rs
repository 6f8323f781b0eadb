//! Known bugs that can be switched back in, one at a time, to see whether the tests would find them.
//!
//! Each was in a system of this kind, or is what a decision of this one rules out. `on` is a constant
//! `false` unless the crate is built with the feature `mutants`, which nothing enables by default: a
//! normal build has no trace of them. With it, `choose` switches one in for the whole process.
//!
//! `integration/model/src/bin/find_mutants.rs` looks for each.

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
    // The writer.
    /// an entry is acknowledged by the copies of those behind it
    AckBeforeEarlier,
    /// an entry is acknowledged with one copy less than the ack quorum
    AckBelowQuorum,
    /// a fenced add counts as stored
    FencedAddCounted,
    /// an add that was not answered in time counts as stored
    UnansweredAddCounted,
    /// adds tell readers of entries that are not acknowledged
    PublishBeforeAck,
    /// a transactional writer shows what is acknowledged and not committed
    AckPublishesTransactional,
    /// an entry that may be stored is told to be definitely not
    UnknownToldDefinite,
    // The writer's change of bookies.
    /// an answer of a bookie that was replaced counts for the one in its place
    LateAnswerCounted,
    /// what replaced bookies acknowledged still counts
    ReplacedAcksKept,
    /// a new bookie is not sent what is not confirmed
    NothingSentAgain,
    /// entries are acknowledged while other bookies are being agreed on
    ConfirmsDuringChange,
    /// a writer changes the bookies of a ledger in recovery
    ChangedInRecovery,
    // Coverage.
    /// an unknown answer counts as proof of absence
    UnknownCountedAsNo,
    /// coverage counts positives up to the ack quorum
    CoverageCountsPositives,
    // Recovery.
    /// recovery ends at the first bookie without the entry
    FirstNoEntryEnds,
    /// recovery closes at the last confirmed add it finds, without reading on
    ClosesAtLac,
    /// recovery begins below the last fragment when nobody there knows of a confirmed entry
    FloorBelowFragment,
    /// recovery begins when one bookie is fenced
    FencesOneBookie,
    /// recovery keeps an entry without making copies
    CopiesNotMade,
    /// recovery counts copies that were not answered for
    UnansweredCopyCounted,
    /// copies made in recovery tell readers of themselves
    CopiesMoveLac,
    /// a transactional ledger closes below the commit where an entry is missing
    ClosesBelowCommit,
    /// an entry is damage before every bookie answered
    MissingTooSoon,
    /// a transactional ledger closes below what readers have seen
    ClosesBelowVisible,
    /// committed entries readers know of are not verified when a ledger is closed
    CommitNotVerified,
    // The record.
    /// changes of a ledger's record do not look at the term
    RecordTermIgnored,
    /// recovery at the writer's own term is let through
    RecoveryAtWritersTerm,
    /// a closed ledger may be closed elsewhere
    CloseOverwrites,
    // Reading.
    /// an entry's checksum is not verified when it arrives
    ChecksumNotVerifiedOnRead,
    /// the first replica without an entry ends a read
    FirstReplicaDecides,
    // The bookie: judging.
    /// a bookie answers for another life of its directory
    IncarnationIgnored,
    /// a bookie stores what does not match its checksum
    ChecksumNotVerifiedOnAdd,
    /// a fence is answered before it is durable
    FenceNotDurable,
    /// a recovery read says that there is no entry before its fence is durable
    NoEntryBeforeFence,
    /// recovery reads do not fence
    ReadsDoNotFence,
    /// a fence of a ledger never created here is answered and not kept
    UnknownLedgerNotFenced,
    /// an add creates its ledger
    AddCreatesLedger,
    /// other bytes under a number taken are accepted
    OtherBytesAccepted,
    /// a fence shuts out the first writer only, not a later recoverer
    FenceIsFlag,
    /// what cannot be read is answered as absent
    DamagedIsAbsent,
    // The bookie: storage.
    /// the journal is not synced before the answer
    SyncSkipped,
    /// an error of a journal sync is passed over
    SyncErrorIgnored,
    /// a fence on a ledger without entries is left out of a checkpoint
    FenceNotInCheckpoint,
    /// a deleted ledger is forgotten altogether at a checkpoint
    DeletedForgotten,
    /// the journal is trimmed before the checkpoint is listed
    JournalTrimmedFirst,
    /// an extent is listed before it is synced
    ExtentNotSynced,
    /// a manifest is renamed into place without being synced
    ManifestNotSynced,
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
