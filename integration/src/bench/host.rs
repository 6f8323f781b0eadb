//! What the kernel says of this host and its processes. Empty or NaN where it says nothing (not Linux).

use std::fs;
use std::path::Path;

/// The host's load averages, to be printed beside figures.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// CPU seconds another process has used, and its threads.
pub fn cpu_seconds_of(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have blanks: user and system time are the 12th and 13th from there.
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks = behind.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks: Vec<u64> = ticks.filter_map(Result::ok).collect();
    let [user, system] = ticks[..] else { return f64::NAN };
    (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Bytes a process has had the disk write and read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskBytes {
    /// Written, or still to be written back.
    pub written: u64,
    /// Read from the medium.
    pub read: u64,
}

impl DiskBytes {
    /// Those of a process until now; `None` where the kernel does not say.
    pub fn of(pid: u32) -> Option<DiskBytes> {
        let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(DiskBytes { written: field("write_bytes:")?, read: field("read_bytes:")? })
    }
}

/// Has the kernel forget what it holds of a file in memory, so that the next read is the medium's. What
/// is not written back yet stays.
///
/// # Errors
/// When the file cannot be opened.
pub fn forget_file(path: &Path) -> std::io::Result<()> {
    let file = fs::File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// Lets this thread wake when it asked to, and not up to 50 µs later, which is what Linux does.
pub fn wake_on_time() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        println!("timers may be 50 us late: {error}");
    }
}
