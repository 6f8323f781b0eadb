//! What a component is handed to count with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::distribution::Distribution;

/// A number that grows; see [`Context::counter`](crate::Context::counter).
#[derive(Debug, Clone)]
pub struct Counter(pub(super) Arc<AtomicU64>);

impl Counter {
    /// Adds so much.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }
}

/// A number that is what it was set to last; see [`Context::gauge`](crate::Context::gauge).
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) Arc<AtomicU64>);

impl Gauge {
    /// Sets it.
    #[inline]
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Values of which is kept how they are spread; see [`Context::histogram`](crate::Context::histogram).
///
/// It belongs to its task: values recorded by two threads at once may be lost.
pub struct Histogram(pub(super) Arc<Distribution>);

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Histogram({:?})", self.0.read())
    }
}

impl Histogram {
    /// Adds a value, in whatever unit its name says.
    #[inline]
    pub fn record(&self, value: u64) {
        self.0.record(value);
    }
}

/// Why a task cannot count under a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// It is no name.
    #[error(
        "`{name}` cannot name a metric: use 1 to 128 letters, digits and `_`, not beginning with a digit"
    )]
    Name {
        /// What it was to be.
        name: String,
    },
    /// It is a name of another kind of metric.
    #[error("`{name}` is another kind of metric already: give one of the two another name")]
    OtherKind {
        /// The name.
        name: String,
    },
    /// There are as many as a task may have.
    #[error(
        "a task has at most {max} metrics, and `{name}` is one more: make them once, when the task is opened, under \
         names that do not come from its tuples"
    )]
    TooMany {
        /// The name.
        name: String,
        /// How many there may be.
        max: usize,
    },
}
