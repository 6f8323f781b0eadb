//! **The first line read after a restore is the one behind the last committed**, in every partition: nothing is
//! read twice, nothing is passed over.
//!
//! Control: a generation that forgets its positions must read another line first.

use std::collections::BTreeMap;

use crate::lives::{KILLS, LINES, Place, newest, next_lines};

/// What the newest commit in the directory has read up to.
fn committed(place: &Place) -> BTreeMap<(String, u32), u64> {
    let log = place.open();
    let next = newest(&log).map(|record| next_lines(&log, &record)).unwrap_or_default();
    log.close().unwrap();
    next
}

/// The first lines that a life read.
fn first_read(said: &[String]) -> BTreeMap<(String, u32), u64> {
    let mut first = BTreeMap::new();
    for line in said {
        let Some(rest) = line.strip_prefix("read ") else { continue };
        let words: Vec<_> = rest.split(' ').collect();
        let partition = (words[0].to_owned(), words[1].parse().unwrap());
        first.entry(partition).or_insert(words[2].parse().unwrap());
    }
    first
}

/// Where lives begin to read and should not: life, partition, committed, read.
fn astray(seed: u64, with: &[&str]) -> (u64, Vec<String>) {
    let mut place = Place::new(seed);
    let (mut looked, mut found) = (0, Vec::new());
    for life in 0..=KILLS {
        let before = committed(&place);
        let said = if life < KILLS { place.live(with).1 } else { place.finish(with) };
        for (partition, read) in first_read(&said) {
            let next = before.get(&partition).copied().unwrap_or(0);
            looked += u64::from(next > 0 && next < LINES);
            if read != next {
                found.push(format!("life {life}: {partition:?}: {read} instead of {next}"));
            }
        }
    }
    (looked, found)
}

#[test]
fn the_first_line_read_after_a_kill_is_the_one_behind_the_last_committed() {
    let (looked, found) = astray(31, &["--fault", "commits_late"]);
    assert!(looked >= KILLS, "{looked} partitions were begun in their middle");
    assert_eq!(found, [] as [String; 0]);
}

#[test]
fn control_a_generation_that_forgets_its_positions_reads_another_line_first() {
    let (_, found) = astray(32, &["--fault", "forget_positions", "--fault", "commits_late"]);
    assert_ne!(found, [] as [String; 0], "the defect shows nothing");
}
