//! A sink that prints, for trying things out.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

use super::put::{Put, display, json};
use crate::component::{ComponentResult, Context, Sink};

/// Bytes that are printed at once.
const PRINT_BYTES: usize = 64 << 10;

/// Prints a line a tuple to standard output, whole lines at a time.
///
/// ```
/// use egret::{Generator, StdoutSink, TopologyBuilder};
///
/// # let mut t = TopologyBuilder::new("numbers");
/// # t.guarantee(egret::Guarantee::AtLeastOnce);
/// let numbers = t.spout("numbers", 1, Generator::new(|n| n * n).count(10))?;
/// numbers.global().sink("print", 1, StdoutSink::lines)?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// What it keeps: everything is printed before its commit, so a restart may print some of it again: at least
/// once, and a topology that promises more refuses it.
pub struct StdoutSink<T> {
    put: Put<T>,
    lines: Vec<u8>,
}

impl<T> std::fmt::Debug for StdoutSink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StdoutSink({} bytes to print)", self.lines.len())
    }
}

impl<T: Display> StdoutSink<T> {
    /// Each tuple as the text it is displayed as.
    pub fn lines() -> StdoutSink<T> {
        StdoutSink { put: display, lines: Vec::new() }
    }
}

impl<T: Serialize> StdoutSink<T> {
    /// Each tuple as JSON.
    pub fn json_lines() -> StdoutSink<T> {
        StdoutSink { put: json, lines: Vec::new() }
    }
}

impl<T> StdoutSink<T> {
    fn print(&mut self) -> ComponentResult {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&self.lines)?;
        stdout.flush()?;
        self.lines.clear();
        Ok(())
    }
}

impl<T: 'static> Sink<T> for StdoutSink<T> {
    fn write(&mut self, tuple: T, _: &Context) -> ComponentResult {
        (self.put)(&tuple, &mut self.lines)?;
        if self.lines.len() >= PRINT_BYTES { self.print() } else { Ok(()) }
    }

    fn flush(&mut self, _: &Context) -> ComponentResult {
        self.print()
    }
}
