//! Commits in order: which one is open, which have ended, what waits in the stash.
//!
//! The tactic behind every operator that takes part in commits. It knows epochs and batches only.

use std::collections::BTreeMap;

use egret_schemas::Epoch;

/// Aligns an input on commits. Commits are contiguous within a generation, so a task that saw no
/// tuple of a commit still learns that the commit ended.
#[derive(Debug)]
pub(crate) struct Align<B> {
    /// The first epoch of the oldest commit that has not ended.
    open: Epoch,
    stash: BTreeMap<Epoch, Vec<(Epoch, B)>>,
}

impl<B> Align<B> {
    /// Begins with the first commit of a generation.
    pub(crate) fn new(first: Epoch) -> Align<B> {
        Align { open: first.commit_start(), stash: BTreeMap::new() }
    }

    /// The oldest open commit, if `frontier` has left it. An ended input (`None`) ends nothing: spouts
    /// leave their last commit before they end, so what is open then was never begun.
    pub(crate) fn ended(&self, frontier: Option<Epoch>) -> Option<Epoch> {
        frontier.filter(|frontier| frontier.commit_start() > self.open).map(|_| self.open)
    }

    /// Goes on to the next commit; call it when everything of the one `ended` gave is done.
    ///
    /// # Panics
    /// When the generation's commits are used up: the coordinator ends a generation before.
    pub(crate) fn advance(&mut self) {
        assert!(!self.stash.contains_key(&self.open), "the stash of a commit is drained first");
        self.open = self.open.next_commit().expect("the coordinator ends the generation before");
    }

    /// What waited for the open commit.
    pub(crate) fn unstash(&mut self) -> Vec<(Epoch, B)> {
        self.stash.remove(&self.open).unwrap_or_default()
    }

    /// A defect on purpose: what waited for any commit.
    pub(crate) fn unstash_all(&mut self) -> Vec<(Epoch, B)> {
        std::mem::take(&mut self.stash).into_values().flatten().collect()
    }

    /// Gives the batch back if it may be processed now, else keeps it for its commit.
    ///
    /// # Panics
    /// When the batch belongs to a commit that ended: the frontier would have been wrong.
    pub(crate) fn admit(&mut self, epoch: Epoch, batch: B) -> Option<B> {
        let commit = epoch.commit_start();
        assert!(commit >= self.open, "a batch of {epoch} came after its commit ended");
        if commit == self.open {
            return Some(batch);
        }
        self.stash.entry(commit).or_default().push((epoch, batch));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn at(commit: u32, micro: u32) -> Epoch {
        Epoch::new(Generation(1), commit, micro)
    }

    #[test]
    fn only_the_oldest_open_commit_is_admitted() {
        let mut align = Align::new(at(0, 0));
        assert_eq!(align.admit(at(0, 3), "now"), Some("now"));
        assert_eq!(align.admit(at(1, 0), "later"), None);
        assert_eq!(align.admit(at(2, 0), "much later"), None);
        assert_eq!(align.ended(Some(at(0, 9))), None, "a micro-epoch does not end a commit");
        assert_eq!(align.ended(Some(at(2, 0))), Some(at(0, 0)));
        assert!(align.unstash().is_empty());
        align.advance();
        assert_eq!(align.ended(Some(at(2, 0))), Some(at(1, 0)), "an idle commit ends too");
        assert_eq!(align.unstash(), [(at(1, 0), "later")]);
        align.advance();
        assert_eq!(align.ended(Some(at(2, 0))), None);
        assert_eq!(align.unstash(), [(at(2, 0), "much later")]);
    }

    #[test]
    fn an_ended_input_ends_no_commit() {
        let align = Align::<()>::new(at(0, 0));
        assert_eq!(align.ended(None), None);
    }

    #[test]
    #[should_panic(expected = "came after its commit ended")]
    fn a_late_batch_is_a_defect_not_data() {
        let mut align = Align::new(at(0, 0));
        align.advance();
        align.admit(at(0, 0), ());
    }
}
