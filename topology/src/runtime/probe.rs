//! What the host says of itself.

use std::fs;

/// Taken for the memory of a host that does not say.
const MEMORY_BYTES_GUESS: usize = 4 << 30;

/// Bytes of memory this process may use: the host's, or what its control group is held to, if that is less.
pub(crate) fn memory_bytes() -> usize {
    let host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_meminfo(&text));
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    host.into_iter().chain(group).min().unwrap_or(MEMORY_BYTES_GUESS)
}

fn of_meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_host_writes_it() {
        assert_eq!(
            of_meminfo("MemTotal:       24653596 kB\nMemFree: 1 kB\n"),
            Some(25_245_282_304)
        );
        assert_eq!(of_meminfo("MemFree: 1 kB\n"), None);
        assert!(memory_bytes() > 1 << 20);
    }
}
