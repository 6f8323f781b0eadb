//! What a bookie's answer to a batched read is worth, and how a row of entries is read from its
//! replicas.
//!
//! A row is a shortcut and proves nothing but what it holds: entries whose checksums hold, one behind
//! the other from the first that was asked for. Whatever ends it, damage, absence, a limit or a lie, the
//! entry behind it is asked for again; and one that no replica begins a row with is
//! [read alone](super::reader::EntryRead), which decides whether it is missing.

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId};

use super::metadata::LedgerMetadata;
use super::reader::{Doubt, ReadAnswer};
use crate::message::{Reply, entry_crc};
use crate::mutants::{self, Mutant};

/// An entry of a row, its checksum verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowEntry {
    /// Its number.
    pub entry: EntryId,
    /// Its bytes; those of a row may share one buffer.
    pub payload: Bytes,
}

/// A bookie's answer to a batched read, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowAnswer {
    /// Entries in a row from the first that was asked for: at least that one, no more than asked.
    Entries(Vec<RowEntry>),
    /// The bookie has not the first.
    Nothing,
    /// Proof of nothing.
    Unknown(Doubt),
}

impl RowAnswer {
    /// Judges the reply to a read of `count` entries from `from` on.
    pub fn judge(ledger: LedgerId, from: EntryId, count: u32, reply: Reply) -> RowAnswer {
        let Reply::Entries { entries, .. } = reply else {
            return match ReadAnswer::judge(ledger, from, reply) {
                ReadAnswer::Entry { payload, .. } => {
                    RowAnswer::Entries(vec![RowEntry { entry: from, payload }])
                }
                ReadAnswer::NoEntry => RowAnswer::Nothing,
                ReadAnswer::Unknown(doubt) => RowAnswer::Unknown(doubt),
            };
        };
        let trusted = mutants::on(Mutant::ChecksumNotVerifiedOnRead);
        let mut row = Vec::with_capacity(entries.len().min(count as usize));
        for (asked, found) in (from.0..).map(EntryId).zip(entries).take(count as usize) {
            if found.entry != asked {
                break;
            }
            if !trusted && entry_crc(ledger, asked, &found.payload) != found.crc {
                if row.is_empty() {
                    return RowAnswer::Unknown(Doubt::Checksum { ledger, entry: asked });
                }
                break;
            }
            row.push(RowEntry { entry: asked, payload: found.payload });
        }
        if row.is_empty() { RowAnswer::Unknown(Doubt::Protocol) } else { RowAnswer::Entries(row) }
    }
}

/// What reading a row came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowStep {
    /// Ask the replica in this slot.
    Ask(usize),
    /// Answers are to come; when they take long, [`RowRead::hedge`].
    Wait,
    /// Here it is, or its beginning.
    Found(Vec<RowEntry>),
    /// No replica begins it: read its first entry alone.
    Alone,
}

/// A row being read, replica after replica.
#[derive(Debug)]
pub struct RowRead {
    /// Not asked yet, the next one last.
    slots: Vec<usize>,
    /// Asked, and not heard.
    asked: usize,
}

impl RowRead {
    /// Starts with the replicas of the row in the order in which to ask; the first step says whom.
    pub fn new(mut slots: Vec<usize>) -> (RowRead, RowStep) {
        slots.reverse();
        let mut read = RowRead { slots, asked: 0 };
        let step = read.next();
        (read, step)
    }

    /// A replica that was asked answered. The first that has a beginning is enough.
    pub fn on_answer(&mut self, answer: RowAnswer) -> RowStep {
        self.asked -= 1;
        match answer {
            RowAnswer::Entries(row) => RowStep::Found(row),
            RowAnswer::Nothing | RowAnswer::Unknown(_) => self.next(),
        }
    }

    /// Whether there is a replica to ask beside those that were.
    pub fn can_hedge(&self) -> bool {
        !self.slots.is_empty()
    }

    /// An answer takes long: asks the next replica beside it.
    pub fn hedge(&mut self) -> RowStep {
        self.next()
    }

    fn next(&mut self) -> RowStep {
        match self.slots.pop() {
            Some(slot) => {
                self.asked += 1;
                RowStep::Ask(slot)
            }
            None if self.asked > 0 => RowStep::Wait,
            None => RowStep::Alone,
        }
    }
}

/// How many entries from `from` up to `last` the same bookies hold in a row: none where entries go
/// round an ensemble that is larger than the write quorum.
pub fn row_of(metadata: &LedgerMetadata, from: EntryId, last: EntryId) -> u32 {
    let quorum = metadata.quorum;
    if quorum.write() < quorum.ensemble() {
        return 0;
    }
    let next = metadata.fragments.range(from.next()..).next();
    let end = next.map_or(last.next(), |(&first, _)| first.min(last.next()));
    u32::try_from(end.0.saturating_sub(from.0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::metadata::Proposal;
    use crate::ledger::metadata::tests::{members, three};
    use crate::message::{RangeEntry, Unknown};
    use egret_schemas::Term;

    const LEDGER: LedgerId = LedgerId(1);

    fn good(n: u64) -> RangeEntry {
        let (entry, payload) = (EntryId(n), Bytes::from(n.to_string()));
        let crc = entry_crc(LEDGER, entry, &payload);
        RangeEntry { entry, term: Term(1), crc, payload }
    }

    fn bad(n: u64) -> RangeEntry {
        RangeEntry { payload: Bytes::from_static(b"flipped"), ..good(n) }
    }

    fn judge(entries: Vec<RangeEntry>) -> RowAnswer {
        RowAnswer::judge(LEDGER, EntryId(5), 4, Reply::Entries { lac: None, entries })
    }

    fn row(answer: RowAnswer) -> Vec<u64> {
        match answer {
            RowAnswer::Entries(row) => row.iter().map(|found| found.entry.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_row_ends_before_the_first_entry_that_is_not_what_was_asked_for() {
        assert_eq!(row(judge((5..9).map(good).collect())), [5, 6, 7, 8]);
        assert_eq!(row(judge(vec![good(5)])), [5], "a short answer");
        assert_eq!(row(judge((5..20).map(good).collect())), [5, 6, 7, 8], "more than asked for");
        assert_eq!(row(judge(vec![good(5), good(7), good(8)])), [5], "a hole");
        assert_eq!(row(judge(vec![good(5), good(6), bad(7), good(8)])), [5, 6], "a flipped bit");
        let stranger = RangeEntry { payload: good(7).payload, crc: good(7).crc, ..good(6) };
        assert_eq!(row(judge(vec![good(5), stranger])), [5], "the bytes of another entry");
    }

    #[test]
    fn a_row_that_does_not_begin_as_asked_proves_nothing() {
        assert_eq!(judge(vec![]), RowAnswer::Unknown(Doubt::Protocol));
        assert_eq!(judge(vec![good(6)]), RowAnswer::Unknown(Doubt::Protocol));
        let damaged = RowAnswer::Unknown(Doubt::Checksum { ledger: LEDGER, entry: EntryId(5) });
        assert_eq!(judge(vec![bad(5), good(6)]), damaged);
        let alone = |reply| RowAnswer::judge(LEDGER, EntryId(5), 4, reply);
        assert_eq!(alone(Reply::NoEntry { lac: None }), RowAnswer::Nothing);
        assert_eq!(alone(Reply::Done), RowAnswer::Unknown(Doubt::Protocol));
        let RangeEntry { entry, term, crc, payload } = good(5);
        assert_eq!(row(alone(Reply::Entry { entry, term, crc, lac: None, payload })), [5]);
    }

    #[test]
    fn the_next_replica_is_asked_and_when_none_begins_the_row_its_entry_is_read_alone() {
        let (mut read, step) = RowRead::new(vec![2, 0]);
        assert_eq!(step, RowStep::Ask(2));
        let late = RowAnswer::Unknown(Doubt::Bookie(Unknown::Deadline { ms: 1 }));
        assert_eq!(read.on_answer(late), RowStep::Ask(0));
        assert!(!read.can_hedge());
        assert_eq!(read.on_answer(RowAnswer::Nothing), RowStep::Alone);

        let (mut read, _) = RowRead::new(vec![2, 0]);
        assert_eq!(read.hedge(), RowStep::Ask(0));
        assert_eq!(read.hedge(), RowStep::Wait);
        assert_eq!(read.on_answer(RowAnswer::Nothing), RowStep::Wait, "one is still to answer");
        assert!(matches!(read.on_answer(judge(vec![good(5)])), RowStep::Found(_)));
    }

    #[test]
    fn a_row_stays_within_its_fragment() {
        let changed = three().change_ensemble(
            Term(1),
            EntryId(5),
            members(&[1, 2, 4]),
            Proposal { process: 1, operation: 1 },
        );
        let changed = changed.unwrap();
        assert_eq!(row_of(&changed, EntryId(2), EntryId(9)), 3);
        assert_eq!(row_of(&changed, EntryId(5), EntryId(9)), 5);
        assert_eq!(row_of(&changed, EntryId(2), EntryId(2)), 1);
        assert_eq!(row_of(&changed, EntryId(5), EntryId(4)), 0);
        let quorum = crate::ledger::Quorum::new(3, 2, 2).unwrap();
        let striped = LedgerMetadata { quorum, ..changed };
        assert_eq!(row_of(&striped, EntryId(2), EntryId(9)), 0, "no bookie has a row");
    }
}
