//! Sources and sinks in the box: under kills, with other tasks, in files and over sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod file_sinks;
mod file_spouts;
mod generators;
mod sockets;
mod stdout;

use std::fs;
use std::path::Path;

use egret::testing::TopologyTest;

/// Every line of every file of a directory that readers look at, sorted.
fn lines(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in shown(dir) {
        lines.extend(fs::read_to_string(dir.join(path)).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

/// The files of a directory that readers look at, in order.
fn shown(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut shown: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    shown.sort();
    shown
}

/// What readers of a stream of text see, sorted.
fn read(t: &mut TopologyTest, stream: &str) -> Vec<String> {
    let mut lines = t.output::<String>(stream).unwrap();
    lines.sort();
    lines
}
