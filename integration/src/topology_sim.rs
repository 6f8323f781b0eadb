//! Topologies over a log in one thread, from one seed: processes die anywhere, stand still and go on after
//! others took over, bookies lose their power, answers get lost; the results are those of a plain count.
//!
//! Everything that decides is what ships: takeover, operators, coordinator, commit log, the cores of the log,
//! a bookie on a faulty disk, the metadata store's transactions. The simulator steps timely's workers,
//! carries requests and answers, turns the clock and breaks things.
//!
//! | part | holds |
//! |---|---|
//! | `world` | the clock, the queue, and who is there |
//! | `network` | requests and answers, late or lost, and the bookie that stops and starts |
//! | `way` | how a process reaches the bookie and the metadata store, and what goes wrong on the way |
//! | `process`, `life` | processes that run the topology: they start, take over, step, stand still, die |
//! | `storm` | how much goes wrong, and how often each was hit |
//! | `input` | the topology, what it reads, and what must come out |
//! | `watcher`, `oracle` | a reader that looks all the time, and what must always hold |
//!
//! **One thread, and calls that wait.** Code that ships waits for answers. Where it does, the simulator goes
//! on with other events on top of its stack, other processes' steps among them, until the answer is there. So
//! a takeover is interrupted by the steps of whoever is taken over, at each of its requests.
//!
//! A seed is a whole run: it gives the same trace in every build on every machine; a test holds that.

mod input;
mod life;
mod network;
mod oracle;
mod process;
mod storm;
mod watcher;
mod way;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use egret::Guarantee;
use egret::runtime::Faults;

pub use storm::{Hits, Kill};

use crate::sim::trace::LINES;
use world::World;

/// What a run may be told beside its seed.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the topology promises.
    pub guarantee: Guarantee,
    /// Defects put in on purpose.
    pub faults: Faults,
    /// Whether anything goes wrong at all.
    pub storm: bool,
    /// Events a violation shows.
    pub lines: usize,
}

impl Default for Options {
    fn default() -> Options {
        let (guarantee, faults) = (Guarantee::EffectivelyOnce, Faults::default());
        Options { guarantee, faults, storm: true, lines: LINES }
    }
}

/// What a run without violations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Over every event, in order: two runs of one seed have the same.
    pub hash: u64,
    /// How many events.
    pub events: u64,
    /// Generations that began.
    pub generations: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Records of output at the end.
    pub records: u64,
    /// Records of output that are there more than once: none, where each input counts once.
    pub repeated: u64,
    /// What went wrong.
    pub hits: Hits,
    /// Events of the trace.
    pub lines: u64,
    /// The last of them, or all if so many were asked for.
    pub trace: Vec<String>,
}

/// A run that broke what must hold.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Its seed.
    pub seed: u64,
    /// Which rule.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// The last events.
    pub trace: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "violated: {}: {}", self.rule, self.what)?;
        write!(
            f,
            "replay: cargo run -p egret-integration --bin topology_sim -- --seed {} --trace",
            self.seed
        )
    }
}

impl std::error::Error for Violation {}

/// Bytes of stack: calls that wait have others on top of them.
const STACK_BYTES: usize = 64 << 20;

/// Runs one seed.
///
/// # Errors
/// The first thing that did not hold, a panic of the shipping code included.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Violation>> {
    // On a thread of its own for its stack; nothing else runs meanwhile.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let run = || catch_unwind(AssertUnwindSafe(|| World::run(seed, options)));
        let thread = thread.spawn_scoped(scope, run).expect("the system has a thread to give");
        let panicked =
            |what| Err(Box::new(Violation { seed, rule: "simulator", what, trace: Vec::new() }));
        match thread.join() {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) | Err(panic) => panicked(crate::sim::text(&*panic)),
        }
    })
}
