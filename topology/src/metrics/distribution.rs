//! Values that are written by one thread and read by others.
//!
//! The writer puts a value into a row of a few and publishes how many there are; only when the row is full does it
//! take the lock and add them up. A reader takes the lock, which keeps the row from being emptied, and reads what is
//! published:
//!
//! ```text
//! row  [v v v v . . . .]  len 4 ── full ──▶ histogram, under the lock; len 0
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

/// Values between two looks at the lock.
const ROW: usize = 32;

/// Digits of a value that are kept: two, so that a quantile is right to a hundredth.
const DIGITS: u8 = 2;

/// The most that is told apart: what is above counts as this.
const VALUE_MAX: u64 = 1 << 50;

/// How values are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Quantiles {
    /// How many there were.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half of them are not above this.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// Ninety-nine of a hundred.
    pub p99: u64,
    /// All but one in a thousand.
    pub p999: u64,
    /// All.
    pub max: u64,
}

/// See the [module](self).
pub(crate) struct Distribution {
    row: [AtomicU64; ROW],
    len: AtomicUsize,
    /// There once a row was full.
    sum: Mutex<Option<Histogram<u64>>>,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution {
            row: [const { AtomicU64::new(0) }; ROW],
            len: AtomicUsize::new(0),
            sum: Mutex::new(None),
        }
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("it takes two digits")
}

fn add(sum: &mut Histogram<u64>, value: u64) {
    // One that grows takes every value there is.
    sum.record(value.min(VALUE_MAX)).unwrap_or_default();
}

impl Distribution {
    /// Adds a value. Two threads that did this at once would lose some.
    #[inline]
    pub(crate) fn record(&self, value: u64) {
        let at = self.len.load(Ordering::Relaxed);
        self.row[at].store(value, Ordering::Relaxed);
        if at + 1 == ROW {
            self.add_up();
        } else {
            self.len.store(at + 1, Ordering::Release);
        }
    }

    #[cold]
    fn add_up(&self) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sum.get_or_insert_with(empty);
        self.row.iter().for_each(|value| add(sum, value.load(Ordering::Relaxed)));
        self.len.store(0, Ordering::Release);
    }

    /// How what was recorded is spread.
    pub(crate) fn read(&self) -> Quantiles {
        let sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = sum.clone().unwrap_or_else(empty);
        let len = self.len.load(Ordering::Acquire);
        self.row[..len].iter().for_each(|value| add(&mut all, value.load(Ordering::Relaxed)));
        drop(sum);
        let at = |quantile| all.value_at_quantile(quantile);
        Quantiles {
            count: all.len(),
            mean: if all.is_empty() { 0.0 } else { all.mean() },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: all.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_a_writer_and_a_reader() {
        let values = Distribution::default();
        assert_eq!(values.read(), Quantiles::default());
        std::thread::scope(|scope| {
            scope.spawn(|| (1..=100_000).for_each(|value| values.record(value)));
            let mut seen = 0;
            while seen < 100_000 {
                let read = values.read();
                assert!(read.count >= seen, "it only grows");
                seen = read.count;
            }
        });
        let Quantiles { count, mean, p50, p99, max, .. } = values.read();
        assert_eq!(count, 100_000);
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 50.0;
        assert!(near(mean, 50_000.0) && near(p50 as f64, 50_000.0) && near(p99 as f64, 99_000.0));
        assert!(near(max as f64, 100_000.0), "{max}");
        values.record(u64::MAX);
        assert!(values.read().max >= VALUE_MAX);
    }
}
