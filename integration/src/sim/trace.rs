//! What happened: a hash over all of it, and the last of it as text.

use std::collections::VecDeque;
use std::fmt;

/// Events kept as text, unless told otherwise: enough to see what led to most violations.
pub(crate) const LINES: usize = 160;

/// FNV-1a, 64 bits: the same on every machine and in every build.
#[derive(Debug, Clone)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

/// The events of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: Fnv,
    events: u64,
    last: VecDeque<String>,
    line: String,
    keep: usize,
}

impl Trace {
    /// A trace that keeps the last `keep` events as text.
    pub(crate) fn new(keep: usize) -> Trace {
        Trace { keep, ..Trace::default() }
    }

    /// Takes note of an event at a virtual time.
    pub(crate) fn note(&mut self, now_us: u64, event: fmt::Arguments<'_>) {
        use fmt::Write as _;
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        write!(line, "{:>10.3} ms  {event}", now_us as f64 / 1000.0).expect("a string takes it");
        self.hash.add(line.as_bytes());
        self.events += 1;
        if self.last.len() == self.keep
            && let Some(oldest) = self.last.pop_front()
        {
            self.line = oldest;
        }
        self.last.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.value()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}
