//! Files that mean ill: none of them makes the reader hang, use memory without bound, or panic.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_yaml::{Properties, TopologyFile};
use parts::registry;

/// A reader that looks at everything with everything takes many minutes for these.
const LIMIT: Duration = Duration::from_secs(120);

/// Nothing that is said is longer than this, however often it says what the file does.
const SAID_MAX: usize = 64 << 20;

fn refused(what: &str, text: &str) -> String {
    let began: Instant = clock::now();
    let read = TopologyFile::parse("t.yaml", text, &Properties::new());
    let error = read.and_then(|file| file.topology(&registry())).unwrap_err().to_string();
    assert!(clock::now() - began < LIMIT, "{what}: {:?}", clock::now() - began);
    assert!(error.len() < SAID_MAX, "{what}: {} bytes are said", error.len());
    assert!(error.lines().count() <= 21, "{what}: {} lines", error.lines().count());
    error
}

const RIGHT: &str = "\
name: t
spouts: [{id: lines, type: stream, args: {stream: lines}}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
";

/// What stands for names is put into the text that names it: a file of a megabyte named a long value so often that a hundred
/// gigabytes came of it.
#[test]
fn a_value_that_is_named_often_is_no_larger_than_a_file() {
    let long = "a".repeat(1 << 19);
    let often = "${long}".repeat(70_000);
    let text = format!("{RIGHT}properties: {{long: {long}}}\nprogram: {often}\n");
    let error = refused("a value named often", &text);
    assert!(error.contains("`${long}`") && error.contains("1048576 bytes"), "{error}");
    assert!(error.starts_with("t.yaml:5:10: ") && error.lines().count() == 1, "{error}");
    // As much as that is taken.
    let few = "${long}".repeat(2);
    let text = format!("{RIGHT}properties: {{long: {long}}}\nprogram: {few}\n");
    let file = TopologyFile::parse("t.yaml", &text, &Properties::new()).unwrap();
    assert_eq!(file.program().unwrap().as_os_str().len(), 2 << 19);
    file.topology(&registry()).unwrap();
}

/// A device has no length that says how much comes of it; the reader asked for that, and then read to the end.
#[cfg(unix)]
#[test]
fn a_device_without_an_end_is_read_no_further_than_a_file_may_be_long() {
    let read = TopologyFile::read("/dev/zero".as_ref(), &Properties::new());
    let error = read.unwrap_err().to_string();
    assert!(error.contains("over 1048576 bytes"), "{error}");
}

#[test]
fn a_file_full_of_faults_is_not_looked_at_for_ever() {
    let mut many = String::from("name: t\nspouts:\n");
    for n in 0..1000 {
        writeln!(
            many,
            "- {{id: abcdefghijklmnopqrstuvwxyz-{n}, type: stream, args: {{stream: lines}}}}"
        )
        .unwrap();
    }
    many.push_str("sinks:\n- {id: out, type: stream, args: {stream: out}, inputs: [");
    while many.len() < 1 << 20 {
        many.push_str("abcdefghijklmnopqrstuvwxyzabcd,");
    }
    many.truncate((1 << 20) - 64);
    many.truncate(many.rfind(',').unwrap());
    many.push_str("]}\n");
    let error = refused("inputs that are not there", &many);
    assert!(error.ends_with("and at least 80 more: mend these first"), "{error}");

    let nothing = "{},".repeat(150_000);
    let long = "i".repeat(1 << 18);
    let text = format!(
        "name: t\nsinks:\n- {{id: {long}, type: stream, inputs: [{nothing}], args: {{stream: out}}}}\n"
    );
    refused("inputs of a long name that come from nowhere", &text);

    let mut names = format!("{RIGHT}properties:\n");
    for n in 0..3000 {
        writeln!(names, "  property-{n}: v").unwrap();
    }
    names.push_str("program: ");
    while names.len() < (1 << 20) - 20 {
        names.push_str("${properly}");
    }
    refused("names that stand for nothing", &names);

    // Each takes from the one behind it, and the last from itself.
    let mut chain = format!("{RIGHT}bolts:\n");
    let mut n = 0;
    while chain.len() < (1 << 20) - 100 {
        writeln!(chain, "- {{id: b{n}, type: number, inputs: [b{}]}}", n + 1).unwrap();
        n += 1;
    }
    writeln!(chain, "- {{id: b{n}, type: number, inputs: [b{n}]}}").unwrap();
    let error = refused("a chain behind a circle", &chain);
    assert!(error.contains(&format!("`b{n}` take from each other")), "{error}");

    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    refused("words that mean nothing", &format!("{RIGHT}{keys}"));
}

#[test]
fn what_is_nested_repeated_or_no_text_is_refused() {
    for (what, piece) in [
        ("lists", "["),
        ("maps", "{"),
        ("maps of lists", "{a: ["),
        ("keys", "? "),
        ("items", "- "),
        ("anchors", "&a "),
        ("quotes", "\""),
        ("bangs", "! "),
        ("comments", "# "),
        ("folds", ">\n "),
        ("percents", "%"),
        ("colons", ": "),
        ("commas", ","),
        ("marks", "\u{feff}"),
        ("begins", "---\n"),
    ] {
        for begin in ["", "name: ", "- "] {
            let text = format!("{begin}{}", piece.repeat((1 << 18) / piece.len()));
            refused(what, &text);
        }
    }
    let laughs = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    assert!(refused("aliases of aliases", laughs).contains("t.yaml:2:8: an alias"));
    assert!(refused("a merge", "a: &a {b: 1}\nname: {<<: *a}\n").contains("alias"));
    let twice = "name: t\nspouts: [{id: a, id: b}]\n";
    assert!(refused("a key twice, deep", twice).contains("t.yaml:2:18: `id` is said twice"));
}

/// A right file with one value in place of the right one.
fn with(key: &str, value: &str) -> String {
    let part = |of: &str| if of == key { value.to_owned() } else { String::new() };
    let (id, tasks, rate) = (part("id"), part("parallelism"), part("rate"));
    let id = if id.is_empty() { "lines".to_owned() } else { id };
    let line = |key: &str, value: &str| {
        if value.is_empty() { String::new() } else { format!(", {key}: {value}") }
    };
    format!(
        "name: t\nspouts: [{{id: {id}, type: stream, args: {{stream: lines}}{}{}}}]\n\
         sinks: [{{id: out, type: stream, inputs: [{id}], args: {{stream: out}}}}]\n",
        line("parallelism", &tasks),
        line("rate", &rate),
    )
}

#[test]
fn numbers_and_names_that_cannot_be_are_refused_where_they_stand() {
    for number in [
        "0",
        "-1",
        "4097",
        "4294967296",
        "4294967297",
        "18446744073709551616",
        "99999999999999999999999999999999999999",
        "1.5",
        "1e3",
        "1e999",
        "0x100000001",
        ".inf",
        ".nan",
        "'4'",
        "true",
        "[1]",
        "{a: 1}",
        "\u{664}",
    ] {
        let error = refused(number, &with("parallelism", number));
        assert!(error.starts_with("t.yaml:2:"), "{number}: {error}");
        assert!(error.contains("1 to 4096"), "{number}: {error}");
    }
    for number in ["0", "-1", "1e999", ".inf", ".nan", "-.inf", "'4'", "0x0"] {
        let error = refused(number, &with("rate", number));
        assert!(error.starts_with("t.yaml:2:"), "{number}: {error}");
    }
    let file = TopologyFile::parse("t.yaml", &with("rate", "0x10"), &Properties::new()).unwrap();
    file.topology(&registry()).unwrap();
    for name in ["\u{e4}", "'a b'", "a/b", "..", &"n".repeat(300)] {
        let error = refused(name, &with("id", name));
        assert!(error.contains("1 to 255 letters"), "{name}: {error}");
    }
}

#[test]
fn text_that_is_no_unicode_is_told_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    std::fs::write(&path, b"name: t\nspouts: \xff\xfe\n").unwrap();
    let error = TopologyFile::read(&path, &Properties::new()).unwrap_err().to_string();
    assert!(error.ends_with(":2:9: this is not UTF-8: write the file as text"), "{error}");
}
