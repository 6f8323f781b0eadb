//! A data directory held by one process and attached to by another: either is killed in the middle of what it
//! does, and what was acknowledged is there.
//!
//! The other process is this very program, started again as one of the ignored tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use egret_log::ledger::LedgerKind;
use egret_log::metadata::{Compare, MetaError, Op, TxnOutcome, WatchError};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, Outcome, clock};
use egret_schemas::Term;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Where a holder's process finds its directory.
const DIR: &str = "EGRET_TEST_HELD_DIR";

/// How long anything may take before it counts as never. The holder is dead: every answer is an error, and
/// the longest of them is a deadline of ten seconds.
const AT_MOST: Duration = Duration::from_secs(40);

/// Holds a directory until the process is killed, or its input is closed.
#[test]
#[ignore = "the holder's process of the other tests"]
fn holder() {
    let Some(dir) = env::var_os(DIR) else { return };
    let log = hold(Path::new(&dir));
    say("ready");
    io::copy(&mut io::stdin().lock(), &mut io::sink()).unwrap();
    log.close().unwrap();
}

/// Attaches to a directory, and says which records were acknowledged, until the process is killed.
#[test]
#[ignore = "the attached process of the other tests"]
fn attached() {
    let Some(dir) = env::var_os(DIR) else { return };
    let log = Log::attach(Path::new(&dir)).unwrap();
    let writer = log.writer("s", 0).unwrap();
    for n in 0.. {
        writer.append_wait(&[Record::of(format!("a{n}"))]).unwrap();
        say(&format!("told {n}"));
    }
}

/// A line of its own: the test runner writes to the same output.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

fn hold(dir: &Path) -> Log {
    let config = LogConfig { serve: true, shared: true, ..LogConfig::default() };
    Log::open(dir, config).unwrap()
}

/// One of the ignored tests in a process of its own; killed when dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(what: &str, dir: &Path) -> Process {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([what, "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    fn holder(dir: &Path) -> Process {
        let mut holder = Process::start("holder", dir);
        assert!(holder.waits_for("ready"), "the holder ended before it was ready");
        holder
    }

    fn waits_for(&mut self, line: &str) -> bool {
        self.lines.by_ref().map_while(Result::ok).any(|said| said == line)
    }

    /// Kills it; the last line that begins so.
    fn kill(mut self, with: &str) -> Option<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let said = self.lines.by_ref().map_while(Result::ok);
        said.filter_map(|line| line.strip_prefix(with).map(str::to_owned)).last()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "it lets go in order");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process was told is there, by what it wrote.
#[derive(Default)]
struct Acknowledged {
    records: AtomicU64,
    entries: AtomicU64,
    transactions: AtomicU64,
}

#[test]
fn a_killed_holder_ends_every_request_and_what_it_acknowledged_is_there() {
    for round in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let holder = Process::holder(dir.path());
        let log = Log::attach(dir.path()).unwrap();
        log.create_stream("s", StreamConfig::default()).unwrap();
        let ledger = log.ledgers().reserve().unwrap();
        let kind = LedgerKind::Transactional { owner: "words".to_owned() };
        let changelog = log.ledgers().create(ledger, kind, Term(1)).unwrap();
        let writer = log.writer("s", 0).unwrap();
        let told = Acknowledged::default();
        let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
        let revision = log.metadata().list("/n").unwrap().revision;
        let mut watch = log.metadata().watch("/never", revision + 1).unwrap();
        let start = clock::now();
        thread::scope(|scope| {
            let written = scope.spawn(|| {
                loop {
                    let n = told.records.load(Ordering::SeqCst);
                    match writer.append_wait(&[Record::of(n.to_string())]) {
                        Ok(_) => told.records.store(n + 1, Ordering::SeqCst),
                        Err(why) => return why,
                    }
                }
            });
            let kept = scope.spawn(|| {
                loop {
                    let n = told.entries.load(Ordering::SeqCst);
                    match changelog.append_wait(Bytes::from(n.to_string())) {
                        Ok(_) => told.entries.store(n + 1, Ordering::SeqCst),
                        Err(why) => return why,
                    }
                }
            });
            let counted = scope.spawn(|| {
                let mut held = None;
                loop {
                    let n = told.transactions.load(Ordering::SeqCst);
                    let compare = held.map_or(Compare::Absent("/n".to_owned()), |revision| {
                        Compare::Revision("/n".to_owned(), revision)
                    });
                    let op = Op::Put("/n".to_owned(), (n + 1).to_string().into_bytes());
                    match log.metadata().txn(&[compare], &[op]) {
                        Ok(TxnOutcome::Committed { revision }) => {
                            held = Some(revision);
                            told.transactions.store(n + 1, Ordering::SeqCst);
                        }
                        Ok(TxnOutcome::Conflict) => panic!("nobody else counts"),
                        Err(why) => return why,
                    }
                }
            });
            // It waits for the next, and for the next, and then for one that never comes.
            let read = scope.spawn(move || {
                loop {
                    match reader.next_wait(AT_MOST) {
                        Ok(Some(_)) => {}
                        Ok(None) => panic!("neither a record nor an error in {AT_MOST:?}"),
                        Err(why) => return why,
                    }
                }
            });
            let watched = scope.spawn(move || watch.next(AT_MOST));
            let enough = |n: &AtomicU64| n.load(Ordering::SeqCst) >= 20 * (round + 1);
            while ![&told.records, &told.entries, &told.transactions].into_iter().all(enough) {
                assert!(clock::now() - start < AT_MOST, "nothing goes on");
                thread::yield_now();
            }
            holder.kill("");
            let killed = clock::now();
            for (what, why) in [
                ("append", written.join().unwrap().to_string()),
                ("ledger", kept.join().unwrap().to_string()),
                ("read", read.join().unwrap().to_string()),
            ] {
                assert!(!why.is_empty(), "{what}");
            }
            let why = counted.join().unwrap();
            assert!(matches!(why, MetaError::Unreachable { .. } | MetaError::Gone { .. }), "{why}");
            let why = watched.join().unwrap().unwrap_err();
            assert!(matches!(why, WatchError::Store(MetaError::Gone { .. })), "{why}");
            // And whatever is asked from now on was definitely not done.
            let gone = log.metadata().txn(&[], &[Op::Delete("/n".to_owned())]).unwrap_err();
            assert_eq!(gone.outcome(), Outcome::Definite, "{gone}");
            log.describe("s").unwrap_err();
            log.writer("other", 0).unwrap_err();
            let took = clock::now() - killed;
            assert!(took < AT_MOST, "{took:?}");
        });
        drop((writer, changelog, log));

        let holder = Process::holder(dir.path());
        let log = Log::attach(dir.path()).unwrap();
        let (records, entries, transactions) =
            (told.records.into_inner(), told.entries.into_inner(), told.transactions.into_inner());
        // What was acknowledged last lies beyond what the bookie remembers as visible, and nobody who is
        // attached may take a partition over to find its end: it was given one before.
        let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
        let mut seen = 0;
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            for record in batch.records {
                assert_eq!(record.value, seen.to_string());
                seen += 1;
            }
        }
        // One more was under way, and may be there.
        assert!((records..=records + 1).contains(&seen), "{records} were told, {seen} are there");
        for n in 0..entries {
            let entry = egret_schemas::EntryId(n);
            assert_eq!(log.ledgers().read_unconfirmed(ledger, entry).unwrap(), n.to_string());
        }
        let held = log.metadata().get("/n").unwrap().unwrap();
        let counted: u64 = String::from_utf8(held.value).unwrap().parse().unwrap();
        let may_be = transactions..=transactions + 1;
        assert!(may_be.contains(&counted), "{transactions} were told, it is at {counted}");
        // And it goes on.
        log.writer("s", 0).unwrap().append_wait(&[Record::of("next")]).unwrap();
        log.close().unwrap();
        holder.end();
    }
}

/// Whoever stops the holder stops nobody else for longer than they asked to wait, and all goes on afterwards.
#[test]
fn a_stopped_holder_is_unknown_in_time_and_goes_on_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let holder = Process::holder(dir.path());
    let log = Log::attach_within(dir.path(), Duration::from_millis(300)).unwrap();
    log.create_stream("s", StreamConfig::default()).unwrap();
    let writer = log.writer("s", 0).unwrap();
    writer.append_wait(&[Record::of("1")]).unwrap();
    let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
    reader.next_wait(AT_MOST).unwrap().unwrap();
    let pid = Pid::from_child(&holder.child);
    kill_process(pid, Signal::STOP).unwrap();
    // It is said when the last of its threads stands still.
    let said = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    assert!(said.is_some_and(|(_, status)| status.stopped()));
    let stopped = clock::now();
    let error = writer.append_wait(&[Record::of("perhaps")]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    let put = [Op::Put("/a".to_owned(), b"perhaps".to_vec())];
    let error = log.metadata().txn(&[], &put).unwrap_err();
    assert!(matches!(error, MetaError::Timeout { .. }), "{error}");
    log.describe("s").unwrap_err();
    let late = Log::attach_within(dir.path(), Duration::from_millis(100)).unwrap_err();
    assert!(late.to_string().contains("did not answer within 100 ms"), "{late}");
    let took = clock::now() - stopped;
    assert!(took < AT_MOST, "{took:?}");
    kill_process(pid, Signal::CONT).unwrap();
    let goes_on = clock::now() + AT_MOST;
    while let Err(error) = writer.append_wait(&[Record::of("2")]) {
        assert!(clock::now() < goes_on, "{error}");
    }
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "2") {
        match reader.next_wait(AT_MOST) {
            Ok(batch) => seen.extend(batch.unwrap().records.into_iter().map(|r| r.value)),
            Err(error) => assert!(clock::now() < goes_on, "{error}"),
        }
    }
    // What got no answer came through, or did not; what was tried again until it was told, may be there more
    // than once, because these records have no numbers.
    seen.dedup();
    let perhaps = seen.len() == 2 && seen[0] == "perhaps";
    assert!(seen.len() == 1 || perhaps, "{seen:?}");
    log.close().unwrap();
    holder.end();
}

/// A killed attached process leaves nothing behind that stands in anybody's way.
#[test]
fn the_holder_goes_on_when_somebody_attached_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let log = hold(dir.path());
    log.create_stream("s", StreamConfig::default()).unwrap();
    let mut process = Process::start("attached", dir.path());
    // It is in the middle of it.
    assert!(process.waits_for("told 20"), "it ended before it was killed");
    let mut told: u64 = process.kill("told ").map_or(20, |n| n.parse().unwrap());
    told += 1;
    let writer = log.writer("s", 0).unwrap();
    writer.append_wait(&[Record::of("h")]).unwrap();
    let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "h") {
        let batch = reader.next_wait(AT_MOST).unwrap().unwrap();
        seen.extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
    }
    seen.pop();
    let expected: Vec<String> = (0..seen.len()).map(|n| format!("a{n}")).collect();
    assert_eq!(seen, expected);
    let there = seen.len() as u64;
    assert!((told..=told + 1).contains(&there), "{told} were told, {there} are there");
    log.close().unwrap();
}
