//! How much of a world of commits is explored.

/// Sizes of a world and faults it may have. Everything else happens in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Its name in tables.
    pub name: &'static str,
    /// Numbers of each split.
    pub numbers: [u64; 2],
    /// Processes that start beside the first, whether that is alive or not.
    pub takeovers: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Answers to changes of the topology's record, and to appends of commit records, that nobody hears; what they
    /// answer was done, or was not, or is done later.
    pub unheard: u8,
    /// Writes that fail, with what waits for them let go all the same.
    pub drops: u8,
    /// Reports of a generation that is over which arrive in a later one.
    pub late: u8,
    /// Newest records that cannot be read for once.
    pub unreadable: u8,
    /// Steps of a process after another took over from it, at most.
    pub zombie_steps: u8,
    /// What the driver around the cores does wrong.
    pub defect: Option<Defect>,
}

/// A defect of the driver, to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Defect {
    /// A takeover reads where commit ledgers end and shuts out nobody.
    CommitLedgersLeftOpen,
    /// A takeover keeps output beyond the commit.
    OutputKept,
    /// A takeover restores state as far as its ledger goes.
    StateAsFarAsItGoes,
    /// A topology's record is written without comparing.
    RecordOverwritten,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 4] = [
        Defect::CommitLedgersLeftOpen,
        Defect::OutputKept,
        Defect::StateAsFarAsItGoes,
        Defect::RecordOverwritten,
    ];
}

impl Scope {
    /// One number, one takeover at any moment, and all that the earlier process may still do for a while.
    pub const TAKEN_OVER: Scope = Scope {
        name: "taken over",
        numbers: [1, 0],
        takeovers: 1,
        crashes: 0,
        unheard: 0,
        drops: 0,
        late: 0,
        unreadable: 0,
        zombie_steps: 2,
        defect: None,
    };

    /// A crash anywhere, of whoever takes over as well.
    pub const CRASHES: Scope =
        Scope { name: "crashes", crashes: 1, zombie_steps: 0, ..Scope::TAKEN_OVER };

    /// An answer that nobody hears, anywhere.
    pub const UNHEARD: Scope =
        Scope { name: "unheard", unheard: 1, zombie_steps: 0, ..Scope::TAKEN_OVER };

    /// What random schedules go through.
    pub const WALKS: [Scope; 4] = [
        Scope {
            name: "everything",
            numbers: [3, 2],
            takeovers: 4,
            crashes: 2,
            unheard: 2,
            drops: 1,
            late: 1,
            unreadable: 1,
            zombie_steps: 40,
            ..Scope::TAKEN_OVER
        },
        Scope {
            name: "zombies",
            numbers: [3, 3],
            takeovers: 3,
            zombie_steps: 200,
            ..Scope::TAKEN_OVER
        },
        Scope {
            name: "unheard",
            numbers: [2, 2],
            takeovers: 3,
            unheard: 3,
            zombie_steps: 20,
            ..Scope::TAKEN_OVER
        },
        Scope {
            name: "one generation",
            numbers: [4, 4],
            takeovers: 1,
            drops: 1,
            crashes: 1,
            ..Scope::TAKEN_OVER
        },
    ];
}
