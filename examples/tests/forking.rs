//! What the README says about forks, line by line, with the files it names.
//!
//! It stands without a harness so that this program can be the `egret` command, too: the examples are not the package
//! that builds that.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it did not"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

use clap::Parser as _;
use egret_scheduler::cli::Cli;

/// The first argument that makes it the command.
const COMMAND: &str = "as-the-egret-command";
const README: &str = include_str!("../../README.md");
const HEAD: &str = "## Try something else from a named commit";

fn main() -> ExitCode {
    let mut args = env::args();
    let own = args.next().unwrap();
    let mut rest = args.peekable();
    if rest.peek().is_some_and(|first| first == COMMAND) {
        return Cli::parse_from(rest).run();
    }
    // Nothing else is asked of a test by those who list tests.
    if env::args().any(|arg| arg == "--list") {
        println!("the_readme_forks_a_topology: test");
        return ExitCode::SUCCESS;
    }
    the_readme_forks_a_topology(Path::new(&own));
    println!("test the_readme_forks_a_topology ... ok");
    ExitCode::SUCCESS
}

/// The lines of shell under a head.
fn lines() -> &'static str {
    let section = README.split(HEAD).nth(1).unwrap();
    section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap()
}

/// Word → count, of what `word_count` printed with `--all`.
fn counts(dir: &Path, file: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(dir.join(file)).unwrap();
    let row = |line: &str| {
        let (count, word) = line.split_once('\t').unwrap();
        (word.to_owned(), count.parse().unwrap())
    };
    text.lines().map(row).collect()
}

fn counted(texts: &[&str]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let words = texts.iter().flat_map(|text| text.split_ascii_whitespace());
    words.for_each(|word| *counts.entry(word.to_owned()).or_insert(0) += 1);
    counts
}

fn the_readme_forks_a_topology(own: &Path) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    let files = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let texts = files.map(|file| fs::read_to_string(package.join(file)).unwrap());
    for (file, text) in files.iter().zip(&texts) {
        fs::write(dir.join(file), text).unwrap();
    }
    let own = fs::canonicalize(own).unwrap();
    let programs = dir.join("programs");
    fs::create_dir(&programs).unwrap();
    let egret = programs.join("egret");
    fs::write(&egret, format!("#!/bin/sh\nexec '{}' {COMMAND} \"$@\"\n", own.display())).unwrap();
    fs::set_permissions(&egret, fs::Permissions::from_mode(0o755)).unwrap();
    // Cargo builds examples before the tests of their package, beside them.
    let built = own.parent().unwrap().parent().unwrap().join("examples/word_count");
    let all = format!("#!/bin/sh\nexec '{}' --all \"$@\"\n", built.display());
    let word_count = programs.join("word_count");
    fs::write(&word_count, all).unwrap();
    fs::set_permissions(&word_count, fs::Permissions::from_mode(0o755)).unwrap();

    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", lines()]).current_dir(dir).env("PATH", path).stdin(Stdio::null());
    let output = shell.env_remove("EGRET_CLUSTER").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));

    let [readme, architecture, contributing] = texts.each_ref().map(String::as_str);
    assert_eq!(counts(dir, "begun.tsv"), counted(&[readme]));
    assert_eq!(counts(dir, "whole.tsv"), counted(&[readme, architecture]));
    let three = counted(&[readme, architecture, contributing]);
    assert_eq!(counts(dir, "trial.tsv"), three, "the words counted before are among them");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[1], three["Egret"].to_string(), "{said}");
    assert!(said.contains("word_count:begun"), "it is listed: {said}");
    assert!(
        said.contains("deleted trial: ") && said.contains("what it wrote, trial-counts"),
        "{said}"
    );
    assert!(said.contains("deleted the name begun of"), "it is free: {said}");
}
