//! How long each of many operations took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies of one run; see [`Row`] for what is made of them.
#[derive(Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// A run's figures.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Microseconds that half of the operations took at most.
    pub p50_us: f64,
    /// And 99 of 100.
    pub p99_us: f64,
    /// And 999 of 1,000.
    pub p999_us: f64,
    /// And all.
    pub max_us: f64,
    /// Records a second.
    pub rate: f64,
    /// Bytes a second, in millions.
    pub mb: f64,
    /// CPU microseconds a record, of everybody who took part; NaN where it was not asked.
    pub cpu_us: f64,
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
        Latencies { histogram: histogram.expect("three digits between 100 ns and a minute") }
    }

    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// A percentile in microseconds.
    pub fn percentile(&self, p: f64) -> f64 {
        self.histogram.value_at_percentile(p) as f64 / 1000.0
    }

    /// The figures of a run of `time` in which each operation was of `records` records and `bytes`
    /// bytes, and that took `cpu` seconds of CPU.
    pub fn row(&self, time: Duration, (records, bytes): (usize, usize), cpu: f64) -> Row {
        let operations = self.count() as f64 / time.as_secs_f64();
        let rate = operations * records as f64;
        Row {
            p50_us: self.percentile(50.0),
            p99_us: self.percentile(99.0),
            p999_us: self.percentile(99.9),
            max_us: self.percentile(100.0),
            rate,
            mb: operations * bytes as f64 / 1e6,
            cpu_us: cpu * 1e6 / (self.count() as f64 * records as f64),
        }
    }
}

impl Row {
    /// The same run, each of whose operations was of so many records.
    pub fn of_records(self, records: usize) -> Row {
        let records = records as f64;
        Row { rate: self.rate * records, cpu_us: self.cpu_us / records, ..self }
    }

    /// The same run, each of whose operations was of so many times the bytes.
    pub fn of_times_the_bytes(self, times: usize) -> Row {
        Row { mb: self.mb * times as f64, ..self }
    }
}
