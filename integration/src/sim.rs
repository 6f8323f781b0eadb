//! The log on several bookies in one thread, from one seed: what may go wrong goes wrong, and what must
//! hold is checked after every event.
//!
//! Everything that decides is what ships: bookies on faulty disks, the cores of writers, recoverers and
//! readers, the transitions of a ledger's record, the metadata store's transactions. The simulator
//! carries messages, turns the clock and breaks things.
//!
//! | part | holds |
//! |---|---|
//! | `world` | the clock, the queue, and who is there |
//! | `storm`, `calm` | what goes wrong; what must work afterwards |
//! | `node`, `failing`, `disk` | bookies and their disks |
//! | `network` | links |
//! | `client` | drivers of the cores |
//! | `oracle`, `fact` | what must always hold, and what oracles are told |
//! | `fault` | kinds of faults, counted |
//! | `trace`, `words`, `dice` | what happened; its hash; numbers |
//!
//! A seed is a whole run: it gives the same trace in every build on every machine. So no clock, no
//! thread and no hash map's order may reach an event; `the_same_seed_is_the_same_run` holds that.

mod calm;
mod client;
pub mod dice;
mod disk;
mod fact;
mod failing;
mod fault;
mod network;
pub(crate) mod node;
mod options;
mod oracle;
mod storm;
pub(crate) mod trace;
pub(crate) mod words;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use fault::{Fault, Hits};
pub use options::{Defect, Options, Report, Violation};

use calm::Calm;
use world::{Broken, World};

/// Runs one seed: `steps` events of storm, then calm.
///
/// # Errors
/// The first thing that did not hold, a panic of the shipping code included.
pub fn run(seed: u64, steps: u64, options: &Options) -> Result<Report, Box<Violation>> {
    let mut world = World::new(seed, options.clone());
    let ran = catch_unwind(AssertUnwindSafe(|| -> Result<Calm, Broken> {
        world.run_storm(steps)?;
        world.run_calm()
    }));
    let broken = match ran {
        Ok(Ok(calm)) => {
            let ledgers = world.oracles.book().ledgers().count() as u64;
            return Ok(Report {
                seed,
                hash: world.trace.hash(),
                events: world.trace.events(),
                ledgers,
                confirmed: world.confirmed,
                read_back: world.read_back,
                destroyed: calm.destroyed,
                unrecoverable: calm.unrecoverable,
                hits: world.hits,
            });
        }
        Ok(Err(broken)) => broken,
        Err(panic) => ("panic", text(&*panic)),
    };
    let (oracle, what) = broken;
    Err(Box::new(Violation { seed, steps: world.steps, oracle, what, trace: world.trace.last() }))
}

/// Looks for a shorter storm that breaks the same rule, and returns the shortest found.
pub fn shrink(violation: Violation, options: &Options) -> Violation {
    let mut best = violation;
    let mut cut = best.steps / 2;
    while cut > 0 {
        match best.steps.checked_sub(cut).map(|steps| run(best.seed, steps, options)) {
            Some(Err(shorter)) if shorter.oracle == best.oracle && shorter.steps < best.steps => {
                best = *shorter;
            }
            _ => cut /= 2,
        }
    }
    best
}

pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
