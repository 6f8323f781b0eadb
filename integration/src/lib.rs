//! What tests and benchmarks of the whole share: inputs, measures, and the world they run in.

#![expect(clippy::print_stdout, reason = "programs that print figures")]

pub mod bench;
pub mod bookie_kill;
pub mod cluster;
pub mod hosts;
pub mod kill;
pub mod measure;
pub mod nexmark;
pub mod seeds;
pub mod sim;
pub mod topology_sim;
pub mod words;

use std::path::PathBuf;

/// Where scratch data goes: `EGRET_SCRATCH`, else the system's temporary directory. It must be on a real
/// disk for figures to mean anything.
pub fn scratch() -> PathBuf {
    std::env::var_os("EGRET_SCRATCH").map_or_else(std::env::temp_dir, PathBuf::from)
}
