//! Wall time and CPU time, and tables of medians.

use std::collections::BTreeMap;

use egret_log::clock;

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

/// The clock that all processes of a host share, and other languages read, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).expect("it is not set back");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
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
    unit: &'static str,
    order: Vec<String>,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Table {
    /// A table over `work` units (words) a run.
    pub fn new(title: &str, work: u64) -> Table {
        Table::of(title, work, "words")
    }

    /// The same of another unit.
    pub fn of(title: &str, work: u64, unit: &'static str) -> Table {
        let (order, samples) = (Vec::new(), BTreeMap::new());
        Table { title: title.to_owned(), work, unit, order, samples }
    }

    /// Adds a run of a contender.
    pub fn add(&mut self, name: &str, sample: Sample) {
        if !self.samples.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.samples.entry(name.to_owned()).or_default().push(sample);
    }

    /// What one contender took of another, within a round, in the median: of the clock, and of the CPU.
    /// `None` when one of them did not run.
    pub fn ratios(&self, name: &str, base: &str) -> Option<(f64, f64)> {
        let (runs, base) = (self.samples.get(name)?, self.samples.get(base)?);
        let ratio = |f: fn(&Sample) -> f64| {
            median(runs.iter().zip(base).map(|(a, b)| f(a) / f(b)).collect())
        };
        Some((ratio(|s| s.wall), ratio(|s| s.cpu)))
    }

    /// Medians of a contender: seconds on the clock, and its count.
    pub fn medians(&self, name: &str) -> Option<(f64, f64)> {
        let runs = self.samples.get(name)?;
        let of = |f: fn(&Sample) -> f64| median(runs.iter().map(f).collect());
        Some((of(|s| s.wall), of(|s| s.count as f64)))
    }

    /// Prints medians, with ratios to the contender `base`: medians of the ratios within each round.
    pub fn print(&self, base: &str) {
        let unit = self.unit;
        println!("\n{}: {} {unit} a run", self.title, self.work);
        println!(
            "| what | wall s | CPU s | M {unit}/s | M {unit}/CPU-s | rate ÷ {base} | CPU ÷ {base} | count |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let base = self.samples.get(base).map_or(&[][..], Vec::as_slice);
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
