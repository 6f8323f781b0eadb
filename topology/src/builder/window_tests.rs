//! Windows that cannot be, each with the error it gets, and the plan of those that can.

use std::time::Duration;

use super::*;
use crate::window::{
    Count, CountSliding, CountTumbling, Every, EveryTuples, Global, Latest, Sessions, Sliding,
    Tumbling,
};
use crate::{LogSink, LogSpout};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[expect(clippy::ptr_arg, reason = "a tuple is a `String`")]
fn time(line: &String) -> i64 {
    line.len() as i64
}

fn lines(t: &mut TopologyBuilder) -> Stream<String> {
    let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap();
    lines.event_time(time).unwrap()
}

type Keyed = KeyedStream<String, KeyField<String, str, fn(&String) -> &str>>;

fn keyed(t: &mut TopologyBuilder) -> Keyed {
    let key: fn(&String) -> &str = |line| line.as_str();
    lines(t).fields(key)
}

fn refused<F: KeyFn<String, Key = str>, G, L>(windows: WindowedStream<String, F, G, L>) -> String
where
    G: crate::window::Trigger<String>,
    L: LateMode,
{
    let told = windows.aggregate("counts", 2, Count);
    told.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn windows_of_no_length_are_refused() {
    let no_length = "window bolt `counts`: windows of no length: give them a length, and a slide, of 1 ms or one tuple at least";
    let t = || TopologyBuilder::new("t");
    assert_eq!(refused(keyed(&mut t()).window(Tumbling::of(MS(0)))), no_length);
    assert_eq!(refused(keyed(&mut t()).window(Sliding::of(MS(9)).every(MS(0)))), no_length);
    assert_eq!(refused(keyed(&mut t()).window(Sessions::with_gap(MS(0)))), no_length);
    assert_eq!(refused(keyed(&mut t()).window(CountTumbling(0))), no_length);
    assert_eq!(refused(keyed(&mut t()).window(CountSliding::of(5).every(0))), no_length);
}

#[test]
fn windows_with_gaps_or_too_many_of_them_are_refused() {
    let mut t = TopologyBuilder::new("t");
    let error = refused(keyed(&mut t).window(Sliding::of(MS(10)).every(MS(20))).event_time(time));
    insta::assert_snapshot!(error, @"window bolt `counts`: a window of 10 begins every 20, so what comes between two is in none: let them begin every 10 or sooner, or filter what is not wanted before");
    let mut t = TopologyBuilder::new("t");
    let error =
        refused(keyed(&mut t).window(Sliding::of(MS(86_400_000)).every(MS(1))).event_time(time));
    insta::assert_snapshot!(error, @"window bolt `counts`: a tuple is in 86400000 windows at once, each told of by itself: let them begin less often, so that it is in 65536 at most");
}

#[test]
fn windows_by_time_say_by_which() {
    let mut t = TopologyBuilder::new("t");
    let error = refused(keyed(&mut t).window(Tumbling::of(MS(10))));
    insta::assert_snapshot!(error, @"window bolt `counts`: its windows are by time, and nothing says which: add `.event_time(|tuple| ms)`, or `.processing_time()` for the time it is");
    // By event time, with nobody who follows it: that is known when all is wired.
    let mut t = TopologyBuilder::new("t");
    let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap();
    let windows = lines.fields(|line| line.as_str()).window(Tumbling::of(MS(10))).event_time(time);
    let counts = windows.aggregate_with("counts", 2, Count, |_, _, n| [n.to_string()]).unwrap();
    counts.sink("out", LogSink::to_stream("out")).unwrap();
    let error = t.finish().unwrap_err().to_string();
    insta::assert_snapshot!(error, @"window bolt `counts`: its windows are by event time, and no spout it is reached from says that: call `Stream::event_time` on the stream of a spout, or let windows go by `.processing_time()`");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let mut t = TopologyBuilder::new("t");
    let error = refused(keyed(&mut t).window(Global));
    insta::assert_snapshot!(error, @"window bolt `counts`: a global window never ends, and nothing else says when it is told of: add `.trigger(..)`, such as `EveryTuples(100)`");
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Tumbling::of(MS(10))).processing_time();
    let error = refused(windows.allowed_lateness(MS(5)));
    insta::assert_snapshot!(error, @"window bolt `counts`: only by event time is anything late: leave `.allowed_lateness(..)` out, or let windows go by `.event_time(..)`");
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Sliding::of(MS(10)).every(MS(5))).event_time(time);
    let error = refused(windows.trigger(EveryTuples(2)).discarding());
    insta::assert_snapshot!(error, @"window bolt `counts`: its windows overlap and share their tuples, so none of them can let go of what was told: leave `.discarding()` out, or let windows not overlap");
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Tumbling::of(MS(10))).event_time(time);
    let error = refused(windows.evict(Latest(2)));
    insta::assert_snapshot!(error, @"window bolt `counts`: an evictor leaves out tuples, and an aggregate keeps none: use `.contents(..)` in its place, or leave `.evict(..)` out");
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Tumbling::of(MS(10))).event_time(time);
    let error = refused(windows.trigger(EveryTuples(0)));
    insta::assert_snapshot!(error, @"window bolt `counts`: `EveryTuples(0)` fires never: give it 1 or more");
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Tumbling::of(MS(10))).event_time(time);
    let error = refused(windows.trigger(Every::event_time(MS(0))));
    insta::assert_snapshot!(error, @"window bolt `counts`: `Every` is shorter than a millisecond: give it 1 ms or more");
    let mut t = TopologyBuilder::new("t");
    let windows = lines(&mut t).window_all(Tumbling::of(MS(10))).event_time(time);
    let error = windows.aggregate("counts", 2, Count).map(|_| ()).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"window bolt `counts`: all tuples meet in one window at one task: give it 1 task, not 2");
}

#[test]
fn the_plan_says_which_windows_there_are() {
    let mut t = TopologyBuilder::new("t");
    let windows = keyed(&mut t).window(Sliding::of(MS(60)).every(MS(20)).offset(MS(5)));
    let windows = windows.event_time(time).allowed_lateness(MS(100)).late_stream();
    let (counts, late) =
        windows.aggregate_with("counts", 2, Count, |_, _, n| [n.to_string()]).unwrap();
    counts.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    late.sink("late", LogSink::to_stream("late").partitions(1)).unwrap();
    let topology = t.finish().unwrap();
    assert_eq!(topology.plan().graph()[1], "counts keyed bolt <- [lines by fields]; state kept");
    let text = topology.explain(1);
    let state = "    state windows of 60 ms every 20 ms, from 5 ms on: Count, 100 ms late at most; per str, checkpointed per commit\n";
    assert!(text.contains(state), "{text}");
}

#[test]
fn a_side_of_a_spout_has_no_event_time_of_its_own() {
    use crate::{Either, Emitter};
    let mut t = TopologyBuilder::new("t");
    let lines = lines(&mut t);
    let either =
        || |line: String, out: &mut Emitter<Either<String, u64>>| out.emit(Either::Left(line));
    let (left, _) = lines.shuffle().bolt("either", 1, either).unwrap().split();
    let error = left.event_time(time).unwrap_err().to_string();
    assert!(error.contains("not of that of `either`"), "{error}");
}
