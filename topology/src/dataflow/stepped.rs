//! The workers of a generation on one thread, each stepped when whoever simulates them says so.
//!
//! What they run is what [`run_workers`](super::run_workers) runs on threads; only the threads are missing.
//! Timely makes the channels between workers by rendezvous: each worker's builder sends its ends to all, and
//! then waits for theirs. On one thread the first would wait for ever. But each asks for a buffer once it
//! has the first worker's ends, and that is where the next one is built: it finds all ends of those before.

use std::cell::RefCell;
use std::sync::Arc;

use timely::communication::Allocator;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::thread::Thread;
use timely::communication::allocator::zero_copy::bytes_slab::BytesRefill;
use timely::worker::Worker;

use super::compile::{Compiled, build};
use super::worker::Failure;
use crate::budget;

/// See the [module](self).
pub(crate) struct Stepped {
    compiled: Arc<Compiled>,
    workers: Vec<Worker>,
    built: Vec<bool>,
}

thread_local! {
    /// Builders not used yet, the next one last, and what was built.
    static BUILDING: RefCell<(Vec<ProcessBuilder>, Vec<Allocator>)> =
        const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Builds the next worker's channels, and in the middle of that those of the ones behind it.
fn build_next() {
    let next = BUILDING.with_borrow_mut(|(builders, _)| builders.pop());
    if let Some(builder) = next {
        let allocator = Allocator::Process(builder.build());
        BUILDING.with_borrow_mut(|(_, built)| built.push(allocator));
    }
}

fn allocators(workers: usize) -> Vec<Allocator> {
    if workers == 1 {
        return vec![Allocator::Thread(Thread::default())];
    }
    let refill = BytesRefill {
        logic: Arc::new(|bytes| {
            build_next();
            Box::new(vec![0_u8; bytes])
        }),
        limit: None,
    };
    // Serialising, as on threads.
    let mut builders = ProcessBuilder::new_bytes_vector(workers, refill, None);
    builders.reverse();
    BUILDING.set((builders, Vec::new()));
    build_next();
    let (_, mut built) = BUILDING.take();
    built.sort_by_key(Allocator::index);
    assert_eq!(built.len(), workers, "each is built in the middle of the one before");
    built
}

impl Stepped {
    /// The workers, none of which has a dataflow yet.
    pub(crate) fn new(compiled: Arc<Compiled>) -> Stepped {
        let count = compiled.physical.threads as usize;
        // Without a clock of timely's own what is to come later comes at the next step.
        let worker = |allocator| Worker::new(timely::WorkerConfig::default(), allocator, None);
        let workers = allocators(count).into_iter().map(worker).collect();
        Stepped { compiled, workers, built: vec![false; count] }
    }

    pub(crate) fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Lets a worker do what it does at once: at first it builds its dataflow and restores what its tasks
    /// had, from then on it steps.
    pub(crate) fn step(&mut self, index: usize) {
        let (compiled, worker) = (&self.compiled, &mut self.workers[index]);
        if compiled.shared.has_failed() {
            return;
        }
        budget::within(&compiled.shared.budget, || {
            if !std::mem::replace(&mut self.built[index], true) {
                let name = &compiled.plan.name;
                worker.dataflow_named::<u64, _, _>(name, |scope| build(compiled, scope));
            } else if worker.has_dataflows() {
                worker.step();
            }
        });
    }

    /// Whether no worker has anything to do any more.
    fn have_ended(&self) -> bool {
        let idle = |(worker, built): (&Worker, &bool)| *built && !worker.has_dataflows();
        self.workers.iter().zip(&self.built).all(idle)
    }

    /// How the generation ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        let shared = &self.compiled.shared;
        if shared.has_failed() {
            let why = || Failure::passing("it failed before".to_owned());
            return Some(Err(shared.take_failure().unwrap_or_else(why)));
        }
        self.have_ended().then(|| shared.ended())
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
    }
}
