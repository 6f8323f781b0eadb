//! **Stops, starts, other options, other numbers of tasks and workers lose and repeat nothing.** A topology that
//! follows its input is asked to stop at some moment, and started again in another shape, while the input grows;
//! between two lives nothing is read, and at the end the output is that of one thread.
//!
//! Control: a start that forgets where its sources stood must count lines again.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::runtime::Faults;
use egret::{Progress, RunOptions};
use egret_integration::kill::every_kind::{Wiring, compare, outputs};
use egret_log::{Log, clock};

use crate::lives::{Place, newest, next_lines};

/// Shapes: tasks, workers, milliseconds of a commit, bytes of an epoch, bytes kept to take back.
const SHAPES: [(u32, u32, u64, usize, usize); 6] = [
    (1, 1, 1, 1 << 10, 0),
    (3, 2, 5, 512, 1 << 20),
    (2, 1, 20, 64 << 10, 1 << 20),
    (5, 3, 1, 1 << 10, 0),
    (2, 2, 100, 2 << 10, 1 << 20),
    (4, 1, 2, 1 << 20, 1 << 20),
];

/// Lives of one topology; the input is written part by part while it runs.
fn lives(place: &Place, log: &Log, faults: Faults) {
    for (life, (tasks, workers, commit_ms, epoch_bytes_max, undo_bytes_max)) in
        SHAPES.into_iter().enumerate()
    {
        let options = RunOptions {
            workers,
            commit_ms,
            epoch_ms: commit_ms.min(5),
            epoch_bytes_max,
            undo_bytes_max,
            faults,
            ..RunOptions::default()
        };
        let last = life + 1 == SHAPES.len();
        let wiring = Wiring { bounded: last, ..Wiring::of(tasks) };
        let write = || place.input.write_part(log, life, SHAPES.len()).unwrap();
        if life == 0 || last {
            write();
        }
        let progress = Arc::<Progress>::default();
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                wiring.topology().and_then(|topology| topology.run(log, &options, &progress))
            });
            if !last {
                let _stop = Stop(&progress);
                let until = clock::now() + Duration::from_secs(60);
                if life > 0 {
                    write();
                }
                while progress.commits() == 0 && !running.is_finished() {
                    assert!(clock::now() < until, "no commit within a minute");
                    thread::yield_now();
                }
            }
            let summary = running.join().unwrap().unwrap();
            assert_eq!(summary.restarts, 0, "life {life}");
        });
    }
}

/// Asks a topology to stop, by a failed assertion too.
struct Stop<'a>(&'a Progress);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn whatever_is_changed_between_a_stop_and_a_start_nothing_is_lost_or_repeated() {
    let place = Place::empty(61);
    let log = place.open();
    lives(&place, &log, Faults::default());
    compare(&outputs(&log).unwrap(), &place.input).unwrap();
    let read = next_lines(&log, &newest(&log).unwrap());
    assert_eq!(read.len(), 3, "{read:?}");
    log.close().unwrap();
}

#[test]
fn control_a_start_that_forgets_its_positions_counts_again() {
    let place = Place::empty(62);
    let log = place.open();
    lives(&place, &log, Faults { forget_positions: true, ..Faults::default() });
    assert!(compare(&outputs(&log).unwrap(), &place.input).is_err(), "the defect shows nothing");
    log.close().unwrap();
}
