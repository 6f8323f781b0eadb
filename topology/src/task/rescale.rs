//! Who takes over from whom when a bolt with state per task has another number of tasks, and what.
//!
//! A task owns a run of key groups, and its state lies in one of them. A task of the new number takes over
//! from those whose run its own meets; of each state every heir gets what [`Rescale`] says, and all
//! heirs together the whole. That is a function of the numbers and of the state, so that each heir finds its
//! part by itself.

use std::ops::Range;

use egret_schemas::key::{hash, key_group, task_of_group};
use egret_state::commit::groups_of_task;
use egret_state::keyed::state::{Extent, State, StateError};

use super::SameAgain;
use crate::component::{ComponentError, Rescale, Share};

/// The key a task's state is kept under: `task-3`, and `task-3.1` and so on where that would be another task's.
pub(super) fn key_of_task(task: u32, tasks: u32, key_groups: u32) -> String {
    let own = groups_of_task(task, tasks, key_groups);
    let fits = |key: &String| own.contains(&key_group(hash(key.as_bytes()), key_groups));
    let numbered = (1u64..).map(|n| format!("task-{task}.{n}"));
    let mut keys = std::iter::once(format!("task-{task}")).chain(numbered);
    keys.find(fits).expect("a task owns a key group, and some number hashes to it")
}

/// Whose state is kept under `key`.
pub(super) fn task_of_key(key: &str) -> Option<u32> {
    let number = key.strip_prefix("task-")?;
    number.split('.').next()?.parse().ok()
}

/// The tasks there were, of `before`, that task `task` of `tasks` takes over from.
pub(super) fn predecessors(task: u32, tasks: u32, before: u32, key_groups: u32) -> Range<u32> {
    let own = groups_of_task(task, tasks, key_groups);
    if own.is_empty() {
        return 0..0;
    }
    let of = |group| task_of_group(group, key_groups, before);
    of(own.start)..of(own.end - 1) + 1
}

/// The key groups of all of these.
pub(super) fn groups_of(tasks: &Range<u32>, of: u32, key_groups: u32) -> Range<u32> {
    if tasks.is_empty() {
        return 0..0;
    }
    let (first, last) = (tasks.start, tasks.end - 1);
    groups_of_task(first, of, key_groups).start..groups_of_task(last, of, key_groups).end
}

/// The tasks, of `tasks`, that take over from task `old` of `before`, and how many of its key groups each.
pub(super) fn heirs(old: u32, before: u32, tasks: u32, key_groups: u32) -> Vec<(u32, u32)> {
    let had = groups_of_task(old, before, key_groups);
    let heirs = predecessors(old, before, tasks, key_groups);
    let met = |task| {
        let own = groups_of_task(task, tasks, key_groups);
        (task, had.end.min(own.end) - had.start.max(own.start))
    };
    heirs.map(met).collect()
}

/// What task `me` gets of a state that has these heirs.
///
/// # Errors
/// When it is dealt out otherwise the second time, or cannot be written.
pub(super) fn part<S: State>(
    me: u32,
    heirs: &[(u32, u32)],
    rescale: Rescale<S>,
    mut state: S,
) -> Result<Option<S>, ComponentError> {
    let deal = match rescale {
        Rescale::Copy => return Ok(Some(state)),
        Rescale::Merge(_) => {
            let mine = heirs.first().is_some_and(|(first, _)| *first == me);
            return Ok(mine.then_some(state));
        }
        Rescale::Deal { .. } if heirs.len() == 1 => return Ok(Some(state)),
        Rescale::Deal { deal, .. } => deal,
    };
    let again = S::read(&written(&mut state)?)?;
    let mut parts = dealt(state, heirs, deal);
    let parts_again = dealt(again, heirs, deal);
    for (number, (part, mut again)) in parts.iter_mut().zip(parts_again).enumerate() {
        if written(part)? != written(&mut again)? {
            let heir = heirs[number].0;
            let why = format!(
                "its state was dealt out twice and the part of task {heir} of the new tasks was not the same: let \
                 `Rescale::Deal` go by an order, which a `BTreeMap` has and a `HashMap` has not"
            );
            return Err(SameAgain(why).into());
        }
    }
    let mine = heirs.iter().position(|(task, _)| *task == me);
    Ok(mine.map(|number| parts.swap_remove(number)))
}

fn written<S: State>(state: &mut S) -> Result<Vec<u8>, StateError> {
    let mut bytes = Vec::new();
    state.write(Extent::Whole, &mut bytes, None)?;
    Ok(bytes)
}

/// The parts of all heirs, in order.
fn dealt<S>(mut state: S, heirs: &[(u32, u32)], deal: fn(&mut S, Share) -> S) -> Vec<S> {
    let mut left: u32 = heirs.iter().map(|(_, groups)| groups).sum();
    let mut parts = Vec::with_capacity(heirs.len());
    for (_, groups) in &heirs[..heirs.len() - 1] {
        parts.push(deal(&mut state, Share { groups: *groups, left }));
        left -= groups;
    }
    parts.push(state);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use egret_state::keyed::ListState;
    use proptest::prelude::*;

    /// What the tasks of the new number begin with, in the order of tasks.
    fn rescaled<S: State + Clone>(
        states: &[S],
        tasks: u32,
        key_groups: u32,
        rescale: Rescale<S>,
    ) -> Vec<Option<S>> {
        let before = u32::try_from(states.len()).unwrap();
        let of = |me| {
            let mut mine: Option<S> = None;
            for old in predecessors(me, tasks, before, key_groups) {
                let heirs = heirs(old, before, tasks, key_groups);
                let part = part(me, &heirs, rescale, states[old as usize].clone()).unwrap();
                mine = match (mine, part, rescale) {
                    (mine, None, _) | (mine @ Some(_), _, Rescale::Copy) => mine,
                    (None, part, _) => part,
                    (
                        Some(mut mine),
                        Some(part),
                        Rescale::Merge(merge) | Rescale::Deal { merge, .. },
                    ) => {
                        merge(&mut mine, part);
                        Some(mine)
                    }
                };
            }
            mine
        };
        (0..tasks).map(of).collect()
    }

    proptest! {
        #[test]
        fn a_tasks_key_is_in_its_groups_and_names_it(
            key_groups in 1u32..5000, tasks in 1u32..60, task in 0u32..60,
        ) {
            prop_assume!(tasks <= key_groups && task < tasks);
            let key = key_of_task(task, tasks, key_groups);
            let group = key_group(hash(key.as_bytes()), key_groups);
            prop_assert_eq!(task_of_group(group, key_groups, tasks), task);
            prop_assert_eq!(task_of_key(&key), Some(task));
        }

        #[test]
        fn heirs_and_predecessors_are_each_others_and_share_all_groups(
            key_groups in 1u32..500, before in 1u32..40, tasks in 1u32..40,
        ) {
            prop_assume!(before.max(tasks) <= key_groups);
            for old in 0..before {
                let heirs = heirs(old, before, tasks, key_groups);
                let own = groups_of_task(old, before, key_groups);
                let met: u32 = heirs.iter().map(|(_, groups)| groups).sum();
                prop_assert_eq!(met as usize, own.len());
                prop_assert!(heirs.iter().all(|(_, groups)| *groups > 0));
                for me in 0..tasks {
                    let from = predecessors(me, tasks, before, key_groups);
                    let is_heir = heirs.iter().any(|(heir, _)| *heir == me);
                    prop_assert_eq!(from.contains(&old), is_heir);
                    let read = groups_of(&from, before, key_groups);
                    prop_assert!(!is_heir || (read.start <= own.start && own.end <= read.end));
                }
            }
        }

        /// From any number of tasks to any other, and on to a third.
        #[test]
        fn nothing_is_lost_or_there_twice_however_often_the_tasks_change(
            items in proptest::collection::vec(0usize..50, 1..12),
            to in proptest::collection::vec(1u32..24, 1..4),
            key_groups in 24u32..300,
        ) {
            let mut next = 0u64..;
            let mut lists: Vec<Vec<u64>> =
                items.iter().map(|n| next.by_ref().take(*n).collect()).collect();
            let all: Vec<u64> = lists.concat();
            let mut sums: Vec<u64> = lists.iter().map(|list| list.iter().sum()).collect();
            let mut copies = vec![all.len() as u64 + 1; lists.len()];
            for tasks in to {
                let dealt = rescaled(&lists, tasks, key_groups, Rescale::<Vec<u64>>::items());
                lists = dealt.into_iter().map(Option::unwrap_or_default).collect();
                prop_assert_eq!(lists.concat(), all.clone(), "in order, too");
                let merged = rescaled(&sums, tasks, key_groups, Rescale::Merge(|into, from| *into += from));
                sums = merged.into_iter().map(Option::unwrap_or_default).collect();
                prop_assert_eq!(sums.iter().sum::<u64>(), all.iter().sum::<u64>());
                let copied = rescaled(&copies, tasks, key_groups, Rescale::Copy);
                prop_assert!(copied.iter().all(|copy| *copy == Some(all.len() as u64 + 1)));
                copies = copied.into_iter().flatten().collect();
            }
        }
    }

    #[test]
    fn items_are_spread_evenly() {
        for (before, tasks) in [(1, 5), (2, 3), (3, 2), (4, 7), (7, 4)] {
            let lists = vec![(0..840u64).collect::<Vec<_>>(); before];
            let dealt = rescaled(&lists, tasks, 4096, Rescale::<Vec<u64>>::items());
            let even = 840 * before / tasks as usize;
            for list in dealt.into_iter().flatten() {
                assert!(list.len().abs_diff(even) <= 5, "{before} to {tasks}: {}", list.len());
            }
        }
    }

    #[test]
    fn items_of_a_list_in_cells_are_dealt_out_as_those_of_a_vector() {
        let mut list = ListState::default();
        (0..10u64).for_each(|n| list.push(n));
        let heirs = heirs(0, 1, 3, 4096);
        let mut all = Vec::new();
        for me in 0..3 {
            let mut mirror = ListState::default();
            mirror.push(u64::MAX);
            let state = ListState::<u64>::read(&written(&mut list).unwrap()).unwrap();
            let part = part(me, &heirs, Rescale::<ListState<u64>>::items(), state).unwrap();
            let Rescale::Deal { merge, .. } = Rescale::<ListState<u64>>::items() else { panic!() };
            merge(&mut mirror, part.unwrap());
            assert_eq!(mirror.pop_front(), Some(u64::MAX));
            all.extend(mirror.iter().copied());
        }
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    /// Whose map has another order in every process would have its entries lost by one task and kept by two.
    #[test]
    fn what_is_dealt_out_in_no_order_is_refused_in_words() {
        let state: HashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
        let deal: Rescale<HashMap<u64, u64>> = Rescale::Deal {
            merge: |into, from| into.extend(from),
            deal: |map, share| {
                let keys: Vec<u64> = map.keys().copied().take(share.of(map.len())).collect();
                keys.into_iter().filter_map(|key| map.remove_entry(&key)).collect()
            },
        };
        let heirs = heirs(0, 1, 2, 64);
        let why = part(0, &heirs, deal, state).unwrap_err();
        assert!(why.is::<SameAgain>(), "the same again would be the same");
        assert!(why.to_string().contains("go by an order, which a `BTreeMap` has"), "{why}");
    }
}
