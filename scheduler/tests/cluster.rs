//! Three bookies and etcd, each a process of its own, used from the shell: what the README's "Run three
//! bookies" says, with a bookie killed in the middle.
#![cfg(feature = "etcd")]
#![allow(clippy::print_stderr, reason = "a test says what it skips")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "../../log/etcd/tests/real/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use egret_log::clock;

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
        let config = format!("b{number}.toml");
        let mut command = egret(dir, &["bookie", "--config", &config]);
        let mut child = command.stderr(Stdio::inherit()).spawn().expect("egret starts");
        let mut said = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says text");
        assert!(said.starts_with(&format!("B{number} of blue listens on ")), "{said}");
        Bookie(child)
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

#[test]
fn what_was_appended_outlives_a_bookie_and_is_mended_when_it_returns() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    let metadata = format!("etcd://{}/blue", etcd.endpoint());
    for number in 1..=4 {
        let text = format!(
            "id = {number}\ncluster = \"blue\"\ndirectory = \"b{number}\"\nlisten = \"127.0.0.1:0\"\n\
             metadata = \"{metadata}\"\njournal_file_bytes = 1048576\n[repair]\nevery_ms = 200\n"
        );
        std::fs::write(dir.join(format!("b{number}.toml")), text).expect("a file");
    }
    let text = format!("cluster = \"blue\"\nmetadata = \"{metadata}\"\n");
    std::fs::write(dir.join("blue.toml"), text).expect("a file");
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();

    run(dir, &["stream", "create", "orders", "--partitions", "2"]);
    append(dir, 0..500);
    assert_eq!(orders(dir), (0..500).collect::<Vec<u32>>());

    drop(bookies.remove(1));
    append(dir, 500..1000);
    assert_eq!(orders(dir), (0..1000).collect::<Vec<u32>>(), "with one bookie of three killed");
    let lacking = || run(dir, &["ledger", "list", "--lacking", "-o", "json"]);
    assert_ne!(lacking().trim(), "[]", "two copies of what was appended meanwhile");

    bookies.push(Bookie::start(dir, 2));
    eventually("the copies that were lacking are made", || lacking().trim() == "[]");

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
