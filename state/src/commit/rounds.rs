//! What goes round in cycles of a topology, as far as the end of a bounded input hangs on it.
//!
//! A cycle is cut where its tuples come back: the task there holds what came in and did not go out again, and says
//! with each commit that closes whether that is anything. What always holds:
//! * a commit is a cut. Where no task holds anything as of a commit, and no spout emits after it, nothing is on its way;
//! * a word counts with those of the same commit only: a tuple may leave one task's hands for another's between two
//!   commits, so words of different ones say nothing together;
//! * who holds something will emit it, in a commit after that, which then ends and has words of its own. So the last
//!   words there are always come to be of one commit.

use std::collections::BTreeMap;

use super::coordinator::Poison;
use super::plan::{CommitPlan, TaskId};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rounds {
    /// The last word of each task where tuples come back: the commit, and whether it held anything as of that.
    said: BTreeMap<TaskId, Option<(u32, bool)>>,
    /// The commit that was open when the last spout had come to its end.
    spouts_ended: Option<u32>,
}

impl Rounds {
    pub(super) fn new(plan: &CommitPlan) -> Rounds {
        let tasks = plan.tasks().map(|(task, _)| task);
        let comes_back = tasks.filter(|task| plan.feedbacks.contains(&task.component));
        Rounds { said: comes_back.map(|task| (task, None)).collect(), spouts_ended: None }
    }

    /// Takes a task's word of a commit.
    pub(super) fn on_held(
        &mut self,
        plan: &CommitPlan,
        (task, commit): (TaskId, u32),
        held: bool,
    ) -> Result<(), Poison> {
        let Some(said) = self.said.get_mut(&task) else {
            return Err(Poison::UnknownTask { task });
        };
        if said.is_some_and(|(before, _)| before >= commit) {
            return Err(Poison::Twice { task: plan.name(task), commit });
        }
        *said = Some((commit, held));
        Ok(())
    }

    /// Every spout has come to its end while this commit is open: none emits in a later one.
    pub(super) fn on_spouts_ended(&mut self, open: u32) {
        self.spouts_ended.get_or_insert(open);
    }

    /// Whether nothing will be emitted any more.
    pub(super) fn are_over(&self) -> bool {
        let Some(ended) = self.spouts_ended else { return false };
        let mut said = self.said.values();
        let Some(first) = said.next() else { return true };
        first.is_some_and(|(commit, held)| commit >= ended && !held)
            && said.all(|other| other == first)
    }

    /// Whether a task holds something, as far as is known.
    pub(super) fn hold(&self) -> bool {
        self.said.values().flatten().any(|(_, held)| *held)
    }
}
