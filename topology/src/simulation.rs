//! A topology on one thread, stepped: for simulations, which decide in what order things happen.
//!
//! Everything that runs is what [`Topology::run`] runs: takeover, operators, coordinator, commit log,
//! restarts. What is simulated is below (the log's bookies and metadata, time) and around (who steps).

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use egret_log::Log;
use egret_schemas::Generation;

use crate::builder::Topology;
use crate::dataflow::Stepped;
use crate::runtime::{Kept, Progress, Restarts, RunOptions};
use crate::{Error, Result};

thread_local! {
    static FAILPOINT: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// What this thread asks at each [`failpoint`] whether its process is dead.
pub(crate) fn set_failpoint(is_dead: Option<fn() -> bool>) {
    FAILPOINT.set(is_dead);
}

/// Where a test may kill the process between two changes of something outside of the log: an error once it has.
pub(crate) fn failpoint() -> io::Result<()> {
    match FAILPOINT.get() {
        Some(is_dead) if is_dead() => Err(io::Error::other("the process was killed")),
        _ => Ok(()),
    }
}

/// One process that runs a topology: generation after generation, until it finished or may not go on.
#[derive(Debug)]
pub struct Run {
    topology: Arc<Topology>,
    log: Log,
    options: RunOptions,
    progress: Arc<Progress>,
    restarts: Restarts,
    kept: Arc<Kept>,
    running: Option<Running>,
}

struct Running(Stepped);

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} workers of {}", self.0.workers(), self.generation())
    }
}

impl Running {
    fn generation(&self) -> Generation {
        self.0.compiled().shared.first.generation()
    }
}

/// What became of a step.
#[derive(Debug)]
pub enum Stepping {
    /// There is more to do.
    GoesOn,
    /// The generation failed; another begins with the next [`begin`](Run::begin).
    Failed(String),
    /// The topology finished.
    Finished,
    /// The process gives up, as [`Topology::run`] would with this error.
    Ends(Error),
}

impl Run {
    /// A process that has done nothing yet.
    ///
    /// # Errors
    /// When the options are out of range.
    pub fn new(topology: Arc<Topology>, log: Log, options: RunOptions) -> Result<Run> {
        options.check()?;
        crate::dataflow::register_messages();
        let (progress, restarts) = (Arc::default(), Restarts::default());
        let kept = options.keep();
        Ok(Run { topology, log, options, progress, restarts, kept, running: None })
    }

    /// How far it is.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The generation under way.
    pub fn generation(&self) -> Option<Generation> {
        self.running.as_ref().map(Running::generation)
    }

    /// Whether everything that was emitted is committed.
    pub fn is_at_rest(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.0.compiled().shared.is_at_rest())
    }

    /// Takes the topology over and makes a generation ready; how many workers it has.
    ///
    /// # Errors
    /// As [`Topology::run`]: the process ends.
    pub fn begin(&mut self) -> Result<usize> {
        self.running = None;
        let Run { topology, log, options, progress, restarts, kept, .. } = self;
        let compiled = topology.next_generation((log, kept), options, progress, restarts)?;
        let stepped = Stepped::new(compiled);
        let workers = stepped.workers();
        self.running = Some(Running(stepped));
        Ok(workers)
    }

    /// Tells everybody that time has passed. Without it commits end, and timers fire, when something else happens:
    /// the clock that would tell is timely's, and there is none here.
    pub fn tick(&self) {
        self.progress.wake();
        if let Some(Running(stepped)) = &self.running {
            stepped.compiled().shared.tick();
        }
    }

    /// Tells the process that others changed streams: it follows nobody.
    pub fn hear(&self) {
        self.log.changed_by_others();
    }

    /// Lets one worker do what it does at once; its first step builds its dataflow and restores its state.
    pub fn step(&mut self, worker: usize) -> Stepping {
        let Some(Running(stepped)) = &mut self.running else { return Stepping::GoesOn };
        stepped.step(worker);
        let failure = match stepped.outcome() {
            None => return Stepping::GoesOn,
            Some(Ok(())) => return Stepping::Finished,
            Some(Err(failure)) => failure,
        };
        let generation = stepped.compiled().shared.first.generation();
        self.running = None;
        let why = failure.why.clone();
        let Run { topology, log, options, progress, restarts, .. } = self;
        match topology.after_failure(log, options, progress, restarts, (generation, failure)) {
            Ok(()) => Stepping::Failed(why),
            Err(error) => Stepping::Ends(error),
        }
    }
}
