//! Tuples of a fixed size cost no allocation each, on the whole way from a spout by key to a sink; and batches are full
//! under load, and as small as what there is when there is little.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "an allocator that counts can be written no other way")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egret::{
    ComponentResult, Context, Emitter, Guarantee, KeyedBolt, Next, Positions, Progress, Replay,
    RunOptions, Sink, Spout, TaskHook, Topology, TopologyBuilder,
};
use egret_log::{Log, LogConfig};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted.
struct Counted;

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// One test at a time: what another one allocates would be counted, too.
static ALONE: Mutex<()> = Mutex::new(());

/// Emits so many pairs as fast as it may, or one at a time.
struct Pairs {
    left: u64,
    one_by_one: bool,
}

impl Spout<(u64, u64)> for Pairs {
    fn replay(&self) -> Replay {
        Replay::None
    }

    fn open(&mut self, _: &Context, _: &Positions) -> ComponentResult {
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<(u64, u64)>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        while out.bytes() < until && self.left > 0 {
            self.left -= 1;
            out.emit((self.left % 500, self.left));
            if self.one_by_one {
                return Ok(Next::After(Duration::from_millis(1)));
            }
        }
        Ok(if self.left > 0 { Next::More } else { Next::Done })
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }
}

/// Emits each tuple, and keeps a sum.
struct Sum;

impl KeyedBolt<u64, (u64, u64), (u64, u64)> for Sum {
    type State = u64;
    fn execute(
        &mut self,
        key: &u64,
        sum: &mut u64,
        (_, n): (u64, u64),
        out: &mut Emitter<(u64, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *sum = sum.wrapping_add(n);
        out.emit((*key, *sum));
        Ok(())
    }
}

struct Seen(Arc<AtomicU64>);

impl Sink<(u64, u64)> for Seen {
    fn write(&mut self, _: (u64, u64), _: &Context) -> ComponentResult {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn flush(&mut self, _: &Context) -> ComponentResult {
        Ok(())
    }
}

/// The sizes of the batches of component `sum`.
#[derive(Clone, Default)]
struct Sizes(Arc<Mutex<Vec<usize>>>, bool);

impl TaskHook for Sizes {
    fn opened(&mut self, cx: &Context) {
        self.1 = &*cx.id().component == "sum";
    }
    fn executed(&mut self, tuples: usize, _: Duration) {
        if self.1 {
            self.0.lock().unwrap().push(tuples);
        }
    }
}

/// pairs → by key → sum → seen.
fn topology(pairs: u64, one_by_one: bool, tasks: u32, seen: &Arc<AtomicU64>) -> TopologyBuilder {
    let mut t = TopologyBuilder::new("pairs");
    t.guarantee(Guarantee::AtMostOnce);
    let pairs = move || Pairs { left: pairs, one_by_one };
    let pairs = t.spout("pairs", 1, pairs).unwrap();
    let sums = pairs.fields(|(key, _)| key).keyed("sum", tasks, || Sum).unwrap();
    let seen = Arc::clone(seen);
    sums.shuffle().sink("seen", tasks, move || Seen(Arc::clone(&seen))).unwrap();
    t
}

fn run(topology: Topology, workers: u32) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let options = RunOptions { workers, ..RunOptions::default() };
    topology.run(&log, &options, &Arc::new(Progress::default())).unwrap();
    log.close().unwrap();
}

#[test]
fn pairs_of_numbers_cost_no_allocation_each() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for workers in [1, 2] {
        let allocations = |pairs| {
            let seen = Arc::default();
            let topology = topology(pairs, false, 2, &seen).finish().unwrap();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            run(topology, workers);
            assert_eq!(seen.load(Ordering::Relaxed), pairs);
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        let (few, many) = (allocations(20_000), allocations(220_000));
        let each = many.saturating_sub(few) as f64 / 200_000.0;
        assert!(each < 0.2, "{each} allocations a tuple on {workers} workers");
    }
}

fn sizes(pairs: u64, one_by_one: bool) -> Vec<usize> {
    let seen = Arc::default();
    let sizes = Sizes::default();
    let mut t = topology(pairs, one_by_one, 4, &seen);
    let of_task = sizes.clone();
    t.hook(move || of_task.clone());
    run(t.finish().unwrap(), 2);
    let sizes = sizes.0.lock().unwrap();
    assert_eq!(sizes.iter().sum::<usize>() as u64, pairs);
    sizes.clone()
}

#[test]
fn batches_are_full_under_load() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sizes = sizes(300_000, false);
    // Where a spout's slice ends, what is left for each task goes, too: not every batch is full.
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    assert!(mean >= 256, "{mean} tuples in a batch");
}

#[test]
fn a_tuple_that_is_alone_does_not_wait_for_others() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(sizes(20, true), [1; 20]);
}
