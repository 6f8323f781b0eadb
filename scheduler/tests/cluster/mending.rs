//! What the bookies' own processes and `egret ledger repair` mend: a byte that rotted on a disk, and the end of
//! a ledger whose writer is gone and of whose bookies one lost its disk.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};

use serde_json::Value;

use super::{Bookie, configure, done, egret, eventually, run, said, server};

/// A record that is found in a file by its bytes, and of which few go into an entry.
fn record(number: u32) -> String {
    format!("record-{number:06}-{}", "x".repeat(20_000))
}

fn json(dir: &Path, args: &[&str]) -> Value {
    let said = run(dir, &[args, &["-o", "json"]].concat());
    serde_json::from_str(&said).expect("it is JSON")
}

fn records(dir: &Path) -> Vec<String> {
    run(dir, &["stream", "cat", "orders"]).lines().map(str::to_owned).collect()
}

/// A process that appends and goes on reading what comes.
fn writer(dir: &Path, numbers: std::ops::Range<u32>) -> (Child, ChildStdin) {
    let mut command = egret(dir, &["stream", "append", "orders"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("egret starts");
    let mut lines = child.stdin.take().expect("it is piped");
    numbers.for_each(|number| writeln!(lines, "{}", record(number)).expect("it reads"));
    lines.flush().expect("it reads");
    (child, lines)
}

fn append(dir: &Path, numbers: std::ops::Range<u32>) {
    let (child, lines) = writer(dir, numbers);
    drop(lines);
    done(&child.wait_with_output().expect("it ends"));
}

/// The one ledger of the stream.
fn ledger(dir: &Path, state: &str) -> String {
    let listed = json(dir, &["ledger", "list"]);
    let rows = listed.as_array().expect("a list").iter();
    let found: Vec<&Value> = rows.filter(|row| row["state"] == state).collect();
    let [row] = &found[..] else { panic!("one partition, one ledger that is {state}: {listed}") };
    row["ledger"].as_str().expect("a name").to_owned()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Turns over one bit of every place under `dir` where these bytes are; how many places there were.
fn flip(dir: &Path, bytes: &[u8]) -> usize {
    let mut all = Vec::new();
    files(dir, &mut all);
    let mut flipped = 0;
    for path in all {
        let held = std::fs::read(&path).expect("a file");
        let file = File::options().write(true).open(&path).expect("a file");
        for at in 0..held.len().saturating_sub(bytes.len()) {
            if held[at..].starts_with(bytes) {
                file.write_all_at(&[held[at] ^ 4], at as u64).expect("it is written");
                flipped += 1;
            }
        }
    }
    flipped
}

/// What `egret ledger repair` came to on each bookie: intact, damaged, missing, made anew.
fn repair(dir: &Path, ledger: &str) -> Vec<[u64; 4]> {
    let repaired = json(dir, &["ledger", "repair", ledger]);
    let bookies = repaired["verified"]["bookies"].as_array().expect("a list").iter();
    let figures = ["intact", "damaged", "missing", "mended"];
    let of = |bookie: &Value| figures.map(|figure| bookie[figure].as_u64().expect("a number"));
    bookies.map(of).collect()
}

#[test]
fn a_byte_that_rotted_on_a_disk_is_found_and_mended() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    append(dir, 0..200);
    let ledger = ledger(dir, "closed");
    let described = json(dir, &["ledger", "describe", &ledger]);
    let entries = described["last"].as_u64().expect("a number") + 1;
    assert!(entries > 2, "{described}");
    let whole = vec![[entries, 0, 0, 0]; 3];
    assert_eq!(repair(dir, &ledger), whole);

    bookies.remove(1).end();
    assert!(flip(&dir.join("b2/extents"), record(100).as_bytes()) > 0, "it is there");
    bookies.push(Bookie::start(dir, 2));
    let mut found = repair(dir, &ledger);
    found.sort_unstable();
    assert_eq!(found[1..], whole[1..], "the others have it");
    let [intact, damaged, missing, mended] = found[0];
    assert_eq!((intact, damaged + missing, mended), (entries - 1, 1, 1));
    assert_eq!(repair(dir, &ledger), whole, "all three have it again");
    let all: Vec<String> = (0..200).map(record).collect();
    assert_eq!(records(dir), all);
}

/// Whoever repairs was refused here, too, and tried for ever.
#[test]
fn a_deletion_that_missed_a_bookie_is_finished_when_it_is_back() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    append(dir, 0..1);
    bookies.remove(0).end();
    let (code, why) = said(dir, &["stream", "delete", "orders", "--yes"]);
    assert!(code == Some(1) && why.contains("B1 at 127.0.0.1:"), "{code:?}: {why}");
    assert_eq!(ledger(dir, "deleting"), "L1");
    bookies.push(Bookie::start(dir, 1));
    eventually("what was deleted is gone", || {
        json(dir, &["ledger", "list"]).as_array().is_some_and(Vec::is_empty)
    });
}

/// The bookie that repairs was refused by the others, for a bookie might not fence: nobody mended it until its
/// owner came, whose recovery then had one copy fewer to count on.
#[test]
fn the_end_of_an_abandoned_ledger_gets_the_copies_it_lost() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    for number in 1..=3 {
        // As soon as may be.
        let path = dir.join(format!("b{number}.toml"));
        let text = std::fs::read_to_string(&path).expect("a file");
        std::fs::write(&path, text + "grace_ms = 20000\n").expect("a file");
    }
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    let (mut child, lines) = writer(dir, 0..200);
    let all: Vec<String> = (0..200).map(record).collect();
    eventually("it is all there", || records(dir) == all);
    drop(child.kill());
    drop(child.wait());
    drop(lines);
    let ledger = ledger(dir, "open");
    let members = || -> Vec<(u64, Vec<String>)> {
        let described = json(dir, &["ledger", "describe", &ledger]);
        let fragments = described["fragments"].as_array().expect("a list").iter();
        let of = |fragment: &Value| {
            let bookies = fragment["bookies"].as_array().expect("a list").iter();
            let who = bookies.map(|bookie| bookie["incarnation"].as_str().expect("one").to_owned());
            (fragment["first"].as_u64().expect("a number"), who.collect())
        };
        fragments.map(of).collect()
    };
    let before = members();
    assert_eq!(before.len(), 1);

    // A disk is lost, and another put in its place.
    let lost = json(dir, &["bookie", "describe", "B1"])["incarnation"].clone();
    let lost = lost.as_str().expect("one").to_owned();
    assert!(before[0].1.contains(&lost));
    bookies.remove(0).end();
    std::fs::remove_dir_all(dir.join("b1")).expect("its directory");
    bookies.push(Bookie::start_with(dir, 1, &["--replace"]));

    eventually("it goes on without the disk that is lost", || {
        members().iter().all(|(_, who)| !who.contains(&lost))
    });
    let now = members();
    assert_eq!(now.len(), 2, "an end that nobody closed: {now:?}");
    let described = json(dir, &["ledger", "describe", &ledger]);
    assert_eq!((&described["state"], &described["last"]), (&"in recovery".into(), &Value::Null));
    assert_eq!(described["lacking"].as_array().map(Vec::len), Some(0), "{described}");
    assert_eq!(repair(dir, &ledger), vec![[now[1].0, 0, 0, 0]; 3], "three copies of every entry");

    // Its owner comes, finds everything, and goes on.
    append(dir, 200..300);
    let all: Vec<String> = (0..300).map(record).collect();
    assert_eq!(records(dir), all);
}
