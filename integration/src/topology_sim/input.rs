//! The topology, what it reads, and what must come out of it.
//!
//! ```text
//! lines ─▶ split ─▶ count ──▶ counts    every word's 1, 2, 3, … in order, each once
//!            │        └─▶ letters ──▶ letters   per first letter, the sum so far at each commit
//!            └─▶ windows ──▶ windows    how often a word came in each window of event time, told once
//! ```
//! A line is `time words`. Lines are written while the topology runs, by a producer that goes on where it was after
//! whatever becomes of the bookie.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret::{
    Blob, ComponentResult, Context, Emitter, EventTime, Guarantee, KeyedBolt, LogSink, LogSpout,
    MapState, Stream, Timer, Topology, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Producer, Record, StreamConfig};

use crate::sim::dice::Dice;

/// The topology's name.
pub(super) const NAME: &str = "words";

/// The stream it reads.
pub(super) const LINES: &str = "lines";

/// Partitions of the input.
const INPUTS: u32 = 2;

/// The streams it writes, and how many partitions each has.
pub(super) const OUTPUTS: [(&str, u32); 3] = [("counts", 2), ("letters", 2), ("windows", 2)];

/// How long a window is, and how late a line may come.
const WINDOW: i64 = 40;
const LATE: i64 = 15;

/// The time of the last line of each partition, behind every window. It is written when nobody follows the input any
/// more: where a partition stands in event time is known from what is read of it, so one run reads all of them.
const END: i64 = i64::MAX / 4;

const WORDS: &[&str] = &["ant", "ape", "bat", "bee", "cat", "cow", "crow", "dog"];

/// Every tuple is worth an output, so that one too many or too few shows.
struct Count;

impl KeyedBolt<[u8], (Blob, i64), (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        word: &[u8],
        n: &mut u64,
        _: (Blob, i64),
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

/// Every commit is worth one output a key.
struct Sum;

impl KeyedBolt<[u8], (Blob, u64), (Blob, u64)> for Sum {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        sum: &mut u64,
        _: (Blob, u64),
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *sum += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        letter: &[u8],
        sum: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(letter), *sum));
        Ok(())
    }
}

egret::state! {
    /// How often a word came, by window.
    struct Open {
        windows: MapState<i64, u64>,
    }
}

/// Every window is worth one output a word.
struct Windows;

impl KeyedBolt<[u8], (Blob, i64), (Blob, u64)> for Windows {
    type State = Open;

    fn execute(
        &mut self,
        _: &[u8],
        open: &mut Open,
        (_, at): (Blob, i64),
        _: &mut Emitter<(Blob, u64)>,
        cx: &Context,
    ) -> ComponentResult {
        let window = at.div_euclid(WINDOW);
        *open.windows.or_default(window) += 1;
        cx.timers().set(Timer::event((window + 1) * WINDOW))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        word: &[u8],
        open: &mut Open,
        timer: Timer,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        let window = timer.ms / WINDOW - 1;
        let count = open.windows.remove(&window).ok_or("a window that is not there")?;
        out.emit((Blob::from(window_of(word, window)), count));
        Ok(())
    }
}

/// How a word in a window is told.
fn window_of(word: &[u8], window: i64) -> Vec<u8> {
    [word, format!("@{window}").as_bytes()].concat()
}

/// The time of a line, and its words.
fn parts(line: &[u8]) -> (i64, impl Iterator<Item = &[u8]>) {
    let mut words = line.split(|b| *b == b' ');
    let time = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    (time.unwrap_or(i64::MIN), words)
}

/// The topology with so many tasks: another number each time it is run by another process. One that follows its
/// input does not end by itself.
pub(super) fn topology(
    tasks: u32,
    follows: bool,
    segment_bytes: u64,
    guarantee: Guarantee,
) -> Arc<Topology> {
    let build = || -> egret::Result<Topology> {
        let mut t = TopologyBuilder::new(NAME);
        t.guarantee(guarantee);
        let spout = LogSpout::<Blob>::from_stream(LINES);
        let spout = if follows { spout } else { spout.bounded() };
        // A partition that is quiet holds every window open, however slow the simulated time goes.
        let time = EventTime { out_of_order_ms: LATE.unsigned_abs(), idle_ms: 86_400_000 };
        let lines = t.spout("lines", 2, spout)?;
        let lines = lines.event_time_with(time, |line| parts(line.as_bytes()).0)?;
        let words = lines.shuffle().bolt("split", tasks, || {
            |line: Blob, out: &mut Emitter<(Blob, i64)>| {
                let (time, words) = parts(line.as_bytes());
                words.for_each(|word| out.emit((Blob::from(word), time)));
            }
        })?;
        let by_word = |words: &Stream<(Blob, i64)>| words.fields(|(word, _)| word.as_bytes());
        let windows = by_word(&words).keyed("window", tasks, || Windows)?;
        let counts = by_word(&words).keyed("count", tasks, || Count)?;
        let letters = counts.fields(|(word, _): &(Blob, u64)| &word.as_bytes()[..1]).keyed(
            "letter",
            tasks,
            || Sum,
        )?;
        let sink = |(stream, partitions): (&str, u32)| {
            LogSink::to_stream(stream).partitions(partitions).segment_bytes_max(segment_bytes)
        };
        counts.sink("counts", sink(OUTPUTS[0]))?;
        letters.sink("letters", sink(OUTPUTS[1]))?;
        windows.sink("windows", sink(OUTPUTS[2]))?;
        t.finish()
    };
    Arc::new(build().expect("it is wired as it should be"))
}

/// Lines of input, and how far they are written.
#[derive(Debug)]
pub(super) struct Input {
    /// By partition.
    lines: [Vec<String>; INPUTS as usize],
    written: [usize; INPUTS as usize],
}

impl Input {
    pub(super) fn new(seed: u64) -> Input {
        let mut dice = Dice::new(seed, "input");
        let count = i64::try_from(dice.between(100, 600)).expect("a few");
        let mut lines: [Vec<String>; INPUTS as usize] = Default::default();
        for number in 0..count {
            let time = number + i64::try_from(dice.roll(LATE.unsigned_abs())).expect("a few");
            let words = dice.between(1, 4);
            let words: Vec<_> = (0..words).map(|_| dice.one_of(WORDS)).collect();
            let line = format!("{time} {}", words.join(" "));
            lines[dice.pick(INPUTS as usize)].push(line);
        }
        Input { lines, written: [0; INPUTS as usize] }
    }

    /// Makes the stream.
    pub(super) fn begin(log: &Log) {
        let config = StreamConfig { partitions: INPUTS, ..StreamConfig::default() };
        log.create_stream(LINES, config).expect("nothing goes wrong yet");
    }

    /// The next lines to write, a few: the partition, the number of the first, the records. `None` when all are
    /// written.
    pub(super) fn next(&self, dice: &mut Dice) -> Option<(usize, usize, Vec<Record>)> {
        let open = |partition: &usize| self.written[*partition] < self.lines[*partition].len();
        let open: Vec<usize> = (0..self.lines.len()).filter(open).collect();
        let partition = *open.get(dice.pick(open.len().max(1)))?;
        let first = self.written[partition];
        let lines = self.lines[partition][first..].iter().take(dice.pick(9) + 1);
        let record = |(number, line): (usize, &String)| Record {
            sequence: Some(number as u64),
            ..Record::of(line.clone())
        };
        Some((partition, first, (first..).zip(lines).map(record).collect()))
    }

    /// Whether it ends with the line behind every window.
    pub(super) fn is_ended(&self) -> bool {
        self.lines.iter().all(|lines| lines.last().is_some_and(|line| *line == END.to_string()))
    }

    /// Adds the line behind every window.
    pub(super) fn end(&mut self) {
        self.lines.iter_mut().for_each(|lines| lines.push(END.to_string()));
    }

    /// They were written.
    pub(super) fn wrote(&mut self, partition: usize, upto: usize) {
        self.written[partition] = self.written[partition].max(upto);
    }

    /// How often each word comes; how often in each window.
    fn counts(&self) -> [BTreeMap<Vec<u8>, u64>; 2] {
        let [mut counts, mut windows]: [BTreeMap<Vec<u8>, u64>; 2] = Default::default();
        for line in self.lines.iter().flatten() {
            let (time, words) = parts(line.as_bytes());
            for word in words {
                *counts.entry(word.to_vec()).or_insert(0) += 1;
                let window = window_of(word, time.div_euclid(WINDOW));
                *windows.entry(window).or_insert(0) += 1;
            }
        }
        [counts, windows]
    }

    /// The last value of each key of an output.
    pub(super) fn last_of(&self, stream: &str) -> BTreeMap<Vec<u8>, u64> {
        let [counts, windows] = self.counts();
        if stream == OUTPUTS[0].0 {
            return counts;
        }
        if stream == OUTPUTS[2].0 {
            return windows;
        }
        let mut sums = BTreeMap::new();
        for (word, n) in counts {
            *sums.entry(word[..1].to_vec()).or_insert(0) += n;
        }
        sums
    }
}

/// Appends lines, again if need be.
///
/// # Errors
/// Why they are not there, or may not be.
pub(super) fn append(log: &Log, partition: usize, records: &[Record]) -> Result<(), String> {
    let producer = Producer { name: "lines".into(), ..Producer::default() };
    let partition = u32::try_from(partition).expect("a few");
    let writer = log.writer(LINES, partition).map_err(|error| egret::chain(&error))?;
    writer.append_as_wait(&producer, records).map_err(|error| egret::chain(&error))?;
    Ok(())
}

/// Ends what was written.
///
/// # Errors
/// When it may not have been.
pub(super) fn close(log: Log) -> Result<(), String> {
    for partition in 0..INPUTS {
        log.writer(LINES, partition).map_err(|error| egret::chain(&error))?;
    }
    log.close().map_err(|error| egret::chain(&error))
}
