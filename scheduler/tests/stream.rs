//! `egret stream`, run as people run it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use egret_log::LogConfig;
use egret_log::stream::{Log, Record};

/// Runs `egret` with a data directory and standard input.
fn egret(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut running = spawn(dir, args);
    // Who does not read it ends first; that is a fine end for a writer.
    let _ = running.input().write_all(input);
    running.end()
}

/// A command that is under way; killed when the test is over, however that ends.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not ended yet")
    }

    /// Its standard input; closed when dropped.
    fn input(&mut self) -> std::process::ChildStdin {
        self.child().stdin.take().expect("it is piped")
    }

    /// Its standard output, line by line.
    fn lines(&mut self) -> Lines {
        BufReader::new(self.child().stdout.take().expect("it is piped")).lines()
    }

    /// Waits for its end.
    fn end(mut self) -> Output {
        let child = self.0.take().expect("it has not ended yet");
        child.wait_with_output().expect("egret ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type Lines = std::io::Lines<BufReader<std::process::ChildStdout>>;

fn spawn(dir: &Path, args: &[&str]) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_egret"))
        .args(args)
        .env("EGRET_DATA", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("egret starts");
    Running(Some(child))
}

/// Standard output of a command that must do.
fn done(dir: &Path, args: &[&str], input: &[u8]) -> String {
    let output = egret(dir, args, input);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} ended with {}: {err}", output.status);
    assert_eq!(err, "", "{args:?} did, and complained");
    String::from_utf8(output.stdout).expect("the tests write text")
}

/// Exit code and standard error of a command that must not do.
fn not_done(dir: &Path, args: &[&str], input: &[u8]) -> (i32, String) {
    let output = egret(dir, args, input);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it ended by itself"), err)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn what_is_appended_is_there_for_the_next_command() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let said = done(dir, &["stream", "create", "orders"], b"");
    assert_eq!(said, "created orders: 1 partition of bytes\n");
    let said = done(dir, &["stream", "append", "orders"], b"first\nsecond\n");
    assert_eq!(said, "appended 2 records to orders\n");
    assert_eq!(
        done(dir, &["stream", "append", "orders"], b"third"),
        "appended 1 record to orders\n"
    );
    assert_eq!(done(dir, &["stream", "cat", "orders"], b""), "first\nsecond\nthird\n");
    let listed = json(&done(dir, &["stream", "list", "-o", "json"], b""));
    assert_eq!(listed[0]["name"], "orders");
    let described = json(&done(dir, &["stream", "describe", "orders", "-o", "json"], b""));
    assert_eq!(described["partitions"][0]["records"], 3);
    let table = done(dir, &["stream", "list"], b"");
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows, [["STREAM", "PARTITIONS", "FORMAT", "OWNER"], ["orders", "1", "bytes", "-"]]);
}

#[test]
fn keys_decide_the_partition_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "clicks", "--partitions", "4"], b"");
    let lines: Vec<String> = (0..100).map(|n| format!("user{}\tclick {n}", n % 10)).collect();
    let input = lines.join("\n") + "\n";
    let append = ["stream", "append", "clicks", "--key-separator", "\\t", "-o", "json"];
    let appended = json(&done(dir, &append, input.as_bytes()));
    assert_eq!(appended["records"], 100);
    assert!(appended["parts"].as_array().unwrap().len() > 1, "{appended}");
    // Each key in one partition, in the order it was given.
    let mut partition_of = std::collections::BTreeMap::new();
    let mut last_of = std::collections::BTreeMap::new();
    let cat = done(dir, &["stream", "cat", "clicks", "-o", "json"], b"");
    for line in cat.lines() {
        let record = json(line);
        let key = record["key"].as_str().unwrap().to_owned();
        let partition = record["partition"].as_u64().unwrap();
        let number: u64 = record["value"].as_str().unwrap()[6..].parse().unwrap();
        assert_eq!(*partition_of.entry(key.clone()).or_insert(partition), partition);
        let before = last_of.insert(key, number);
        assert!(before.is_none_or(|before| before < number));
    }
    let mut back: Vec<String> =
        done(dir, &["stream", "cat", "clicks", "--key-separator", "\t"], b"")
            .lines()
            .map(str::to_owned)
            .collect();
    back.sort();
    let mut expected = lines;
    expected.sort();
    assert_eq!(back, expected);
}

#[test]
fn binary_bytes_travel_as_base64_and_json_goes_in_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "a"], b"");
    done(dir, &["stream", "create", "b"], b"");
    done(dir, &["stream", "append", "a"], b"\xff\x00 raw\n\ntext \xc3\xa9\n");
    let written = done(dir, &["stream", "cat", "a", "-o", "json"], b"");
    let records: Vec<_> = written.lines().map(json).collect();
    assert_eq!(records[0]["value_base64"], "/wAgcmF3");
    assert_eq!(records[1]["value"], "");
    assert_eq!(records[2]["value"], "text é");
    done(dir, &["stream", "append", "b", "--input", "json"], written.as_bytes());
    let raw = egret(dir, &["stream", "cat", "b"], b"").stdout;
    assert_eq!(raw, b"\xff\x00 raw\n\ntext \xc3\xa9\n");
}

#[test]
fn from_and_to_cut_a_partition() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    done(dir, &["stream", "append", "s"], b"a\nb\nc\nd\n");
    let cat = done(dir, &["stream", "cat", "s", "-o", "json"], b"");
    let at = |n: usize| json(cat.lines().nth(n).unwrap())["position"].as_str().unwrap().to_owned();
    assert_eq!(done(dir, &["stream", "cat", "s", "--from", &at(1)], b""), "b\nc\nd\n");
    assert_eq!(done(dir, &["stream", "cat", "s", "--to", &at(2)], b""), "a\nb\n");
    let both = ["stream", "cat", "s", "--from", &at(1), "--to", &at(3)];
    assert_eq!(done(dir, &both, b""), "b\nc\n");
    done(dir, &["stream", "create", "wide", "--partitions", "2"], b"");
    let (code, said) = not_done(dir, &["stream", "cat", "wide", "--from", "S1:0:0"], b"");
    assert_eq!(code, 2);
    assert!(said.contains("give --partition"), "{said}");
}

#[test]
fn retention_is_described_and_cat_may_begin_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let keep = ["--retention-hours", "24", "--retention-bytes", "1000"];
    done(dir, &[&["stream", "create", "metrics"], &keep[..]].concat(), b"");
    let described = done(dir, &["stream", "describe", "metrics"], b"");
    let kept =
        "metrics: 1 partition of bytes, written by anybody, kept for 24 h and up to 1000 bytes";
    assert!(described.starts_with(kept), "{described}");
    let described = json(&done(dir, &["stream", "describe", "metrics", "-o", "json"], b""));
    assert_eq!(described["retention_ms"], 86_400_000);
    assert_eq!(described["retention_bytes"], 1000);
    done(dir, &["stream", "append", "metrics"], b"a\nb\n");
    assert_eq!(done(dir, &["stream", "cat", "metrics", "--since", "1h"], b""), "a\nb\n");
    // In the year 2100.
    let late = ["stream", "cat", "metrics", "--since", "4102444800000"];
    assert_eq!(done(dir, &late, b""), "");
    let (code, err) = not_done(dir, &["stream", "cat", "metrics", "--since", "soon"], b"");
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("give 90s, 15m, 2h or 7d ago"), "{err}");
    done(dir, &["stream", "create", "orders"], b"");
    let described = done(dir, &["stream", "describe", "orders"], b"");
    assert!(described.contains("kept for ever"), "{described}");
}

#[test]
fn an_append_may_create_what_it_needs() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("new");
    let append = ["stream", "append", "notes", "--create"];
    assert_eq!(done(&dir, &append, b"hello\n"), "appended 1 record to notes\n");
    assert_eq!(done(&dir, &append, b"again\n"), "appended 1 record to notes\n");
    assert_eq!(done(&dir, &["stream", "cat", "notes"], b""), "hello\nagain\n");
}

#[test]
fn the_same_input_of_a_producer_is_not_there_twice() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s", "--partitions", "3"], b"");
    let append = ["stream", "append", "s", "--producer", "nightly"];
    assert_eq!(done(dir, &append, b"1\n2\n3\n4\n"), "appended 4 records to s\n");
    let said = done(dir, &append, b"1\n2\n3\n4\n5\n6\n");
    assert_eq!(said, "appended 2 records to s; 4 were there already\n");
    let all = done(dir, &["stream", "cat", "s"], b"");
    let mut lines: Vec<_> = all.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn tail_sees_what_another_process_appends_and_survives_its_own_holder() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s", "--partitions", "2"], b"");
    done(dir, &["stream", "append", "s"], b"before\n");
    // The first tail holds the directory, the second attaches to it.
    let (holder, mut holder_lines) = tail(dir);
    let (other, mut other_lines) = tail(dir);
    done(dir, &["stream", "append", "s"], b"while held\n");
    for lines in [&mut holder_lines, &mut other_lines] {
        assert_eq!(lines.next().unwrap().unwrap(), "while held");
    }
    // Killed, not closed: the other one takes the directory over and goes on where it was.
    drop(holder);
    done(dir, &["stream", "append", "s"], b"after the kill\n");
    assert_eq!(other_lines.next().unwrap().unwrap(), "after the kill");
    drop(other);
    let mut all: Vec<String> =
        done(dir, &["stream", "cat", "s"], b"").lines().map(str::to_owned).collect();
    all.sort();
    assert_eq!(all, ["after the kill", "before", "while held"]);
}

/// A tail took the directory when its holder died and kept it, so that the topology that was to start
/// again was refused.
#[test]
fn a_tail_that_holds_the_directory_lets_it_go_to_who_needs_it_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    done(dir, &["stream", "append", "s"], b"before\n");
    let (holder, _) = tail(dir);
    let (mut other, mut lines) = tail(dir);
    // Killed, not closed: the other tail is in its place now.
    drop(holder);
    holds(dir, other.child().id());
    for round in 0..3 {
        let log = Log::open(dir, LogConfig { serve: true, ..LogConfig::default() }).unwrap();
        let writer = log.writer("s", 0).unwrap();
        for n in 0..3 {
            let value = format!("round {round}, record {n}");
            writer.append_wait(&[Record::of(value.clone())]).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), value, "no gap and nothing twice");
        }
        assert!(Log::open(dir, LogConfig::default()).is_err(), "who keeps it does not yield");
        drop(writer);
        log.close().unwrap();
        holds(dir, other.child().id());
    }
    let written = format!(
        "before\n{}",
        (0..3)
            .map(|round| {
                (0..3).map(|n| format!("round {round}, record {n}\n")).collect::<String>()
            })
            .collect::<String>()
    );
    assert_eq!(done(dir, &["stream", "cat", "s"], b""), written);
}

/// Waits until this process holds the directory.
fn holds(dir: &Path, pid: u32) {
    let deadline = std::time::Duration::from_secs(60);
    #[expect(clippy::disallowed_methods, reason = "a test that hangs is to fail instead")]
    let started = std::time::Instant::now();
    let named = |text: String| text.trim() == pid.to_string();
    let is = || std::fs::read_to_string(dir.join("LOCK")).is_ok_and(named);
    while !is() {
        assert!(started.elapsed() < deadline, "{pid} does not hold {}", dir.display());
        std::thread::yield_now();
    }
}

/// A tail that has already written the record that was there.
fn tail(dir: &Path) -> (Running, Lines) {
    let mut running = spawn(dir, &["stream", "tail", "s", "-n", "1"]);
    let mut lines = running.lines();
    let first = lines.next().expect("tail writes").expect("a pipe can be read");
    assert_eq!(first, "before");
    (running, lines)
}

/// Waits until somebody serves the directory.
fn served(dir: &Path) {
    let deadline = std::time::Duration::from_secs(30);
    #[expect(clippy::disallowed_methods, reason = "a test that hangs is to fail instead")]
    let started = std::time::Instant::now();
    while !dir.join("egret.sock").exists() {
        assert!(started.elapsed() < deadline, "nobody serves {}", dir.display());
        std::thread::yield_now();
    }
}

/// On a nearly full disk a list read all it had to say, could not write its last checkpoint, and said
/// nothing.
#[test]
fn what_was_read_is_said_though_no_checkpoint_can_be_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    done(dir, &["stream", "append", "s"], b"before\n");
    let (holder, _) = tail(dir);
    done(dir, &["stream", "append", "s"], b"in the journal\n");
    drop(holder);
    // Where the next extents would be.
    for number in 0..20 {
        let extent = dir.join(format!("bookie/extents/X{number:016x}"));
        if !extent.exists() {
            std::fs::create_dir(extent).unwrap();
        }
    }
    let all: [(&[&str], &str); 3] =
        [(&["list"], "s "), (&["describe", "s"], "1 partition"), (&["cat", "s"], "in the journal")];
    for (verb, says) in all {
        let output = egret(dir, &[&["stream"], verb].concat(), b"");
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{verb:?}: {complained}");
        assert!(said.contains(says), "{verb:?}: {said}");
        assert!(complained.contains("warning: "), "{verb:?}: {complained}");
    }
}

/// An empty input, or a long one, hid that the partition it was for is not there.
#[test]
fn a_partition_that_is_not_there_is_refused_before_the_input_is_read() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    let (code, said) = not_done(dir, &["stream", "append", "s", "--partition", "7"], b"");
    assert_eq!(code, 3);
    assert_eq!(said, "egret: stream `s` has 1 partition, numbered from 0: there is no 7\n");
}

/// The directory stood in the message twice, before and in what the system said.
#[test]
fn what_is_in_the_way_of_a_directory_is_named_once() {
    for in_the_way in ["LOCK", "meta.redb", "bookie", "egret-data"] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("egret-data");
        if in_the_way != "egret-data" {
            std::fs::create_dir(&dir).unwrap();
        }
        let path = root.path().join(if in_the_way == "egret-data" { "" } else { "egret-data" });
        match in_the_way {
            "LOCK" | "meta.redb" => std::fs::create_dir(path.join(in_the_way)).unwrap(),
            _ => std::fs::write(path.join(in_the_way), "").unwrap(),
        }
        let (code, said) = not_done(&dir, &["stream", "create", "s"], b"");
        assert_eq!(code, 1, "{in_the_way}: {said}");
        assert_eq!(said.matches("egret-data").count(), 1, "{in_the_way}: {said}");
        assert!(!said.contains("holder"), "nobody holds it: {said}");
    }
}

#[test]
fn an_append_goes_on_when_the_holder_ends_or_is_killed() {
    // Numbered, an append without an answer can be asked for again; else only one that was told no.
    let plain: &[&str] = &["stream", "append", "s"];
    let numbered: &[&str] = &["stream", "append", "s", "--producer", "p"];
    for (append, killed) in [(plain, false), (numbered, true)] {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        done(dir, &["stream", "create", "s"], b"");
        let mut holder = spawn(dir, plain);
        served(dir);
        let mut other = spawn(dir, append);
        let mut input = other.input();
        input.write_all(b"attached\n").unwrap();
        let mut tail = spawn(dir, &["stream", "tail", "s"]);
        let mut lines = tail.lines();
        assert_eq!(lines.next().unwrap().unwrap(), "attached");
        if killed {
            drop(holder);
        } else {
            drop(holder.input());
            assert!(holder.end().status.success());
        }
        input.write_all(b"alone\n").unwrap();
        drop(input);
        let output = other.end();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "killed: {killed}: {complained}");
        assert_eq!(lines.next().unwrap().unwrap(), "alone");
        drop(tail);
        assert_eq!(done(dir, &["stream", "cat", "s"], b""), "attached\nalone\n");
    }
}

#[test]
fn many_at_once_find_one_holder_and_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s", "--partitions", "2"], b"");
    let all: Vec<Running> = (0..8).map(|_| spawn(dir, &["stream", "append", "s"])).collect();
    for (n, mut running) in all.into_iter().enumerate() {
        let lines: String = (0..50).map(|line| format!("{n}-{line}\n")).collect();
        running.input().write_all(lines.as_bytes()).unwrap();
        let output = running.end();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut all: Vec<String> =
        done(dir, &["stream", "cat", "s"], b"").lines().map(str::to_owned).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 400);
}

#[test]
fn tail_begins_with_the_last_records() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    // Segments so short that the last records stand in several.
    done(dir, &["stream", "create", "s", "--segment-bytes", "1"], b"");
    for line in ["a\nb\n", "c\n", "d\ne\nf\n", "g\n"] {
        done(dir, &["stream", "append", "s"], line.as_bytes());
    }
    for (count, expected) in [("1", "g"), ("2", "f g"), ("5", "c d e f g"), ("99", "a b c d e f g")]
    {
        let mut running = spawn(dir, &["stream", "tail", "s", "-n", count]);
        let wanted = expected.split(' ').count();
        let got: Vec<String> = running.lines().take(wanted).map(Result::unwrap).collect();
        assert_eq!(got.join(" "), expected);
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    let many = "a line that is long enough to fill a pipe when there are many\n".repeat(20_000);
    done(dir, &["stream", "append", "s"], many.as_bytes());
    let mut running = spawn(dir, &["stream", "cat", "s"]);
    running.lines().next().unwrap().unwrap();
    let output = running.end();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn each_wrong_question_is_told_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let nowhere = dir.join("nowhere");
    let (code, said) = not_done(&nowhere, &["stream", "list"], b"");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("create a stream in it first"), "{said}");
    assert!(!nowhere.exists(), "a question made a directory");
    done(dir, &["stream", "create", "s", "--partitions", "2"], b"");
    done(dir, &["stream", "create", "texts", "--format", "utf8"], b"");
    let cases: &[(&[&str], &[u8], i32, &str)] = &[
        (&["stream", "create", "s"], b"", 3, "exists already"),
        (&["stream", "create", "a/b"], b"", 3, "use letters, digits"),
        (&["stream", "create", "t", "--partitions", "0"], b"", 3, "a stream has 1 to 1024"),
        (&["stream", "create", "t", "--format", "xml"], b"", 3, "one of bytes, utf8, json"),
        (&["stream", "append", "none"], b"a\n", 3, "no stream `none`"),
        (&["stream", "append", "s", "-p", "2"], b"a\n", 3, "there is no 2"),
        (&["stream", "append", "s", "-k", ":"], b"a:1\nb\n", 1, "line 2 has no key"),
        (&["stream", "append", "s", "-k", ":", "-i", "json"], b"", 2, "for lines"),
        (&["stream", "append", "texts"], b"ok\n\xff\n", 1, "line 2 is no UTF-8"),
        (&["stream", "cat", "none"], b"", 3, "no stream `none`"),
        (&["stream", "cat", "s", "-p", "0", "--from", "S9:0:0"], b"", 3, "there is no S9:0:0"),
        (&["stream", "cat", "s", "--from", "9"], b"", 2, "write it as `S3:17:0`"),
        (&["stream", "tail", "none"], b"", 3, "no stream `none`"),
        (&["stream", "truncate", "s", "-p", "0", "--before", "S9:0:0"], b"", 3, "beyond"),
        (&["stream", "delete", "s"], b"", 2, "--yes"),
        (&["stream", "delete", "none", "--yes"], b"", 3, "no stream `none`"),
        (&["stream", "frobnicate"], b"", 2, "unrecognized subcommand"),
        (&[], b"", 2, "Usage: egret"),
    ];
    for (args, input, code, part) in cases {
        let (ended, said) = not_done(dir, args, input);
        assert_eq!(ended, *code, "{args:?}: {said}");
        assert!(said.contains(part), "{args:?} should say {part:?}: {said}");
    }
}

#[test]
fn an_append_that_stops_says_what_is_durable() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    let (code, said) = not_done(dir, &["stream", "append", "s", "-k", ":"], b"a:1\nb:2\nc\n");
    assert_eq!(code, 1);
    assert!(said.contains("line 3 has no key") && said.contains("2 records are durable"), "{said}");
    assert_eq!(done(dir, &["stream", "cat", "s"], b""), "1\n2\n");
}

#[test]
fn truncated_and_deleted_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "s"], b"");
    done(dir, &["stream", "append", "s"], b"a\nb\n");
    done(dir, &["stream", "append", "s"], b"c\n");
    let cat = done(dir, &["stream", "cat", "s", "-o", "json"], b"");
    let third = json(cat.lines().nth(2).unwrap())["position"].as_str().unwrap().to_owned();
    done(dir, &["stream", "truncate", "s", "--before", &third], b"");
    assert_eq!(done(dir, &["stream", "cat", "s"], b""), "c\n");
    let described = json(&done(dir, &["stream", "describe", "s", "-o", "json"], b""));
    let partition = &described["partitions"][0];
    assert_eq!((partition["records"].as_u64(), partition["entries"].as_u64()), (Some(1), Some(1)));
    let (code, said) = not_done(dir, &["stream", "cat", "s", "--from", "S1:0:0"], b"");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("truncated") && said.contains(&third), "{said}");
    done(dir, &["stream", "delete", "s", "--yes"], b"");
    assert_eq!(not_done(dir, &["stream", "cat", "s"], b"").0, 3);
    assert_eq!(done(dir, &["stream", "list", "-o", "json"], b""), "[]\n");
}

/// Once, `delete` and `truncate` asked nobody whether a topology still needed what they took.
#[test]
fn what_a_topology_uses_is_described_and_goes_only_by_force() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["stream", "create", "lines"], b"");
    done(dir, &["stream", "append", "lines"], b"one\ntwo\n");
    done(dir, &["stream", "append", "lines"], b"three\n");
    let log = Log::open(dir, LogConfig::default()).unwrap();
    let user = |component: &str| egret_log::stream::User {
        topology: "words".to_owned(),
        component: component.to_owned(),
    };
    log.consume("lines", &user("in"), &[(0, "S1:0:1".parse().unwrap())].into()).unwrap();
    log.produce("lines", &user("out")).unwrap();
    log.close().unwrap();

    let described = done(dir, &["stream", "describe", "lines"], b"");
    let table = described.lines().skip_while(|line| !line.starts_with("USED BY"));
    let rows: Vec<Vec<&str>> = table.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["words/in", "reads", "0", "S1:0:1"]);
    assert_eq!(rows[2], ["words/out", "writes", "-", "-"]);
    let described = json(&done(dir, &["stream", "describe", "lines", "-o", "json"], b""));
    assert_eq!(described["users"][0]["needed"][0]["from"], "S1:0:1");
    assert_eq!(described["users"][1]["how"], "writes");

    let end = described["partitions"][0]["end"].as_str().unwrap();
    let (code, said) = not_done(dir, &["stream", "truncate", "lines", "--before", end], b"");
    assert!(code == 3 && said.contains("words/in") && said.contains("--force"), "{code}: {said}");
    let (code, said) = not_done(dir, &["stream", "delete", "lines", "--yes"], b"");
    assert!(code == 3 && said.contains("words/out") && said.contains("--force"), "{code}: {said}");
    assert_eq!(done(dir, &["stream", "cat", "lines"], b""), "one\ntwo\nthree\n");
    done(dir, &["stream", "truncate", "lines", "--before", end, "--force"], b"");
    done(dir, &["stream", "delete", "lines", "--yes", "--force"], b"");
}
