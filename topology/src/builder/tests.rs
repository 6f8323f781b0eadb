//! Wirings beside what `tests/wirings.rs` tells of wrong ones, and the plans of right ones.

use std::collections::BTreeMap;

use super::*;
use crate::component::{ComponentResult, Context, Next, Positions};
use crate::{Blob, Either, Emitter, EventTime, KeyedBolt, LogSink, LogSpout, OnError};

fn lines(t: &mut TopologyBuilder) -> Stream<Blob> {
    t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines")).unwrap()
}

fn error_of<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

fn nothing() -> impl FnMut(Blob, &mut Emitter<Blob>) + 'static {
    |_: Blob, _: &mut Emitter<Blob>| {}
}

struct Clock;

impl Spout<u64> for Clock {
    fn replay(&self) -> Replay {
        Replay::None
    }
    fn open(&mut self, _: &Context, _: &Positions) -> ComponentResult {
        Ok(())
    }
    fn next(&mut self, _: usize, _: &mut Emitter<u64>, _: &Context) -> ComponentResult<Next> {
        Ok(Next::Done)
    }
    fn positions(&self) -> Positions {
        BTreeMap::new()
    }
}

#[derive(Default)]
struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;
    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }
}

#[test]
fn a_spout_that_cannot_replay_is_refused_where_it_must() {
    let build = |guarantee| {
        let mut t = TopologyBuilder::new("t");
        t.guarantee(guarantee);
        t.spout("clock", 1, || Clock).unwrap().shuffle().sink("out", 1, || |_: u64| {}).unwrap();
        t.finish()
    };
    insta::assert_snapshot!(error_of(build(Guarantee::AtLeastOnce)), @"spout `clock` cannot replay, so the topology cannot be at-least-once: write its input to a stream first and read that with `LogSpout`, or choose at-most-once");
    assert!(build(Guarantee::AtMostOnce).is_ok());
}

#[test]
fn a_plan_explains_itself() {
    let mut t = TopologyBuilder::new("word_count");
    let words = lines(&mut t).local_or_shuffle().bolt("split", 2, nothing).unwrap();
    let counts = words.fields(|w| w.as_bytes()).keyed("count", 3, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    let topology = t.finish().unwrap();
    insta::assert_snapshot!(topology.explain(2), @r"
    topology word_count (effectively-once, 4096 key groups, 2 workers)
      spout lines x2 -> Blob
        reads and follows stream lines
        worker 0: task 0
        worker 1: task 1
      bolt split x2 -> Blob
        from lines by local-or-shuffle, local
        worker 0: task 0
        worker 1: task 1
      keyed bolt count x3 -> (Blob, u64)
        from split by fields, between workers
        state u64 per [u8], checkpointed per commit
        worker 0: task 0, 2
        worker 1: task 1
      sink out x1
        from count by by-partition, between workers
        writes stream counts
        worker 0: task 0
    ");
    assert_eq!(topology.plan().fingerprint(), topology.plan().clone().fingerprint());
}

#[test]
fn parallelism_is_not_identity_and_wiring_is() {
    let plan = |tasks, by_key: bool| {
        let mut t = TopologyBuilder::new("t");
        let stream = lines(&mut t);
        let grouped = if by_key { stream.all() } else { stream.shuffle() };
        grouped.bolt("a", tasks, nothing).unwrap().sink("o", LogSink::to_stream("o")).unwrap();
        t.finish().unwrap().plan().fingerprint()
    };
    assert_eq!(plan(1, true), plan(3, true));
    assert_ne!(plan(1, true), plan(1, false));
}

#[test]
fn streams_of_two_topologies_are_not_wired_together() {
    let (mut t, mut u) = (TopologyBuilder::new("t"), TopologyBuilder::new("u"));
    let (mine, other) = (lines(&mut t), lines(&mut u));
    let theirs = other.shuffle().bolt("theirs", 1, nothing).unwrap();
    let error = error_of(mine.union(&theirs));
    insta::assert_snapshot!(error, @"the streams of `lines` and `theirs` are of two topologies: build both with one `TopologyBuilder`");
    assert_eq!(error_of(mine.shuffle().union(theirs.all())), error);
    assert_eq!(error_of(mine.shuffle().join(theirs.all())), error);
    let (left, right) = (mine.fields(|w| w.as_bytes()), theirs.fields(|w| w.as_bytes()));
    assert_eq!(error_of(left.join(right)), error);
}

#[test]
fn event_time_is_that_of_a_spouts_own_stream_and_said_once() {
    let mut t = TopologyBuilder::new("t");
    let stream = lines(&mut t);
    let later = t.spout("later", 1, LogSpout::<Blob>::from_stream("later")).unwrap();
    let time_of = |_: &Blob| 0;
    let bolt = stream.shuffle().bolt("split", 1, nothing).unwrap();
    insta::assert_snapshot!(error_of(bolt.event_time(time_of)), @"the event time of tuples is said of the stream that `TopologyBuilder::spout` gave, not of that of `split`: what a spout reaches has its watermark");
    let both = stream.union(&later).unwrap();
    insta::assert_snapshot!(error_of(both.event_time(time_of)), @"the event time of tuples is said of the stream that `TopologyBuilder::spout` gave, not of that of `lines, later`: what a spout reaches has its watermark");
    stream.event_time(time_of).unwrap();
    insta::assert_snapshot!(error_of(stream.event_time(time_of)), @"the event time of the tuples of spout `lines` is said twice: its tuples have one event time, so say it once, before the stream is used");
}

/// Joins and keeps the state of [`Count`].
struct Both;

type ThreeBlobs = Either<Either<Blob, Blob>, Blob>;

impl KeyedBolt<[u8], ThreeBlobs, (Blob, u64)> for Both {
    type State = u64;
    fn execute(
        &mut self,
        _: &[u8],
        _: &mut u64,
        _: ThreeBlobs,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        Ok(())
    }
}

/// `a` and `b` united or not, joined with one of them and with itself.
fn joining(swap: bool) -> Topology {
    let mut t = TopologyBuilder::new("joins");
    let a = t.spout("a", 1, LogSpout::<Blob>::from_stream("a")).unwrap();
    let config = EventTime { out_of_order_ms: 500, ..EventTime::default() };
    let a = a.event_time_with(config, |_| 0).unwrap();
    let b = t.spout("b", 1, LogSpout::<Blob>::from_stream("b")).unwrap();
    let (first, second) = if swap { (&b, &a) } else { (&a, &b) };
    let united = first.union(second).unwrap().fields(|w| w.as_bytes());
    let joined = united.join(second.fields(|w| w.as_bytes())).unwrap();
    let joined = joined.join(first.fields(|w| w.as_bytes())).unwrap();
    let out = joined.keyed("both", 1, || Both).unwrap();
    out.union(&out).unwrap().sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    t.finish().unwrap()
}

#[test]
fn a_plan_has_every_input_of_a_component() {
    let topology = joining(false);
    insta::assert_snapshot!(topology.explain(1), @r"
    topology joins (effectively-once, 4096 key groups, 1 worker)
      spout a x1 -> Blob
        event time up to 500 ms out of order, splits idle after 60000 ms
        reads and follows stream a
        worker 0: task 0
      spout b x1 -> Blob
        reads and follows stream b
        worker 0: task 0
      keyed bolt both x1 -> (Blob, u64)
        input 1 from a by fields
        input 1 from b by fields
        input 2 from b by fields
        input 3 from a by fields
        state u64 per [u8], checkpointed per commit
        worker 0: task 0
      sink out x1
        from both by by-partition
        from both by by-partition
        writes stream out
        worker 0: task 0
    ");
    assert_eq!(
        topology.plan().graph()[2],
        "both keyed bolt <- [a by fields, b by fields | b by fields | a by fields]; state kept"
    );
    assert_ne!(topology.plan().fingerprint(), joining(true).plan().fingerprint());
    assert_eq!(topology.plan().timed_spouts_of(3), [0], "b says no event times");
}

/// What a graph without event time and several inputs looked like is what commits were written with.
#[test]
fn event_time_is_not_part_of_the_graph() {
    let graph = |timed: bool| {
        let mut t = TopologyBuilder::new("t");
        let stream = lines(&mut t);
        if timed {
            stream.event_time(|_| 0).unwrap();
        }
        stream.sink("out", LogSink::to_stream("out")).unwrap();
        t.finish().unwrap().plan().graph()
    };
    assert_eq!(graph(true), graph(false));
    assert_eq!(
        graph(true),
        ["lines spout <- []; state none", "out sink <- [lines by by-partition]; state none"]
    );
}

/// Both sentences stood in the plan, one of which did not hold.
#[test]
fn what_is_said_twice_of_errors_is_what_was_said_last() {
    let explained = |said: &[OnError]| {
        let mut t = TopologyBuilder::new("t");
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap();
        let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
        let copied = lines.shuffle().bolt("copy", 1, copy).unwrap();
        for on_error in said {
            copied.on_error(*on_error).unwrap();
        }
        copied.sink("out", LogSink::to_stream("out")).unwrap();
        t.finish().unwrap().explain(1)
    };
    let retry = |times| {
        let backoff = std::time::Duration::from_millis(1);
        OnError::Retry { times, backoff, then: crate::Then::Fail }
    };
    assert_eq!(explained(&[retry(2), retry(3)]), explained(&[retry(3)]));
    assert_eq!(explained(&[retry(2), OnError::Fail]), explained(&[]));
    assert!(explained(&[retry(2)]).contains("2 more time(s)"));
}
