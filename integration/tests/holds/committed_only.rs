//! **No reader ever sees a record of an epoch that is in no commit**, whether it follows the output while the
//! topology is killed or reads it afterwards; and what it saw stays where it was.
//!
//! Control: a takeover that keeps output beyond the commit must show records of epochs that no commit covers.

use egret_integration::kill::commits::Commits;
use egret_integration::kill::every_kind::read;
use egret_integration::kill::history::unkept;
use egret_integration::kill::reader::Tail;

use crate::lives::{KILLS, Place};

#[test]
fn a_reader_beside_the_kills_sees_only_what_is_committed_and_stays() {
    let mut place = Place::new(11);
    let (tail, mut commits) = (Tail::begin(place.path()), Commits::default());
    let with = ["--fault", "commits_late"];
    let killed = place.lives(&with, |place| place.look(&mut commits));
    assert!(killed >= KILLS - 1, "{killed} kills");
    place.finish(&[]);
    let seen = tail.end().unwrap();
    place.look(&mut commits);
    assert!(seen.rows.len() > 100, "it saw {} records", seen.rows.len());
    assert!(commits.generations() >= usize::try_from(killed).unwrap());
    assert_eq!(commits.uncovered(&seen.epochs), [] as [String; 0], "seen meanwhile");
    let log = place.open();
    let (told, epochs) = read(&log, "counts").unwrap();
    assert_eq!(commits.uncovered(&epochs), [] as [String; 0], "seen afterwards");
    let lasting = rows(&log);
    assert_eq!(unkept(&seen.rows, &lasting), [] as [String; 0], "seen, and gone or changed since");
    assert_eq!(lasting.len(), told.values().map(Vec::len).sum::<usize>());
    log.close().unwrap();
}

/// The records of `counts` where they are.
fn rows(log: &egret_log::Log) -> egret_integration::kill::history::Rows {
    egret_integration::kill::follower::read_all(log).unwrap().rows
}

#[test]
fn control_output_kept_beyond_the_commit_is_in_no_commit() {
    let with = ["--fault", "keep_uncommitted_output", "--fault", "commits_late"];
    let mut place = Place::new(12);
    let mut commits = Commits::default();
    place.lives(&with, |place| place.look(&mut commits));
    place.finish(&with);
    place.look(&mut commits);
    let log = place.open();
    let (_, epochs) = read(&log, "counts").unwrap();
    assert_ne!(commits.uncovered(&epochs), [] as [String; 0], "the defect shows nothing");
    log.close().unwrap();
}
