//! One process that runs the topology: how it was started, and what the world knows of it.

use std::sync::Arc;

use egret::simulation::Run;
use egret::{Guarantee, Progress, RunOptions, Topology};

use super::Options;
use super::input;
use crate::sim::dice::Dice;

/// How a process was started.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) topology: Arc<Topology>,
    pub(super) tasks: u32,
    /// Whether it goes on where its input ends, until it is asked to stop.
    pub(super) follows: bool,
    /// Whether all input was written when it started, so that it is done when it ends.
    pub(super) last: bool,
    pub(super) options: RunOptions,
    /// Between two steps of a worker, in microseconds.
    step_us: (u64, u64),
    /// A worker that is slow all the time: others get commits ahead of it.
    laggard: Option<usize>,
}

/// Between two steps of a laggard.
const LAGS_US: (u64, u64) = (1_000, 8_000);

impl Start {
    pub(super) fn new(
        dice: &mut Dice,
        options: &Options,
        shape: &Shape,
        (ending, written): (bool, bool),
    ) -> Start {
        let tasks = match options.guarantee {
            Guarantee::AtMostOnce => 2,
            _ => u32::try_from(dice.between(1, 3)).expect("small"),
        };
        let run = RunOptions {
            workers: u32::try_from(dice.between(1, 3)).expect("small"),
            commit_ms: dice.one_of(&[1, 1, 5, 10, 30]),
            epoch_ms: dice.one_of(&[1, 1, 2, 5]),
            epoch_bytes_max: dice.one_of(&[1, 50, 100, 400]),
            epochs_in_flight_max: dice.pick(7) + 2,
            tries: u32::try_from(dice.between(1, 6)).expect("small"),
            faults: options.faults,
            ..RunOptions::default()
        };
        let follows = !ending && dice.per_mille(800);
        let topology = input::topology(tasks, follows, shape.segment_bytes, options.guarantee);
        let step_us = dice.one_of(&[(20, 120), (20, 400), (100, 1500)]);
        let workers = run.workers as usize;
        let laggard = dice.per_mille(400).then(|| dice.pick(workers));
        Start { topology, tasks, follows, last: written, options: run, step_us, laggard }
    }

    /// How long until a worker steps again.
    pub(super) fn step_us(&self, worker: usize, dice: &mut Dice) -> u64 {
        if self.laggard == Some(worker) {
            return dice.between(LAGS_US.0, LAGS_US.1);
        }
        // Now and then one is slow for a while.
        let slow = if dice.per_mille(15) { 20 } else { 1 };
        dice.between(self.step_us.0, self.step_us.1) * slow
    }
}

/// What is the same for all processes of one run.
#[derive(Debug)]
pub(super) struct Shape {
    segment_bytes: u64,
}

impl Shape {
    pub(super) fn new(dice: &mut Dice) -> Shape {
        Shape { segment_bytes: dice.one_of(&[200, 1000, 100_000]) }
    }
}

/// What of it is where.
#[derive(Debug)]
pub(super) enum Actor {
    /// It has not begun.
    New,
    /// Between two steps.
    Rests(Box<Run>),
    /// In the middle of something, further down the stack.
    Acts,
}

/// What the world knows of a process.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) start: Start,
    pub(super) alive: bool,
    pub(super) paused_until: u64,
    /// Counts generations: what was planned for an earlier one is forgotten.
    pub(super) life: u64,
    /// By which it is asked to stop, once it has begun.
    pub(super) progress: Option<Arc<Progress>>,
    /// Whether a takeover is under way.
    pub(super) takes_over: bool,
}
