//! A topology file is run by the program that has its components, and what is wrong with one is said.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wired/words.yaml");
const TEXT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/wired/text.txt");

fn run(file: &Path, dir: &Path, more: &[&str]) -> Output {
    // Cargo builds examples before the tests of their package, beside them.
    let own = std::env::current_exe().unwrap();
    let mut program = Command::new(own.parent().unwrap().parent().unwrap().join("examples/wired"));
    program.arg(file).args(["--property", &format!("text={TEXT}")]).args(more).current_dir(dir);
    program.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").env_remove("EGRET_PROCESSES");
    program.stdin(Stdio::null()).output().unwrap()
}

/// What was said last of each word.
fn counts(dir: &Path) -> BTreeMap<String, u64> {
    let mut parts: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    parts.sort();
    let lines = parts.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>();
    lines.lines().map(|line| serde_json::from_str::<(String, u64)>(line).unwrap()).collect()
}

#[test]
fn the_words_of_the_text_are_counted_as_the_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(Path::new(FILE), dir.path(), &[]);
    assert!(ran.status.success(), "{ran:?}");
    let wanted = [("rose", 4), ("said", 1)].map(|(word, n)| (word.to_owned(), n));
    assert_eq!(counts(&dir.path().join("counts")), BTreeMap::from(wanted));
    // It goes on from there: what was read is not counted again.
    let ran = run(Path::new(FILE), dir.path(), &["--workers", "1"]);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(counts(&dir.path().join("counts"))["rose"], 4);
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.yaml");
    let text = fs::read_to_string(FILE).unwrap();
    fs::write(&file, text.replace("from: split", "from: spilt").replace("shortest", "shrotest"))
        .unwrap();
    let ran = run(Path::new("wrong.yaml"), dir.path(), &[]);
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
    let said = String::from_utf8(ran.stderr).unwrap();
    for words in [
        "wrong.yaml:13:70: bolt `split`: argument `shrotest` is no argument it takes: did you mean `shortest`?",
        "wrong.yaml:18:15: bolt `count` takes from `spilt`, which is not there: did you mean `split`?",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no data directory, no output");
    let ran = run(Path::new("none.yaml"), dir.path(), &[]);
    assert_eq!(ran.status.code(), Some(2), "{ran:?}");
}
