//! Where components put their output.
//!
//! A bolt's emitter ships in *slices*: once it holds a slice of routed batches its task rests, so that
//! the dataflow can hand them over. One call may still emit any amount. What it emits beyond a slice
//! is *packed*, encoded and not routed yet, and becomes batches again a slice at a time:
//!
//! ```text
//! emit ─▶ [buffer] ─ a batch ─┬─ below a slice ─────────▶ route ─▶ ready ─▶ the dataflow
//!                             └─ else ─▶ [packed]* ─ refill ─┘
//! ```
//! Order is kept: nothing is routed past what is packed.

use std::collections::VecDeque;
use std::fmt;

use super::event_time::{EventTime, LatestOf, Times};
use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES, Routed};
use crate::budget::{Charge, Lane};
use crate::grouping::{MakePartitioner, Partitioner, Target};

/// Encoded bytes that one call of a bolt may emit: it runs to its end before anything of it can be
/// consumed. Sixteen of the largest records.
const CALL_BYTES_MAX: usize = 16 * egret_log::caps::RECORD_BYTES_MAX;

/// Takes tuples and hands them on in batches, one copy for each consumer.
pub struct Emitter<T> {
    buffer: Vec<T>,
    bytes: usize,
    total_bytes: usize,
    total_tuples: u64,
    edges: Vec<Box<dyn Partitioner<T>>>,
    ready: Vec<Vec<Routed>>,
    /// Bytes routed since the dataflow last took what was ready.
    ready_bytes: usize,
    slicing: Option<Slicing>,
    /// The event time of what is emitted, where a spout says it.
    times: Option<Times<T>>,
}

/// What an emitter that ships in slices has beside.
struct Slicing {
    lane: Lane,
    slice_bytes: usize,
    packed: VecDeque<Packed>,
    packed_bytes: usize,
    /// Whether a call emitted more than may be packed; the rest of it was dropped.
    overflowed: bool,
}

/// A batch that waits, encoded.
struct Packed {
    tuples: Box<[u8]>,
    /// What it weighs when it is a batch again.
    weight: usize,
    _charge: Charge,
}

impl<T> fmt::Debug for Emitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Emitter({} tuples, {} edges)", self.buffer.len(), self.edges.len())
    }
}

impl<T: Tuple> Emitter<T> {
    /// Emits one tuple.
    #[inline]
    pub fn emit(&mut self, tuple: T) {
        self.bytes += tuple.weight();
        self.buffer.push(tuple);
        if self.buffer.len() >= BATCH_TUPLES || self.bytes >= BATCH_BYTES {
            self.ship();
        }
    }

    /// For spouts that read several splits: what is emitted from here on comes from this one, counted from
    /// 0. The watermark is that of the split furthest behind; it only follows tuples whose split is said.
    pub fn from_split(&mut self, split: usize) {
        if let Some(times) = &mut self.times {
            times.from(&self.buffer, split);
        }
    }

    /// For spouts that read several splits: this one has nothing for now. When that lasts as long as
    /// [`EventTime::idle_ms`], the watermark goes on without it. A spout that returns
    /// [`Next::Idle`](super::Next::Idle) or the like says so of all its splits.
    pub fn quiet(&mut self, split: usize) {
        if let Some(times) = &mut self.times {
            times.quiet(&self.buffer, split, egret_log::clock::now());
        }
    }

    /// The event time of what is emitted, and the batch that is open.
    pub(crate) fn times(&mut self) -> Option<(&mut Times<T>, &[T])> {
        self.times.as_mut().map(|times| (times, &self.buffer[..]))
    }

    /// Bytes emitted since the task began.
    pub fn bytes(&self) -> usize {
        self.total_bytes + self.bytes
    }

    /// Whether the task should rest until the dataflow took what is ready.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let full = |s: &Slicing| self.ready_bytes >= s.slice_bytes || !s.packed.is_empty();
        self.slicing.as_ref().is_some_and(full)
    }

    /// Whether everything emitted was kept; else why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.slicing.as_ref().is_some_and(|s| s.overflowed) {
            false => Ok(()),
            true => Err(format!(
                "one call emitted more than {CALL_BYTES_MAX} bytes: spread them over several tuples"
            )),
        }
    }

    fn ship(&mut self) {
        if let Some(times) = &mut self.times {
            times.look(&self.buffer);
            times.sent();
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.total_bytes += bytes;
        self.total_tuples += self.buffer.len() as u64;
        if self.edges.is_empty() {
            self.buffer.clear();
        } else if self.is_full() {
            self.pack(bytes);
        } else {
            let batch = std::mem::replace(&mut self.buffer, Vec::with_capacity(BATCH_TUPLES));
            self.route(batch, bytes);
        }
    }

    #[cold]
    fn pack(&mut self, weight: usize) {
        let slicing = self.slicing.as_mut().expect("only an emitter that slices is ever full");
        if slicing.packed_bytes < CALL_BYTES_MAX {
            let encoded = postcard::to_stdvec(&self.buffer)
                .expect("a tuple's Serialize must not fail: it is a plain value");
            slicing.packed_bytes += encoded.len();
            let _charge = slicing.lane.keep(encoded.len());
            slicing.packed.push_back(Packed { tuples: encoded.into(), weight, _charge });
        } else {
            slicing.overflowed = true;
        }
        self.buffer.clear();
    }

    fn route(&mut self, batch: Vec<T>, bytes: usize) {
        self.ready_bytes += bytes;
        let Some(last) = self.edges.len().checked_sub(1) else { return };
        for edge in 0..last {
            self.edges[edge].route(batch.clone(), bytes, &mut self.ready[edge]);
        }
        self.edges[last].route(batch, bytes, &mut self.ready[last]);
    }
}

/// An emitter seen by the dataflow, which does not know its type.
pub(crate) trait Outlet {
    /// Ends the open batches, those kept back by the groupings too.
    fn finish(&mut self);
    /// Takes the batches ready for one edge.
    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed>;
    /// Says that the batches of every edge were taken; whether something is packed still.
    fn taken(&mut self) -> bool;
    /// Makes the next slice ready of what is packed.
    fn refill(&mut self);
    /// Whether consumers are done with enough of what was shipped for more to be.
    fn has_room(&self) -> bool;
    /// Whether anything is ready.
    fn is_ready(&self) -> bool;
    /// Tuples and bytes emitted so far.
    fn totals(&self) -> (u64, usize);
}

impl<T: Tuple> Outlet for Emitter<T> {
    fn finish(&mut self) {
        if !self.buffer.is_empty() {
            self.ship();
        }
        for (edge, ready) in self.edges.iter_mut().zip(&mut self.ready) {
            edge.flush(ready);
        }
    }

    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed> {
        self.ready[edge].drain(..)
    }

    fn taken(&mut self) -> bool {
        self.ready_bytes = 0;
        self.slicing.as_ref().is_some_and(|s| !s.packed.is_empty())
    }

    fn refill(&mut self) {
        while let Some(slicing) = &mut self.slicing
            && self.ready_bytes < slicing.slice_bytes
            && let Some(packed) = slicing.packed.pop_front()
        {
            slicing.packed_bytes -= packed.tuples.len();
            let batch = postcard::from_bytes(&packed.tuples)
                .expect("a tuple's Deserialize takes what its Serialize made");
            self.route(batch, packed.weight);
        }
    }

    fn has_room(&self) -> bool {
        self.slicing.as_ref().is_none_or(|s| s.lane.has_room())
    }

    fn is_ready(&self) -> bool {
        self.ready.iter().any(|batches| !batches.is_empty())
    }

    fn totals(&self) -> (u64, usize) {
        (self.total_tuples, self.total_bytes)
    }
}

/// How to make the emitter of each task of a component: one partitioner per consumer.
pub(crate) struct OutletOf<T> {
    pub(crate) edges: Vec<MakePartitioner<T>>,
    /// A spout's, if it says the event time of its tuples.
    pub(crate) event_time: Option<(LatestOf<T>, EventTime)>,
}

impl<T> Default for OutletOf<T> {
    fn default() -> Self {
        OutletOf { edges: Vec::new(), event_time: None }
    }
}

impl<T: Tuple> OutletOf<T> {
    /// Makes the emitter of a bolt's task, which ships in slices; `targets` has one entry per edge.
    pub(crate) fn make_slicing(&self, targets: &[Target]) -> Emitter<T> {
        let mut emitter = self.make(targets);
        emitter.slicing = targets.first().map(|target| Slicing {
            lane: target.lane.clone(),
            slice_bytes: target.lane.slice_bytes(),
            packed: VecDeque::new(),
            packed_bytes: 0,
            overflowed: false,
        });
        emitter
    }

    /// Makes the emitter of a spout's task, which is told how much to emit; `targets` has one entry per
    /// edge.
    pub(crate) fn make(&self, targets: &[Target]) -> Emitter<T> {
        assert_eq!(targets.len(), self.edges.len(), "one target per edge");
        Emitter {
            buffer: Vec::new(),
            bytes: 0,
            total_bytes: 0,
            total_tuples: 0,
            edges: self.edges.iter().zip(targets).map(|(make, target)| make(target)).collect(),
            ready: targets.iter().map(|_| Vec::new()).collect(),
            ready_bytes: 0,
            slicing: None,
            times: self.event_time.clone().map(|(latest_of, config)| Times::new(latest_of, config)),
        }
    }
}
