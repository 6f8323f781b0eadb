//! The process that runs the topology under test: it takes over, steps, fails, dies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::error::TestError;
use super::world::{Life, World};
use crate::builder::Topology;
use crate::simulation::{Run, Stepping};
use crate::task::panic_text;
use crate::{Result, RunOptions};

/// A process between two of its steps.
pub(super) struct Process {
    world: Rc<World>,
    life: Life,
    /// There until it is buried.
    run: Option<Run>,
    workers: usize,
}

/// What became of a round.
pub(super) enum Round {
    /// It has more to do, or waits for its commit.
    GoesOn,
    /// Nothing happened, and everything emitted is committed.
    Rests,
    /// A generation failed; another one has begun.
    Failed(String),
    /// It was killed.
    Died,
    /// The topology finished.
    Finished,
}

impl Process {
    /// Starts a process; `None` when it dies of that.
    pub(super) fn start(
        world: &Rc<World>,
        topology: Topology,
        options: RunOptions,
    ) -> Result<Option<Process>, TestError> {
        let life = world.is_born();
        let (topology, workers) = (Arc::new(topology), 0);
        let mut process = Process { world: Rc::clone(world), life, run: None, workers };
        let here = Rc::clone(world);
        let made = process.act(|run| -> Result<()> {
            *run = Some(Run::new(topology, here.log_of(life)?, options)?);
            Ok(())
        });
        match made {
            _ if world.is_dead(life) => return Ok(None),
            made => made??,
        }
        match process.begin() {
            _ if world.is_dead(life) => Ok(None),
            begun => begun.map(|()| Some(process)),
        }
    }

    /// Runs something of the process in its world; a panic is an error.
    fn act<R>(&mut self, what: impl FnOnce(&mut Option<Run>) -> R) -> Result<R, TestError> {
        let Process { world, life, run, .. } = self;
        let acted = world.run(*life, || catch_unwind(AssertUnwindSafe(|| what(run))));
        acted.map_err(|panic| TestError::Panicked { why: panic_text(&*panic).to_owned() })
    }

    /// Takes the topology over.
    fn begin(&mut self) -> Result<(), TestError> {
        let begun = self.act(|run| run.as_mut().map(Run::begin))?;
        self.workers = begun.expect("it is there until it is buried")?;
        Ok(())
    }

    /// The generation under way.
    pub(super) fn generation(&self) -> Option<u32> {
        Some(self.run.as_ref()?.generation()?.0)
    }

    /// Tells it that streams were changed.
    pub(super) fn hear(&mut self) -> Result<(), TestError> {
        self.act(|run| run.iter().for_each(Run::hear))
    }

    fn did(&self) -> (u64, u64, u64) {
        let progress = self.run.as_ref().map(Run::progress);
        let of = progress.map_or((0, 0), |progress| (progress.tuples(), progress.commits()));
        (self.world.acts(), of.0, of.1)
    }

    /// Steps every worker once, in an order and at times of chance, or in so much time altogether.
    pub(super) fn round(&mut self, us: Option<u64>) -> Result<Round, TestError> {
        let (before, mut order) = (self.did(), self.world.round(self.workers));
        if let Some(us) = us {
            let each = us / order.len() as u64;
            order.iter_mut().for_each(|(_, step)| *step = each);
            order[0].1 = us - each * (order.len() as u64 - 1);
        }
        let (world, life) = (Rc::clone(&self.world), self.life);
        for (worker, us) in order {
            let here = Rc::clone(&world);
            let stepped = self.act(|run| {
                here.pass(us);
                match run {
                    Some(run) if !here.failpoint(life) => {
                        run.tick();
                        run.step(worker)
                    }
                    _ => Stepping::GoesOn,
                }
            });
            if world.is_dead(life) {
                return Ok(Round::Died);
            }
            match stepped? {
                Stepping::GoesOn => {}
                Stepping::Finished => return Ok(Round::Finished),
                Stepping::Ends(error) => return Err(error.into()),
                Stepping::Failed(why) => {
                    return match self.begin() {
                        _ if world.is_dead(life) => Ok(Round::Died),
                        begun => begun.map(|()| Round::Failed(why)),
                    };
                }
            }
        }
        let rests = self.run.as_ref().is_some_and(Run::is_at_rest);
        match rests && !world.is_busy() && self.did() == before {
            true => Ok(Round::Rests),
            false => Ok(Round::GoesOn),
        }
    }
}

impl Drop for Process {
    /// Whatever it has goes with it, as at the end of a process: nothing is flushed, nobody is told.
    fn drop(&mut self) {
        let (world, life) = (Rc::clone(&self.world), self.life);
        if !world.is_dead(life) {
            world.kill();
        }
        // What panics now is of a process that is dead.
        drop(self.act(|run| drop(run.take())));
        world.run(life, || world.forget(life));
    }
}
