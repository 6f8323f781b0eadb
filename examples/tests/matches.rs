//! A topology that follows a stream in two processes: watched through the directory it shares, asked to end,
//! run again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const WAIT: Duration = Duration::from_secs(60);

/// Cargo builds examples before the tests of their package, beside them.
fn program(data: &Path, processes: u32, word: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let path: PathBuf = own.parent().unwrap().parent().unwrap().join("examples/matches");
    let mut command = Command::new(path);
    command.args(["--commit-ms", "10", "--processes", &processes.to_string(), "--data"]);
    command.arg(data).args(word).env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER");
    command.stdin(Stdio::null());
    command
}

fn append(log: &Log, lines: std::ops::Range<usize>) {
    for n in lines {
        let line = if n % 10 == 3 { format!("{n}: an error") } else { format!("{n}: all is well") };
        let partition = u32::try_from(n % 2).unwrap();
        log.writer("log", partition).unwrap().append_wait(&[Record::of(line)]).unwrap();
    }
}

/// What is in the output, once it is so many lines.
fn matches(log: &Log, lines: usize) -> Vec<String> {
    let until = clock::now() + WAIT;
    let mut found = Vec::new();
    while found.len() < lines {
        assert!(clock::now() < until, "{} lines after {WAIT:?}: {found:?}", found.len());
        let Ok(info) = log.stream("matches") else { continue };
        found.clear();
        for partition in 0..info.config.partitions {
            let mut reader = log.reader("matches", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
                found.extend(batch.records.iter().map(text));
            }
        }
    }
    found.sort_by_key(|line| line.split(':').next().unwrap().parse::<usize>().unwrap());
    found
}

fn expected(lines: usize) -> Vec<String> {
    (0..lines).filter(|n| n % 10 == 3).map(|n| format!("{n}: an error")).collect()
}

/// The processes that one started.
fn children(of: &Child) -> Vec<PathBuf> {
    let parent = of.id().to_string();
    let started = |dir: &PathBuf| {
        let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
        let mut after = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        after.nth(1) == Some(&parent)
    };
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter(started).collect()
}

/// One that runs, and ends with the test.
struct Running(Child);

impl Running {
    fn start(mut program: Command) -> Running {
        Running(program.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// How it ended, within the time.
    fn ends(mut self) -> std::process::ExitStatus {
        let until = clock::now() + WAIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(clock::now() < until, "it does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, if all is well.
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

#[test]
fn it_is_watched_while_it_runs_ends_when_asked_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let config = StreamConfig { partitions: 2, ..StreamConfig::default() };
    log.create_stream("log", config).unwrap();
    append(&log, 0..100);
    log.close().unwrap();

    let running = Running::start(program(dir.path(), 2, &["error"]));
    let until = clock::now() + WAIT;
    let attached = loop {
        match Log::attach_within(dir.path(), WAIT) {
            Ok(log) => break log,
            // It is about to hold the directory.
            Err(why) => assert!(clock::now() < until, "{why}"),
        }
    };
    assert_eq!(matches(&attached, 10), expected(100));
    append(&attached, 100..150);
    assert_eq!(matches(&attached, 15), expected(150));
    let others = children(&running.0);
    assert_eq!(others.len(), 1, "two processes: {others:?}");
    drop(attached);
    running.signal("-TERM");
    assert_eq!(running.ends().code(), Some(0), "a commit, and the end");
    assert!(!others[0].exists(), "those it started end with it");

    let running = Running::start(program(dir.path(), 1, &["error"]));
    running.signal("-INT");
    // It may not have listened yet: then it just ends.
    running.ends();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    assert_eq!(matches(&log, 15), expected(150), "nothing is copied twice");
    log.close().unwrap();
}

/// Each ended with 1, and what reads a stream that is not there left an output stream behind, and a directory.
#[test]
fn wrong_calls_say_what_is_wrong_end_with_its_code_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let said = |mut command: Command| {
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let run = |processes, word: &[&str]| said(program(&data, processes, word));
    let which = "error: which word? Give one, as in `matches error`\n";
    assert_eq!(run(1, &[]), (2, which.to_owned()));
    let empty = "error: an empty word is in every line: give another one\n";
    assert_eq!(run(1, &[""]), (2, empty.to_owned()));
    let (code, nowhere) = run(1, &["error"]);
    assert_eq!(code, 3);
    assert!(nowhere.contains("there is no data directory"), "{nowhere}");
    assert!(!data.exists(), "a directory was made for it");

    let log = Log::open(&data, LogConfig::default()).unwrap();
    log.create_stream("other", StreamConfig::default()).unwrap();
    log.close().unwrap();
    for processes in [1, 2] {
        let (code, nothing) = run(processes, &["error"]);
        assert_eq!(code, 3, "{nothing}");
        assert!(nothing.starts_with("error: ") && nothing.contains("`log`"), "{nothing}");
    }
    let log = Log::open(&data, LogConfig::default()).unwrap();
    let streams: Vec<_> = log.streams().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(streams, ["other"], "nothing was made");
    log.close().unwrap();
    // Where the directory is, its streams are not looked for on a cluster.
    let mut beaten = program(&data, 1, &["error"]);
    beaten.env("EGRET_CLUSTER", "none.toml");
    assert!(said(beaten).1.contains("`log`"));
    let mut other = program(&data, 1, &["error"]);
    other.args(["--restore", "n"]);
    let (code, unconfirmed) = said(other);
    assert_eq!(code, 3, "an option behind a word is one: {unconfirmed}");
    assert!(unconfirmed.contains("add --yes if that is meant"), "{unconfirmed}");
    let mut unknown = program(&data, 1, &["error"]);
    unknown.args(["--no-such-option"]);
    assert_eq!(said(unknown).0, 2);
    let mut fork = program(&data, 1, &["error"]);
    fork.args(["--name", "mine", "--from", "matches:nope"]);
    let (code, nobody) = said(fork);
    assert_eq!(code, 3, "{nobody}");
}
