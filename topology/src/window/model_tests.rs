//! Every kind of windows against what is said of it in words, tried tuple by tuple and window by window; over
//! commits, with state written and read back between them.

use std::collections::BTreeMap;

use egret_state::keyed::state::{Extent, State};
use proptest::prelude::*;

use super::aggregate::Aggregate;
use super::contents::{Contents, Incremental, Whole};
use super::machine::{Assign, By, Machine, StateOf};
use super::panes::{NEVER, Panes};
use super::span::{Firing, Timing, Window};
use super::trigger::{AtEnd, Every, EveryTuples, Now, Trigger};
use super::{Latest, Within};
use crate::TimeOf;

/// All values of a window, sorted: an aggregate from which nothing can be missing in silence.
#[derive(Clone)]
struct All;

impl Aggregate<u32> for All {
    type Acc = Vec<u32>;
    type Out = Vec<u32>;
    fn init(&self, value: u32) -> Vec<u32> {
        vec![value]
    }
    fn add(&self, acc: &mut Vec<u32>, value: u32) {
        acc.push(value);
    }
    fn merge(&self, acc: &mut Vec<u32>, later: &Vec<u32>) {
        acc.extend(later);
    }
    fn result(&self, acc: &Vec<u32>) -> Vec<u32> {
        let mut all = acc.clone();
        all.sort_unstable();
        all
    }
}

/// What was told, in order.
type Told = Vec<(i64, i64, Timing, Vec<u32>)>;

/// A key's windows, as a bolt drives them.
struct Driven<C: Contents<u32>, G: Trigger<u32>> {
    machine: Machine<C, G>,
    state: StateOf<u32, C, G>,
    watermark: i64,
    clock: i64,
    told: Told,
    late: Vec<u32>,
    /// The state as it was written, commit after commit.
    written: StateOf<u32, C, G>,
}

fn machine<C, G>(assign: Assign, by: By, contents: C, trigger: G, lateness: i64) -> Machine<C, G> {
    Machine { assign, by, contents, trigger, lateness, discards: false }
}

const EVENT: By = By::Time(TimeOf::Event);

impl<C: Contents<u32, Out = Vec<u32>>, G: Trigger<u32>> Driven<C, G> {
    fn new(machine: Machine<C, G>) -> Self {
        let (state, written) = (StateOf::<u32, C, G>::default(), StateOf::<u32, C, G>::default());
        let (told, late) = (Vec::new(), Vec::new());
        Driven { machine, state, watermark: -1_000_000, clock: 0, told, late, written }
    }

    fn tuple(&mut self, at: i64, value: u32) {
        let clock = self.clock;
        let clock = || clock;
        let now = Now::new(self.watermark, &clock);
        let told = &mut self.told;
        let mut fire = |Firing { window, timing }, values| {
            told.push((window.start_ms, window.end_ms, timing, values));
        };
        let late = self.machine.on_tuple(&mut self.state, (at, value), now, &mut fire);
        self.late.extend(late);
    }

    /// A commit closes with this watermark: timers, then the commit, then what is written and read back.
    fn commit(&mut self, watermark: i64) {
        self.watermark = watermark;
        let clock = self.clock;
        let clock = || clock;
        let now = Now::new(watermark, &clock);
        let told = &mut self.told;
        let mut fire = |Firing { window, timing }, values: Vec<u32>| {
            told.push((window.start_ms, window.end_ms, timing, values));
        };
        if self.state.due.event <= watermark || self.state.due.processing <= self.clock {
            self.machine.on_time::<u32>(&mut self.state, now, &mut fire);
        }
        self.machine.on_commit::<u32>(&mut self.state, &mut fire);
        assert!(self.state.due.event > watermark, "what was due is done");
        let mut changes = Vec::new();
        self.state.write(Extent::Changes, &mut changes, None).unwrap();
        self.written.apply(&changes).unwrap();
        let mut whole = Vec::new();
        self.written.write(Extent::Whole, &mut whole, None).unwrap();
        let mut again = Vec::new();
        self.state.write(Extent::Whole, &mut again, None).unwrap();
        assert_eq!(whole, again, "what changed was written");
        assert_eq!(self.state.bytes(), Some(again.len()));
    }

    /// Goes on with what was written, as after a restart.
    fn restart(&mut self) {
        let mut whole = Vec::new();
        self.written.write(Extent::Whole, &mut whole, None).unwrap();
        self.state = StateOf::<u32, C, G>::read(&whole).unwrap();
    }

    /// Works on a commit that is not made: some tuples and a close with another watermark, all taken back in
    /// memory, as a task does it that goes on after a failure.
    fn aborted(&mut self, at: i64) {
        let (before, told, late) = (self.watermark, self.told.len(), self.late.len());
        for value in 1000..1004 {
            self.tuple(at + i64::from(value % 3) * 7, value);
        }
        self.watermark += 37;
        let (watermark, clock) = (self.watermark, self.clock);
        let clock = || clock;
        if self.state.due.event <= watermark {
            let now = Now::new(watermark, &clock);
            self.machine.on_time::<u32>(&mut self.state, now, &mut |_, _| ());
        }
        let (mut changes, mut undo) = (Vec::new(), Vec::new());
        self.state.write(Extent::Changes, &mut changes, Some(&mut undo)).unwrap();
        self.state.apply(&undo).unwrap();
        self.watermark = before;
        self.told.truncate(told);
        self.late.truncate(late);
    }

    fn is_over(&self) -> bool {
        self.machine.is_over::<u32>(&self.state)
    }
}

/// What happens.
#[derive(Debug, Clone)]
enum Op {
    /// A tuple this far from the watermark.
    Tuple(i64),
    /// A commit with the watermark so much further.
    Commit(i64),
    Restart,
    /// A commit that is taken back, with tuples this far from the watermark.
    Aborted(i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (-60i64..60).prop_map(Op::Tuple),
        3 => (0i64..30).prop_map(Op::Commit),
        1 => (0i64..200).prop_map(Op::Commit),
        1 => Just(Op::Restart),
        1 => (-60i64..60).prop_map(Op::Aborted),
    ];
    proptest::collection::vec(op, 1..60)
}

/// What a window by time comes to, from the words: which tuples are in it, and when it is told of.
#[derive(Clone)]
struct Words {
    size: i64,
    slide: i64,
    offset: i64,
    lateness: i64,
    every: Option<u64>,
    discards: bool,
    /// Tuples that were not late.
    tuples: Vec<(i64, u32)>,
    /// Those of each window since it was told of, where what was told is let go of.
    since: BTreeMap<i64, Vec<u32>>,
    /// Tuples of each window since it was last told of early.
    counts: BTreeMap<i64, u64>,
    changed: Vec<i64>,
    watermark: i64,
    told: Told,
    late: Vec<u32>,
}

impl Words {
    fn ends(&self, at: i64) -> Vec<i64> {
        let k = (at - self.offset - self.size).div_euclid(self.slide) - 1;
        let starts = (k..).map(|k| self.offset + k * self.slide).take_while(|start| *start <= at);
        starts.map(|start| start + self.size).filter(|end| *end > at).collect()
    }

    fn tell(&mut self, end: i64, timing: Timing) {
        let start = end - self.size;
        let all = self.tuples.iter().filter(|(at, _)| (start..end).contains(at));
        let mut values: Vec<u32> = all.map(|(_, value)| *value).collect();
        if self.discards {
            values = self.since.remove(&end).unwrap_or_default();
        }
        values.sort_unstable();
        if !values.is_empty() {
            self.told.push((start, end, timing, values));
        }
    }

    fn tuple(&mut self, at: i64, value: u32) {
        let ends = self.ends(at);
        if ends.iter().all(|end| end + self.lateness <= self.watermark) {
            self.late.push(value);
            return;
        }
        self.tuples.push((at, value));
        for end in ends {
            self.since.entry(end).or_default().push(value);
            if end > self.watermark {
                let count = self.counts.entry(end).or_default();
                *count += 1;
                if self.every == Some(*count) {
                    *count = 0;
                    self.tell(end, Timing::Early);
                }
            } else if end + self.lateness > self.watermark {
                self.changed.push(end);
            }
        }
    }

    fn commit(&mut self, watermark: i64) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().for_each(|end| self.tell(end, Timing::Late));
        let before = std::mem::replace(&mut self.watermark, watermark);
        let mut ends: Vec<i64> = self.tuples.iter().flat_map(|(at, _)| self.ends(*at)).collect();
        ends.sort_unstable();
        ends.dedup();
        let now = ends.into_iter().filter(|end| before < *end && *end <= watermark);
        now.for_each(|end| self.tell(end, Timing::OnTime));
    }
}

/// Drives both through the same, and compares what they tell.
fn compare<C, G>(mut driven: Driven<C, G>, mut words: Words, ops: &[Op])
where
    C: Contents<u32, Out = Vec<u32>>,
    G: Trigger<u32>,
{
    let (mut watermark, mut value) = (0, 0);
    driven.commit(watermark);
    words.commit(watermark);
    for op in ops {
        match op {
            Op::Tuple(from) => {
                driven.tuple(watermark + from, value);
                words.tuple(watermark + from, value);
                value += 1;
            }
            Op::Commit(more) => {
                watermark += more;
                driven.commit(watermark);
                words.commit(watermark);
            }
            Op::Restart => {
                driven.commit(watermark);
                words.commit(watermark);
                driven.restart();
            }
            Op::Aborted(from) => {
                driven.commit(watermark);
                words.commit(watermark);
                driven.aborted(watermark + from);
            }
        }
        let mut told = driven.told.clone();
        told.iter_mut().for_each(|(.., values)| values.sort_unstable());
        assert_eq!(told, words.told, "at {watermark}");
        assert_eq!(driven.late, words.late, "at {watermark}");
    }
    // Nothing is kept when time has passed everything.
    driven.commit(watermark + 10_000);
    assert!(driven.is_over(), "something is kept");
    let mut whole = Vec::new();
    driven.state.write(Extent::Whole, &mut whole, None).unwrap();
    let mut none = Vec::new();
    StateOf::<u32, C, G>::default().write(Extent::Whole, &mut none, None).unwrap();
    assert!(whole.len() <= none.len() + 8, "{} bytes are left", whole.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn windows_by_time_are_told_of_as_the_words_say(
        slide in 1i64..20,
        more in prop_oneof![Just(0i64), 0i64..60],
        offset in 0i64..20,
        lateness in prop_oneof![Just(0i64), 0i64..80],
        every in proptest::option::of(1u64..4),
        discards in any::<bool>(),
        whole in any::<bool>(),
        ops in ops(),
    ) {
        let (size, offset) = (slide + more, offset % slide);
        // Windows that share tuples cannot let go of them.
        let discards = discards && more == 0;
        let words = Words {
            size, slide, offset, lateness, every, discards,
            tuples: vec![], since: BTreeMap::new(), counts: BTreeMap::new(), changed: vec![],
            watermark: -1_000_000, told: vec![], late: vec![],
        };
        let assign = Assign::Panes(Panes::new(size, slide, offset));
        match (whole, every) {
            (true, None) => {
                let machine = machine(assign, EVENT, Whole::new(None), AtEnd, lateness);
                compare(Driven::new(Machine { discards, ..machine }), words, &ops);
            }
            (true, Some(n)) => {
                let machine = machine(assign, EVENT, Whole::new(None), EveryTuples(n), lateness);
                compare(Driven::new(Machine { discards, ..machine }), words, &ops);
            }
            (false, None) => {
                let machine = machine(assign, EVENT, Incremental(All), AtEnd, lateness);
                compare(Driven::new(Machine { discards, ..machine }), words, &ops);
            }
            (false, Some(n)) => {
                let machine = machine(assign, EVENT, Incremental(All), EveryTuples(n), lateness);
                compare(Driven::new(Machine { discards, ..machine }), words, &ops);
            }
        }
    }

    /// Sessions: sets of tuples, joined by every tuple that is less than a gap from any of them.
    #[test]
    fn sessions_are_told_of_as_the_words_say(
        gap in 1i64..40,
        lateness in prop_oneof![Just(0i64), 0i64..80],
        whole in any::<bool>(),
        ops in ops(),
    ) {
        match whole {
            true => compare_sessions(Whole::new(None), gap, lateness, &ops),
            false => compare_sessions(Incremental(All), gap, lateness, &ops),
        }
    }

    #[test]
    fn windows_by_count_are_the_last_tuples_after_every_so_many(
        slide in 1u32..8, more in prop_oneof![Just(0u32), 0u32..20], n in 0u32..100, whole: bool,
    ) {
        let size = slide + more;
        let (wide, step) = (i64::from(size), i64::from(slide));
        let assign = Assign::Panes(Panes::new(wide, step, -(wide % step)));
        let expected: Vec<(Timing, Vec<u32>)> = (1..=n)
            .filter(|n| n % slide == 0)
            .map(|n| (Timing::OnTime, (n.saturating_sub(size)..n).collect()))
            .collect();
        let told = match whole {
            true => counted(machine(assign, By::Count, Whole::new(None), AtEnd, 0), n),
            false => counted(machine(assign, By::Count, Incremental(All), AtEnd, 0), n),
        };
        let told: Vec<_> = told.into_iter().map(|(.., timing, values)| (timing, values)).collect();
        prop_assert_eq!(told, expected);
    }
}

fn counted<C: Contents<u32, Out = Vec<u32>>>(machine: Machine<C, AtEnd>, n: u32) -> Told {
    let mut driven = Driven::new(machine);
    for value in 0..n {
        // Its time is none of theirs.
        driven.tuple(0, value);
        if value % 5 == 0 {
            driven.commit(0);
            driven.restart();
        }
    }
    driven.told
}

/// A session in words.
#[derive(Clone)]
struct Set {
    tuples: Vec<(i64, u32)>,
    told: bool,
    changed: bool,
}

impl Set {
    fn start(&self) -> i64 {
        self.tuples.iter().map(|tuple| tuple.0).min().unwrap()
    }

    fn last(&self) -> i64 {
        self.tuples.iter().map(|tuple| tuple.0).max().unwrap()
    }

    fn told(&self, gap: i64, timing: Timing) -> (i64, i64, Timing, Vec<u32>) {
        let mut values: Vec<u32> = self.tuples.iter().map(|tuple| tuple.1).collect();
        values.sort_unstable();
        (self.start(), self.last() + gap, timing, values)
    }
}

fn compare_sessions<C: Contents<u32, Out = Vec<u32>>>(
    contents: C,
    gap: i64,
    lateness: i64,
    ops: &[Op],
) {
    let mut driven = Driven::new(machine(Assign::Sessions(gap), EVENT, contents, AtEnd, lateness));
    let (mut sets, mut told, mut late): (Vec<Set>, Told, Vec<u32>) = Default::default();
    let (mut watermark, mut value) = (0, 0);
    driven.commit(0);
    for op in ops {
        match op {
            Op::Tuple(from) => {
                let at = watermark + from;
                driven.tuple(at, value);
                let near = |set: &Set| set.tuples.iter().any(|tuple| (tuple.0 - at).abs() < gap);
                let within = |set: &Set| set.start() <= at && at < set.last() + gap;
                let (joined, rest): (Vec<Set>, Vec<Set>) =
                    sets.iter().cloned().partition(|set| near(set) || within(set));
                let mut tuples: Vec<_> = joined.into_iter().flat_map(|set| set.tuples).collect();
                tuples.push((at, value));
                let mut set = Set { tuples, told: false, changed: false };
                let end = set.last() + gap;
                if end + lateness <= watermark {
                    late.push(value);
                } else {
                    (set.told, set.changed) = (end <= watermark, end <= watermark);
                    sets = rest;
                    sets.push(set);
                }
                value += 1;
            }
            Op::Commit(_) | Op::Restart | Op::Aborted(_) => {
                watermark += if let Op::Commit(more) = op { *more } else { 0 };
                driven.commit(watermark);
                sets.sort_by_key(Set::start);
                for set in &mut sets {
                    if std::mem::take(&mut set.changed) {
                        told.push(set.told(gap, Timing::Late));
                    }
                }
                for set in sets.iter_mut().filter(|set| !set.told && set.last() + gap <= watermark)
                {
                    set.told = true;
                    told.push(set.told(gap, Timing::OnTime));
                }
                sets.retain(|set| set.last() + gap + lateness > watermark);
                match op {
                    Op::Restart => driven.restart(),
                    Op::Aborted(from) => driven.aborted(watermark + from),
                    _ => {}
                }
            }
        }
        let mut by_machine = driven.told.clone();
        by_machine.iter_mut().for_each(|(.., values)| values.sort_unstable());
        assert_eq!(by_machine, told, "at {watermark}");
        assert_eq!(driven.late, late, "at {watermark}");
    }
    driven.commit(watermark + 10_000);
    assert!(driven.is_over(), "something is kept");
}

#[test]
fn one_window_that_never_ends_is_told_of_when_its_trigger_says_so() {
    let assign = Assign::Panes(Panes::ALL);
    let trigger = EveryTuples(3);
    let mut all = Driven::new(machine(assign, EVENT, Incremental(All), trigger, 0));
    let latest = Whole::new(Some(std::sync::Arc::new(Latest(2)) as _));
    let mut last = Driven::new(machine(assign, EVENT, latest, trigger, 0));
    let since = machine(assign, EVENT, Incremental(All), trigger, 0);
    let mut since = Driven::new(Machine { discards: true, ..since });
    for value in 0..7 {
        all.tuple(0, value);
        last.tuple(0, value);
        since.tuple(0, value);
        for driven in [&mut all, &mut since] {
            driven.commit(0);
            driven.restart();
        }
        last.commit(0);
        last.restart();
    }
    let (start, end) = (Window::ALL.start_ms, NEVER);
    let told = |values: &[u32]| (start, end, Timing::Early, values.to_vec());
    assert_eq!(all.told, [told(&[0, 1, 2]), told(&[0, 1, 2, 3, 4, 5])]);
    assert_eq!(last.told, [told(&[1, 2]), told(&[4, 5])]);
    assert_eq!(since.told, [told(&[0, 1, 2]), told(&[3, 4, 5])]);
    // What was left out of a window that never ends is gone.
    assert_eq!(last.machine.contents.first_from(&last.state.contents, 0), Some(0));
    assert_eq!(last.state.contents.len(), 3);
}

#[test]
fn a_window_is_told_of_at_every_multiple_of_a_length_into_which_something_fell() {
    let assign = Assign::Panes(Panes::new(100, 100, 0));
    let every = Every::event_time(std::time::Duration::from_millis(30));
    let mut driven = Driven::new(machine(assign, EVENT, Incremental(All), every, 0));
    driven.commit(0);
    driven.tuple(10, 0);
    driven.tuple(20, 1);
    driven.commit(29);
    assert_eq!(driven.told, []);
    driven.commit(30);
    driven.restart();
    assert_eq!(driven.told, [(0, 100, Timing::Early, vec![0, 1])]);
    // Nothing new, nothing told.
    driven.commit(75);
    assert_eq!(driven.told.len(), 1);
    driven.tuple(80, 2);
    driven.commit(95);
    driven.commit(100);
    assert_eq!(
        driven.told[1..],
        [(0, 100, Timing::Early, vec![0, 1, 2]), (0, 100, Timing::OnTime, vec![0, 1, 2]),]
    );
    assert!(driven.is_over());
}

#[test]
fn a_window_is_told_of_by_the_clock_while_event_time_stands() {
    let assign = Assign::Sessions(50);
    let every = Every::processing_time(std::time::Duration::from_millis(10));
    let mut driven = Driven::new(machine(assign, EVENT, Whole::new(None), every, 0));
    driven.commit(0);
    driven.clock = 1003;
    driven.tuple(10, 0);
    driven.tuple(90, 1);
    driven.commit(0);
    assert_eq!(driven.told, []);
    driven.clock = 1010;
    driven.commit(0);
    driven.restart();
    let early = |start, end, values: &[u32]| (start, end, Timing::Early, values.to_vec());
    assert_eq!(driven.told, [early(10, 60, &[0]), early(90, 140, &[1])]);
    // Two sessions become one, with what their triggers waited for.
    driven.tuple(95, 2);
    driven.clock = 1015;
    driven.tuple(50, 3);
    driven.clock = 1020;
    driven.commit(0);
    assert_eq!(driven.told[2..], [early(10, 145, &[0, 3, 1, 2])]);
    driven.commit(200);
    assert!(driven.is_over());
}

#[test]
fn sessions_that_become_one_are_told_of_by_what_their_triggers_know_together() {
    let assign = Assign::Sessions(50);
    let mut driven = Driven::new(machine(assign, EVENT, Incremental(All), EveryTuples(4), 0));
    driven.commit(0);
    for (at, value) in [(10, 0), (20, 1), (100, 2)] {
        driven.tuple(at, value);
    }
    driven.commit(0);
    driven.restart();
    assert_eq!(driven.told, []);
    driven.tuple(60, 3);
    assert_eq!(driven.told, [(10, 150, Timing::Early, vec![0, 1, 2, 3])]);
    driven.commit(200);
    assert!(driven.is_over());
}

#[test]
fn windows_by_the_clock_end_by_the_clock() {
    let assign = Assign::Panes(Panes::new(100, 50, 0));
    let by = By::Time(TimeOf::Processing);
    let mut driven = Driven::new(machine(assign, by, Incremental(All), AtEnd, 0));
    driven.clock = 1020;
    driven.tuple(1020, 0);
    driven.commit(0);
    driven.clock = 1050;
    driven.commit(0);
    driven.clock = 1300;
    driven.commit(0);
    assert_eq!(
        driven.told,
        [(950, 1050, Timing::OnTime, vec![0]), (1000, 1100, Timing::OnTime, vec![0]),]
    );
    assert!(driven.is_over());
}

#[test]
fn an_evictor_leaves_out_the_first_and_windows_keep_them() {
    let assign = Assign::Panes(Panes::new(100, 50, 0));
    let within = Within(std::time::Duration::from_millis(30));
    let contents = Whole::new(Some(std::sync::Arc::new(within) as _));
    let mut driven = Driven::new(machine(assign, EVENT, contents, AtEnd, 0));
    driven.commit(0);
    for (at, value) in [(60, 0), (75, 1), (90, 2), (60, 3), (120, 4)] {
        driven.tuple(at, value);
    }
    driven.commit(1000);
    assert_eq!(
        driven.told,
        [
            (0, 100, Timing::OnTime, vec![1, 2]),
            (50, 150, Timing::OnTime, vec![4]),
            (100, 200, Timing::OnTime, vec![4]),
        ]
    );
}

#[test]
fn times_at_the_ends_of_their_range_are_no_panic() {
    use super::span::{LENGTH_MAX_MS, TIME_MAX_MS};
    for assign in [
        Assign::Panes(Panes::new(LENGTH_MAX_MS, LENGTH_MAX_MS, 0)),
        Assign::Panes(Panes::ALL),
        Assign::Sessions(LENGTH_MAX_MS),
    ] {
        let mut driven =
            Driven::new(machine(assign, EVENT, Incremental(All), EveryTuples(2), LENGTH_MAX_MS));
        driven.watermark = -TIME_MAX_MS;
        for at in [-TIME_MAX_MS, TIME_MAX_MS, 0] {
            driven.tuple(at, 1);
        }
        driven.commit(0);
        driven.commit(TIME_MAX_MS);
    }
}

/// Counts what is done to accumulators.
#[derive(Clone)]
struct Watched(std::sync::Arc<std::sync::Mutex<(u64, u64)>>);

impl Aggregate<u32> for Watched {
    type Acc = u64;
    type Out = Vec<u32>;
    fn init(&self, _: u32) -> u64 {
        self.0.lock().unwrap().0 += 1;
        1
    }
    fn add(&self, acc: &mut u64, _: u32) {
        self.0.lock().unwrap().0 += 1;
        *acc += 1;
    }
    fn merge(&self, acc: &mut u64, later: &u64) {
        self.0.lock().unwrap().1 += 1;
        *acc += later;
    }
    fn result(&self, acc: &u64) -> Vec<u32> {
        vec![u32::try_from(*acc).unwrap()]
    }
}

#[test]
fn a_tuple_touches_one_slice_and_a_slide_costs_three_merges_whatever_the_overlap() {
    for overlap in [1, 10, 200, 1000] {
        let panes = Panes::new(10_000, 10_000 / overlap, 0);
        let watched = Watched(std::sync::Arc::default());
        let contents = Incremental(watched.clone());
        let mut driven = Driven::new(machine(Assign::Panes(panes), EVENT, contents, AtEnd, 0));
        driven.commit(0);
        let (mut tuples, mut at) = (0, 0);
        while at < 40_000 {
            at += 5;
            driven.tuple(at, 0);
            tuples += 1;
            if at % 500 == 0 {
                driven.commit(at);
            }
        }
        let (adds, merges) = *watched.0.lock().unwrap();
        let told = driven.told.len() as u64;
        assert_eq!(adds, tuples, "one for each tuple with {overlap} windows");
        assert!(told >= 3 * overlap.cast_unsigned(), "{told} windows were told of");
        assert!(merges <= 3 * told, "{merges} merges for {told} windows of {overlap}");
        let full = driven.told.iter().filter(|(start, ..)| *start > 0);
        assert!(full.clone().count() > 0 && full.clone().all(|(.., n)| n[0] == 2000));
    }
}
