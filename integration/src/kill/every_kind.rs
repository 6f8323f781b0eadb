//! A topology with every kind of state, what it reads, and what one thread makes of that.
//!
//! ```text
//! left  ─▶ lines ─┬─▶ each ─┬──────────▶ told     what is kept of the key after each line: value, list, map
//!                 │         └▶ number ─▶ counts   how often the key came: 1, 2, 3, …
//!                 └─▶ join ───────────▶ joined   each window of a key, once: lines of the left, of the right
//! right ─▶ lines ───┘
//! ```
//! A line is `key time number`. A key stands in one partition of a side, and the numbers of a partition are
//! 0, 1, 2, …: so what each key is told of is one sequence, whoever runs the topology and however often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use egret::{
    Blob, ComponentResult, Context, Either, Emitter, EventTime, Guarantee, KeyedBolt, ListState,
    LogSink, LogSpout, MapState, Stream, Timer, Topology, TopologyBuilder, Value,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, clock};

use super::commits::Epochs;
use crate::sim::dice::Dice;

/// The topology's name, unless another is asked for.
pub const NAME: &str = "every_kind";

/// What it reads: a stream, and its partitions.
pub const SIDES: [(&str, u32); 2] = [("left", 2), ("right", 1)];

/// What it writes.
pub const OUTPUTS: [&str; 3] = ["told", "counts", "joined"];

/// Partitions of what it writes.
const PARTITIONS: u32 = 2;

/// Milliseconds of a window.
const WINDOW: i64 = 100;

/// How late a line may come.
const LATE: i64 = 30;

/// Elements a key's list has before it is begun anew.
const LIST: usize = 9;

/// The key of each partition's last line, behind every window: of no interest itself.
pub const END: &str = "end";

/// What each key was told of, in order, by output.
pub type Told = BTreeMap<String, Vec<String>>;

/// Hears of the first line a generation reads of a partition: the side, the partition, the line's number.
pub type Heard = Arc<dyn Fn(&str, u32, u64) + Send + Sync>;

egret::state! {
    /// What is kept of a key.
    pub struct Kept {
        count: Value<u64>,
        recent: ListState<u64>,
        by: MapState<u64, u64>,
    }
}

egret::state! {
    /// Lines of each side, by window.
    pub struct Open {
        windows: MapState<i64, (u64, u64)>,
    }
}

fn parse(line: &str) -> Option<(&str, i64, u64)> {
    let mut words = line.split(' ');
    let (key, at, number) = (words.next()?, words.next()?, words.next()?);
    Some((key, at.parse().ok()?, number.parse().ok()?))
}

fn key_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// A line's partition: its key's number says it.
fn partition_of(key: &str, partitions: u32) -> Option<u32> {
    Some(key.strip_prefix('k')?.parse::<u32>().ok()? % partitions)
}

/// Takes its time for each line.
struct Each(Duration);

impl KeyedBolt<str, String, (Blob, String)> for Each {
    type State = Kept;

    fn execute(
        &mut self,
        key: &str,
        kept: &mut Kept,
        line: String,
        out: &mut Emitter<(Blob, String)>,
        _: &Context,
    ) -> ComponentResult {
        let (_, _, number) = parse(&line).ok_or("a line that is none")?;
        if key == END {
            return Ok(());
        }
        // Busy, not asleep: a bolt that has something to do.
        let until = clock::now() + self.0;
        while clock::now() < until {
            std::hint::spin_loop();
        }
        *kept.count += 1;
        if kept.recent.len() == LIST {
            kept.recent.clear();
        }
        kept.recent.push(number);
        *kept.by.or_default(number % 5) += 1;
        let (recent, by) = (kept.recent.iter().copied(), kept.by.iter());
        let by = by.map(|(rest, n)| (*rest, *n));
        let said = say(number, *kept.count, &recent.collect::<Vec<_>>(), &by.collect());
        out.emit((Blob::from(key.as_bytes()), said));
        Ok(())
    }
}

fn say(number: u64, count: u64, recent: &[u64], by: &BTreeMap<u64, u64>) -> String {
    format!("{number} {count} {recent:?} {by:?}")
}

struct Join;

impl KeyedBolt<str, Either<String, String>, (Blob, String)> for Join {
    type State = Open;

    fn execute(
        &mut self,
        _: &str,
        open: &mut Open,
        line: Either<String, String>,
        _: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        let (left, line) = match line {
            Either::Left(line) => (true, line),
            Either::Right(line) => (false, line),
        };
        let (_, at, _) = parse(&line).ok_or("a line that is none")?;
        let window = at.div_euclid(WINDOW);
        let counts = open.windows.or_default(window);
        *(if left { &mut counts.0 } else { &mut counts.1 }) += 1;
        cx.timers().set(Timer::event((window + 1) * WINDOW))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        open: &mut Open,
        timer: Timer,
        out: &mut Emitter<(Blob, String)>,
        _: &Context,
    ) -> ComponentResult {
        let window = timer.ms / WINDOW - 1;
        let (left, right) = open.windows.remove(&window).ok_or("a window that is not there")?;
        out.emit((Blob::from(key.as_bytes()), format!("{window}: {left} {right}")));
        Ok(())
    }
}

/// How to wire it.
#[derive(Clone)]
pub struct Wiring {
    /// Tasks of each component.
    pub tasks: u32,
    /// Whether it ends where its input ended when it began.
    pub bounded: bool,
    /// How long a line of the left takes.
    pub line_takes: Duration,
    /// What it promises.
    pub guarantee: Guarantee,
    /// Who hears where generations begin to read.
    pub heard: Heard,
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tasks, bounded: {}, {}", self.tasks, self.bounded, self.guarantee)
    }
}

impl Wiring {
    /// Effectively-once, with so many tasks, to the end of its input, heard by nobody.
    pub fn of(tasks: u32) -> Wiring {
        let (guarantee, heard) = (Guarantee::EffectivelyOnce, Arc::new(|_: &str, _, _| {}));
        Wiring { tasks, bounded: true, line_takes: Duration::ZERO, guarantee, heard }
    }

    fn side(
        &self,
        t: &mut TopologyBuilder,
        side: &'static str,
        partitions: u32,
    ) -> egret::Result<Stream<String>> {
        let spout = LogSpout::<String>::from_stream(side);
        let spout = if self.bounded { spout.bounded() } else { spout };
        // A partition that nobody writes holds every window open.
        let time = EventTime { out_of_order_ms: LATE.unsigned_abs(), idle_ms: 86_400_000 };
        let lines = t.spout(side, self.tasks, spout)?;
        let lines = lines.event_time_with(time, |line| parse(line).map_or(i64::MIN, |l| l.1))?;
        let heard = Arc::clone(&self.heard);
        // By partition: a shuffle among several tasks of a worker keeps no order between them.
        let lines = lines.fields(move |line| match partition_of(key_of(line), partitions) {
            Some(0) => "even",
            Some(_) => "odd",
            None => END,
        });
        lines.bolt(&format!("lines-{side}"), self.tasks, move || {
            let heard = Arc::clone(&heard);
            let mut begun = BTreeSet::new();
            move |line: String, out: &mut Emitter<String>| {
                let number = parse(&line).map(|(_, _, number)| number);
                if let (Some(partition), Some(number)) =
                    (partition_of(key_of(&line), partitions), number)
                    && begun.insert(partition)
                {
                    heard(side, partition, number);
                }
                out.emit(line);
            }
        })
    }

    /// Wires it.
    ///
    /// # Errors
    /// When the numbers of tasks are out of range.
    pub fn topology(&self) -> egret::Result<Topology> {
        let mut t = TopologyBuilder::new(NAME);
        t.guarantee(self.guarantee).key_groups(64);
        let [left, right] = SIDES.map(|(side, partitions)| self.side(&mut t, side, partitions));
        let (left, right) = (left?, right?);
        let line_takes = self.line_takes;
        let told = left.fields(|line| key_of(line));
        let told = told.keyed("each", self.tasks, move || Each(line_takes))?;
        let numbers = told.fields(|(key, _): &(Blob, String)| key.as_bytes());
        let numbers = numbers.bolt("number", self.tasks, || {
            |(key, said): (Blob, String), out: &mut Emitter<(Blob, String)>| {
                let count = said.split(' ').nth(1).unwrap_or_default().to_owned();
                out.emit((key, count));
            }
        })?;
        let both = left.fields(|line| key_of(line)).join(right.fields(|line| key_of(line)))?;
        let joined = both.keyed("join", self.tasks, || Join)?;
        for (stream, output) in [(&told, "told"), (&numbers, "counts"), (&joined, "joined")] {
            stream.sink(output, LogSink::to_stream(output).partitions(PARTITIONS))?;
        }
        t.finish()
    }
}

/// Lines of both sides, by side and partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input(Vec<Vec<Vec<String>>>);

impl Input {
    /// So many lines a partition, made from a seed, and the one behind every window.
    pub fn new(seed: u64, lines: u64) -> Input {
        let mut dice = Dice::new(seed, "every kind");
        let sides = SIDES.map(|(_, partitions)| {
            let of = |partition: u32| {
                let mut line = |number: u64| {
                    let key = dice.roll(8) * u64::from(partitions) + u64::from(partition);
                    let at = number * 3 + dice.roll(LATE.unsigned_abs());
                    format!("k{key:02} {at} {number}")
                };
                let last = format!("{END} {} {lines}", i64::MAX / 4);
                (0..lines).map(&mut line).chain([last]).collect()
            };
            (0..partitions).map(of).collect()
        });
        Input(sides.into())
    }

    /// The partitions: side, number, lines.
    fn partitions(&self) -> impl Iterator<Item = (&'static str, u32, &[String])> {
        SIDES.iter().zip(&self.0).flat_map(|((side, _), partitions)| {
            (0..).zip(partitions).map(move |(number, lines)| (*side, number, &lines[..]))
        })
    }

    /// Only what lies before these numbers, by side and partition.
    pub fn before(&self, ends: &BTreeMap<(String, u32), u64>) -> Input {
        let mut cut = self.clone();
        for ((side, _), partitions) in SIDES.iter().zip(&mut cut.0) {
            for (number, lines) in (0..).zip(partitions) {
                let end = ends.get(&((*side).to_owned(), number)).copied().unwrap_or(0);
                lines.truncate(usize::try_from(end).unwrap_or(usize::MAX));
            }
        }
        cut
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// When a stream is there already, or takes nothing.
    pub fn write(&self, log: &Log) -> Result<()> {
        self.write_part(log, 0, 1)
    }

    /// Writes the `nth` of so many parts; the first makes the streams.
    ///
    /// # Errors
    /// When a stream takes nothing.
    pub fn write_part(&self, log: &Log, nth: usize, parts: usize) -> Result<()> {
        if nth == 0 {
            for (side, partitions) in SIDES {
                let config =
                    StreamConfig { partitions, format: Format::Utf8, ..StreamConfig::default() };
                log.create_stream(side, config)?;
            }
        }
        for (side, partition, lines) in self.partitions() {
            let size = lines.len().div_ceil(parts);
            let lines = lines.chunks(size.max(1)).nth(nth).unwrap_or_default();
            let writer = log.writer_of(side, partition, &Format::Utf8)?;
            // Entries of several lines: a commit may end in the middle of one.
            for some in lines.chunks(7) {
                let records: Vec<_> = some.iter().map(|line| Record::of(line.clone())).collect();
                writer.append_wait(&records)?;
            }
        }
        Ok(())
    }

    /// What one thread makes of it, by output.
    pub fn reference(&self) -> BTreeMap<&'static str, Told> {
        let mut told: BTreeMap<_, _> = OUTPUTS.map(|output| (output, Told::new())).into();
        let mut tell = |output: &'static str, key: &str, what: String| {
            told.entry(output).or_default().entry(key.to_owned()).or_default().push(what);
        };
        let (mut kept, mut open) = (BTreeMap::new(), BTreeMap::<_, (u64, u64)>::new());
        for (side, _, lines) in self.partitions() {
            for (key, at, number) in lines.iter().filter_map(|line| parse(line)) {
                if key == END {
                    continue;
                }
                let window = open.entry((key, at.div_euclid(WINDOW))).or_default();
                if side == "right" {
                    window.1 += 1;
                    continue;
                }
                window.0 += 1;
                let (count, recent, by): &mut (u64, Vec<u64>, BTreeMap<u64, u64>) =
                    kept.entry(key).or_default();
                *count += 1;
                if recent.len() == LIST {
                    recent.clear();
                }
                recent.push(number);
                *by.entry(number % 5).or_default() += 1;
                tell("told", key, say(number, *count, recent, by));
                tell("counts", key, count.to_string());
            }
        }
        for ((key, window), (left, right)) in open {
            tell("joined", key, format!("{window}: {left} {right}"));
        }
        told
    }
}

/// What was written so far, by output, and the epoch of each entry of `counts`.
///
/// # Errors
/// When something cannot be read, or is no such output.
pub fn outputs(log: &Log) -> Result<BTreeMap<&'static str, Told>> {
    let mut found = BTreeMap::new();
    for output in OUTPUTS {
        found.insert(output, read(log, output)?.0);
    }
    Ok(found)
}

/// What an output has, and the epochs of its entries. None where it is not there yet.
///
/// # Errors
/// As [`outputs`].
pub fn read(log: &Log, output: &str) -> Result<(Told, Epochs)> {
    let (mut told, mut epochs) = (Told::new(), Epochs::new());
    if !log.streams()?.iter().any(|stream| stream.name == output) {
        return Ok((told, epochs));
    }
    for partition in 0..PARTITIONS {
        let mut reader = log.reader(output, partition, ReadFrom::Earliest)?;
        while let Some(batch) = reader.next_wait(Duration::ZERO)? {
            epochs.insert((partition, batch.position(0)), batch.epoch);
            for record in &batch.records {
                let key = record.key.as_deref().context("a record has its key")?;
                let key = std::str::from_utf8(key)?.to_owned();
                let said = std::str::from_utf8(&record.value)?.to_owned();
                told.entry(key).or_default().push(said);
            }
        }
    }
    Ok((told, epochs))
}

/// Holds outputs to the reference: the same records of each key, in the same order.
///
/// # Errors
/// The first that differs.
pub fn compare(found: &BTreeMap<&'static str, Told>, input: &Input) -> Result<()> {
    for (output, expected) in input.reference() {
        let found = found.get(output).context("an output is missing")?;
        ensure!(found.keys().eq(expected.keys()), "{output}: {:?}", found.keys());
        for (key, expected) in &expected {
            let found = &found[key];
            let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected);
            let same = at.count();
            ensure!(
                same == found.len() && same == expected.len(),
                "{output}: {key} has {} records and should have {}; record {same} is {:?} and should \
                 be {:?}",
                found.len(),
                expected.len(),
                found.get(same),
                expected.get(same)
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_says_is_every_line_and_every_window() {
        let input = Input::new(3, 50);
        let reference = input.reference();
        let of = |output| reference[output].values().map(Vec::len).sum::<usize>();
        assert_eq!((of("told"), of("counts")), (100, 100));
        let lines = |(_, count): (&str, &str)| {
            count.split(' ').map(|n| n.parse::<u64>().unwrap()).sum::<u64>()
        };
        let windows = reference["joined"].values().flatten();
        assert_eq!(windows.map(|w| lines(w.split_once(": ").unwrap())).sum::<u64>(), 150);
        assert!(compare(&reference, &input).is_ok());
    }

    #[test]
    fn a_record_too_many_too_few_or_out_of_order_is_found() {
        let input = Input::new(3, 50);
        let changes: [fn(&mut Vec<String>); 3] =
            [|all| all.push(all[0].clone()), |all| drop(all.pop()), |all| all.swap(0, 1)];
        for output in OUTPUTS {
            for change in changes {
                let mut found = input.reference();
                change(found.get_mut(output).unwrap().get_mut("k00").unwrap());
                assert!(compare(&found, &input).is_err(), "{output}");
            }
        }
    }
}
