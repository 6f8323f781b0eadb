//! What a run that was killed left behind: bookies end with it, but its etcd goes on, and network
//! namespaces, links and a mounted disk stay. All of it carries the number of the run's process in its name;
//! the next run removes what belongs to a process that is gone.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::run::run;

/// Before the number of a run's process, in the name of its directory.
const DIR: &str = "egret-cluster-";

/// Before the number of a run's process, in the names of its namespaces.
pub(super) const NAMESPACE: &str = "egret-";

/// Where the number of its etcd's process is kept, in a run's directory.
pub(super) const ETCD_PID: &str = "etcd/pid";

/// Where a disk of its own is mounted, in a run's directory.
pub(super) const DISK: &str = "disk";

/// How the name of this run's directory begins.
pub(super) fn dir_prefix() -> String {
    format!("{DIR}{}-", std::process::id())
}

/// Removes it, as far as it can be: what stays is in nobody's way.
pub(super) fn remove(scratch: &Path) {
    for dir in dirs_of_the_dead(scratch) {
        end_etcd(&dir);
        drop(run("umount", [Path::new("-l"), &dir.join(DISK)]));
        drop(std::fs::remove_dir_all(&dir));
    }
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for name in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
        let Some((process, index)) = namespace_of(name) else { continue };
        if !lives(process) {
            drop(run("ip", ["netns", "del", name]));
            drop(run("ip", ["link", "del", &super::namespace::outside(process, index)]));
        }
    }
}

fn dirs_of_the_dead(scratch: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(scratch) else { return Vec::new() };
    let dead = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let process = name.strip_prefix(DIR).and_then(|rest| rest.split('-').next());
        process.and_then(|process| process.parse().ok()).is_some_and(|process| !lives(process))
    };
    entries.flatten().map(|entry| entry.path()).filter(dead).collect()
}

/// A namespace's process and its index there.
fn namespace_of(name: &str) -> Option<(u32, usize)> {
    let (process, index) = name.strip_prefix(NAMESPACE)?.split_once('-')?;
    Some((process.parse().ok()?, index.parse().ok()?))
}

fn lives(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Ends the etcd of a run's directory, if that is what has its number now.
fn end_etcd(dir: &Path) {
    let read = || -> Option<Pid> {
        let pid: i32 = std::fs::read_to_string(dir.join(ETCD_PID)).ok()?.trim().parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let here = dir.to_str()?;
        String::from_utf8_lossy(&line).contains(here).then(|| Pid::from_raw(pid)).flatten()
    };
    // It may have ended by itself.
    let _ = read().map(|pid| kill_process(pid, Signal::KILL));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use std::time::Duration;

    use egret_log::clock;

    /// A process that has ended, and is waited for.
    fn gone() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    /// A spawn may return before the new program's command line can be read.
    fn has_a_command_line(process: u32) {
        let deadline = clock::now() + Duration::from_secs(30);
        while std::fs::read(format!("/proc/{process}/cmdline")).unwrap().is_empty() {
            assert!(clock::now() < deadline, "process {process} has no command line");
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_what_belongs_to_a_process_that_is_gone_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let make = |name: String| {
            let dir = scratch.path().join(name);
            std::fs::create_dir_all(dir.join("etcd")).unwrap();
            dir
        };
        let (mine, theirs) =
            (make(format!("{}x", dir_prefix())), make(format!("{DIR}{}-y", gone())));
        let other = make("something-else".to_owned());
        // Its etcd, as far as its command line says; and one that only has its number.
        let stays = |dir: &Path| {
            let mut command = Command::new("sleep");
            command.arg("600").env("EGRET", "").stdin(Stdio::null());
            std::os::unix::process::CommandExt::arg0(&mut command, dir);
            let child = command.spawn().unwrap();
            has_a_command_line(child.id());
            child
        };
        let (mut etcd, mut innocent) = (stays(&theirs), stays(&mine));
        std::fs::write(theirs.join(ETCD_PID), etcd.id().to_string()).unwrap();
        remove(scratch.path());
        assert!(mine.exists() && other.exists() && !theirs.exists());
        assert!(!etcd.wait().unwrap().success(), "it was ended");

        let theirs = make(format!("{DIR}{}-z", gone()));
        std::fs::write(theirs.join(ETCD_PID), innocent.id().to_string()).unwrap();
        remove(scratch.path());
        assert!(innocent.try_wait().unwrap().is_none(), "it goes on");
        innocent.kill().unwrap();
        innocent.wait().unwrap();
    }

    #[test]
    fn a_namespace_says_whose_it_is() {
        assert_eq!(namespace_of("egret-17-2"), Some((17, 2)));
        for other in ["egret-17", "egret-x-2", "other-17-2", "17-2"] {
            assert_eq!(namespace_of(other), None, "{other}");
        }
    }
}
