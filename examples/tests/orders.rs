//! The orders of files are summed by one run of the program after another.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "its `main` is the program's")]
#[path = "../orders/main.rs"]
mod orders;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use egret::testing::TopologyTest;

/// Runs the program to its end; how it ended.
fn sum(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    // Cargo builds examples before the tests of their package, beside them.
    let own = std::env::current_exe().unwrap();
    let mut program = Command::new(own.parent().unwrap().parent().unwrap().join("examples/orders"));
    program.args(["--data", "data", "--workers", "2"]).args(words).current_dir(dir);
    program.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").stdin(Stdio::null());
    let ended = program.output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

/// The last sum told of each customer, by the parts in order.
fn sums(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir.join("sums")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut parts: Vec<_> = names.filter(|name| name.starts_with("part-")).collect();
    parts.sort();
    let mut last = std::collections::BTreeMap::new();
    for part in parts {
        for line in fs::read_to_string(dir.join("sums").join(part)).unwrap().lines() {
            let (customer, _) = line.split_once(",\"cents\"").unwrap();
            last.insert(customer.to_owned(), line.to_owned());
        }
    }
    last.into_values().collect()
}

#[test]
fn runs_of_the_program_go_on_with_the_sums_and_count_each_order_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &str| {
        fs::write(dir.path().join(name), format!("customer,item,cents\n{rows}")).unwrap();
    };
    write("orders-1.csv", "ann,tea,300\nbob,\"cake, or pie\",450\nann,jam,250\n");
    let done = (Some(0), String::new());
    assert_eq!(sum(dir.path(), &["orders-*.csv", "sums"]), done);
    let ann = "{\"customer\":\"ann\",\"cents\":550}";
    assert_eq!(sums(dir.path()), [ann, "{\"customer\":\"bob\",\"cents\":450}"]);
    write("orders-2.csv", "bob,tea,50\n");
    for _ in 0..2 {
        assert_eq!(sum(dir.path(), &["orders-*.csv", "sums"]), done);
        assert_eq!(sums(dir.path()), [ann, "{\"customer\":\"bob\",\"cents\":500}"]);
    }
    write("orders-3.csv", "cat,nothing,none\n");
    let (code, said) = sum(dir.path(), &["orders-*.csv", "sums"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("orders-3.csv: the record at line 2, byte 20: "), "{said}");
    let (code, said) = sum(dir.path(), &["orders-*.csv"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn each_order_counts_once_wherever_the_program_is_killed() {
    for seed in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let rows = "customer,item,cents\nann,tea,300\nbob,cake,450\nann,jam,250\n";
        fs::write(path("orders-1.csv"), rows).unwrap();
        let args = [path("orders-*.csv"), path("sums")];
        let t = TopologyTest::with_args(orders::build, &[&args[0], &args[1]]);
        let mut t = t.unwrap().seed(seed);
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        let sums = t.state::<u64>("sum").unwrap();
        assert_eq!((sums["ann"], sums["bob"]), (550, 450), "seed {seed}");
    }
}
