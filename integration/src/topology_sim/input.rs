//! The topology, what it reads, and what must come out of it.
//!
//! ```text
//! lines ─▶ split ─▶ count ──▶ counts    every word's 1, 2, 3, … in order, each once
//!                     └─▶ letters ──▶ letters   per first letter, the sum so far at each commit
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use egret::{
    Blob, ComponentResult, Context, Emitter, Guarantee, KeyedBolt, LogSink, LogSpout, Topology,
    TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Record, StreamConfig};

use crate::sim::dice::Dice;

/// The topology's name.
pub(super) const NAME: &str = "words";

/// The stream it reads.
pub(super) const LINES: &str = "lines";

/// Partitions of the input.
const INPUTS: u32 = 2;

/// The streams it writes, and how many partitions each has.
pub(super) const OUTPUTS: [(&str, u32); 2] = [("counts", 2), ("letters", 2)];

const WORDS: &[&str] = &["ant", "ape", "bat", "bee", "cat", "cow", "crow", "dog"];

/// Every tuple is worth an output, so that one too many or too few shows.
struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        word: &[u8],
        n: &mut u64,
        _: Blob,
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

/// The topology with so many tasks: another number each time it is run by another process.
pub(super) fn topology(tasks: u32, segment_bytes: u64, guarantee: Guarantee) -> Arc<Topology> {
    let build = || -> egret::Result<Topology> {
        let mut t = TopologyBuilder::new(NAME);
        t.guarantee(guarantee);
        let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream(LINES).bounded())?;
        let words = lines.shuffle().bolt("split", tasks, || {
            |line: Blob, out: &mut Emitter<Blob>| {
                line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
            }
        })?;
        let counts = words.fields(|word: &Blob| word.as_bytes()).keyed("count", tasks, || Count)?;
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
        t.finish()
    };
    Arc::new(build().expect("it is wired as it should be"))
}

/// Lines of input.
#[derive(Debug)]
pub(super) struct Input {
    lines: Vec<String>,
}

impl Input {
    pub(super) fn new(seed: u64) -> Input {
        let mut dice = Dice::new(seed, "input");
        let lines = dice.between(100, 600);
        let mut line = || {
            let words = dice.between(1, 4);
            let word = |_| dice.one_of(WORDS);
            (0..words).map(word).collect::<Vec<_>>().join(" ")
        };
        Input { lines: (0..lines).map(|_| line()).collect() }
    }

    /// Writes all of it, a few lines an entry, and closes what it wrote: where it ends is known then, whatever
    /// becomes of the bookie.
    pub(super) fn write(&self, log: Log, dice: &mut Dice) {
        let config = StreamConfig { partitions: INPUTS, ..StreamConfig::default() };
        log.create_stream(LINES, config).expect("nothing goes wrong yet");
        let mut rest = &self.lines[..];
        while !rest.is_empty() {
            let count = dice.pick(4) + 1;
            let (some, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            let partition = u32::try_from(dice.roll(u64::from(INPUTS))).expect("a few");
            let records: Vec<Record> = some.iter().map(|line| Record::of(line.clone())).collect();
            let writer = log.writer(LINES, partition).expect("nothing goes wrong yet");
            writer.append_wait(&records).expect("nothing goes wrong yet");
        }
        log.close().expect("nothing goes wrong yet");
    }

    /// How often each word comes.
    fn counts(&self) -> BTreeMap<Vec<u8>, u64> {
        let mut counts = BTreeMap::new();
        for word in self.lines.iter().flat_map(|line| line.split(' ')) {
            *counts.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
        }
        counts
    }

    /// The last value of each key of an output.
    pub(super) fn last_of(&self, stream: &str) -> BTreeMap<Vec<u8>, u64> {
        if stream == OUTPUTS[0].0 {
            return self.counts();
        }
        let mut sums = BTreeMap::new();
        for (word, n) in self.counts() {
            *sums.entry(word[..1].to_vec()).or_insert(0) += n;
        }
        sums
    }
}
