//! The end of a topology: its record says that it is being deleted, and goes last.
//!
//! ```text
//! record   being deleted, a generation up, no names ────┐ one transaction: nobody runs it from here on, no name of
//! parent   no longer kept for it ───────────────────────┤ it keeps anything, and it holds nothing of another's
//! sources  no longer kept for its names ────────────────┘
//!          its streams, state ledgers, schemas, then commit ledgers go, what reads its sources is named no more
//! record   goes: until then it lists what may be left, and whoever goes on finds it there
//! ```
//! * A topology from which others were forked that still need a name of it is not deleted: their state stands in
//!   its ledgers.
//! * Whoever runs it meanwhile finds its record changed, and its ledgers fenced, as after a takeover.
//! * It is not run, named, gone back to or forked any more: half of its state may be gone. Deleting it again goes on.
//! * The commit ledger goes after all that it speaks for, so nothing that readers see as committed outlives what says
//!   so.

use std::collections::BTreeSet;

use super::named::Names;
use super::topology_record::{Claimant, TopologyRecord};

impl TopologyRecord {
    /// The topologies that were forked from named commits of this one, and need them still.
    pub fn forks_kept(&self) -> BTreeSet<String> {
        self.names.commits.values().flat_map(|named| named.forks.iter().cloned()).collect()
    }

    /// This record of a topology that is being deleted; `None` while others need a name of it.
    pub fn doomed(&self, claimant: Claimant) -> Option<TopologyRecord> {
        if !self.forks_kept().is_empty() {
            return None;
        }
        // At the end of all generations the mark alone tells whoever runs it.
        let generation = self.generation.next().unwrap_or(self.generation);
        let mut fork = self.fork.clone();
        if let Some(fork) = &mut fork {
            (fork.held, fork.ledgers, fork.commit) = (false, BTreeSet::new(), None);
        }
        let names = Names { by: self.names.by, ..Names::default() };
        Some(TopologyRecord { generation, claimant, names, fork, deleting: true, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use egret_schemas::{Epoch, Generation, LedgerId};

    use super::*;
    use crate::commit::{CommitRecord, Graph, Guarantee};

    fn by(operation: u64) -> Claimant {
        Claimant { process: 7, operation }
    }

    fn named() -> TopologyRecord {
        let first = TopologyRecord::first(by(1), Guarantee::EffectivelyOnce, 64, Graph::default());
        let listed = first.list(by(2), Some(LedgerId(1)), [LedgerId(2)]).unwrap();
        let begun = listed.begin(by(3)).unwrap();
        let mut commit = CommitRecord::genesis(Generation(1), begun.graph.fingerprint());
        commit.last = Epoch::first(Generation(1)).commit_end();
        begun.name_commit(by(4), "noon", 5, commit).unwrap()
    }

    #[test]
    fn a_record_that_is_being_deleted_comes_back_as_one_and_lists_what_is_left() {
        let doomed = named().doomed(by(5)).unwrap();
        assert_eq!(TopologyRecord::decode(&doomed.encode()).unwrap(), doomed);
        assert_eq!(doomed.generation, Generation(2), "whoever runs it is shut out");
        assert!(doomed.deleting && doomed.names.commits.is_empty());
        assert!(doomed.lists(LedgerId(1)) && doomed.lists(LedgerId(2)));
        assert!(!named().same_but_names(&doomed), "it is no change of names");
        let before = TopologyRecord { deleting: false, ..doomed.clone() };
        assert_ne!(before.encode()[4..6], doomed.encode()[4..6], "builds of before refuse it");
    }

    #[test]
    fn what_others_were_forked_from_is_not_deleted_while_they_need_it() {
        let kept = named().keep_for(by(5), "noon", "trial").unwrap();
        assert_eq!(kept.doomed(by(6)), None);
        assert_eq!(kept.forks_kept(), ["trial".to_owned()].into());
        let let_go = kept.let_go_for(by(6), "noon", "trial").unwrap();
        assert!(let_go.doomed(by(7)).is_some());
    }
}
