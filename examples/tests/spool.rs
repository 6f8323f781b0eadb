//! Files of a directory are added once each, whenever the program is killed, and go when they are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use egret_log::clock;

fn program(dir: &Path) -> Command {
    // Cargo builds examples before the tests of their package, beside them.
    let own = std::env::current_exe().unwrap();
    let mut program = Command::new(own.parent().unwrap().parent().unwrap().join("examples/spool"));
    program.args(["--data", "data", "--workers", "2", "--commit-ms", "20"]).current_dir(dir);
    program.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").stdin(Stdio::null());
    program
}

fn put(dir: &Path, files: impl IntoIterator<Item = (String, String)>) {
    fs::create_dir_all(dir.join("spool/new")).unwrap();
    for (name, text) in files {
        // Whole, or not there.
        fs::write(dir.join("file"), text).unwrap();
        fs::rename(dir.join("file"), dir.join("spool/new").join(name)).unwrap();
    }
}

/// Files that are not acknowledged.
fn left(dir: &Path) -> usize {
    let of = |name: &str| fs::read_dir(dir.join("spool").join(name)).map_or(0, Iterator::count);
    of("new") + of("taken-0")
}

#[test]
fn sums_of_files_are_printed_and_the_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| (name.to_owned(), format!("{text}\n"));
    put(dir.path(), [file("1", "ann 300"), file("2", "bob 450"), file("3", "ann 250")]);
    let run = || {
        let ended = program(dir.path()).arg("spool").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8(ended.stdout).unwrap()
    };
    let sums = |printed: &str| printed.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    // Two tasks read: which of ann's two comes first is not said.
    let printed = sums(&run());
    assert!(["ann 550", "bob 450"].iter().all(|sum| printed.contains(*sum)), "{printed:?}");
    assert_eq!((left(dir.path()), run()), (0, String::new()));
    // A file that comes again is no other one.
    put(dir.path(), [file("3", "ann 250"), file("4", "ann 1")]);
    assert_eq!((run(), left(dir.path())), ("ann 551\n".to_owned(), 0));
}

#[test]
fn a_program_that_is_killed_again_and_again_adds_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let files = 0..300;
    let file = |n: u32| {
        (format!("{n:03}"), format!("{} {n}", if n.is_multiple_of(3) { "ann" } else { "bob" }))
    };
    put(dir.path(), files.clone().map(file));
    for round in 1..=4 {
        let out = fs::File::create(dir.path().join(format!("out-{round}"))).unwrap();
        let mut running =
            program(dir.path()).args(["spool", "follow"]).stdout(out).spawn().unwrap();
        let until = clock::now() + Duration::from_secs(60);
        let most = 300 - if round == 4 { 300 } else { round * 60 };
        while left(dir.path()) > most && clock::now() < until {
            std::thread::yield_now();
        }
        // The queue is told nothing.
        running.kill().unwrap();
        running.wait().unwrap();
    }
    assert_eq!(left(dir.path()), 0);
    // What is printed last of each customer is the sum of all: one more file of each says which that is.
    put(dir.path(), [("x".to_owned(), "ann 0".to_owned()), ("y".to_owned(), "bob 0".to_owned())]);
    let ended = program(dir.path()).arg("spool").output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    let printed: BTreeMap<_, u32> = printed
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(c, n)| (c, n.parse().unwrap()))
        .collect();
    let sum = |of: fn(&u32) -> bool| files.clone().filter(of).sum::<u32>();
    assert_eq!(
        printed,
        [("ann", sum(|n| n.is_multiple_of(3))), ("bob", sum(|n| !n.is_multiple_of(3)))].into()
    );
}
