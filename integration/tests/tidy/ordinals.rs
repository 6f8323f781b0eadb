//! Cap'n Proto ordinals are for ever: every one that was given out stands in `ordinals.txt`.
//!
//! A line is `file scope.name @n :type`. A line without a counterpart in the schema was removed,
//! renamed, moved or retyped: readers of old bytes would take one thing for another. A new ordinal
//! needs its line: `UPDATE=1` adds it, and never takes one away.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::tree::{File, Tree};

const GOLDEN: &str = "integration/tests/tidy/ordinals.txt";

/// Compares the schemas with the list; under `UPDATE=1` adds what is new to it.
pub(crate) fn check_or_update(tree: &Tree) -> Vec<Finding> {
    let schemas: Vec<&File> = tree.files.iter().filter(|f| f.path.ends_with(".capnp")).collect();
    let given: BTreeSet<String> = schemas.iter().flat_map(|file| ordinals(file)).collect();
    let golden = tree.files.iter().find(|f| f.path == GOLDEN).and_then(|f| f.text.as_deref());
    let kept: BTreeSet<String> = golden.unwrap_or_default().lines().map(str::to_owned).collect();
    if std::env::var_os("UPDATE").is_some() {
        let all: Vec<&str> = given.union(&kept).map(String::as_str).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tidy/ordinals.txt");
        std::fs::write(path, all.join("\n") + "\n").expect("the list can be written");
        return compare(&given, &given.union(&kept).cloned().collect());
    }
    compare(&given, &kept)
}

/// What the list has and the schemas lack, and the other way round.
fn compare(given: &BTreeSet<String>, kept: &BTreeSet<String>) -> Vec<Finding> {
    let path = |line: &str| line.split(' ').next().unwrap_or(GOLDEN).to_owned();
    let lost = kept.difference(given).map(|line| {
        let rule = format!("`{line}` was given out and is gone");
        let remedy =
            "bring it back as it was (a comment may call it obsolete); ordinals are for ever";
        Finding::new(&path(line), 0, rule, remedy)
    });
    let new = given.difference(kept).map(|line| {
        let rule = format!("`{line}` is not in {GOLDEN}");
        let remedy =
            "run `UPDATE=1 cargo test -p egret-integration --test tidy` and commit the list";
        Finding::new(&path(line), 0, rule, remedy)
    });
    lost.chain(new).collect()
}

/// Every ordinal of one schema with its scope and type, and the file's id.
fn ordinals(file: &File) -> Vec<String> {
    let text = file.text.as_deref().unwrap_or_default();
    let code: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let mut found = Vec::new();
    let mut scopes: Vec<String> = Vec::new();
    let mut statement = String::new();
    for c in code.chars() {
        match c {
            '{' => {
                let (name, line) = describe(&scopes, &statement);
                found.extend(line);
                scopes.push(name);
                statement.clear();
            }
            '}' => {
                scopes.pop();
                statement.clear();
            }
            ';' => {
                found.extend(describe(&scopes, &statement).1);
                statement.clear();
            }
            c => statement.push(c),
        }
    }
    found.into_iter().map(|line| format!("{} {line}", file.path)).collect()
}

/// The name a statement gives, and its line when it has an ordinal or id.
fn describe(scopes: &[String], statement: &str) -> (String, Option<String>) {
    let words = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = words.split(" = ").next().unwrap_or_default().trim_start_matches("using ");
    let (head, tail) = words.split_once('@').map_or((words, None), |(h, t)| (h, Some(t)));
    let name = head.split([' ', ':']).rfind(|w| !w.is_empty()).unwrap_or("").to_owned();
    let name = match head.trim_end().trim_end_matches(':').split_whitespace().collect::<Vec<_>>()[..]
    {
        // A union without a name opens no scope of its own.
        ["union"] => String::new(),
        // `name :union {` and `name :group {`.
        [first, ":union" | ":group"] => first.to_owned(),
        _ => name,
    };
    let full: Vec<&str> = scopes
        .iter()
        .map(String::as_str)
        .chain([name.as_str()])
        .filter(|s| !s.is_empty())
        .collect();
    let line = tail.map(|tail| {
        let tail = tail.replace(": ", ":").replace(" :", ":").replace(':', " :");
        format!("{} @{tail}", full.join("."))
    });
    (name, line.map(|line| line.trim_start().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "@0xabc;  # id\nstruct Request {\n  body :union {\n    none @0 :Void;\n    read @1 :Read;\n  }\n  union {\n    a @2 :UInt8 = 7;\n    b @3: List(Text);\n  }\n}\nenum Code { good @0; bad @1; }\ninterface Log { append @0 (data :Data) -> (at :UInt64); }\n";

    #[test]
    fn ordinals_are_read_with_scope_and_type() {
        let found = ordinals(&File::snippet("a.capnp", SCHEMA));
        let expected = [
            "a.capnp @0xabc",
            "a.capnp Request.body.none @0 :Void",
            "a.capnp Request.body.read @1 :Read",
            "a.capnp Request.a @2 :UInt8",
            "a.capnp Request.b @3 :List(Text)",
            "a.capnp Code.good @0",
            "a.capnp Code.bad @1",
            "a.capnp Log.append @0 (data :Data) -> (at :UInt64)",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_reused_a_renamed_a_lost_and_a_new_ordinal_are_found() {
        let set = |schema: &str| ordinals(&File::snippet("a.capnp", schema)).into_iter().collect();
        let kept: BTreeSet<String> = set(SCHEMA);
        for (from, to, findings) in [
            ("a @2 :UInt8", "a @2 :UInt64", 2),
            ("none @0", "nothing @0", 2),
            ("bad @1;", "", 1),
            ("bad @1;", "bad @1; worse @2;", 1),
            ("@0xabc", "@0xabd", 2),
        ] {
            let changed = set(&SCHEMA.replace(from, to));
            assert_eq!(compare(&changed, &kept).len(), findings, "{from} → {to}");
        }
        assert_eq!(compare(&kept, &kept), []);
    }
}
