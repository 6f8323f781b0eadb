//! What a file says runs as what Rust says: the same plan, and each input counted once under kills.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;

use egret::testing::TopologyTest;
use egret::{Blob, Emitter, LogSink, LogSpout, Topology, TopologyBuilder};
use egret_yaml::{Properties, TopologyFile};
use parts::{Count, registry};

const WORDS: &str = include_str!("files/words.yaml");

fn topology(file: &str) -> Topology {
    let file = TopologyFile::parse("t.yaml", file, &Properties::new().with_env("HOME", "/"));
    file.and_then(|file| file.topology(&registry())).unwrap()
}

#[test]
fn the_plan_is_that_of_the_same_wiring_in_rust() {
    let mut t = TopologyBuilder::new("words");
    t.key_groups(64);
    let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines")).unwrap();
    let split = || |line: String, out: &mut Emitter<String>| out.emit(line);
    let words = lines.shuffle().bolt("split", 2, split).unwrap();
    let counts = words.fields(|word| word.as_str()).keyed("count", 2, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    let wanted = t.finish().unwrap().explain(2);
    assert_eq!(topology(WORDS).explain(2), wanted);
}

/// The order of a file is the reader's: what takes from what is all that counts.
#[test]
fn every_grouping_output_and_kind_of_component_has_its_words() {
    let explained = topology(include_str!("files/orders.yaml")).explain(1);
    for words in [
        "global",
        "local-or-shuffle",
        "partial-key",
        "direct",
        "custom",
        "fields",
        "all",
        "rebalance",
        "shuffle",
        "dead letters",
        "parse:bad",
        "2 more time(s), 1 ms apart",
        "splits idle after 5000 ms",
        "u64 per str",
        "u64 per task",
        "/orders/*.csv",
        "part-*.csv",
    ] {
        assert!(explained.contains(words), "`{words}` is not in:\n{explained}");
    }
}

#[test]
fn words_are_counted_once_wherever_the_process_is_killed() {
    for seed in 0..10 {
        let mut t = TopologyTest::new(|t: &mut TopologyBuilder| {
            let file = TopologyFile::parse("words.yaml", WORDS, &Properties::new())?;
            Ok(file.wire(&registry(), t)?)
        })
        .unwrap()
        .seed(seed);
        t.partitions("lines", 2);
        t.send("lines", ["to be or not", "to be a bee", "bee"]).unwrap();
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        let counts = t.state::<u64>("count").unwrap();
        assert_eq!((counts["to"], counts["be"], counts["bee"]), (2, 2, 2), "seed {seed}");
        assert!(!counts.contains_key("a"), "it is shorter than 2");
        let told = t.output::<Vec<u8>>("counts").unwrap();
        assert!(!told.is_empty());
    }
}

#[test]
fn settings_reach_the_component_and_errors_go_where_the_file_says() {
    const FILE: &str = "
name: orders
spouts: [{id: lines, type: stream, args: {stream: lines}}]
bolts:
  - {id: parse, type: parse, inputs: [lines], args: {delimiter: ','}, on_error: dead-letter}
  - {id: sum, type: sum, inputs: [parse], settings: {most: 100}}
sinks:
  - {id: sums, type: stream, inputs: [sum], args: {stream: sums}}
  - {id: bad, type: stream, inputs: [{from: parse, output: bad}], args: {stream: bad}}
  - {id: failed, type: stream, inputs: [{from: parse, output: dead-letters}], args: {stream: failed}}
";
    let mut t = TopologyTest::new(|t: &mut TopologyBuilder| {
        let file = TopologyFile::parse("orders.yaml", FILE, &Properties::new())?;
        Ok(file.wire(&registry(), t)?)
    })
    .unwrap();
    t.send("lines", ["ann,60,1", "nothing", "ann,60,2", "bob,x,3"]).unwrap();
    t.run_until_idle().unwrap();
    let sums = t.keyed_output::<Blob>("sums").unwrap();
    let sums: Vec<_> = sums.iter().map(|(of, sum)| (of.as_str(), &sum[..])).collect();
    assert_eq!(sums, [("ann", &b"60"[..]), ("ann", b"100")], "120 is over the most");
    assert_eq!(t.output::<String>("bad").unwrap(), ["nothing"]);
    let failed = t.output::<Vec<u8>>("failed").unwrap();
    let failed = String::from_utf8(failed.concat()).unwrap();
    assert!(failed.contains("bob,x,3") && failed.contains("invalid digit"), "{failed}");
    // What a setting is may be changed by whoever starts it.
    let mut topology = topology(FILE);
    topology.set("sum.most=7").unwrap();
    assert!(topology.set("sum.most=much").is_err());
}
