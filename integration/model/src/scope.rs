//! How much of the world is explored: sizes, and how many faults of each kind.

use egret_log::ledger::Quorum;

/// Sizes of a world and faults it may have. Everything else happens in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Its name in tables.
    pub name: &'static str,
    /// Bookies of the ensemble, copies, copies acknowledged.
    pub quorum: (u8, u8, u8),
    /// Bookies beside the ensemble, to take the place of those that fail.
    pub spares: u8,
    /// Entries the writer may append.
    pub appends: u64,
    /// Who recovers, each at its own term.
    pub recoverers: u8,
    /// How often each may try.
    pub attempts: u8,
    /// Calls whose sender stops waiting, wherever the request and the answer are.
    pub silences: u8,
    /// Requests that arrive twice.
    pub repeats: u8,
    /// Writers or recoverers that die.
    pub crashes: u8,
    /// Changes of the record whose outcome is not heard.
    pub unheard: u8,
    /// Bookies whose directory is formatted anew.
    pub wipes: u8,
    /// Copies a disk loses without saying so.
    pub losses: u8,
    /// Whether the writer may close the ledger itself.
    pub writer_closes: bool,
    /// Whether the ledger is transactional, its owner closing it at a commit.
    pub transactional: bool,
    /// Whether recoverers are given an older commit than readers have seen.
    pub stale_commit: bool,
    /// Whether recoverers try the writer's own term first.
    pub careless: bool,
}

impl Scope {
    /// Three bookies, every copy written to each, two acknowledged; nothing fails.
    pub const SMALL: Scope = Scope {
        name: "small",
        quorum: (3, 3, 2),
        spares: 0,
        appends: 2,
        recoverers: 1,
        attempts: 1,
        silences: 0,
        repeats: 0,
        crashes: 0,
        unheard: 0,
        wipes: 0,
        losses: 0,
        writer_closes: false,
        transactional: false,
        stale_commit: false,
        careless: false,
    };

    /// What random schedules go through.
    pub const WALKS: [Scope; 10] = [
        Scope {
            name: "faults",
            appends: 4,
            recoverers: 2,
            attempts: 3,
            silences: 3,
            repeats: 2,
            crashes: 1,
            unheard: 1,
            writer_closes: true,
            ..Scope::SMALL
        },
        Scope { name: "quiet", recoverers: 2, careless: true, ..Scope::SMALL },
        Scope { name: "wiped", appends: 3, attempts: 3, silences: 1, wipes: 1, ..Scope::SMALL },
        Scope { name: "four", quorum: (4, 4, 2), attempts: 3, silences: 2, ..Scope::SMALL },
        Scope {
            name: "spares",
            spares: 2,
            appends: 4,
            attempts: 3,
            silences: 3,
            crashes: 1,
            ..Scope::SMALL
        },
        Scope {
            name: "transactional",
            appends: 4,
            recoverers: 2,
            attempts: 3,
            silences: 2,
            crashes: 1,
            losses: 1,
            transactional: true,
            ..Scope::SMALL
        },
        Scope {
            name: "stale commit",
            appends: 3,
            transactional: true,
            stale_commit: true,
            ..Scope::SMALL
        },
        Scope::REPLACED,
        Scope::LOST,
        Scope::RIVALS,
    ];

    /// A writer and a bookie in place of one that fails, and nobody who recovers until the end.
    pub const REPLACED: Scope =
        Scope { name: "replaced", spares: 1, recoverers: 0, silences: 1, ..Scope::SMALL };

    /// One committed entry that loses a copy.
    pub const LOST: Scope = Scope {
        name: "lost",
        appends: 1,
        attempts: 2,
        losses: 1,
        transactional: true,
        ..Scope::SMALL
    };

    /// Two who recover at once, and so little beside that they often disagree.
    pub const RIVALS: Scope = Scope { name: "rivals", appends: 1, recoverers: 2, ..Scope::SMALL };

    /// The sizes, checked.
    ///
    /// # Panics
    /// When they cannot work together.
    pub fn sizes(&self) -> Quorum {
        let (ensemble, write, ack) = self.quorum;
        Quorum::new(ensemble, write, ack).expect("the sizes of a scope are in order")
    }
}
