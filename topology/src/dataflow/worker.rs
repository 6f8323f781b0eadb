//! Worker threads: build, step, stop. A failure anywhere ends all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use timely::CommunicationConfig;
use timely::communication::WorkerGuards;

use super::compile::{Compiled, build};
use crate::budget;
use crate::task::{TaskError, panic_text};

/// How long a worker sleeps at most before it looks whether another one failed.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Why a generation was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened, for people.
    pub(crate) why: String,
    /// Whether starting again from the last commit can help.
    pub(crate) retry: bool,
}

impl Failure {
    pub(crate) fn poisoned(why: &dyn std::error::Error) -> Failure {
        Failure { why: crate::task::chain(why), retry: true }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Failure {
        Failure { why: error.to_string(), retry: error.retry }
    }
}

/// How a generation ended, if it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every spout reached its end, or a stop was asked for; the last commit is acknowledged.
    Finished,
}

/// Runs one generation to its end on the workers of its plan.
pub(crate) fn run_workers(compiled: &Arc<Compiled>) -> Result<Ended, Failure> {
    let workers = compiled.physical.workers as usize;
    let communication = match workers {
        1 => CommunicationConfig::Thread,
        // Serialising, so that one worker's panic reaches the others.
        n => CommunicationConfig::ProcessBinary(n),
    };
    let config = timely::Config { communication, worker: timely::WorkerConfig::default() };
    let shared = Arc::clone(&compiled.shared);
    let of_workers = Arc::clone(compiled);
    let run = move |worker: &mut timely::worker::Worker| {
        let compiled = Arc::clone(&of_workers);
        budget::adopt(&compiled.shared.budget);
        worker.dataflow_named::<u64, _, _>(&compiled.plan.name, |scope| build(&compiled, scope));
        while worker.has_dataflows() && !compiled.shared.has_failed() {
            worker.step_or_park(Some(LOOK_AROUND));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    };
    let guards: WorkerGuards<()> = timely::execute(config, run).map_err(|why| Failure {
        why: format!("workers could not be started: {why}"),
        retry: false,
    })?;
    // Joining panics when a worker did; the failure it left behind says more.
    let joined = catch_unwind(AssertUnwindSafe(|| guards.join()));
    if let Some(failure) = shared.take_failure() {
        return Err(failure);
    }
    match joined {
        Ok(results) => {
            if let Some(why) = results.into_iter().find_map(Result::err) {
                return Err(Failure { why: format!("a worker panicked: {why}"), retry: true });
            }
        }
        Err(panic) => {
            let why = format!("a worker panicked: {}", panic_text(panic.as_ref()));
            return Err(Failure { why, retry: true });
        }
    }
    match shared.is_finished() {
        true => Ok(Ended::Finished),
        false => {
            Err(Failure { why: "the dataflow ended before its last commit".into(), retry: true })
        }
    }
}
