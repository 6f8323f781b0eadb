//! The numbers of one task, as the task adds to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::distribution::Distribution;
use super::handles::{Counter, Gauge, Histogram, MetricError};
use super::{Quantiles, TaskMetrics};
use crate::component::TaskId;

/// Metrics that a component may have for each of its tasks.
const METRICS_MAX: usize = 256;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 128;

/// Stands for no watermark.
const NO_WATERMARK: i64 = i64::MIN;

/// See the [module](self).
pub(crate) struct Meter {
    tuples_in: AtomicU64,
    tuples_out: AtomicU64,
    errors: AtomicU64,
    dead_letters: AtomicU64,
    queue_bytes: AtomicU64,
    state_bytes: AtomicU64,
    execute_ns: Distribution,
    watermark_ms: AtomicI64,
    own: Mutex<BTreeMap<String, Own>>,
}

/// What the component made itself.
enum Own {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    Histogram(Arc<Distribution>),
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            tuples_in: AtomicU64::new(0),
            tuples_out: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            queue_bytes: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            execute_ns: Distribution::default(),
            watermark_ms: AtomicI64::new(NO_WATERMARK),
            own: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (tuples_in, tuples_out) = (&self.tuples_in, &self.tuples_out);
        write!(f, "Meter({tuples_in:?} in, {tuples_out:?} out)")
    }
}

impl Meter {
    /// Another generation begins: nothing has arrived yet.
    pub(super) fn begin(&self) {
        self.queue_bytes.store(0, Ordering::Relaxed);
        self.state_bytes.store(0, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, tuples: usize) {
        self.tuples_in.fetch_add(tuples as u64, Ordering::Relaxed);
    }

    pub(crate) fn emitted(&self, tuples: u64) {
        self.tuples_out.fetch_add(tuples, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    pub(crate) fn buried(&self) {
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn queued(&self, bytes: usize) {
        self.queue_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn dequeued(&self, bytes: usize) {
        self.queue_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Its state takes so much memory now.
    pub(crate) fn holds(&self, bytes: usize) {
        self.state_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// It worked on a batch for so long.
    pub(crate) fn worked(&self, time: std::time::Duration) {
        self.execute_ns.record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn watermark(&self, ms: Option<i64>) {
        self.watermark_ms.store(ms.unwrap_or(NO_WATERMARK), Ordering::Relaxed);
    }

    /// What there is under a name, made if there is nothing.
    fn own<R>(
        &self,
        name: &str,
        make: impl FnOnce() -> Own,
        of: impl FnOnce(&Own) -> Option<R>,
    ) -> Result<R, MetricError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let name_of = || name.to_owned();
        if !own.contains_key(name) {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let begins = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
            if !begins || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
                return Err(MetricError::Name { name: name_of() });
            }
            if own.len() >= METRICS_MAX {
                return Err(MetricError::TooMany { name: name_of(), max: METRICS_MAX });
            }
            own.insert(name_of(), make());
        }
        of(&own[name]).ok_or_else(|| MetricError::OtherKind { name: name_of() })
    }

    pub(crate) fn counter(&self, name: &str) -> Result<Counter, MetricError> {
        self.own(
            name,
            || Own::Counter(Arc::default()),
            |own| match own {
                Own::Counter(counter) => Some(Counter(Arc::clone(counter))),
                _ => None,
            },
        )
    }

    pub(crate) fn gauge(&self, name: &str) -> Result<Gauge, MetricError> {
        self.own(
            name,
            || Own::Gauge(Arc::default()),
            |own| match own {
                Own::Gauge(gauge) => Some(Gauge(Arc::clone(gauge))),
                _ => None,
            },
        )
    }

    pub(crate) fn histogram(&self, name: &str) -> Result<Histogram, MetricError> {
        self.own(
            name,
            || Own::Histogram(Arc::default()),
            |own| match own {
                Own::Histogram(histogram) => Some(Histogram(Arc::clone(histogram))),
                _ => None,
            },
        )
    }

    pub(super) fn read(&self, task: &TaskId, now_ms: i64) -> TaskMetrics {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let watermark = self.watermark_ms.load(Ordering::Relaxed);
        let mut metrics = TaskMetrics {
            component: task.component.to_string(),
            task: task.task,
            tuples_in: read(&self.tuples_in),
            tuples_out: read(&self.tuples_out),
            errors: read(&self.errors),
            dead_letters: read(&self.dead_letters),
            queue_bytes: read(&self.queue_bytes),
            state_bytes: read(&self.state_bytes),
            execute_ns: self.execute_ns.read(),
            watermark_lag_ms: (watermark != NO_WATERMARK).then(|| now_ms.saturating_sub(watermark)),
            ..TaskMetrics::default()
        };
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, own) in &*own {
            let name = name.clone();
            match own {
                Own::Counter(n) => drop(metrics.counters.insert(name, read(n))),
                Own::Gauge(bits) => drop(metrics.gauges.insert(name, f64::from_bits(read(bits)))),
                Own::Histogram(values) => {
                    let values: Quantiles = values.read();
                    metrics.histograms.insert(name, values);
                }
            }
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_metric_of_one_kind_and_they_are_bounded() {
        let meter = Meter::default();
        meter.counter("lines").unwrap().add(2);
        meter.counter("lines").unwrap().inc();
        meter.gauge("load").unwrap().set(0.5);
        meter.histogram("bytes").unwrap().record(7);
        let told = |result: Result<Gauge, MetricError>| result.map(drop).unwrap_err();
        assert_eq!(told(meter.gauge("lines")), MetricError::OtherKind { name: "lines".into() });
        for wrong in ["", "1st", "a-b", "ü", &"x".repeat(129)] {
            assert_eq!(told(meter.gauge(wrong)), MetricError::Name { name: wrong.into() });
        }
        (3..METRICS_MAX).for_each(|n| drop(meter.gauge(&format!("g{n}")).unwrap()));
        assert!(matches!(told(meter.gauge("more")), MetricError::TooMany { .. }));
        let id = TaskId { component: "count".into(), task: 2 };
        let read = meter.read(&id, 1000);
        assert_eq!(read.counters, [("lines".to_owned(), 3)].into());
        assert_eq!((read.gauges["load"], read.histograms["bytes"].max), (0.5, 7));
        assert_eq!(read.watermark_lag_ms, None);
        meter.watermark(Some(400));
        assert_eq!(meter.read(&id, 1000).watermark_lag_ms, Some(600));
    }
}
