//! Answers to a recovery's reads: of the entry being decided, and of those read ahead of it.
//!
//! Only entries that will be read whatever the ones before them are, those up to a commit, are read
//! ahead; with the same fencing reads of the same bookies, so an answer says when its turn comes what it
//! said when it was given. Nothing is decided before its turn.
//!
//! What is kept has at most [`RECOVERY_AHEAD_BYTES_MAX`](caps::RECOVERY_AHEAD_BYTES_MAX) bytes: an entry
//! that does not fit is forgotten, and read again when it is due.

use std::collections::BTreeMap;

use bytes::Bytes;
use egret_schemas::EntryId;

use super::coverage::Answer;
use super::reader::{Doubt, ReadAnswer};
use crate::caps;

/// What was heard of one entry, by slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    pub(super) answers: Vec<(usize, Option<Answer>)>,
    /// Its bytes and their checksum: one copy is enough.
    pub(super) found: Option<(Bytes, u32)>,
    pub(super) doubt: Option<Doubt>,
}

impl Heard {
    /// Nothing yet, of these slots.
    pub(super) fn new(slots: impl Iterator<Item = usize>) -> Heard {
        Heard { answers: slots.map(|slot| (slot, None)).collect(), found: None, doubt: None }
    }

    pub(super) fn note(&mut self, slot: usize, answer: ReadAnswer) {
        let place = self.answers.iter_mut().find(|(s, _)| *s == slot);
        place.expect("an answer to a read sent").1 = Some(answer.worth());
        match answer {
            ReadAnswer::Entry { payload, crc } => {
                self.found.get_or_insert((payload, crc));
            }
            ReadAnswer::NoEntry => {}
            ReadAnswer::Unknown(doubt) => self.doubt = Some(doubt),
        }
    }

    fn bytes(&self) -> usize {
        self.found.as_ref().map_or(0, |(payload, _)| payload.len())
    }
}

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ahead {
    entries: BTreeMap<EntryId, Heard>,
    /// Bytes of the entries found.
    bytes: usize,
    /// The largest entry there was: as much is expected of each that is asked for.
    largest: Option<usize>,
}

impl Ahead {
    /// The entries behind `entry` up to `last` that are to be asked for now.
    pub(super) fn wanted(&self, entry: EntryId, last: EntryId) -> impl Iterator<Item = EntryId> {
        // Of the first one nothing is known, and it may be the largest there is.
        let room = self.largest.map_or(0, |largest| {
            (caps::RECOVERY_AHEAD_BYTES_MAX / largest.max(1)).min(caps::RECOVERY_AHEAD_ENTRIES_MAX)
        });
        let next = self.entries.last_key_value().map_or(entry, |(&last, _)| last.max(entry)).next();
        (next.0..=last.0).map(EntryId).take(room.saturating_sub(self.entries.len()))
    }

    /// It was asked for.
    pub(super) fn insert(&mut self, entry: EntryId, heard: Heard) {
        self.entries.insert(entry, heard);
    }

    pub(super) fn contains(&self, entry: EntryId) -> bool {
        self.entries.contains_key(&entry)
    }

    /// Keeps an answer until its turn, if it fits.
    pub(super) fn note(&mut self, entry: EntryId, slot: usize, answer: ReadAnswer) {
        let Some(heard) = self.entries.get_mut(&entry) else { return };
        let before = heard.bytes();
        heard.note(slot, answer);
        let bytes = self.bytes - before + heard.bytes();
        self.largest = self.largest.max(Some(heard.bytes()));
        if bytes > caps::RECOVERY_AHEAD_BYTES_MAX {
            self.bytes -= before;
            self.entries.remove(&entry);
        } else {
            self.bytes = bytes;
        }
    }

    /// Its turn has come. `None` when it has to be asked for.
    pub(super) fn take(&mut self, entry: EntryId) -> Option<Heard> {
        let heard = self.entries.remove(&entry)?;
        self.bytes -= heard.bytes();
        Some(heard)
    }

    /// An entry had so many bytes.
    pub(super) fn saw(&mut self, bytes: usize) {
        self.largest = self.largest.max(Some(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: usize) -> ReadAnswer {
        ReadAnswer::Entry { payload: Bytes::from(vec![0; bytes]), crc: 0 }
    }

    fn wanted(ahead: &Ahead) -> usize {
        ahead.wanted(EntryId(0), EntryId(1_000_000)).count()
    }

    #[test]
    fn nothing_is_asked_ahead_before_an_entry_was_seen_and_then_as_much_as_may_be_kept() {
        let mut ahead = Ahead::default();
        assert_eq!(wanted(&ahead), 0);
        ahead.saw(1);
        assert_eq!(wanted(&ahead), caps::RECOVERY_AHEAD_ENTRIES_MAX);
        ahead.saw(caps::RECOVERY_AHEAD_BYTES_MAX / 2);
        assert_eq!(wanted(&ahead), 2);
        ahead.saw(caps::RECOVERY_AHEAD_BYTES_MAX + 1);
        assert_eq!(wanted(&ahead), 0);
    }

    #[test]
    fn what_does_not_fit_is_forgotten_and_asked_for_again() {
        let mut ahead = Ahead::default();
        for n in 1..=3 {
            ahead.insert(EntryId(n), Heard::new(0..3));
        }
        let half = caps::RECOVERY_AHEAD_BYTES_MAX / 2;
        ahead.note(EntryId(1), 0, found(half));
        ahead.note(EntryId(1), 1, found(half));
        ahead.note(EntryId(3), 0, found(half));
        assert_eq!(ahead.bytes, 2 * half, "of each entry one copy is kept");
        ahead.note(EntryId(2), 0, found(half));
        ahead.note(EntryId(2), 1, found(1));
        assert_eq!((ahead.bytes, ahead.contains(EntryId(2))), (2 * half, false));
        assert!(ahead.take(EntryId(2)).is_none());
        let one = ahead.take(EntryId(1)).unwrap();
        assert_eq!(one.answers, [(0, Some(Answer::Yes)), (1, Some(Answer::Yes)), (2, None)]);
        assert_eq!(ahead.bytes, half);
    }
}
