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
