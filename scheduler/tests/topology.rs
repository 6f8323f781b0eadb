//! `egret topology`, run as people run it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod words;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use words::{open, run};

/// Exit code, standard output and standard error.
fn egret(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command.args(args).env("EGRET_DATA", dir).env_remove("EGRET_CLUSTER").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_topology_is_listed_and_deleted_when_that_is_meant_and_nothing_is_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    run(dir, &["a", "b", "a"]);
    assert_eq!(egret(dir, &["checkpoint", "create", "words", "noon"]).0, 0);
    let (code, listed, err) = egret(dir, &["topology", "list", "-o", "json"]);
    assert_eq!(code, 0, "{err}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["topology"], "words");
    assert_eq!(listed[0]["names"], serde_json::json!(["noon"]));
    assert_eq!(listed[0]["streams"], serde_json::json!(["counts"]));
    assert_eq!(listed[0]["deleting"], false);
    let (_, table, _) = egret(dir, &["topology", "list"]);
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("words") && row.contains("commit 1.") && row.contains("noon"), "{row}");

    let delete = ["topology", "delete", "words"];
    let (code, _, err) = egret(dir, &delete);
    assert!(code == 3 && err.contains("add --yes if that is meant"), "{code} {err}");
    let (code, _, err) = egret(dir, &["topology", "delete", "word", "--yes"]);
    assert!(code == 3 && err.contains("there are `words`"), "{code} {err}");
    let meant = [&delete[..], &["--yes"]].concat();
    let (code, _, err) = egret(dir, &meant);
    assert!(code == 3 && err.contains("only topology `words` writes `counts`"), "{code} {err}");
    let whole = [&delete[..], &["--streams", "--yes"]].concat();
    let log = open(dir);
    let (code, _, err) = egret(dir, &whole);
    assert!(code == 3 && err.ends_with("is not deleted: end it first\n"), "{code} {err}");
    log.close().unwrap();
    let (code, said, err) = egret(dir, &whole);
    assert_eq!(code, 0, "{err}");
    assert!(
        said.starts_with("deleted words: ") && said.ends_with("what it wrote, counts\n"),
        "{said}"
    );
    let (code, _, err) = egret(dir, &whole);
    assert!(code == 3 && err.contains("none ran in this place yet"), "{code} {err}");
    let (_, streams, _) = egret(dir, &["stream", "list", "-o", "json"]);
    let streams: Value = serde_json::from_str(&streams).unwrap();
    assert_eq!(streams.as_array().unwrap().len(), 1, "what it read stays: {streams}");
    // Nothing keeps that any more.
    assert_eq!(egret(dir, &["stream", "delete", "lines", "--yes"]).0, 0);
}

/// A program that is this shell script. Written by another process, so that no child of a test beside this one has it
/// open for writing while it is started.
fn script(dir: &Path, name: &str, body: &str) -> String {
    let path = dir.join(name);
    let mut command = Command::new("sh");
    command.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod +x \"$0\""]);
    assert!(command.arg(&path).arg(body).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// Real topology programs are asked in the tests of the examples: here stand in scripts.
#[test]
fn a_program_is_asked_for_its_plan_and_whoever_gives_none_is_told_from_who_does() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let explain = |program: &str, more: &[&str]| {
        egret(dir, &[&["topology", "explain", program], more].concat())
    };
    let plan = "topology t (effectively-once, 4096 key groups, 1 worker)";
    let asked = script(dir, "asked", &format!("echo '{plan}'; echo \"$@\""));
    let (code, said, err) = explain(&asked, &["--", "--workers", "2", "x y"]);
    assert_eq!((code, said), (0, format!("{plan}\n--explain=text --workers 2 x y\n")), "{err}");
    let (code, _, err) = explain(&asked, &["-o", "json"]);
    assert!(code == 3 && err.contains("is no topology program"), "{code} {err}");
    let (code, _, err) = explain(&asked, &["-o", "png"]);
    assert!(code == 2 && err.contains("write text, json, dot or svg"), "{code} {err}");

    let nobody = dir.join("nobody").to_str().unwrap().to_owned();
    let (code, _, err) = explain(&nobody, &[]);
    assert!(code == 2 && err.contains("there is no program `"), "{code} {err}");
    let (code, _, err) = explain(dir.to_str().unwrap(), &[]);
    assert!(code == 2 && err.contains("cannot be started: "), "{code} {err}");
    let (code, _, err) = explain("true", &[]);
    assert!(code == 3 && err.contains("`true` is no topology program"), "{code} {err}");
    let (code, said, err) = explain("echo", &[]);
    assert!(code == 3 && said.is_empty(), "{code} {said} {err}");

    let ends =
        |how: &str| script(dir, "ends", &format!("echo one >&2; echo 'error: two' >&2; {how}"));
    for (how, ends_with) in [("exit 1", 1), ("exit 2", 2), ("exit 3", 3), ("exit 77", 1)] {
        let (code, _, err) = explain(&ends(how), &[]);
        assert!(code == ends_with && err.ends_with(": one; error: two\n"), "{how}: {code} {err}");
    }
    let (code, _, err) = explain(&ends("kill -9 $$"), &[]);
    assert!(code == 1 && err.contains("signal: 9"), "{code} {err}");
    let (code, _, err) = explain("false", &[]);
    assert!(code == 1 && err.ends_with("exit status: 1, and said nothing\n"), "{code} {err}");
}

#[test]
fn a_program_that_does_not_end_or_stop_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let pid = dir.join("pid");
    let note = format!("echo $$ > '{}'", pid.display());
    // One that waits, and one that closed its output and waits.
    for closes in ["", "exec >&- 2>&-;"] {
        let stays = script(dir, "stays", &format!("{note}; {closes} exec sleep 600"));
        let (code, _, err) = egret(dir, &["topology", "explain", &stays, "--wait", "1"]);
        assert!(code == 1 && err.contains("did not end within 1 s and was killed"), "{code} {err}");
        // It may be killed before it says who it is.
        if let Ok(stayed) = std::fs::read_to_string(&pid) {
            assert!(!Path::new("/proc").join(stayed.trim()).exists(), "{stayed} is there still");
        }
    }
    let floods = script(dir, "floods", "exec yes");
    let (code, _, err) = egret(dir, &["topology", "explain", &floods, "--wait", "600"]);
    assert!(code == 1 && err.contains("no answer is that long"), "{code} {err}");
    // What it says of errors may be any amount, and is not its answer.
    let plan = "topology t (effectively-once, 4096 key groups, 1 worker)";
    let loud = script(dir, "loud", &format!("head -c 3000000 /dev/zero >&2; echo '{plan}'"));
    let (code, said, _) = egret(dir, &["topology", "explain", &loud]);
    assert_eq!((code, said), (0, format!("{plan}\n")));
}

#[test]
fn a_topology_is_deactivated_and_activated_by_name_whoever_runs_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    run(dir, &["a"]);
    let active = || -> Value {
        let (_, listed, _) = egret(dir, &["topology", "list", "-o", "json"]);
        serde_json::from_str::<Value>(&listed).unwrap()[0]["active"].clone()
    };
    assert_eq!(active(), true);
    let (code, said, err) = egret(dir, &["topology", "deactivate", "words"]);
    assert_eq!((code, said.as_str()), (0, "words is inactive\n"), "{err}");
    assert_eq!(active(), false);
    let (_, table, _) = egret(dir, &["topology", "list"]);
    assert!(table.lines().nth(1).unwrap().contains(", inactive"), "{table}");
    let (code, _, err) = egret(dir, &["topology", "deactivate", "word"]);
    assert!(code == 3 && err.contains("there are `words`"), "{code} {err}");
    assert_eq!(egret(dir, &["topology", "activate", "words"]).0, 0);
    assert_eq!(active(), true);
}
