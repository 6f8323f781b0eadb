//! Three bookies and etcd, each a process of its own, used from the shell: what the README's "Run three
//! bookies" says, with a bookie killed in the middle.
#![cfg(feature = "etcd")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "../../log/etcd/tests/real/server.rs"]
mod server;

#[path = "cluster/away.rs"]
mod away;
#[path = "cluster/certified.rs"]
mod certified;
#[path = "cluster/leaving.rs"]
mod leaving;
#[path = "cluster/mending.rs"]
mod mending;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use egret_log::clock;
use rustix::process::{Pid, Signal, kill_process};

fn egret(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command.args(args).current_dir(dir).env("EGRET_CLUSTER", "blue.toml").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn done(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {err}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run(dir: &Path, args: &[&str]) -> String {
    done(&egret(dir, args).output().expect("egret starts"))
}

/// What was said on standard error, and the exit code.
fn said(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = egret(dir, args).output().expect("egret runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn append(dir: &Path, numbers: std::ops::Range<u32>) {
    let mut child = egret(dir, &["stream", "append", "orders"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("egret starts");
    let mut lines = child.stdin.take().expect("it is piped");
    for number in numbers {
        writeln!(lines, "{number}").expect("it reads");
    }
    drop(lines);
    done(&child.wait_with_output().expect("it ends"));
}

fn orders(dir: &Path) -> Vec<u32> {
    let all = run(dir, &["stream", "cat", "orders"]);
    let mut numbers: Vec<u32> = all.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

/// A bookie's process; killed when the test is over, however that ends.
struct Bookie(Child);

impl Bookie {
    fn start(dir: &Path, number: u32) -> Bookie {
        Bookie::start_with(dir, number, &[])
    }

    fn start_with(dir: &Path, number: u32, args: &[&str]) -> Bookie {
        let config = format!("b{number}.toml");
        let mut command = egret(dir, &[&["bookie", "--config", &config], args].concat());
        let mut child = command.stderr(Stdio::inherit()).spawn().expect("egret starts");
        let mut said = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says text");
        assert!(said.starts_with(&format!("B{number} of blue listens on ")), "{said}");
        Bookie(child)
    }
}

impl Bookie {
    /// Asks it to end, and waits until it has.
    fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Bookie {
    fn drop(&mut self) {
        // One that was killed already is.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = clock::now() + Duration::from_secs(60);
    while !holds() {
        assert!(clock::now() < until, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Files for up to five bookies and for their clients.
fn configure(dir: &Path, etcd: &str) {
    let metadata = format!("etcd://{etcd}/blue");
    for number in 1..=5 {
        let text = format!(
            "id = {number}\ncluster = \"blue\"\ndirectory = \"b{number}\"\nlisten = \"127.0.0.1:0\"\n\
             metadata = \"{metadata}\"\njournal_file_bytes = 1048576\n[repair]\nevery_ms = 200\n"
        );
        std::fs::write(dir.join(format!("b{number}.toml")), text).expect("a file");
    }
    let text = format!("cluster = \"blue\"\nmetadata = \"{metadata}\"\n");
    std::fs::write(dir.join("blue.toml"), text).expect("a file");
}

#[test]
fn what_was_appended_outlives_a_bookie_and_is_mended_when_it_returns() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();

    run(dir, &["stream", "create", "orders", "--partitions", "2"]);
    append(dir, 0..500);
    assert_eq!(orders(dir), (0..500).collect::<Vec<u32>>());

    // What follows the metadata in the background says nothing of an orderly end.
    for _ in 0..20 {
        for args in [&["stream", "list"][..], &["ledger", "list"], &["bookie", "list"]] {
            let output = egret(dir, args).output().expect("egret runs");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        }
    }

    drop(bookies.remove(1));
    append(dir, 500..1000);
    assert_eq!(orders(dir), (0..1000).collect::<Vec<u32>>(), "with one bookie of three killed");
    let lacking = || run(dir, &["ledger", "list", "--lacking", "-o", "json"]);
    assert_ne!(lacking().trim(), "[]", "two copies of what was appended meanwhile");

    bookies.push(Bookie::start(dir, 2));
    eventually("the copies that were lacking are made", || lacking().trim() == "[]");

    let listed = run(dir, &["ledger", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let rows = listed.as_array().expect("a list");
    let ended = rows.iter().find(|row| row["last"].is_u64()).expect("a writer closed its ledger");
    let (ledger, last) = (ended["ledger"].as_str().expect("a name"), &ended["last"]);
    let repaired = run(dir, &["ledger", "repair", ledger, "-o", "json"]);
    let repaired: serde_json::Value = serde_json::from_str(&repaired).expect("it is JSON");
    let (verified, entries) = (&repaired["verified"], last.as_u64().expect("a number") + 1);
    assert_eq!(verified["entries"].as_u64(), Some(entries), "{repaired}");
    assert_eq!(verified["bookies"][0]["intact"].as_u64(), Some(entries), "{repaired}");
    let said = run(dir, &["ledger", "repair", ledger]);
    assert!(said.contains("entries looked for on every bookie"), "{said}");
    run(dir, &["ledger", "read", ledger, &last.to_string()]);
    let beyond = (entries + 6).to_string();
    let output = egret(dir, &["ledger", "read", ledger, &beyond]).output().expect("egret runs");
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{why}");
    assert!(why.contains(&format!("{ledger}:{beyond} is beyond what may be read")), "{why}");
    assert!(output.stdout.is_empty(), "nothing was read");

    bookies.push(Bookie::start(dir, 4));
    let out = run(dir, &["bookie", "decommission", "B1"]);
    assert!(out.contains("B1 is decommissioned"), "{out}");
    drop(bookies.remove(0));
    assert_eq!(orders(dir), (0..1000).collect::<Vec<u32>>(), "without the first one");
    let listed = run(dir, &["bookie", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let states: Vec<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|bookie| bookie["state"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["decommissioned", "active", "active", "active"]);

    // A reader in a process of its own sees what others append.
    let mut tail = egret(dir, &["stream", "tail", "orders"]).spawn().expect("egret starts");
    let out = BufReader::new(tail.stdout.take().expect("it is piped"));
    let (told, tells) = std::sync::mpsc::sync_channel(4096);
    let reading = std::thread::spawn(move || {
        out.lines().map_while(Result::ok).for_each(|line| drop(told.send(line)));
    });
    let first = tells.recv_timeout(Duration::from_secs(30)).expect("the last records");
    assert!(first.parse::<u32>().is_ok(), "{first}");
    append(dir, 1000..1001);
    let found = std::iter::from_fn(|| tells.recv_timeout(Duration::from_secs(30)).ok())
        .any(|line| line == "1000");
    drop(tail.kill());
    drop(tail.wait());
    drop(tells);
    reading.join().expect("it reads");
    assert!(found, "the tail did not see what was appended");
}

/// Two of three disks are gone: nothing is given up until somebody says so by name, and then what the
/// third has is there.
#[test]
fn a_ledger_goes_on_without_the_bookies_an_operator_gave_up() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    // Its writer ends without closing the ledger.
    let mut writer = egret(dir, &["stream", "append", "orders"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("egret starts");
    let mut lines = writer.stdin.take().expect("it is piped");
    (0..200).for_each(|number| writeln!(lines, "{number}").expect("it reads"));
    lines.flush().expect("it reads");
    eventually("it is all there", || orders(dir).len() == 200);
    drop(writer.kill());
    drop(writer.wait());
    bookies.drain(..2);
    bookies.extend((4..=5).map(|number| Bookie::start(dir, number)));
    let open = || -> Vec<String> {
        let listed = run(dir, &["ledger", "list", "-o", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
        let rows = listed.as_array().expect("a list").iter();
        let open = rows.filter(|row| row["state"] != "closed");
        open.map(|row| row["ledger"].as_str().expect("a name").to_owned()).collect()
    };
    let [ledger] = &open()[..] else { panic!("one partition, one open ledger") };
    let said = |args: &[&str]| said(dir, args);
    let one = ["ledger", "accept-loss", ledger, "--gone", "B1", "--reason", "burnt", "--yes"];
    let both = ["ledger", "accept-loss", ledger, "--gone", "B1", "--gone", "2"];
    eventually("the leases of those killed are over", || {
        !said(&both).1.contains("has it as there")
    });
    let (code, why) = said(&one);
    assert!(code == Some(1) && why.contains("may have entries on B2"), "{code:?}: {why}");
    let (code, why) = said(&["ledger", "accept-loss", ledger, "--gone", "B1", "--yes"]);
    assert!(code == Some(2) && why.contains("--reason"), "{code:?}: {why}");
    let out = run(dir, &both);
    assert!(out.contains("would be closed") && out.contains("without B1, B2"), "{out}");
    assert!(out.contains("nothing was changed"), "{out}");
    assert_eq!(open().len(), 1);
    let by = [&both[..], &["--reason", "both disks burnt", "--by", "ann", "--yes"]].concat();
    let out = run(dir, &by);
    assert!(out.contains("closed at entry"), "{out}");
    for gone in ["B1", "B2"] {
        let out = run(dir, &["bookie", "decommission", gone, "--no-wait"]);
        assert!(out.contains("draining"), "{out}");
    }
    append(dir, 200..300);
    assert_eq!(orders(dir), (0..300).collect::<Vec<u32>>());
    let losses = run(dir, &["ledger", "losses"]);
    assert!(losses.contains("ann") && losses.contains("both disks burnt"), "{losses}");
    assert!(losses.contains("B1 B2"), "{losses}");
    // Or later by itself: whoever repairs may have been one of those that are gone.
    run(dir, &["ledger", "repair"]);
    assert_eq!(run(dir, &["ledger", "list", "--lacking", "-o", "json"]).trim(), "[]");
    assert_eq!(orders(dir), (0..300).collect::<Vec<u32>>());
}
