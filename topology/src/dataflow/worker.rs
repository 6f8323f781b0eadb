//! Worker threads: build, step, stop. A failure anywhere ends all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::CommunicationConfig;
use timely::communication::WorkerGuards;
use timely::communication::allocator::AllocatorBuilder;
use timely::communication::allocator::zero_copy::initialize::CommsGuard;

use super::compile::{Compiled, build};
use super::credit::Credits;
use super::wire::{self, Wires};
use crate::budget;
use crate::runtime::Link;
use crate::task::{TaskError, panic_text};

/// How long a worker sleeps at most before it looks whether another one failed.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// Why a generation was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What happened, for people.
    pub(crate) why: String,
    /// Whether starting again from the last commit can help.
    pub(crate) retry: bool,
    /// Whether all it says is that another process is gone: what that one says comes first.
    pub(crate) severed: bool,
}

impl Failure {
    /// A failure after which starting again can help.
    pub(crate) fn passing(why: String) -> Failure {
        Failure { why, retry: true, severed: false }
    }

    pub(crate) fn poisoned(why: &dyn std::error::Error) -> Failure {
        Failure::passing(crate::task::chain(why))
    }

    /// Another process is gone.
    pub(crate) fn severed(why: String) -> Failure {
        Failure { why, retry: true, severed: true }
    }
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Failure {
        Failure { why: error.to_string(), retry: error.retry, severed: false }
    }
}

/// The established connections of one process to the others of its generation, `None` at its own place.
pub(crate) struct Peers {
    /// Its place among them.
    pub(crate) me: usize,
    /// Where batches go.
    pub(crate) data: Vec<Option<Link>>,
    /// Where what a process is done with goes back.
    pub(crate) credit: Vec<Option<Link>>,
}

/// What joins the workers of this process to those of others.
struct Joined {
    wires: Arc<Wires>,
    credits: Arc<Credits>,
    /// Joins the threads that send and receive.
    guard: CommsGuard,
}

impl Joined {
    fn over(peers: Peers, compiled: &Compiled) -> std::io::Result<(Vec<AllocatorBuilder>, Joined)> {
        let Peers { me, data, credit } = peers;
        // What is shared keeps the wires, to sever them.
        let shared = Arc::downgrade(&compiled.shared);
        let lost = move |process, why| {
            let why = format!("the connection to worker process {process} broke: {why}");
            if let Some(shared) = shared.upgrade() {
                shared.fail(Failure::severed(why));
            }
        };
        let threads = compiled.physical.threads as usize;
        let (builders, guard, wires) = wire::connect(data, me, threads, Box::new(lost))?;
        let of = compiled.physical.processes_of_emitters();
        match Credits::over(credit, of, &compiled.shared.budget, &wires) {
            Ok(credits) => {
                let credits = Arc::new(credits);
                Ok((builders, Joined { wires, credits, guard }))
            }
            Err(why) => {
                // Its threads wait for workers that are never built, and panic.
                drop(builders);
                wires.sever();
                drop(catch_unwind(AssertUnwindSafe(|| drop(guard))));
                Err(why)
            }
        }
    }

    fn end(self) {
        drop(self.guard);
        self.credits.end();
    }
}

/// Says that a worker ended, however it did.
struct Ends(Option<Arc<Wires>>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(wires) = &self.0 {
            wires.worker_ended();
        }
    }
}

/// Runs one generation on the workers of this process. It ends in order when every spout reached its end
/// or a stop was asked for, and the last commit is acknowledged and published here.
pub(crate) fn run_workers(compiled: &Arc<Compiled>, peers: Option<Peers>) -> Result<(), Failure> {
    let shared = Arc::clone(&compiled.shared);
    let not_started = |why: &dyn std::fmt::Display| Failure {
        why: format!("workers could not be started: {why}"),
        retry: false,
        severed: false,
    };
    let (builders, joined) = match peers {
        Some(peers) => {
            let (builders, joined) =
                Joined::over(peers, compiled).map_err(|why| not_started(&why))?;
            shared.severs(&joined.wires);
            (builders, Some(joined))
        }
        None => {
            let communication = match compiled.physical.threads as usize {
                1 => CommunicationConfig::Thread,
                // Serialising, so that one worker's panic reaches the others.
                n => CommunicationConfig::ProcessBinary(n),
            };
            (communication.try_build().map_err(|why| not_started(&why))?.0, None)
        }
    };
    let of_workers = Arc::clone(compiled);
    let wires = joined.as_ref().map(|joined| Arc::clone(&joined.wires));
    let credits = joined.as_ref().map(|joined| Arc::clone(&joined.credits));
    let run = move |worker: &mut timely::worker::Worker| {
        let compiled = Arc::clone(&of_workers);
        let _ends = Ends(wires.clone());
        budget::adopt(&compiled.shared.budget);
        worker.dataflow_named::<u64, _, _>(&compiled.plan.name, |scope| build(&compiled, scope));
        while worker.has_dataflows() && !compiled.shared.has_failed() {
            worker.step_or_park(Some(LOOK_AROUND));
            if let Some(credits) = &credits {
                credits.flush();
            }
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    };
    let config = timely::WorkerConfig::default();
    let guards: WorkerGuards<()> =
        timely::execute::execute_from(builders, Box::new(()), config, run)
            .map_err(|why| not_started(&why))?;
    // Joining panics when a worker did; the failure it left behind says more.
    let joined_workers = catch_unwind(AssertUnwindSafe(|| guards.join()));
    let panicked = match joined_workers {
        Ok(results) => results.into_iter().find_map(Result::err),
        Err(panic) => Some(panic_text(panic.as_ref()).to_owned()),
    };
    if let Some(why) = panicked {
        // Those of other processes wait for this one.
        shared.fail(Failure::passing(format!("a worker panicked: {why}")));
    }
    let failed = shared.take_failure();
    if let Some(joined) = joined {
        // A connection that breaks from here on is no failure: everything here is done.
        drop(catch_unwind(AssertUnwindSafe(|| joined.end())));
    }
    failed.map_or(Ok(()), Err)
}
