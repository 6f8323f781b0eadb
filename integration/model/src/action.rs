//! What may happen next in a world.

use egret_schemas::EntryId;

use crate::call::Who;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The writer appends an entry.
    Append,
    /// The topology commits what is acknowledged, and publishes it.
    Publish,
    /// The writer's ensemble is filled with other bookies, if the record still lets it.
    Replace,
    /// A recoverer, or a writer that closes, changes the record and hears of it.
    Change(Who),
    /// It changes the record, and the answer is lost.
    ChangeUnheard(Who),
    /// It reads the record back.
    ReadBack(Who),
    /// A request arrives.
    Arrive(usize),
    /// A request arrives, and will arrive again.
    ArriveTwice(usize),
    /// An answer arrives.
    Answer(usize),
    /// The sender stops waiting.
    Silence(usize),
    /// A process dies.
    Crash(Who),
    /// A bookie's directory is formatted anew.
    Wipe(usize),
    /// A disk loses a copy and does not say so.
    Lose(usize, EntryId),
}

impl Action {
    /// Whether it is a fault, which a world at rest does without.
    pub fn is_fault(self) -> bool {
        matches!(
            self,
            Action::ChangeUnheard(_)
                | Action::ArriveTwice(_)
                | Action::Silence(_)
                | Action::Crash(_)
                | Action::Wipe(_)
                | Action::Lose(..)
        )
    }
}
