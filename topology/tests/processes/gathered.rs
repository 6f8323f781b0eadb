//! Lines gathered by tasks in several processes, by other numbers of both each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::{
    Blob, ComponentResult, Context, Emitter, ListState, LogSink, LogSpout, Rescale, RunOptions,
    StatefulBolt, Topology, TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};

use super::words::{open, options, run};

/// Sends lines on in fives, and fails at some calls.
struct Gather(Arc<AtomicU32>);

impl StatefulBolt<Blob, (Blob, u64)> for Gather {
    type State = ListState<Blob>;

    fn execute(
        &mut self,
        held: &mut ListState<Blob>,
        line: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        let ends = line.starts_with(b"end");
        held.push(line);
        if held.len() >= 5 || ends {
            while let Some(line) = held.pop_front() {
                out.emit((line, 1));
            }
        }
        let call = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        match call.is_multiple_of(487) {
            true => Err(format!("call {call} is one too many").into()),
            false => Ok(()),
        }
    }

    fn rescale(&self) -> Rescale<ListState<Blob>> {
        Rescale::items()
    }
}

/// Lines go to any task, and what is at the end to all of them.
fn topology(tasks: u32, calls: &Arc<AtomicU32>) -> Topology {
    let mut t = TopologyBuilder::new("gathered");
    let spout = |of: &str| LogSpout::<Blob>::from_stream(of).bounded();
    let lines = t.spout("lines", tasks, spout("lines")).unwrap();
    let ends = t.spout("ends", 1, spout("ends")).unwrap();
    let calls = Arc::clone(calls);
    let both = lines.shuffle().union(ends.all()).unwrap();
    let sent = both.stateful("gather", tasks, move || Gather(Arc::clone(&calls))).unwrap();
    sent.sink("out", LogSink::to_stream("sent").partitions(3)).unwrap();
    t.finish().unwrap()
}

#[test]
fn what_tasks_hold_goes_on_in_any_number_of_processes() {
    let (_dir, log) = open();
    for (stream, partitions) in [("lines", 4), ("ends", 1)] {
        log.create_stream(stream, StreamConfig { partitions, ..StreamConfig::default() }).unwrap();
    }
    let calls = Arc::new(AtomicU32::new(0));
    let (mut all, mut restarts) = (Vec::new(), 0);
    for (round, (tasks, count)) in (0u32..).zip([(4, 3), (3, 1), (7, 4), (2, 2), (5, 3)]) {
        for partition in 0..4 {
            let lines: Vec<_> = (0..75).map(|n| format!("line {round} {partition} {n}")).collect();
            let records: Vec<_> = lines.iter().cloned().map(Record::of).collect();
            log.writer("lines", partition).unwrap().append_wait(&records).unwrap();
            all.extend(lines);
        }
        if round == 4 {
            // The end comes when all lines have come.
            let calls = Arc::clone(&calls);
            let tries = RunOptions { tries: 10, ..options(1) };
            let run = run(&log, count, &tries, move || topology(tasks, &calls)).0.unwrap();
            restarts += run.restarts;
            log.writer("ends", 0).unwrap().append_wait(&[Record::of("end".to_owned())]).unwrap();
        }
        let calls = Arc::clone(&calls);
        let tries = RunOptions { tries: 10, ..options(1) };
        restarts += run(&log, count, &tries, move || topology(tasks, &calls)).0.unwrap().restarts;
    }
    assert!(restarts >= 2, "{restarts} restarts");
    let mut sent = Vec::new();
    for partition in 0..3 {
        let mut reader = log.reader("sent", partition, ReadFrom::Earliest).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let keys = batch.records.iter().map(|record| record.key.clone().unwrap().to_vec());
            sent.extend(keys.map(|key| String::from_utf8(key).unwrap()));
        }
    }
    assert_eq!(sent.iter().filter(|line| *line == "end").count(), 5, "one of each task");
    sent.retain(|line| line != "end");
    sent.sort();
    all.sort();
    assert!(sent == all, "{} lines were sent of {}", sent.len(), all.len());
    log.close().unwrap();
}
