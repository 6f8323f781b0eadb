//! `fio` doing what the limit does: direct writes, each synced.

use std::process::Command;

use serde_json::Value;

use super::latencies::Row;

/// How to get it.
pub const INSTALL: &str = "fio is not there: `apt-get install fio`, and its rows will be";

/// Bytes of each job's file.
const FILE: &str = "--size=16m";

/// `jobs` at once, each with one write of `bytes` and `fdatasync` after the other. Its latency is the sum
/// of the two percentiles; `None` when there is no fio.
pub fn synced_writes(bytes: usize, jobs: usize, seconds: u64) -> Option<Row> {
    let dir = tempfile::tempdir_in(crate::scratch()).ok()?;
    let out = Command::new("fio")
        .args(["--name=a", "--rw=write", "--direct=1", "--fdatasync=1", "--ioengine=psync"])
        .args([FILE, "--time_based", "--overwrite=1", "--output-format=json", "--thread"])
        .args(["--group_reporting", "--percentile_list=50:99:99.9"])
        .arg(format!("--numjobs={jobs}"))
        .arg(format!("--runtime={seconds}"))
        .arg(format!("--bs={bytes}"))
        .arg(format!("--directory={}", dir.path().display()))
        .output()
        .ok()?;
    row(&serde_json::from_slice(&out.stdout).ok()?)
}

fn row(json: &Value) -> Option<Row> {
    let job = &json["jobs"][0];
    let percentile = |p: &str| {
        let write = job["write"]["clat_ns"]["percentile"][p].as_f64()?;
        let sync = job["sync"]["lat_ns"]["percentile"][p].as_f64()?;
        Some((write + sync) / 1000.0)
    };
    Some(Row {
        p50_us: percentile("50.000000")?,
        p99_us: percentile("99.000000")?,
        p999_us: percentile("99.900000")?,
        max_us: f64::NAN,
        rate: job["write"]["iops"].as_f64()?,
        mb: job["write"]["bw_bytes"].as_f64()? / 1e6,
        cpu_us: f64::NAN,
    })
}
