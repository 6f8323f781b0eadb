//! Which tasks get a tuple, how even that is, what it weighs, and what is the same when it comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egret_state::keyed::Key;
use proptest::prelude::*;

use super::all::All;
use super::custom::Custom;
use super::direct::Direct;
use super::fields::Fields;
use super::global::Global;
use super::local_or_shuffle::LocalOrShuffle;
use super::partial_key::{PartialKey, choices};
use super::rebalance::Rebalance;
use super::shuffle::Shuffle;
use super::*;
use crate::batch::typed;
use crate::budget::Budget;

/// Of so many tasks, as one emitter sees them.
pub(super) fn target(tasks: u32) -> Target {
    let lane = Lane::new(&Budget::new(1 << 30, 1), 0);
    let from = TaskId { component: "from".into(), task: 0 };
    let (local, to) = (Vec::new(), "to".into());
    Target { from, to, tasks, local, offset: 0, key_groups: 64, lane }
}

const WEIGHT: usize = size_of::<u64>();

/// What each task gets of the tuples 0, 1, 2 and so on, in batches of these sizes, and what all of it weighs.
fn delivered(mut to: impl Partitioner<u64>, tasks: u32, sizes: &[usize]) -> (Vec<Vec<u64>>, usize) {
    let (mut out, mut next) = (Vec::new(), 0);
    for size in sizes {
        let batch: Vec<u64> = (next..).take(*size).collect();
        next += *size as u64;
        to.route(batch, size * WEIGHT, &mut out).unwrap();
    }
    to.flush(&mut out);
    let (mut tuples, mut bytes) = (vec![Vec::new(); tasks as usize], 0);
    for routed in out {
        bytes += routed.charge.bytes();
        let batch = typed::<u64>(routed.batch);
        assert!(!batch.tuples.is_empty(), "an empty batch is not sent");
        tuples[routed.task as usize].extend(batch.tuples);
    }
    (tuples, bytes)
}

/// Each tuple once, at some task, in the order they were emitted.
fn assert_each_once(tuples: &[Vec<u64>], total: usize) {
    for of_task in tuples {
        assert!(of_task.is_sorted(), "in order");
    }
    let all: BTreeSet<u64> = tuples.iter().flatten().copied().collect();
    assert_eq!(all.len(), total);
    assert_eq!(tuples.iter().map(Vec::len).sum::<usize>(), total);
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..1500_usize, 1..6)
}

/// A key that is the same for many tuples.
fn key_of(n: &u64) -> u64 {
    (n % 23).hash64()
}

/// Names two tasks for tuples that 5 divides, none for those that 7 does, and one for the others.
#[derive(Default)]
struct Some5 {
    tasks: u32,
}

impl CustomGrouping<u64> for Some5 {
    fn prepare(&mut self, receivers: &Receivers) {
        assert_eq!((&*receivers.component, receivers.emitter.to_string()), ("to", "from/0".into()));
        self.tasks = receivers.tasks;
    }
    fn choose(&mut self, n: &u64, tasks: &mut Vec<u32>) {
        assert!(tasks.is_empty());
        let task = u32::try_from(n % u64::from(self.tasks)).unwrap();
        if n.is_multiple_of(7) {
            return;
        }
        tasks.push(task);
        if n.is_multiple_of(5) {
            tasks.push((task + 1) % self.tasks);
        }
    }
}

fn custom(target: &Target) -> Custom<u64, Some5> {
    Custom::new(target, Arc::new(Some5::default))
}

fn direct(target: &Target) -> impl Partitioner<u64> + use<> {
    let tasks = u64::from(target.tasks);
    Direct::new(target, move |n: &u64| u32::try_from(n * 7 % tasks).unwrap())
}

proptest! {
    #[test]
    fn shuffle_gives_batches_in_turn(tasks in 1..9_u32, offset in 0..9_u32, sizes in sizes()) {
        let target = Target { offset, ..target(tasks) };
        let (tuples, bytes) = delivered(Shuffle::new(&target), tasks, &sizes);
        let total = sizes.iter().sum();
        assert_each_once(&tuples, total);
        prop_assert_eq!(bytes, total * WEIGHT);
        for (turn, size) in sizes.iter().enumerate() {
            let first: usize = sizes[..turn].iter().sum();
            let task = (offset as usize + turn) % tasks as usize;
            let batch: Vec<u64> = (first as u64..).take(*size).collect();
            prop_assert!(tuples[task].windows(*size).any(|some| some == batch), "turn {turn}");
        }
    }

    #[test]
    fn rebalance_gives_tuples_in_turn_however_they_come(
        tasks in 1..9_u32, offset in 0..9_u32, sizes in sizes(),
    ) {
        let target = Target { offset, ..target(tasks) };
        let (tuples, bytes) = delivered(Rebalance::new(&target), tasks, &sizes);
        let total = sizes.iter().sum();
        assert_each_once(&tuples, total);
        prop_assert_eq!(bytes, total * WEIGHT);
        for (task, of_task) in (0u64..).zip(&tuples) {
            let is_its = |n: &u64| (n + u64::from(offset)) % u64::from(tasks) == task;
            prop_assert!(of_task.iter().all(is_its));
        }
        let counts = tuples.iter().map(Vec::len);
        prop_assert!(counts.clone().max().unwrap() - counts.min().unwrap() <= 1);
    }

    #[test]
    fn all_gives_each_task_everything_and_counts_each_copy(tasks in 1..9_u32, sizes in sizes()) {
        let (tuples, bytes) = delivered(All(target(tasks)), tasks, &sizes);
        let total: usize = sizes.iter().sum();
        let everything: Vec<u64> = (0..total as u64).collect();
        prop_assert!(tuples.iter().all(|of_task| *of_task == everything));
        prop_assert_eq!(bytes, tasks as usize * total * WEIGHT);
    }

    #[test]
    fn global_gives_everything_to_the_first(tasks in 1..9_u32, sizes in sizes()) {
        let (tuples, bytes) = delivered(Global(target(tasks)), tasks, &sizes);
        let total: usize = sizes.iter().sum();
        assert_each_once(&tuples, total);
        prop_assert_eq!((tuples[0].len(), bytes), (total, total * WEIGHT));
    }

    #[test]
    fn local_tasks_get_everything_in_turn_where_there_are_any(
        tasks in 1..9_u32, local in prop::collection::btree_set(0..9_u32, 0..4), sizes in sizes(),
    ) {
        let local: Vec<u32> = local.into_iter().filter(|task| *task < tasks).collect();
        let target = Target { local: local.clone(), ..target(tasks) };
        let (tuples, _) = delivered(LocalOrShuffle::new(&target), tasks, &sizes);
        assert_each_once(&tuples, sizes.iter().sum());
        let took: Vec<u32> =
            (0..).zip(&tuples).filter(|(_, t)| !t.is_empty()).map(|(task, _)| task).collect();
        let may = if local.is_empty() { (0..tasks).collect() } else { local };
        prop_assert!(took.iter().all(|task| may.contains(task)), "{took:?} of {may:?}");
        prop_assert_eq!(took.len(), may.len().min(sizes.len()), "each has its turn");
    }

    #[test]
    fn custom_gives_a_copy_to_each_that_is_named(tasks in 2..9_u32, sizes in sizes()) {
        let (tuples, bytes) = delivered(custom(&target(tasks)), tasks, &sizes);
        let total = sizes.iter().sum::<usize>() as u64;
        let mut copies = 0;
        for n in 0..total {
            let want = match (n.is_multiple_of(7), n.is_multiple_of(5)) {
                (true, _) => 0,
                (false, true) => 2,
                (false, false) => 1,
            };
            let got = tuples.iter().filter(|of_task| of_task.binary_search(&n).is_ok()).count();
            prop_assert_eq!(got, want, "{}", n);
            copies += got;
        }
        prop_assert_eq!(bytes, copies * WEIGHT);
    }

    #[test]
    fn partial_key_has_two_tasks_for_a_key_whoever_emits_it(hash: u64, tasks in 1..99_u32) {
        let [first, second] = choices(hash, tasks);
        prop_assert!(first < tasks && second < tasks);
        prop_assert_eq!(first == second, tasks == 1);
    }

    #[test]
    fn partial_key_shares_each_key_between_its_tasks(tasks in 2..9_u32, sizes in sizes()) {
        let (tuples, bytes) =
            delivered(PartialKey::new(&target(tasks), key_of), tasks, &sizes);
        let total: usize = sizes.iter().sum();
        assert_each_once(&tuples, total);
        prop_assert_eq!(bytes, total * WEIGHT);
        for (task, of_task) in (0..).zip(&tuples) {
            prop_assert!(of_task.iter().all(|n| choices(key_of(n), tasks).contains(&task)));
        }
        // A key that is everything is shared by halves.
        let one = |_: &u64| key_of(&0);
        let (tuples, _) = delivered(PartialKey::new(&target(tasks), one), tasks, &sizes);
        let mut counts: Vec<usize> = tuples.iter().map(Vec::len).filter(|n| *n > 0).collect();
        counts.sort_unstable();
        prop_assert_eq!(counts.iter().sum::<usize>(), total);
        prop_assert!(counts.len() <= 2 && counts[counts.len() - 1] <= total / 2 + 1, "{counts:?}");
    }

    /// By tuple: neither what came before nor who emits makes a difference.
    #[test]
    fn what_goes_by_tuple_goes_the_same_way_again(
        tasks in 1..9_u32, offset in 0..9_u32, skipped in 1..500_usize, sizes in sizes(),
    ) {
        let (once, again) = (target(tasks), Target { offset, ..target(tasks) });
        let total: usize = sizes.iter().sum();
        let fields = |target| Fields::new(target, key_of);
        let both: [(&str, [Vec<Vec<u64>>; 2]); 4] = [
            ("fields", [
                delivered(fields(&once), tasks, &sizes).0,
                delivered(fields(&again), tasks, &[skipped, total]).0,
            ]),
            ("all", [
                delivered(All(once.clone()), tasks, &sizes).0,
                delivered(All(again.clone()), tasks, &[skipped, total]).0,
            ]),
            ("global", [
                delivered(Global(once.clone()), tasks, &sizes).0,
                delivered(Global(again.clone()), tasks, &[skipped, total]).0,
            ]),
            ("direct", [
                delivered(direct(&once), tasks, &sizes).0,
                delivered(direct(&again), tasks, &[skipped, total]).0,
            ]),
        ];
        for (name, [once, again]) in both {
            for (task, (once, again)) in once.iter().zip(&again).enumerate() {
                let again: Vec<u64> =
                    again.iter().copied().filter(|n| *n < total as u64).collect();
                prop_assert_eq!(once, &again, "{} to task {}", name, task);
            }
        }
    }
}

/// What the table in the module's head says of those by turn and load: they go on from where they are.
#[test]
fn what_goes_by_turn_or_load_may_go_another_way_again() {
    let tasks = 3;
    let where_2_is = |tuples: Vec<Vec<u64>>| tuples.iter().position(|t| t.contains(&2));
    let after = |sizes: &[usize]| {
        let target = target(tasks);
        let one = |_: &u64| key_of(&0);
        [
            where_2_is(delivered(Shuffle::new(&target), tasks, sizes).0),
            where_2_is(delivered(LocalOrShuffle::new(&target), tasks, sizes).0),
            where_2_is(delivered(PartialKey::new(&target, one), tasks, sizes).0),
        ]
    };
    let (one_batch, three) = (after(&[3]), after(&[1, 1, 1]));
    assert_ne!((one_batch[0], one_batch[1]), (three[0], three[1]));
    assert_eq!(one_batch[2], three[2], "load is counted by tuple");
    let of = |n: usize| {
        let mut to = PartialKey::new(&target(tasks), |_: &u64| key_of(&0));
        let mut out = Vec::new();
        to.route(vec![0; n], n * WEIGHT, &mut out).unwrap();
        to.route(vec![2], WEIGHT, &mut out).unwrap();
        to.flush(&mut out);
        let tuples = |r: Routed| (r.task, typed::<u64>(r.batch).tuples);
        out.into_iter().map(tuples).find(|(_, tuples)| tuples.contains(&2)).unwrap().0
    };
    assert_ne!(of(4), of(5), "a key's next tuple goes to its other task");
}

/// With half of all tuples of one key, a task by fields has at least that half; by partial key no task has much more
/// than its share beside half of the half.
#[test]
fn partial_key_is_even_where_fields_is_not() {
    let tasks = 8;
    let skewed = |n: &u64| if n.is_multiple_of(2) { 0.hash64() } else { n.hash64() };
    let total = 40_000;
    let most = |tuples: Vec<Vec<u64>>| tuples.iter().map(Vec::len).max().unwrap();
    let fields = most(delivered(Fields::new(&target(tasks), skewed), tasks, &[total]).0);
    let partial = most(delivered(PartialKey::new(&target(tasks), skewed), tasks, &[total]).0);
    assert!(fields >= total / 2, "{fields}");
    assert!(partial <= total / 4 + total / 20, "{partial}");
}

#[test]
fn a_task_that_is_not_there_is_named() {
    let mut out = Vec::new();
    let mut to = Direct::new(&target(4), |n: &u64| u32::try_from(*n).unwrap());
    to.route(vec![3], WEIGHT, &mut out).unwrap();
    let why = to.route(vec![0, 4], 2 * WEIGHT, &mut out).unwrap_err();
    assert_eq!(
        why.to_string(),
        "a tuple is for task 4 of `to`, which has tasks 0 to 3: have its grouping say one of those"
    );
    let choose = |n: &u64| u32::try_from(*n).unwrap();
    let mut to = Custom::new(&target(1), Arc::new(move || choose));
    let why = to.route(vec![u64::from(u32::MAX)], WEIGHT, &mut out).unwrap_err();
    assert!(why.to_string().contains("task 4294967295 of `to`, which has task 0 only"), "{why}");
}

/// Batches are full where there are tuples enough, also for many tasks.
#[test]
fn what_is_sorted_out_travels_in_full_batches() {
    let (tasks, mut out) = (16, Vec::new());
    let mut to = Rebalance::new(&target(tasks));
    for _ in 0..64 {
        to.route((0..1024).collect(), 1024 * WEIGHT, &mut out).unwrap();
    }
    to.flush(&mut out);
    let batches: BTreeMap<usize, usize> = out.iter().fold(BTreeMap::new(), |mut counts, routed| {
        *counts.entry(routed.batch.len()).or_default() += 1;
        counts
    });
    assert_eq!(batches, [(1024, 64)].into());
}
