//! A window, and the times it may have.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Tuple;

/// The largest time of a tuple, in ms, and the negative of the smallest; others count as one of these. Sums
/// of a time and a length then stay in range.
pub(crate) const TIME_MAX_MS: i64 = i64::MAX / 2;

/// The longest a window may be, or lateness may last.
pub(crate) const LENGTH_MAX_MS: i64 = i64::MAX / 8;

/// What lies at or after `start_ms` and before `end_ms`.
///
/// Of windows by time both are times in ms. Of windows by count they are numbers of the key's tuples, counted
/// from 0 as long as anything is kept of the key: each that tumbles begins at 0 again. The window that never ends has the smallest and the largest number there is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Window {
    /// Its first ms.
    pub start_ms: i64,
    /// The first ms after it.
    pub end_ms: i64,
}

impl Window {
    /// The one that never ends.
    pub const ALL: Window = Window { start_ms: i64::MIN, end_ms: i64::MAX };

    /// Whether `ms` lies in it.
    pub fn contains(&self, ms: i64) -> bool {
        (self.start_ms..self.end_ms).contains(&ms)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start_ms, self.end_ms)
    }
}

/// When a result of a window was told, in regard to its end.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Timing {
    /// Before its end: a trigger said so. More may come.
    Early,
    /// At its end: time passed it, or so many tuples came.
    #[default]
    OnTime,
    /// After its end: tuples came that were late, and not too late.
    Late,
}

/// Which window a result is of, and when it was told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Firing {
    /// The window.
    pub window: Window,
    /// In regard to its end.
    pub timing: Timing,
}

/// A result of a window of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, R> {
    /// The key.
    pub key: K,
    /// Which window, and when.
    pub firing: Firing,
    /// What it came to.
    pub value: R,
}

impl Tuple for Window {}
impl Tuple for Firing {}

impl<K: Tuple, R: Tuple> Tuple for Windowed<K, R> {
    fn weight(&self) -> usize {
        self.key.weight() + size_of::<Firing>() + self.value.weight()
    }
}

/// A time in its range.
pub(crate) fn in_range(ms: i64) -> i64 {
    ms.clamp(-TIME_MAX_MS, TIME_MAX_MS)
}

/// A length in ms; a longer one than there may be is the longest.
pub(crate) fn length_ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).map_or(LENGTH_MAX_MS, |ms| ms.min(LENGTH_MAX_MS))
}
