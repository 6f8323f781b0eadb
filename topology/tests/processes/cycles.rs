//! What goes round in several processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::{
    Blob, Bolt, ComponentResult, Context, Either, Emitter, Guarantee, LogSink, LogSpout,
    RunOptions, Topology, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::ReadFrom;

use super::words::{Trap, open, options, run, write_lines};

/// Counts a number down, one at a time.
struct Down(Trap);

impl Bolt<(u64, u64), Either<(u64, u64), Blob>> for Down {
    fn execute(
        &mut self,
        (of, n): (u64, u64),
        out: &mut Emitter<Either<(u64, u64), Blob>>,
        _: &Context,
    ) -> ComponentResult {
        (self.0)(&[])?;
        out.emit(match n.checked_sub(1) {
            Some(less) => Either::Left((of, less)),
            None => Either::Right(Blob::from(of.to_string().as_bytes())),
        });
        Ok(())
    }
}

fn topology(tasks: u32, guarantee: Guarantee, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("down");
    t.guarantee(guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let parse = || {
        |line: Blob, out: &mut Emitter<(u64, u64)>| {
            let n = std::str::from_utf8(&line).ok().and_then(|text| text.parse().ok());
            n.into_iter().for_each(|n| out.emit((n, n)));
        }
    };
    let numbers = lines.shuffle().bolt("parse", tasks, parse).unwrap();
    let (back, again) = t.feedback::<(u64, u64)>("again", tasks).unwrap();
    let trap = Arc::clone(trap);
    let all = numbers.union(&back).unwrap();
    let down = all.rebalance().bolt("down", tasks, move || Down(Arc::clone(&trap))).unwrap();
    let (on, done) = down.split();
    again.connect(on.local_or_shuffle()).unwrap();
    done.sink("out", LogSink::to_stream("counted").partitions(3)).unwrap();
    t.finish().unwrap()
}

fn counted(log: &Log) -> Vec<u64> {
    let mut all = Vec::new();
    for partition in 0..3 {
        let mut reader = log.reader("counted", partition, ReadFrom::Earliest).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let number = |value: &[u8]| std::str::from_utf8(value).unwrap().parse::<u64>().unwrap();
            all.extend(batch.records.iter().map(|record| number(&record.value)));
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn what_goes_round_is_there_once_however_many_processes_fail_how_often() {
    for guarantee in [Guarantee::EffectivelyOnce, Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        for (count, workers) in [(1, 3), (2, 2), (3, 1)] {
            let (_dir, log) = open();
            let numbers: Vec<String> = (0..400).map(|n| (n % 100).to_string()).collect();
            write_lines(&log, &numbers);
            let seen = Arc::new(AtomicU32::new(0));
            let fails = guarantee.commits();
            let trap: Trap = {
                let seen = Arc::clone(&seen);
                Arc::new(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
                    nth if fails && [300, 4000, 9000].contains(&nth) => Err("one too many".into()),
                    _ => Ok(()),
                })
            };
            let topology = move || topology(5, guarantee, &trap);
            let options = RunOptions { tries: 10, ..options(workers) };
            let (outcome, _) = run(&log, count, &options, topology);
            let summary = outcome.unwrap();
            assert_eq!(summary.restarts > 0, fails, "{count} processes of {workers}");
            let mut counted = counted(&log);
            if guarantee == Guarantee::AtLeastOnce {
                assert!(counted.len() >= 400);
                counted.dedup();
                assert_eq!(counted, Vec::from_iter(0..100));
            } else {
                let all: Vec<u64> = (0..400).map(|n| n / 4).collect();
                assert_eq!(counted, all, "{count} processes of {workers}, {guarantee}");
            }
            log.close().unwrap();
        }
    }
}

/// What was on its way when a run failed for good is there in the next one, of another number of processes.
#[test]
fn what_goes_round_goes_on_in_the_next_run_of_other_processes() {
    let (_dir, log) = open();
    write_lines(&log, &(0..40).map(|n| (2000 + n).to_string()).collect::<Vec<_>>());
    let calm: Trap = Arc::new(|_| Ok(()));
    let seen = Arc::new(AtomicU32::new(0));
    for (count, tasks) in [(1, 2), (3, 5), (2, 1)] {
        // It fails for good in the middle, whatever was committed by then.
        let seen = Arc::clone(&seen);
        seen.store(0, Ordering::Relaxed);
        let trap: Trap = Arc::new(move |_| match seen.fetch_add(1, Ordering::Relaxed) > 20_000 {
            true => Err("no more".into()),
            false => Ok(()),
        });
        let topology = move || topology(tasks, Guarantee::EffectivelyOnce, &trap);
        let (outcome, _) = run(&log, count, &RunOptions { tries: 1, ..options(1) }, topology);
        outcome.unwrap_err();
    }
    let topology = move || topology(4, Guarantee::EffectivelyOnce, &calm);
    run(&log, 2, &options(2), topology).0.unwrap();
    assert_eq!(counted(&log), Vec::from_iter(2000..2040));
    log.close().unwrap();
}
