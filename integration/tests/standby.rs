//! Processes that stand by for a topology whose process is killed, again and again, over one data directory: each
//! goes on with the state it held, and every key counts every number once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use egret::replica::follow::{Beside, Place as _};
use egret::replica::shown::Range;
use egret::replica::{Replica, ReplicaError, ReplicaOptions};
use egret_log::clock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KEYS: usize = 64;
const WORKERS: u32 = 2;
/// The end of a run that is to be killed.
const OUT_OF_REACH: u64 = 1 << 40;
const KILLS: u32 = 4;
const LIMIT: Duration = Duration::from_secs(60);

/// A process, and what it says.
struct Program {
    child: Child,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Program {
    fn start(dir: &Path, options: &[&str]) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args(["--data".as_ref(), dir.as_os_str()])
            .args(["--workers", &WORKERS.to_string(), "--commit-ms", "5"])
            .args(options)
            .args([OUT_OF_REACH.to_string(), KEYS.to_string(), "1".to_owned()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = sync_channel(1024);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        Program { child, said, heard: Vec::new() }
    }

    fn stand_by(dir: &Path) -> Program {
        Program::start(dir, &["--standby"])
    }

    /// The first line like this that was not taken yet: said before or from now on.
    fn hear(&mut self, like: &str) -> String {
        if let Some(said) = self.heard.iter().position(|line| line.contains(like)) {
            return self.heard.remove(said);
        }
        let until = clock::now() + LIMIT;
        loop {
            match self.said.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(line) if line.contains(like) => return line,
                Ok(line) => self.heard.push(line),
                Err(why) => panic!("{why} waiting for `{like}`; it said {:?}", self.heard),
            }
        }
    }

    /// Whether it says such a line soon, or the other one does: for two of which one is to.
    fn says_before(&mut self, like: &str, other: &mut Program) -> bool {
        let until = clock::now() + LIMIT;
        let turn = Duration::from_millis(20);
        while clock::now() < until {
            for (own, program) in [(true, &mut *self), (false, &mut *other)] {
                match program.said.recv_timeout(turn) {
                    Ok(line) if line.contains(like) => return own,
                    Ok(line) => program.heard.push(line),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(why) => panic!("{why}; it said {:?}", program.heard),
                }
            }
        }
        panic!("neither says `{like}`: {:?} and {:?}", self.heard, other.heard)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let until = clock::now() + LIMIT;
        // It says nothing more once it has ended.
        loop {
            match self.said.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(line) => self.heard.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end; it said {:?}", self.heard)
                }
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is let be.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// What is committed of the keys, read beside whoever holds the directory; an error when nothing of them is yet.
fn committed(dir: &Path) -> Result<Vec<Value>, ReplicaError> {
    let mut replica = Replica::new("lockstep", ReplicaOptions::default());
    let mut place = Beside::new(dir);
    place.look(&mut |log| replica.catch_up(log)).expect("looked at for the first time")?;
    let range = Range { from: None, prefix: None, limit: KEYS + 1, bytes: 1 << 20 };
    let page = replica.read().scan("steps", &range)?;
    Ok(page.entries.into_iter().map(|(_, state)| state).collect())
}

/// Returns once the keys have counted something: first commits hold nothing, and are held as soon.
fn until_counted(dir: &Path) {
    let until = clock::now() + LIMIT;
    loop {
        match committed(dir) {
            Ok(_) => return,
            Err(why) => assert!(clock::now() < until, "nothing is counted: {why}"),
        }
    }
}

/// How many numbers every key has counted. Each is counted once, and all keys are the same.
fn counted(dir: &Path) -> u64 {
    let states = committed(dir).unwrap();
    assert_eq!(states.len(), KEYS);
    let number = |of: &Value| of.as_u64().unwrap_or_else(|| panic!("{states:?}"));
    let count = number(&states[0]["count"]);
    for state in &states {
        assert_eq!(number(&state["count"]), count, "two keys differ: {states:?}");
        assert_eq!(number(&state["last"]) + 1, count, "not each number once: {state}");
    }
    count
}

#[test]
fn a_process_that_stands_by_goes_on_where_a_killed_one_was_time_after_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Program::start(dir.path(), &[]);
    let mut standing = Program::stand_by(dir.path());
    for kill in 1..=KILLS {
        let held = format!("holding the state of {WORKERS} of {WORKERS} task(s)");
        standing.hear(&held);
        until_counted(dir.path());
        running.kill();
        standing.hear("is run by nobody");
        let said = standing.hear("took over topology `lockstep`");
        let warm = format!("as generation {}, {WORKERS} of {WORKERS} task(s) warm", kill + 1);
        assert!(said.contains(&warm), "{said}");
        running = std::mem::replace(&mut standing, Program::stand_by(dir.path()));
    }
    standing.hear("holding the state");
    running.signal(Signal::TERM);
    assert!(running.end().success(), "{:?}", running.heard);
    assert!(standing.end().success(), "{:?}", standing.heard);
    let last = standing.heard.last().unwrap();
    assert!(last.contains("ended in order: there is nothing to stand by for"), "{last}");
    assert!(counted(dir.path()) > 0);
}

#[test]
fn of_two_processes_that_stand_by_one_takes_over_and_the_other_goes_on_standing_by() {
    let dir = tempfile::tempdir().unwrap();
    let running = Program::start(dir.path(), &[]);
    let [mut one, mut other] = [(); 2].map(|()| Program::stand_by(dir.path()));
    one.hear("holding the state");
    other.hear("holding the state");
    running.kill();
    if other.says_before("took over topology", &mut one) {
        std::mem::swap(&mut one, &mut other);
    }
    // Now it is that one's state that the other holds.
    other.hear("standing by for topology `lockstep` in generation 2: holding the state of 2 of 2");
    until_counted(dir.path());
    one.kill();
    let said = other.hear("took over topology");
    assert!(said.contains("as generation 3, 2 of 2 task(s) warm"), "{said}");
    other.signal(Signal::TERM);
    assert!(other.end().success(), "{:?}", other.heard);
    assert!(counted(dir.path()) > 0);
}

#[test]
fn one_that_stands_by_and_is_asked_to_end_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut standing = Program::stand_by(dir.path());
    standing.hear("nobody runs topology `lockstep`");
    let made: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(made.is_empty(), "it made nothing where nothing is: {made:?}");
    standing.signal(Signal::TERM);
    assert!(standing.end().success(), "{:?}", standing.heard);
    let mut several = Program::start(dir.path(), &["--standby", "--processes", "2"]);
    assert_eq!(several.end().code(), Some(2), "{:?}", several.heard);
}
