//! Answers of bookies an operator gave up, so that a recovery need not ask them.
//!
//! They are taken to have nothing, but only as far as the others agree: that they do not have an entry is
//! said when every other bookie asked for it proved that it does not have it either. Said at once, it would
//! count as proof that an entry was never acknowledged, against the bookie that has it.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::EntryId;

use crate::ledger::Member;
use crate::message::{Reply, Unknown};

/// The bookies given up, and the reads of them that wait for what others say.
#[derive(Debug)]
pub(super) struct GivenUp<'a> {
    members: &'a BTreeSet<Member>,
    reads: BTreeMap<EntryId, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Slots of bookies given up.
    slots: Vec<(usize, Member)>,
    /// Others that have not answered.
    others: usize,
    /// One of the others has it, or may have it.
    kept: bool,
}

impl<'a> GivenUp<'a> {
    pub(super) fn new(members: &'a BTreeSet<Member>) -> GivenUp<'a> {
        GivenUp { members, reads: BTreeMap::new() }
    }

    pub(super) fn has(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// What it says to a fence: nothing there holds anybody up.
    pub(super) fn fenced() -> Reply {
        Reply::Fenced { lac: None, last: None }
    }

    /// What it says to a copy.
    pub(super) fn silent(member: Member) -> Reply {
        let why = "its copies were given up".to_owned();
        Reply::Unknown(Unknown::Unreachable { to: member.bookie.to_string(), why })
    }

    /// A read is to be sent. False when the bookie is given up and is not to be asked.
    pub(super) fn on_ask(&mut self, entry: EntryId, slot: usize, to: Member) -> bool {
        if self.members.is_empty() {
            return true;
        }
        let given_up = self.has(to);
        let waiting = self.reads.entry(entry).or_default();
        match given_up {
            true => waiting.slots.push((slot, to)),
            false => waiting.others += 1,
        }
        !given_up
    }

    /// Another bookie answered a read.
    pub(super) fn on_answer(&mut self, entry: EntryId, reply: &Reply) {
        if let Some(waiting) = self.reads.get_mut(&entry) {
            waiting.others = waiting.others.saturating_sub(1);
            waiting.kept |= !matches!(reply, Reply::NoEntry { .. });
        }
    }

    /// What those given up have to say now: whose slot, which entry, what.
    pub(super) fn answers(&mut self) -> Vec<(usize, EntryId, Reply)> {
        let mut said = Vec::new();
        self.reads.retain(|&entry, waiting| {
            if waiting.others > 0 {
                return true;
            }
            for &(slot, member) in &waiting.slots {
                let reply = match waiting.kept {
                    true => GivenUp::silent(member),
                    false => Reply::NoEntry { lac: None },
                };
                said.push((slot, entry, reply));
            }
            false
        });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::{BookieId, Incarnation};

    const ENTRY: EntryId = EntryId(3);

    fn member(n: u64) -> Member {
        Member { bookie: BookieId(n), incarnation: Incarnation(1) }
    }

    fn said(given_up: &mut GivenUp<'_>) -> Vec<(usize, bool)> {
        let denies = |reply| matches!(reply, Reply::NoEntry { .. });
        given_up.answers().into_iter().map(|(slot, _, reply)| (slot, denies(reply))).collect()
    }

    #[test]
    fn they_deny_an_entry_only_when_all_others_have() {
        let gone = BTreeSet::from([member(1)]);
        let no = Reply::NoEntry { lac: None };
        let down = Reply::Unknown(Unknown::Closing);
        for (answers, denies) in [([&no, &no], true), ([&no, &down], false), ([&down, &no], false)]
        {
            let mut given_up = GivenUp::new(&gone);
            let asked: Vec<bool> =
                (0..3).map(|slot| given_up.on_ask(ENTRY, slot, member(slot as u64 + 1))).collect();
            assert_eq!(asked, [false, true, true]);
            assert_eq!(said(&mut given_up), []);
            given_up.on_answer(ENTRY, answers[0]);
            assert_eq!(said(&mut given_up), [], "one has not answered");
            given_up.on_answer(ENTRY, answers[1]);
            assert_eq!(said(&mut given_up), [(0, denies)]);
            assert_eq!(said(&mut given_up), [], "once");
        }
    }

    #[test]
    fn where_nobody_else_was_they_deny_at_once() {
        let gone = BTreeSet::from([member(1)]);
        let mut given_up = GivenUp::new(&gone);
        assert!(!given_up.on_ask(ENTRY, 0, member(1)));
        assert_eq!(said(&mut given_up), [(0, true)]);
    }
}
