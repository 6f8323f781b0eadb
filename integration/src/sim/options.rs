//! What a run may be told beside its seed, and what it ends in.

use std::fmt;

use super::fault::{Fault, Hits};
use super::trace::LINES;

/// A defect put in on purpose, in the simulator's own drivers and disks, never in what ships: controls
/// that must be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A writer that takes a refusal for a newer term as done.
    IgnoresFences,
    /// A recoverer that takes an answer that proves nothing for a proof of absence.
    UnknownIsNoEntry,
    /// A recoverer that closes without reading.
    ClosesUnread,
    /// A recoverer whose reads do not fence.
    ReadsDoNotFence,
    /// A recoverer whose copies carry a LAC of their own.
    CopiesMoveLac,
    /// A writer that lets readers see what is not committed.
    PublishesBeforeCommit,
    /// A deleter that asks bookies before the tombstone is set.
    DeletesUnmarked,
    /// Requests that go to whoever is at the address now.
    AsksAnyLife,
    /// Disks whose syncs do nothing, as if a bookie acknowledged before it synced.
    LyingDisk,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 9] = [
        Defect::IgnoresFences,
        Defect::UnknownIsNoEntry,
        Defect::ClosesUnread,
        Defect::ReadsDoNotFence,
        Defect::CopiesMoveLac,
        Defect::PublishesBeforeCommit,
        Defect::DeletesUnmarked,
        Defect::AsksAnyLife,
        Defect::LyingDisk,
    ];
}

/// What a run may be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kinds of faults left out, to see which matter to a violation.
    pub without: Vec<Fault>,
    /// A defect put in on purpose.
    pub defect: Option<Defect>,
    /// Events a violation shows.
    pub lines: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { without: Vec::new(), defect: None, lines: LINES }
    }
}

/// What a run without violations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Over every event, in order: two runs of one seed have the same.
    pub hash: u64,
    /// How many events.
    pub events: u64,
    /// Ledgers created.
    pub ledgers: u64,
    /// Entries whose callers were told that they are there.
    pub confirmed: u64,
    /// Entries read again at the end, from closed ledgers.
    pub read_back: u64,
    /// Entries whose every copy a medium destroyed; each was answered as in doubt.
    pub destroyed: u64,
    /// Ledgers that could not be closed because too many of their bookies' disks are gone.
    pub unrecoverable: u64,
    /// What was hit.
    pub hits: Hits,
}

/// A run that broke what must hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Its seed.
    pub seed: u64,
    /// Events of the storm until then; a run of so many finds it again.
    pub steps: u64,
    /// Which oracle.
    pub oracle: &'static str,
    /// What it says.
    pub what: String,
    /// The last events.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "violated: {}: {}", self.oracle, self.what)?;
        write!(
            f,
            "replay: cargo run -p egret-integration --bin log_sim -- --seed {} --steps {}",
            self.seed, self.steps
        )
    }
}

impl std::error::Error for Violation {}
