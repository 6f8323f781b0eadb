//! Files that cannot be a topology, each with what is said of it. All of that is in `wirings.txt`, to be read as a whole;
//! `UPDATE=1 cargo test -p egret-yaml --test wirings` writes it again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;

use egret_yaml::{Properties, Registry, TopologyFile};
use parts::registry;

const TOLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wirings.txt");

/// One in which nothing is wrong; it is put before what is told of.
const RIGHT: &str = "\
name: t
spouts:
  - {id: lines, type: stream, args: {stream: lines}}
";

/// What is wrong, the words that must be said, and the file; a `+` at its beginning stands for [`RIGHT`].
const FILES: &[(&str, &[&str], &str)] = &[
    ("nothing", &["empty"], ""),
    ("no map", &["a list"], "- a\n- b\n"),
    ("no YAML", &["no YAML"], "name: t\nspouts: [{id: a\n"),
    ("a tab where a space belongs", &["no YAML"], "name: t\nspouts:\n\t- id: a\n"),
    ("a key twice", &["`name`", "1:1"], "name: t\nname: u\n"),
    ("an alias", &["alias"], "name: &n t\nprogram: *n\n"),
    ("a second document", &["second document"], "name: t\n---\nname: u\n"),
    ("a topology without a name", &["name"], "spouts: []\n"),
    ("a topology without a spout", &["spout"], "name: t\n"),
    ("a word that means nothing", &["`spout`", "`spouts`"], "name: t\nspout: []\n"),
    ("words of another system", &["`inputs`", "`type`", "`args`"], "\
+streams: [{from: lines, to: out}]
bolts:
  - {id: b, className: a.B, constructorArgs: [1], type: number, inputs: [lines]}
sinks: [{id: out, type: stream, inputs: [b], args: {stream: out}}]
"),
    ("a component without a name or a type", &["`id`", "`type`"], "+sinks: [{inputs: [lines]}]\n"),
    ("a name that cannot be a key", &["a/b"], "+sinks: [{id: a/b, type: stream, inputs: [lines], args: {stream: out}}]\n"),
    ("a type that is not registered", &["`splitt`", "`split`", "`mail`"], "\
+bolts:
  - {id: words, type: splitt, inputs: [lines]}
sinks:
  - {id: out, type: stream, inputs: [words], args: {stream: out}}
  - {id: mail, type: smtp, inputs: [words]}
"),
    ("a sink among the bolts", &["`stdout`", "sink"], "\
+bolts: [{id: print, type: stdout, inputs: [lines]}]
"),
    ("two components of one name", &["`lines`", "3:10"], "\
+bolts: [{id: lines, type: number, inputs: [lines]}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
"),
    ("a component of no task", &["`number`", "1 to 4096"], "\
+bolts: [{id: number, type: number, parallelism: 0, inputs: [lines]}]
sinks: [{id: out, type: stream, inputs: [number], args: {stream: out}}]
"),
    ("a parallelism of what is told it by its stream", &["`out`", "`partitions`"], "\
+sinks: [{id: out, type: stream, parallelism: 2, inputs: [lines], args: {stream: out}}]
"),
    ("a parallelism that is no number", &["`number`", "many"], "\
+bolts: [{id: number, type: number, parallelism: many, inputs: [lines]}]
sinks: [{id: out, type: stream, inputs: [number], args: {stream: out}}]
"),
    ("a component that is not there", &["`linse`", "`lines`"], "\
+sinks: [{id: out, type: stream, inputs: [linse], args: {stream: out}}]
"),
    ("what comes from a sink", &["`out`", "sink"], "\
+sinks:
  - {id: out, type: stream, inputs: [lines], args: {stream: out}}
  - {id: more, type: stream, inputs: [out], args: {stream: more}}
"),
    ("an output that is not there", &["`parse`", "`bda`", "`bad`"], "\
+bolts: [{id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}]
sinks:
  - {id: orders, type: stdout, inputs: [parse]}
  - {id: out, type: stream, inputs: [{from: parse, output: bda}], args: {stream: out}}
"),
    ("a bolt of another type", &["`count`", "`parse`", "String", "Order"], "\
+bolts:
  - {id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}
  - {id: count, type: count, inputs: [parse]}
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("a tuple that is no record", &["`out`", "`parse`", "Order"], "\
+bolts: [{id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}]
sinks: [{id: out, type: stream, inputs: [parse], args: {stream: out}}]
"),
    ("inputs of two types", &["`out`", "Order", "String"], "\
+config: {guarantee: at-least-once}
bolts: [{id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}]
sinks: [{id: out, type: stdout, inputs: [parse, lines]}]
"),
    ("state per key without a key", &["`count`", "shuffle", "`line`"], "\
+bolts: [{id: count, type: count, inputs: [{from: lines, grouping: shuffle}]}]
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("several keys and none is said", &["`count`", "`line`", "`text`"], "\
+bolts: [{id: count, type: count, inputs: [lines]}]
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("a key of another type", &["`count`", "`length`", "str", "u64"], "\
+bolts: [{id: count, type: count, inputs: [{from: lines, grouping: {type: fields, key: length}}]}]
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("a key that is not registered", &["`count`", "`lien`", "`line`"], "\
+bolts: [{id: count, type: count, inputs: [{from: lines, grouping: {type: fields, key: lien}}]}]
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("inputs by two keys", &["`count`", "`line`", "`text`"], "\
+bolts:
  - {id: number, type: number, inputs: [lines]}
  - id: count
    type: count
    inputs:
      - {from: lines, grouping: {type: fields, key: line}}
      - {from: number, grouping: {type: fields, key: text}}
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("a grouping that is not there", &["`feilds`", "`fields`"], "\
+bolts: [{id: number, type: number, inputs: [{from: lines, grouping: feilds}]}]
sinks: [{id: out, type: stream, inputs: [number], args: {stream: out}}]
"),
    ("groupings without their functions", &["`task`", "`by-length`", "`frist`", "`first`"], "\
+bolts:
  - {id: one, type: number, inputs: [{from: lines, grouping: direct}]}
  - {id: two, type: number, inputs: [{from: lines, grouping: {type: custom, by: frist}}]}
  - {id: three, type: number, inputs: [{from: lines, grouping: {type: all, key: line}}]}
sinks: [{id: out, type: stream, inputs: [one, two, three], args: {stream: out}}]
"),
    ("a grouping of what places itself", &["`out`", "`grouping`"], "\
+sinks: [{id: out, type: stream, inputs: [{from: lines, grouping: all}], args: {stream: out}}]
"),
    ("two inputs without their sides", &["`name`", "Order", "side"], "\
+bolts:
  - {id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}
  - {id: name, type: name, inputs: [parse, {from: lines, side: rihgt, grouping: {type: fields, key: line}}]}
sinks: [{id: out, type: stream, inputs: [name], args: {stream: out}}]
"),
    ("one side of two", &["`name`", "right"], "\
+bolts:
  - {id: parse, type: parse, inputs: [lines], args: {delimiter: ','}}
  - {id: name, type: name, inputs: [{from: parse, side: left, grouping: {type: fields, key: customer}}]}
sinks: [{id: out, type: stream, inputs: [name], args: {stream: out}}]
"),
    ("arguments that are wrong", &["`stream`", "`shrotest`", "`shortest`", "`delimiter`", "`count`"], "\
name: t
spouts:
  - {id: lines, type: stream}
  - {id: more, type: generator, args: {line: a, count: many}}
bolts:
  - {id: split, type: split, inputs: [lines, more], args: {shrotest: 3}}
  - {id: parse, type: parse, inputs: [split], args: {delimiter: '; '}}
  - {id: number, type: number, inputs: [split], args: {from: 1}}
sinks:
  - {id: orders, type: stdout, inputs: [parse]}
  - {id: out, type: file, inputs: [number], args: {dir: d, format: xml, roll_every: 5}}
"),
    ("a cycle", &["`a`", "`b`", "circle"], "\
+bolts:
  - {id: a, type: number, inputs: [lines, b]}
  - {id: b, type: number, inputs: [a]}
  - {id: c, type: number, inputs: [b]}
sinks: [{id: out, type: stream, inputs: [c], args: {stream: out}}]
"),
    ("a component that takes from itself", &["`a`", "circle"], "\
+bolts: [{id: a, type: number, inputs: [lines, a]}]
sinks: [{id: out, type: stream, inputs: [a], args: {stream: out}}]
"),
    ("output that goes nowhere", &["`number`", "nowhere"], "\
+bolts: [{id: number, type: number, inputs: [lines]}]
"),
    ("a bolt that takes nothing", &["`number`", "inputs"], "\
+bolts: [{id: number, type: number}]
sinks: [{id: out, type: stream, inputs: [lines, number], args: {stream: out}}]
"),
    ("dead letters that there are not", &["`number`", "dead-letter"], "\
+bolts: [{id: number, type: number, inputs: [lines]}]
sinks: [{id: out, type: stream, inputs: [number, {from: number, output: dead-letters}], args: {stream: out}}]
"),
    ("dead letters that nobody takes", &["`number`", "dead-letters"], "\
+bolts: [{id: number, type: number, inputs: [lines], on_error: dead-letter}]
sinks: [{id: out, type: stream, inputs: [number], args: {stream: out}}]
"),
    ("what becomes of errors, spelled wrong", &["`number`", "`dead-letter`", "`times`"], "\
+bolts:
  - {id: number, type: number, inputs: [lines], on_error: deadletter}
  - {id: more, type: number, inputs: [lines], on_error: {retry: {backoff: 5}}}
sinks: [{id: out, type: stream, inputs: [number, more], args: {stream: out}}]
"),
    ("two writers of one stream", &["`out`", "`copy`"], "\
+sinks:
  - {id: out, type: stream, inputs: [lines], args: {stream: out}}
  - {id: copy, type: stream, inputs: [lines], args: {stream: out}}
"),
    ("a sink outside of the commit, under effectively-once", &["`print`"], "\
+sinks: [{id: print, type: stdout, inputs: [lines]}]
"),
    ("a spout that cannot replay, under at-least-once", &["`lines`"], "\
name: t
config: {guarantee: at-least-once}
spouts: [{id: lines, type: socket, args: {address: 'localhost:1'}}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
"),
    ("more tasks with state than key groups", &["`count`"], "\
+config: {key_groups: 2}
bolts: [{id: count, type: count, parallelism: 3, inputs: [{from: lines, grouping: {type: fields, key: line}}]}]
sinks: [{id: out, type: stream, inputs: [count], args: {stream: out}}]
"),
    ("a configuration that cannot be", &["`exactly-once`", "`workers`", "`commit_interval`", "`comit_ms`"], "\
+config: {guarantee: exactly-once, workers: 0, commit_interval: 100, comit_ms: 5}
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
"),
    ("event time that is not registered", &["`lines`", "`aat`", "`at`"], "\
name: t
spouts: [{id: lines, type: stream, args: {stream: lines}, event_time: {of: aat, idle: 5}}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
"),
    ("a rate of nothing", &["`lines`"], "\
name: t
spouts: [{id: lines, type: stream, args: {stream: lines}, rate: 0}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]
"),
    ("names that stand for nothing", &["`${nmae}`", "`name`", "NO-SUCH", "`${`"], "\
name: t
properties: {name: lines}
spouts: [{id: lines, type: stream, args: {stream: '${nmae}'}}]
sinks:
  - {id: out, type: stream, inputs: [lines], args: {stream: '${ENV-NO-SUCH}'}}
  - {id: more, type: stream, inputs: [lines], args: {stream: '${name'}}
"),
    ("a setting that is a list", &["`most`", "a list"], "\
+bolts: [{id: number, type: number, inputs: [lines], settings: {most: [1]}}]
sinks: [{id: out, type: stream, inputs: [number], args: {stream: out}}]
"),
];

/// What is said of a file.
fn said(file: &str, registry: &Registry) -> String {
    let file =
        file.strip_prefix('+').map_or_else(|| file.to_owned(), |more| format!("{RIGHT}{more}"));
    let read = TopologyFile::parse("t.yaml", &file, &Properties::new().with_env("HOME", "/"));
    match read.and_then(|file| file.topology(registry)) {
        Ok(topology) => panic!("nothing is wrong with it:\n{file}\n{}", topology.explain(1)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_its_component_and_what_to_do() {
    let registry = registry();
    let mut told = "What is said of a file that cannot be a topology; see wirings.rs.\n".to_owned();
    for (what, words, file) in FILES {
        let said = said(file, &registry);
        for word in *words {
            assert!(said.contains(word), "{what}: `{word}` is not in:\n{said}");
        }
        for line in said.lines() {
            assert!(line.starts_with("t.yaml:"), "{what}: {line}");
        }
        told.push_str(&format!("\n{what}\n"));
        for line in file.replace('+', RIGHT).lines() {
            told.push_str(&format!("  | {line}\n"));
        }
        for line in said.lines() {
            told.push_str(&format!("  {line}\n"));
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(TOLD, &told).unwrap();
    }
    let wanted = std::fs::read_to_string(TOLD).unwrap();
    for (line, (is, was)) in told.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(is, was, "wirings.txt, line {}; see the head of this file", line + 1);
    }
    assert_eq!(told.lines().count(), wanted.lines().count());
}

/// It is so long that what is new in it was not read.
#[test]
fn of_very_many_faults_the_first_are_said() {
    let many: String = (0..100).map(|n| format!("  - {{id: s{n}, type: nosuch}}\n")).collect();
    let said = said(&format!("+sinks:\n{many}"), &registry());
    assert_eq!(said.lines().count(), 21, "{said}");
    assert!(said.ends_with("more: mend these first"), "{said}");
}

#[test]
fn what_is_registered_twice_is_said_when_a_file_is_read() {
    let mut registry = registry();
    registry.keyed("count", |()| || parts::Count);
    registry.sink("stdout", |()| || |_: String| {});
    registry.key("line", |line: &String| line.as_str());
    let file =
        format!("{RIGHT}sinks: [{{id: o, type: stream, inputs: [lines], args: {{stream: o}}}}]\n");
    let file = TopologyFile::parse("t.yaml", &file, &Properties::new()).unwrap();
    let said = file.topology(&registry).unwrap_err().to_string();
    for words in [
        "bolt `count` is registered, and one of this name was registered before",
        "sink `stdout` is registered, and one of this name is in the box",
        "key `line` of String is registered twice",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
