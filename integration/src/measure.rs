//! Wall time, CPU time and latencies, and tables of medians.

use std::collections::BTreeMap;
use std::time::Duration;

use egret_log::clock;
use egret_log::disk::{Disk, OpenHow, RealDisk};
use hdrhistogram::Histogram;

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of CPU, all threads of this process.
    pub cpu: f64,
    /// What the run returned: commits made, words counted.
    pub count: u64,
}

/// CPU seconds this process has used.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs `run` and measures it.
pub fn measure(run: impl FnOnce() -> u64) -> Sample {
    let (started, cpu) = (clock::now(), cpu_seconds());
    let count = run();
    Sample { wall: started.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu, count }
}

/// The middle of a sample.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Contenders and their runs, over the same work.
#[derive(Debug)]
pub struct Table {
    title: String,
    work: u64,
    order: Vec<String>,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Table {
    /// A table over `work` units (words) a run.
    pub fn new(title: &str, work: u64) -> Table {
        Table { title: title.to_owned(), work, order: Vec::new(), samples: BTreeMap::new() }
    }

    /// Adds a run of a contender.
    pub fn add(&mut self, name: &str, sample: Sample) {
        if !self.samples.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.samples.entry(name.to_owned()).or_default().push(sample);
    }

    /// Prints medians, with ratios to the contender `base`: medians of the ratios within each round.
    pub fn print(&self, base: &str) {
        println!("\n{}: {} words a run", self.title, self.work);
        println!(
            "| what | wall s | CPU s | M words/s | M words/CPU-s | rate ÷ {base} | CPU ÷ {base} | count |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let base = &self.samples[base];
        for name in &self.order {
            let runs = &self.samples[name];
            let of = |f: fn(&Sample) -> f64| median(runs.iter().map(f).collect());
            let ratio = |f: fn(&Sample) -> f64| {
                median(runs.iter().zip(base).map(|(a, b)| f(a) / f(b)).collect())
            };
            let (wall, cpu) = (of(|s| s.wall), of(|s| s.cpu));
            let millions = self.work as f64 / 1e6;
            println!(
                "| {name} | {wall:.2} | {cpu:.2} | {:.1} | {:.1} | {:.2} | {:.2} | {} |",
                millions / wall,
                millions / cpu,
                1.0 / ratio(|s| s.wall),
                ratio(|s| s.cpu),
                runs[0].count,
            );
        }
    }
}

/// Latencies of one contender.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
    seconds: f64,
    bytes: usize,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(100, 60_000_000_000, 3);
        let histogram = histogram.expect("three digits between 100 ns and a minute");
        Latencies { histogram, seconds: 0.0, bytes: 0 }
    }

    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).unwrap_or_default();
    }

    /// Says how long it all took and how large each operation was.
    pub fn over(&mut self, time: Duration, bytes: usize) {
        self.seconds = time.as_secs_f64();
        self.bytes = bytes;
    }

    /// A percentile in microseconds.
    pub fn percentile(&self, p: f64) -> f64 {
        self.histogram.value_at_percentile(p) as f64 / 1000.0
    }

    /// p50 and p99 in microseconds, operations and megabytes a second.
    pub fn row(&self) -> [f64; 4] {
        let rate = self.histogram.len() as f64 / self.seconds;
        [self.percentile(50.0), self.percentile(99.0), rate, rate * self.bytes as f64 / 1e6]
    }
}

/// Bytes of the file that the raw limit writes over and over.
const RAW_FILE: u64 = 16 << 20;

/// `bytes`-sized direct writes, each synced, over one prefilled file: the physical limit of a durable
/// append.
///
/// # Panics
/// When the scratch directory has no room.
pub fn raw_writes(bytes: usize, time: Duration) -> Latencies {
    let dir = tempfile::tempdir_in(crate::scratch()).expect("a directory");
    let disk = RealDisk;
    let path = dir.path().join("raw");
    let file = disk.open(&path, OpenHow::CreateNew, false).expect("a file");
    let zeros = vec![0; 1 << 20];
    for at in (0..RAW_FILE).step_by(1 << 20) {
        file.write_all_at(&zeros, at).expect("space");
    }
    file.sync_data().expect("a sync");
    let file = disk.open(&path, OpenHow::Write, true).expect("the file");
    let mut buffer = vec![1u8; bytes + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    let buffer = &mut buffer[start..start + bytes];
    let mut latencies = Latencies::new();
    let begin = clock::now();
    let mut at = 0;
    while begin.elapsed() < time {
        let started = clock::now();
        file.write_all_at(buffer, at).expect("a write");
        file.sync_data().expect("a sync");
        latencies.add(started.elapsed());
        at = (at + bytes as u64) % RAW_FILE;
    }
    latencies.over(begin.elapsed(), bytes);
    latencies
}
