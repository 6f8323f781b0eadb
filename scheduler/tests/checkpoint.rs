//! `egret checkpoint`, run as people run it: beside a topology that runs, and while none does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod words;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::{Progress, RunOptions};
use egret_log::clock;
use serde_json::Value;

use words::{counts, open, run, topology, write};

/// Runs `egret checkpoint` on a data directory.
fn egret(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command.arg("checkpoint").args(args).env("EGRET_DATA", dir).env_remove("EGRET_CLUSTER");
    command.stdin(Stdio::null()).output().expect("egret starts")
}

fn done(dir: &Path, args: &[&str]) -> String {
    let output = egret(dir, args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} ended with {}: {err}", output.status);
    assert_eq!(err, "", "{args:?} did, and complained");
    String::from_utf8(output.stdout).expect("the tests write text")
}

/// Exit code and standard error of a command that must not do.
fn not_done(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = egret(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it ended by itself"), err)
}

fn listed(dir: &Path) -> Vec<Value> {
    let all: Value = serde_json::from_str(&done(dir, &["list", "words", "-o", "json"])).unwrap();
    all.as_array().unwrap().clone()
}

#[test]
fn a_commit_is_named_listed_gone_back_to_and_forgotten_while_nothing_runs() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    run(dir, &["a", "b", "a"]);
    let said = done(dir, &["create", "words", "three"]);
    assert!(said.starts_with("named commit 1.") && said.ends_with(" of words: three\n"), "{said}");
    run(dir, &["a"]);

    let all = listed(dir);
    assert_eq!(
        (all.len(), &all[0]["name"], &all[0]["generation"]),
        (1, &"three".into(), &1.into())
    );
    assert_eq!(all[0]["lost"], Value::Null);
    let position = all[0]["positions"]["lines"]["0"].as_str().unwrap();
    assert!(position.starts_with("S1:3:0@L"), "{position}");
    assert!(all[0]["state"][0]["entries"].as_u64() > Some(0), "{}", all[0]);
    assert!(all[0]["created"].as_str().unwrap().ends_with('Z'));
    let table = done(dir, &["list", "words"]);
    assert!(table.starts_with("NAME"), "{table}");
    let row = table.lines().nth(1).unwrap();
    assert!(
        row.starts_with("three") && row.contains("lines[0]=S1:3:0") && row.ends_with("yes"),
        "{row}"
    );

    let (code, err) = not_done(dir, &["restore", "words", "three"]);
    assert_eq!(code, 3);
    assert!(err.contains("forgets what words counted since"), "{err}");
    assert!(err.ends_with("add --yes if that is meant\n"), "{err}");
    let said = done(dir, &["restore", "words", "three", "--yes"]);
    assert!(said.starts_with("words is back at three, commit 1."), "{said}");
    assert!(said.ends_with("as generation 3: run it, and it goes on from there\n"), "{said}");
    run(dir, &["b"]);
    let log = open(dir);
    assert_eq!(counts(&log), ["a1", "b1", "a2", "a3", "a3", "b2"], "the fourth word is read again");
    log.close().unwrap();

    let said = done(dir, &["delete", "words", "three"]);
    assert!(said.starts_with("deleted the name three of commit 1."), "{said}");
    assert!(listed(dir).is_empty());
}

#[test]
fn commits_are_named_beside_a_topology_that_runs_and_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let log = open(dir);
    write(&log, &["a", "b"]);
    let progress = Arc::new(Progress::default());
    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    thread::scope(|scope| {
        let runner = scope.spawn(|| topology(false).run(&log, &options, &progress));
        let until = clock::now() + Duration::from_secs(60);
        let wait = |tuples: u64, commits: u64| {
            while progress.tuples() < tuples || progress.commits() < commits {
                assert!(clock::now() < until && !runner.is_finished(), "it does not go on");
                thread::yield_now();
            }
        };
        wait(2, 1);
        done(dir, &["create", "words", "early"]);
        let before = progress.commits();
        write(&log, &["a"]);
        wait(3, before + 1);
        done(dir, &["create", "words", "later"]);
        let names: Vec<String> = listed(dir).iter().map(|c| c["name"].to_string()).collect();
        assert_eq!(names, [r#""early""#, r#""later""#]);
        assert!(listed(dir).iter().all(|commit| commit["lost"] == Value::Null));
        done(dir, &["delete", "words", "early"]);
        let (code, err) = not_done(dir, &["delete", "words", "early"]);
        assert_eq!(code, 3);
        assert_eq!(err, "egret: no commit is named `early`: there is `later`\n");

        // The process that has the directory runs the topology.
        let (code, err) = not_done(dir, &["restore", "words", "later", "--yes"]);
        assert_eq!(code, 3);
        let pid = std::process::id().to_string();
        assert!(err.contains(&pid) && err.ends_with("with --restore NAME --yes\n"), "{err}");
        let before = progress.commits();
        write(&log, &["b"]);
        wait(4, before + 1);
        progress.stop();
        let summary = runner.join().unwrap().unwrap();
        assert_eq!((summary.generation.0, summary.restarts), (1, 0), "nobody disturbed it");
    });
    log.close().unwrap();
    assert_eq!(listed(dir).len(), 1);
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let (code, err) = not_done(&dir.join("none"), &["list", "words"]);
    assert_eq!(code, 3);
    assert!(err.contains("there is no data directory: "), "{err}");
    run(dir, &["a"]);
    for verb in ["list", "create", "delete"] {
        let args: &[&str] = if verb == "list" { &[verb, "word"] } else { &[verb, "word", "n"] };
        let (code, err) = not_done(dir, args);
        assert_eq!(
            (code, &*err),
            (3, "egret: there is no topology `word` here: there are `words`\n")
        );
    }
    let (code, err) = not_done(dir, &["create", "words", "a/b"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("egret: `a/b` cannot name a commit: give 1 to 64 letters"), "{err}");
    let (code, err) = not_done(dir, &["restore", "words", "n", "--yes"]);
    assert_eq!(code, 3);
    assert!(err.contains("no commit is named `n`: the topology has no named commits"), "{err}");
    done(dir, &["create", "words", "n"]);
    let (code, err) = not_done(dir, &["create", "words", "n"]);
    assert_eq!(code, 3);
    assert!(
        err.contains("`n` names a commit already") && err.contains("delete that one first"),
        "{err}"
    );

    // Force takes away what the name keeps; it is said what that did.
    let words: Vec<String> = (0..30).map(|n| format!("w{n}")).collect();
    run(dir, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let log = open(dir);
    let at = log.ends("lines").unwrap()[&0];
    assert!(log.truncate("lines", 0, at, false).is_err());
    log.truncate("lines", 0, at, true).unwrap();
    log.close().unwrap();
    let (code, err) = not_done(dir, &["restore", "words", "n", "--yes"]);
    assert_eq!(code, 3);
    assert!(
        err.contains("`n`, commit 1.")
            && err.contains("cannot be restored: the stream that `lines` reads"),
        "{err}"
    );
    assert!(err.contains("reads was deleted, or truncated by force; nothing was changed"), "{err}");
    assert!(err.contains("nothing was changed: `egret checkpoint list` shows"), "{err}");
    let lost = listed(dir)[0]["lost"].as_str().unwrap().to_owned();
    assert!(lost.ends_with("was deleted, or truncated by force"), "{lost}");
    assert!(done(dir, &["list", "words"]).contains("no: the stream that `lines` reads was"));
    // The topology goes on, for what it needs itself is there; then it is known how far the stream is gone.
    run(dir, &["z"]);
    let lost = listed(dir)[0]["lost"].as_str().unwrap().to_owned();
    assert!(
        lost.starts_with("stream `lines` was truncated by force: its partition 0 begins at"),
        "{lost}"
    );
}

#[test]
fn the_help_says_what_going_back_does_to_output() {
    let root = tempfile::tempdir().unwrap();
    let help = done(root.path(), &["restore", "--help"]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("written to output streams since stays"), "{help}");
    assert!(help.contains("the results of what is read again come again"), "{help}");
}
