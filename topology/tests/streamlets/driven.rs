//! One pipeline run in every way there is: calm, killed anywhere, and gone on with by other tasks and workers.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;

use egret::testing::TopologyTest;
use egret::{EventTime, LogSpout, Stream, TopologyBuilder};

/// What is sent to which streams, before it is run until nothing is left to do.
pub(crate) type Part = Vec<(&'static str, Vec<String>)>;

/// A pipeline, what it keeps state in, and what it is sent, part by part.
pub(crate) struct Scenario {
    pub(crate) build: fn(&mut TopologyBuilder) -> egret::Result<()>,
    pub(crate) stateful: &'static [&'static str],
    pub(crate) parts: Vec<Part>,
}

/// Tasks and workers of each life.
const LIVES: [(u32, u32); 4] = [(1, 3), (5, 1), (3, 2), (2, 2)];

impl Scenario {
    /// One partition to each stream, so that its tuples have an order.
    fn test(&self, seed: u64) -> TopologyTest {
        let mut t = TopologyTest::new(self.build).unwrap().seed(seed);
        for (stream, _) in self.parts.iter().flatten() {
            t.partitions(stream, 1);
        }
        t
    }

    fn run(
        &self,
        mut t: TopologyTest,
        mut before: impl FnMut(&mut TopologyTest, usize),
    ) -> TopologyTest {
        for (n, part) in self.parts.iter().enumerate() {
            for (stream, lines) in part {
                t.send(stream, lines.iter().map(String::as_str)).unwrap();
            }
            before(&mut t, n);
            let ran = t.run_until_idle();
            ran.unwrap_or_else(|why| panic!("{why}; {:?}", t.failures()));
        }
        t
    }

    /// Whatever happens to it, `look` sees the same.
    pub(crate) fn holds<R: PartialEq + Debug>(
        &self,
        look: impl Fn(&mut TopologyTest) -> R,
        wanted: &R,
    ) {
        let mut calm = self.run(self.test(0), |_, _| {});
        assert_eq!(look(&mut calm), *wanted, "undisturbed");
        for seed in 1..9 {
            let mut t = self.run(self.test(seed), |t, n| {
                if n as u64 == seed % self.parts.len() as u64 {
                    t.kill_anywhere();
                }
            });
            assert_eq!((&look(&mut t), t.kills()), (wanted, 1), "seed {seed}");
        }
        for (lives, seed) in (20..22).enumerate() {
            let mut t = self.run(self.test(seed), |t, n| {
                let (tasks, workers) = LIVES[(n + lives) % LIVES.len()];
                self.stateful.iter().for_each(|component| {
                    t.tasks(component, tasks);
                });
                t.workers(workers).restore().unwrap();
            });
            assert_eq!(look(&mut t), *wanted, "with other tasks, seed {seed}");
        }
    }
}

/// All of a stream, sorted.
pub(crate) fn sorted(t: &mut TopologyTest, stream: &str) -> Vec<String> {
    let mut all = t.output::<String>(stream).unwrap();
    all.sort_unstable();
    all
}

/// A line is `KEY MS …`.
pub(crate) fn key(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn ms(line: &str) -> i64 {
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// How far lines are out of order, in ms.
pub(crate) const BOUND_MS: i64 = 20;

/// The lines of a stream, with their times.
pub(crate) fn timed(t: &mut TopologyBuilder, stream: &str) -> Stream<String> {
    let config = EventTime { out_of_order_ms: BOUND_MS.unsigned_abs(), ..EventTime::default() };
    let lines = t.spout(stream, 1, LogSpout::<String>::from_stream(stream)).unwrap();
    lines.event_time_with(config, |line| ms(line)).unwrap()
}

/// Lines of a few keys, out of order by less than the bound, no two alike.
pub(crate) fn lines(seed: u64, n: usize) -> Vec<String> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut lines = Vec::new();
    for at in 0..n {
        let ms = 6 * at as u64 + draw(BOUND_MS.unsigned_abs() - 6);
        lines.push(format!("{} {ms} {at}", draw(4)));
    }
    lines
}

/// The lines in three parts, and at last one that is so late that everything before it is over. Its key is that of no
/// other line of any stream.
pub(crate) fn in_parts(streams: &[(&'static str, &[String])]) -> Vec<Part> {
    let part = |n: usize| -> Part {
        let of = |(end, (stream, lines)): (u64, &(&'static str, &[String]))| {
            let (from, to) = (n * lines.len() / 3, (n + 1) * lines.len() / 3);
            let mut lines = lines[from..to].to_vec();
            if n == 2 {
                lines.push(format!("{end} 1000000 end"));
            }
            (*stream, lines)
        };
        (END..).zip(streams).map(of).collect()
    };
    (0..3).map(part).collect()
}

/// The key of the last line of the first stream; those of others follow, and all others are less.
pub(crate) const END: u64 = 99;
