//! What is printed.

use std::process::Command;
use std::sync::Arc;

use egret::{Generator, Guarantee, Progress, RunOptions, StdoutSink, TopologyBuilder};
use egret_log::{Log, LogConfig};

#[test]
#[ignore = "run by the test below, which reads what it prints"]
fn prints() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let mut t = TopologyBuilder::new("prints");
    t.guarantee(Guarantee::AtLeastOnce);
    let numbers = t.spout("numbers", 1, Generator::new(|n| (n, n * n)).count(3)).unwrap();
    numbers.global().sink("json", 1, StdoutSink::<(u64, u64)>::json_lines).unwrap();
    let texts = t.spout("texts", 1, Generator::new(|n| format!("text {n}")).count(2)).unwrap();
    texts.global().sink("lines", 1, StdoutSink::<String>::lines).unwrap();
    let topology = t.finish().unwrap();
    topology.run(&log, &RunOptions::default(), &Arc::new(Progress::default())).unwrap();
    log.close().unwrap();
}

#[test]
fn each_tuple_is_a_line_of_standard_output() {
    let mut own = Command::new(std::env::current_exe().unwrap());
    let ran = own.args(["--exact", "stdout::prints", "--ignored", "--nocapture"]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let printed = String::from_utf8(ran.stdout).unwrap();
    let of = |head: char| -> Vec<&str> {
        printed.lines().filter(|line| line.starts_with(head) && !line.ends_with("ok")).collect()
    };
    assert_eq!(of('['), ["[0,0]", "[1,1]", "[2,4]"], "{printed}");
    assert!(printed.contains("text 0\ntext 1\n"), "{printed}");
}
