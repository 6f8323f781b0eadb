//! Event time as of a commit: how far each component has come, from what spouts say of themselves.
//!
//! A watermark of `ms` says that no tuple with an event time below `ms` is expected any more; one that
//! comes all the same is *late*. Watermarks move where a commit ends, everywhere at the same commit:
//!
//! ```text
//! split ─ highest event time, less the bound ─┐
//! split ──────────────────────────────────────┴▶ Mark of a spout task ─┐
//!                                                Mark of a spout task ─┴▶ spout ─┐
//!                                                                         spout ─┴▶ whatever they feed
//! ```
//! What always holds:
//! * where a component stands after commit c follows from where it and its spouts stood before and from
//!   the marks of c alone: every worker, and the coordinator, finds the same;
//! * a watermark never goes back, and the record of c has that of every component as of c;
//! * who is idle is left out as long as somebody is not; when everybody is, the one that came furthest
//!   counts. Who has said nothing yet and is not idle holds everything.

use std::collections::BTreeMap;

use super::plan::TaskId;

/// What a spout task, or several of them, say of event time at the end of a commit.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Mark {
    /// Nothing below this is expected, in ms; `None` while nothing is known.
    pub ms: Option<i64>,
    /// Nothing came for so long that nobody is to wait for it.
    pub idle: bool,
}

impl Mark {
    /// What all of these say together.
    pub fn all(marks: impl IntoIterator<Item = Mark>) -> Mark {
        let mut active: Option<Option<i64>> = None;
        let mut furthest = None;
        for mark in marks {
            furthest = furthest.max(mark.ms);
            if !mark.idle {
                active = Some(active.map_or(mark.ms, |least| least.min(mark.ms)));
            }
        }
        Mark { ms: active.unwrap_or(furthest), idle: active.is_none() }
    }
}

/// A component that has a watermark: a spout that says the event time of its tuples, or what such spouts
/// feed, through whatever.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timed {
    /// The component's name.
    pub name: String,
    /// The spouts, by their places in the commit plan; a spout names itself.
    pub spouts: Vec<u32>,
}

/// Where one component and the spouts that feed it stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    own: Option<i64>,
    spouts: BTreeMap<u32, Option<i64>>,
}

impl Reached {
    /// As of a commit: the component's own watermark, and those of its spouts.
    pub fn new(own: Option<i64>, spouts: impl IntoIterator<Item = (u32, Option<i64>)>) -> Reached {
        Reached { own, spouts: spouts.into_iter().collect() }
    }

    /// The component's watermark.
    pub fn own(&self) -> Option<i64> {
        self.own
    }

    /// Takes the marks of a commit, of every task of every spout; others' are left aside. The new
    /// watermark, if it moved.
    pub fn advance(&mut self, marks: &BTreeMap<TaskId, Mark>) -> Option<i64> {
        let said = self.spouts.iter_mut().map(|(&component, reached)| {
            let tasks = TaskId { component, task: 0 }..=TaskId { component, task: u32::MAX };
            let mark = Mark::all(marks.range(tasks).map(|(_, mark)| *mark));
            *reached = (*reached).max(mark.ms);
            Mark { ms: *reached, idle: mark.idle }
        });
        let before = self.own;
        self.own = before.max(Mark::all(said).ms);
        self.own.filter(|_| self.own > before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(ms: impl Into<Option<i64>>) -> Mark {
        Mark { ms: ms.into(), idle: false }
    }

    fn idle(ms: impl Into<Option<i64>>) -> Mark {
        Mark { ms: ms.into(), idle: true }
    }

    /// Marks of one commit: component, task, mark.
    fn marks<const N: usize>(said: [(u32, u32, Mark); N]) -> BTreeMap<TaskId, Mark> {
        said.map(|(component, task, mark)| (TaskId { component, task }, mark)).into()
    }

    #[test]
    fn the_one_furthest_behind_counts_and_who_said_nothing_holds_all() {
        assert_eq!(Mark::all([active(7), active(3), active(5)]), active(3));
        assert_eq!(Mark::all([active(7), active(None)]), active(None));
    }

    #[test]
    fn who_is_idle_is_left_out_and_where_all_are_the_furthest_counts() {
        assert_eq!(Mark::all([active(7), idle(3), idle(None)]), active(7));
        assert_eq!(Mark::all([active(None), idle(9)]), active(None));
        assert_eq!(Mark::all([idle(7), idle(3), idle(None)]), idle(7));
        assert_eq!(Mark::all([]), idle(None));
    }

    #[test]
    fn a_watermark_is_that_of_the_spout_furthest_behind_and_never_goes_back() {
        let mut reached = Reached::new(None, [(0, None), (4, None)]);
        assert_eq!(reached.advance(&marks([(0, 0, active(50)), (4, 0, active(None))])), None);
        let both = marks([(0, 0, active(60)), (0, 1, active(55)), (4, 0, active(70))]);
        assert_eq!(reached.advance(&both), Some(55));
        assert_eq!(reached.advance(&both), None, "it did not move");
        // A spout that was left out comes back with what is late.
        let left_out = marks([(0, 0, idle(60)), (0, 1, idle(55)), (4, 0, active(90))]);
        assert_eq!(reached.advance(&left_out), Some(90));
        let back = marks([(0, 0, active(61)), (0, 1, active(62)), (4, 0, active(95))]);
        assert_eq!(reached.advance(&back), None);
        assert_eq!(reached.own(), Some(90));
        // Another component's marks are none of its business.
        assert_eq!(
            reached.advance(&marks([(0, 0, active(99)), (3, 0, active(1)), (4, 0, active(95))])),
            Some(95)
        );
    }

    #[test]
    fn what_begins_anew_from_a_commit_goes_on_from_there() {
        let mut before = Reached::new(None, [(0, None), (1, None)]);
        before.advance(&marks([(0, 0, active(100)), (1, 0, idle(40))]));
        let mut after = Reached::new(before.own(), [(0, Some(100)), (1, Some(40))]);
        // Nobody has read anything yet: nothing moves, back least of all.
        assert_eq!(after.advance(&marks([(0, 0, active(None)), (1, 0, active(None))])), None);
        assert_eq!(after.own(), Some(100));
        assert_eq!(after.advance(&marks([(0, 0, active(130)), (1, 0, active(120))])), Some(120));
    }
}
