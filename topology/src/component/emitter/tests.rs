//! What an emitter counts against its slice, what it keeps of failures, and what can be taken back.

use super::*;
use crate::batch::typed;
use crate::budget::Budget;
use crate::grouping::all::All;
use crate::grouping::direct::Direct;
use crate::grouping::shuffle::Shuffle;

/// A bolt's emitter to so many tasks; its slice is 32 KiB.
fn emitter(tasks: u32, make: MakePartitioner<u64>) -> Emitter<u64> {
    let lane = Lane::new(&Budget::new(1 << 20, 1), 0);
    assert_eq!(lane.slice_bytes(), 32 << 10);
    let from = TaskId { component: "from".into(), task: 3 };
    let (to, local) = ("to".into(), Vec::new());
    let target = Target { from, to, tasks, local, offset: 0, key_groups: 1, lane };
    let outlet = OutletOf { edges: vec![(0, make)], ..OutletOf::default() };
    outlet.build(&[target], true)
}

/// Batches, of 8 KiB each, until it is full.
fn batches_until_full(emitter: &mut Emitter<u64>) -> usize {
    let mut batches = 0;
    while !emitter.is_full() {
        (0..BATCH_TUPLES as u64).for_each(|n| emitter.emit(n));
        batches += 1;
    }
    batches
}

/// Once, a slice was what a bolt emitted, however many copies of it there were: with a hundred tasks behind `all`, a
/// hundred times as much was on its way before the bolt rested.
#[test]
fn copies_for_every_task_fill_the_slice() {
    let shuffle: MakePartitioner<u64> = Arc::new(|target| Box::new(Shuffle::new(target)));
    assert_eq!(batches_until_full(&mut emitter(100, shuffle)), 4);
    let all = |target: &Target| Box::new(All(target.clone())) as Box<dyn Partitioner<u64>>;
    assert_eq!(batches_until_full(&mut emitter(1, Arc::new(all))), 4);
    assert_eq!(batches_until_full(&mut emitter(2, Arc::new(all))), 2);
    let mut many = emitter(100, Arc::new(all));
    assert_eq!(batches_until_full(&mut many), 1);
    assert_eq!(many.take(0).map(|routed| routed.charge.bytes()).sum::<usize>(), 100 * (8 << 10));
}

/// A grouping that keeps tuples back for fuller batches ships several at once: nothing is counted twice.
#[test]
fn what_is_kept_back_is_counted_once() {
    let turns = |n: &u64| u32::try_from(n % 4).unwrap();
    let direct: MakePartitioner<u64> = Arc::new(move |target| Box::new(Direct::new(target, turns)));
    assert_eq!(batches_until_full(&mut emitter(4, direct)), 4);
}

#[test]
fn the_first_failure_is_told_by_the_task_that_emits_and_by_every_call_from_then_on() {
    let direct =
        |target: &Target| Box::new(Direct::new(target, |n: &u64| u32::try_from(*n).unwrap()));
    let mut emitter = emitter(4, Arc::new(move |target| direct(target)));
    emitter.emit(3);
    emitter.finish().unwrap();
    emitter.emit(7);
    emitter.emit(8);
    assert_eq!(emitter.check(), Ok(()), "it is not routed yet");
    for _ in 0..2 {
        let error = emitter.finish().unwrap_err();
        assert!(!error.retry, "it is the same the next time");
        let told = "task from/3: a tuple is for task 7 of `to`, which has tasks 0 to 3";
        assert!(error.to_string().starts_with(told), "{error}");
        emitter.emit(9);
    }
    emitter.emit_to(&Output::<u64>::new("none"), 1);
    assert!(emitter.check().unwrap_err().contains("for task 7"), "the first one stands");
}

#[test]
fn code_of_a_grouping_that_panics_where_batches_end_is_an_error_of_the_task() {
    let direct = |target: &Target| Box::new(Direct::new(target, |_: &u64| panic!("no way")));
    let mut emitter = emitter(4, Arc::new(move |target| direct(target)));
    emitter.emit(1);
    let error = emitter.finish().unwrap_err();
    assert_eq!(error.to_string(), "task from/3: panicked: no way");
}

/// What is ready for one edge, batch by batch.
fn ready(emitter: &mut Emitter<u64>) -> Vec<Vec<u64>> {
    emitter.take(0).map(|routed| typed::<u64>(routed.batch).tuples).collect()
}

/// Everything it has, as the dataflow takes it.
fn all(emitter: &mut Emitter<u64>) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        emitter.finish().unwrap();
        all.extend(ready(emitter).into_iter().flatten());
        if !emitter.taken() {
            return all;
        }
        emitter.refill().unwrap();
    }
}

fn one_task() -> Emitter<u64> {
    emitter(1, Arc::new(|target| Box::new(Shuffle::new(target))))
}

#[test]
fn a_call_that_is_taken_back_leaves_what_was_emitted_before_it() {
    const BATCH: u64 = BATCH_TUPLES as u64;
    // Calls that stay below a batch, end one that was begun, and are several.
    for (before, of_it) in [(0, 1), (7, 0), (7, 5), (BATCH - 1, 2), (0, BATCH), (9, 3 * BATCH + 1)]
    {
        for good in [false, true] {
            let mut emitter = one_task();
            (0..before).for_each(|n| emitter.emit(n));
            emitter.attempt();
            (before..before + of_it).for_each(|n| emitter.emit(n));
            assert_eq!(emitter.emitted(), before + of_it);
            assert_eq!(ready(&mut emitter), [[0; 0]; 0], "nothing is routed inside a call");
            let stays = if good { before + of_it } else { before };
            if good {
                emitter.stands()
            } else {
                emitter.take_back()
            }
            assert_eq!(emitter.emitted(), stays, "{before} {of_it}");
            let next = stays..stays + 3;
            next.clone().for_each(|n| emitter.emit(n));
            assert!(all(&mut emitter).into_iter().eq(0..next.end), "{before} {of_it} {good}");
            assert_eq!(emitter.totals().0, next.end);
        }
    }
}

/// Calls that emit little leave batches as full as they can be, and nothing is encoded.
#[test]
fn calls_that_stand_ship_batches_as_they_fill_up() {
    let mut emitter = one_task();
    for n in 0..3 * BATCH_TUPLES as u64 {
        emitter.attempt();
        emitter.emit(n);
        emitter.stands();
    }
    let batches = ready(&mut emitter);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [BATCH_TUPLES - 1; 3]);
    assert!(!emitter.taken(), "nothing is packed");
}
