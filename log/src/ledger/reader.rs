//! What a bookie's answer to a read is worth, and how one entry is read from its replicas.
//!
//! Outside recovery a negative answer decides nothing: the next replica is asked, and only when all
//! have proved that they do not have it is the entry missing. An entry counts only when its checksum
//! over (ledger, entry, payload) holds.

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use super::coverage::Answer;
use crate::message::{Refusal, Reply, Unknown, entry_crc};
use crate::mutants::{self, Mutant};

/// A bookie's answer to a read, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAnswer {
    /// The entry, its checksum verified.
    Entry {
        /// Its bytes.
        payload: Bytes,
        /// Its checksum.
        crc: u32,
    },
    /// Proof that it is not there.
    NoEntry,
    /// Proof of nothing.
    Unknown(Doubt),
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Doubt {
    /// The bookie said so.
    #[error(transparent)]
    Bookie(Unknown),
    /// The bookie refused.
    #[error(transparent)]
    Refused(Refusal),
    /// What came is not what was written.
    #[error(
        "{ledger}:{entry} came with a checksum that does not match its bytes: check the bookie's disk and memory"
    )]
    Checksum {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
    },
    /// An answer to something else.
    #[error("the bookie answered something else than was asked: the two builds do not match")]
    Protocol,
}

impl Doubt {
    /// Whether the bookie is away, or what it had, so that it may come back with it or never.
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Doubt::Bookie(
                Unknown::Unreachable { .. }
                    | Unknown::TurnedAway { .. }
                    | Unknown::Deadline { .. }
                    | Unknown::Incarnation { .. }
                    | Unknown::Closing
                    | Unknown::Limbo
            )
        )
    }

    /// The term of a newer owner, when that is the reason.
    pub fn newer_term(&self) -> Option<Term> {
        match self {
            Doubt::Refused(Refusal::StaleTerm { held }) => Some(*held),
            _ => None,
        }
    }
}

impl ReadAnswer {
    /// Judges the reply to a read of one entry.
    pub fn judge(ledger: LedgerId, asked: EntryId, reply: Reply) -> ReadAnswer {
        match reply {
            Reply::Entry { entry, crc, payload, .. } if entry == asked => {
                let trusted = mutants::on(Mutant::ChecksumNotVerifiedOnRead);
                if trusted || entry_crc(ledger, entry, &payload) == crc {
                    ReadAnswer::Entry { payload, crc }
                } else {
                    ReadAnswer::Unknown(Doubt::Checksum { ledger, entry })
                }
            }
            Reply::NoEntry { .. } => ReadAnswer::NoEntry,
            Reply::Refused(refusal) => ReadAnswer::Unknown(Doubt::Refused(refusal)),
            Reply::Unknown(unknown) => ReadAnswer::Unknown(Doubt::Bookie(unknown)),
            _ => ReadAnswer::Unknown(Doubt::Protocol),
        }
    }

    /// Its worth in [`super::coverage`].
    pub fn worth(&self) -> Answer {
        match self {
            ReadAnswer::Entry { .. } => Answer::Yes,
            ReadAnswer::NoEntry => Answer::No,
            ReadAnswer::Unknown(_) => Answer::Unknown,
        }
    }
}

/// What reading one entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadStep {
    /// Ask the replica in this slot.
    Ask(usize),
    /// Answers are to come; when they take long, [`EntryRead::hedge`].
    Wait,
    /// Here it is.
    Found(Bytes),
    /// Every replica proved that it has no such entry.
    Missing,
    /// No replica has it, and not all could prove it.
    Doubtful(Doubt),
}

/// One entry being read, replica after replica.
#[derive(Debug)]
pub struct EntryRead {
    /// Not asked yet, the next one last.
    slots: Vec<usize>,
    /// Asked, and not heard.
    asked: usize,
    doubt: Option<Doubt>,
}

impl EntryRead {
    /// Starts with the write set of the entry, in the order in which to ask; the first step says whom.
    pub fn new(write_set: impl Iterator<Item = usize>) -> (EntryRead, ReadStep) {
        let mut slots: Vec<usize> = write_set.collect();
        slots.reverse();
        let mut read = EntryRead { slots, asked: 0, doubt: None };
        let step = read.next();
        (read, step)
    }

    /// A replica that was asked answered.
    pub fn on_answer(&mut self, answer: ReadAnswer) -> ReadStep {
        self.asked -= 1;
        match answer {
            ReadAnswer::Entry { payload, .. } => return ReadStep::Found(payload),
            ReadAnswer::NoEntry if mutants::on(Mutant::FirstReplicaDecides) => {
                return ReadStep::Missing;
            }
            ReadAnswer::NoEntry => {}
            ReadAnswer::Unknown(doubt) => self.doubt = Some(doubt),
        }
        self.next()
    }

    /// Whether there is a replica to ask beside those that were.
    pub fn can_hedge(&self) -> bool {
        !self.slots.is_empty()
    }

    /// An answer takes long: asks the next replica beside it.
    pub fn hedge(&mut self) -> ReadStep {
        self.next()
    }

    fn next(&mut self) -> ReadStep {
        if let Some(slot) = self.slots.pop() {
            self.asked += 1;
            return ReadStep::Ask(slot);
        }
        match self.doubt.take() {
            doubt if self.asked > 0 => {
                self.doubt = doubt;
                ReadStep::Wait
            }
            Some(doubt) => ReadStep::Doubtful(doubt),
            None => ReadStep::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: &'static [u8]) -> Reply {
        let crc = entry_crc(LedgerId(1), EntryId(2), payload);
        let payload = Bytes::from_static(payload);
        Reply::Entry { entry: EntryId(2), term: Term(1), crc, lac: None, payload }
    }

    fn judge(reply: Reply) -> ReadAnswer {
        ReadAnswer::judge(LedgerId(1), EntryId(2), reply)
    }

    #[test]
    fn a_wrong_checksum_proves_nothing() {
        assert!(matches!(judge(entry(b"good")), ReadAnswer::Entry { .. }));
        let Reply::Entry { entry, term, crc, lac, .. } = entry(b"good") else { unreachable!() };
        let bad = Reply::Entry { entry, term, crc, lac, payload: Bytes::from_static(b"bad") };
        assert!(matches!(judge(bad), ReadAnswer::Unknown(Doubt::Checksum { .. })));
        assert!(matches!(judge(Reply::Done), ReadAnswer::Unknown(Doubt::Protocol)));
    }

    #[test]
    fn an_entry_is_missing_only_when_every_replica_proves_it() {
        let none = || judge(Reply::NoEntry { lac: None });
        let late = || judge(Reply::Unknown(Unknown::Deadline { ms: 1 }));
        let (mut read, step) = EntryRead::new([2, 0].into_iter());
        assert_eq!(step, ReadStep::Ask(2));
        assert_eq!(read.on_answer(none()), ReadStep::Ask(0));
        assert_eq!(read.on_answer(none()), ReadStep::Missing);

        let (mut read, _) = EntryRead::new([2, 0].into_iter());
        assert_eq!(read.on_answer(late()), ReadStep::Ask(0));
        assert!(matches!(read.on_answer(none()), ReadStep::Doubtful(_)));

        let (mut read, _) = EntryRead::new([2, 0].into_iter());
        read.on_answer(late());
        assert_eq!(read.on_answer(judge(entry(b"x"))), ReadStep::Found(Bytes::from_static(b"x")));
    }

    #[test]
    fn a_slow_replica_is_waited_for_when_the_others_have_nothing() {
        let none = || judge(Reply::NoEntry { lac: None });
        let (mut read, _) = EntryRead::new([0, 1, 2].into_iter());
        assert!(read.can_hedge());
        assert_eq!(read.hedge(), ReadStep::Ask(1));
        assert_eq!(read.on_answer(none()), ReadStep::Ask(2));
        assert!(!read.can_hedge());
        assert_eq!(read.on_answer(none()), ReadStep::Wait);
        assert_eq!(read.on_answer(judge(entry(b"x"))), ReadStep::Found(Bytes::from_static(b"x")));
    }
}
