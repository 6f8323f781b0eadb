//! Tuples made of their numbers.

use std::time::Duration;

use egret::testing::TopologyTest;
use egret::{Generator, LogSink, TopologyBuilder};

use super::read;

fn numbers(count: u64) -> impl Fn(&mut TopologyBuilder) -> egret::Result<()> {
    move |t| {
        let numbers = t.spout("numbers", 2, Generator::new(|n| n.to_string()).count(count))?;
        numbers.sink("out", LogSink::to_stream("numbers"))
    }
}

fn upto(count: u64) -> Vec<String> {
    let mut numbers: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    numbers.sort();
    numbers
}

#[test]
fn each_number_is_made_once_wherever_the_process_is_killed() {
    for seed in 0..12 {
        let mut t = TopologyTest::new(numbers(500)).unwrap().seed(seed);
        t.options(|options| options.epoch_bytes_max = 400).kill_anywhere();
        t.run_until_idle().unwrap();
        assert!(t.is_finished());
        assert_eq!(read(&mut t, "numbers"), upto(500), "seed {seed}");
    }
}

#[test]
fn any_number_of_tasks_goes_on_with_the_numbers() {
    let build = |t: &mut TopologyBuilder| {
        let numbers =
            t.spout("numbers", 1, Generator::new(|n| n.to_string()).per_second(1000.0))?;
        numbers.sink("out", LogSink::to_stream("numbers"))
    };
    let mut t = TopologyTest::new(build).unwrap();
    for tasks in [2, 5, 70, 1] {
        t.tasks("numbers", tasks).restore().unwrap();
        t.advance(Duration::from_millis(300)).unwrap();
    }
    t.rebuild(numbers(1000));
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    let read = read(&mut t, "numbers");
    assert!(read.len() >= 1000, "{} of the first 1000", read.len());
    assert_eq!(read, upto(read.len() as u64));
}

#[test]
fn a_rate_is_kept_by_the_clock_and_the_rest_is_not_made_up_for() {
    let build = |t: &mut TopologyBuilder| {
        let numbers = t.spout("numbers", 3, Generator::new(|n| n.to_string()).per_second(100.0))?;
        numbers.sink("out", LogSink::to_stream("numbers"))
    };
    let mut t = TopologyTest::new(build).unwrap();
    t.advance(Duration::from_secs(2)).unwrap();
    let first = read(&mut t, "numbers").len();
    assert!((180..=202).contains(&first), "{first} of 100 a second in two");
    t.kill();
    t.restore().unwrap();
    t.advance(Duration::from_secs(1)).unwrap();
    let second = read(&mut t, "numbers").len();
    assert!((first + 80..=first + 125).contains(&second), "{second} after {first}");
}
