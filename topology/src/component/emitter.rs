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
//! Order is kept: nothing is routed past what is packed. Each named output has the same beside it; between outputs
//! there is no order.
//!
//! What a call emits may be taken back: see [`attempt`].

mod attempt;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use attempt::Attempt;

use super::context::TaskId;
use super::event_time::{EventTime, LatestOf, Times};
use super::output::{Declared, Named, NamedOutlet, Output, OutputError, emitter_of};
use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES, Routed};
use crate::budget::{Charge, Lane};
use crate::grouping::{MakePartitioner, NoSuchTask, Partitioner, Target};
use crate::task::{TaskError, guard, kept};
use crate::tuple;

/// Encoded bytes that one call of a bolt may emit: it runs to its end before anything of it can be
/// consumed. Sixteen of the largest records.
const CALL_BYTES_MAX: usize = 16 * egret_log::caps::RECORD_BYTES_MAX;

/// Takes tuples and hands them on in batches, one copy for each consumer.
pub struct Emitter<T> {
    buffer: Vec<T>,
    bytes: usize,
    total_bytes: usize,
    total_tuples: u64,
    edges: Vec<Edge<T>>,
    outputs: Vec<Named>,
    /// Whether one of the named outputs should rest.
    output_is_full: bool,
    /// Whose it is; nobody's if nothing takes what it emits.
    task: Option<TaskId>,
    /// Why what was emitted cannot be handed on: the first reason there was.
    failed: Option<EmitError>,
    /// Bytes routed since the dataflow last took what was ready.
    ready_bytes: usize,
    slicing: Option<Slicing>,
    /// Where the call that may be taken back began.
    attempt: Option<Attempt>,
    /// The event time of what is emitted, where a spout says it.
    times: Option<Times<T>>,
}

/// A way out for what is emitted.
struct Edge<T> {
    /// Which of the component's edges it is.
    number: usize,
    to: Box<dyn Partitioner<T>>,
    ready: Vec<Routed>,
    /// Bytes given to the partitioner that it did not ship yet.
    kept: usize,
}

/// Why a tuple goes nowhere. It would not the next time either.
#[derive(Debug, thiserror::Error)]
enum EmitError {
    #[error(transparent)]
    Task(#[from] NoSuchTask),
    #[error(transparent)]
    Output(#[from] OutputError),
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
        if self.is_batch() {
            self.ship();
        }
    }

    /// Emits one tuple to a named output, which was declared where the component is attached
    /// ([`Stream::with_output`](crate::Stream::with_output)). One that was not, or is of another type, fails the
    /// topology with [`OutputError`](super::OutputError). What nobody takes is dropped.
    #[inline]
    pub fn emit_to<U: Tuple>(&mut self, output: &Output<U>, tuple: U) {
        match emitter_of(&mut self.outputs, output) {
            Ok(emitter) => {
                emitter.emit(tuple);
                self.output_is_full |= emitter.is_full();
            }
            Err(why) => self.fails(why.into()),
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
        let of_outputs: usize = self.outputs.iter().map(|named| named.outlet.bytes()).sum();
        self.total_bytes + self.bytes + of_outputs
    }

    /// Whether the task should rest until the dataflow took what is ready.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let full = |s: &Slicing| self.ready_bytes >= s.slice_bytes || !s.packed.is_empty();
        self.output_is_full || self.slicing.as_ref().is_some_and(full)
    }

    /// Whether everything emitted was kept; else why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.leads_on()?;
        match self.overflowed() {
            false => Ok(()),
            true => Err(format!(
                "one call emitted more than {CALL_BYTES_MAX} bytes: spread them over several tuples"
            )),
        }
    }

    /// Whether everything emitted has somewhere to go; else why not. No other call makes it good.
    pub(crate) fn leads_on(&self) -> Result<(), String> {
        if let Some(why) = &self.failed {
            return Err(why.to_string());
        }
        self.outputs.iter().try_for_each(|named| named.outlet.leads_on())
    }

    fn overflowed(&self) -> bool {
        self.slicing.as_ref().is_some_and(|s| s.overflowed)
            || self.outputs.iter().any(|named| named.outlet.overflowed())
    }

    #[cold]
    fn fails(&mut self, why: EmitError) {
        self.failed.get_or_insert(why);
    }

    /// Whether what is in the buffer makes a batch.
    #[inline]
    fn is_batch(&self) -> bool {
        self.buffer.len() >= BATCH_TUPLES || self.bytes >= BATCH_BYTES
    }

    fn ship(&mut self) {
        if let Some(attempt) = self.attempt {
            return self.hold(attempt);
        }
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
        let Some(slicing) = self.slicing.as_mut().filter(|_| !self.edges.is_empty()) else {
            // Nobody takes it.
            return self.buffer.clear();
        };
        if slicing.packed_bytes < CALL_BYTES_MAX {
            let mut encoded = Vec::new();
            tuple::encode(&self.buffer, &mut encoded);
            slicing.packed_bytes += encoded.len();
            let _charge = slicing.lane.keep(encoded.len());
            slicing.packed.push_back(Packed { tuples: encoded.into(), weight, _charge });
        } else {
            slicing.overflowed = true;
        }
        self.buffer.clear();
    }

    fn route(&mut self, batch: Vec<T>, bytes: usize) {
        let Some((last, others)) = self.edges.split_last_mut() else { return };
        let (mut copies, mut failed) = (0, None);
        let mut to = |edge: &mut Edge<T>, batch| match edge.route(batch, bytes) {
            Ok(bytes) => copies = copies.max(bytes),
            Err(why) => failed = Some(why),
        };
        others.iter_mut().for_each(|edge| to(edge, batch.clone()));
        to(last, batch);
        self.ready_bytes += bytes + copies;
        if let Some(why) = failed {
            self.fails(why.into());
        }
    }

    /// Does what may call code of the user's, as the task whose emitter this is.
    pub(super) fn guarded(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let Some(task) = self.task.clone() else { return run(self) };
        let mut done = Ok(());
        guard(&task, || {
            done = run(self);
            Ok(())
        })?;
        done?;
        kept(&task, self.check())
    }
}

impl<T> Edge<T> {
    /// Routes a batch; how many bytes were shipped beyond those given: copies for several tasks.
    fn route(&mut self, batch: Vec<T>, bytes: usize) -> Result<usize, NoSuchTask> {
        let before = self.ready.len();
        self.kept += bytes;
        self.to.route(batch, bytes, &mut self.ready)?;
        Ok(self.shipped(before))
    }

    fn flush(&mut self) {
        let before = self.ready.len();
        self.to.flush(&mut self.ready);
        self.shipped(before);
        // What is left is what weights were rounded by.
        self.kept = 0;
    }

    /// Accounts for what became ready since there were so many.
    fn shipped(&mut self, before: usize) -> usize {
        let shipped: usize = self.ready[before..].iter().map(|r| r.charge.bytes()).sum();
        let copies = shipped.saturating_sub(self.kept);
        self.kept = self.kept.saturating_sub(shipped);
        copies
    }
}

/// An emitter seen by the dataflow, which does not know its type.
pub(crate) trait Outlet {
    /// Ends the open batches, those kept back by the groupings too.
    ///
    /// # Errors
    /// When something that was emitted cannot be handed on; when a grouping of the user's own panics.
    fn finish(&mut self) -> Result<(), TaskError>;
    /// Whether it puts something out on the component's edge of this number.
    fn has(&self, edge: usize) -> bool;
    /// Takes the batches ready for one edge.
    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed>;
    /// Says that the batches of every edge were taken; whether something is packed still.
    fn taken(&mut self) -> bool;
    /// Makes the next slice ready of what is packed.
    ///
    /// # Errors
    /// As [`finish`](Outlet::finish).
    fn refill(&mut self) -> Result<(), TaskError>;
    /// Whether consumers are done with enough of what was shipped for more to be.
    fn has_room(&self) -> bool;
    /// Whether anything is ready.
    fn is_ready(&self) -> bool;
    /// Tuples and bytes emitted and shipped so far.
    fn totals(&self) -> (u64, usize);
    /// Tuples emitted so far.
    fn emitted(&self) -> u64;
}

impl<T: Tuple> Outlet for Emitter<T> {
    fn finish(&mut self) -> Result<(), TaskError> {
        self.guarded(|emitter| {
            if !emitter.buffer.is_empty() {
                emitter.ship();
            }
            emitter.edges.iter_mut().for_each(Edge::flush);
            emitter.outputs.iter_mut().try_for_each(|named| named.outlet.finish())
        })
    }

    fn has(&self, edge: usize) -> bool {
        self.edges.iter().any(|own| own.number == edge)
            || self.outputs.iter().any(|named| named.outlet.has(edge))
    }

    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed> {
        if let Some(own) = self.edges.iter().position(|own| own.number == edge) {
            return self.edges[own].ready.drain(..);
        }
        let of = self.outputs.iter_mut().find(|named| named.outlet.has(edge));
        of.expect("every edge leaves the component by one of its outputs").outlet.take(edge)
    }

    fn taken(&mut self) -> bool {
        self.ready_bytes = 0;
        let packed = self.slicing.as_ref().is_some_and(|s| !s.packed.is_empty());
        self.output_is_full = false;
        for named in &mut self.outputs {
            self.output_is_full |= named.outlet.taken();
        }
        packed || self.output_is_full
    }

    fn refill(&mut self) -> Result<(), TaskError> {
        self.guarded(|emitter| {
            while let Some(slicing) = &mut emitter.slicing
                && emitter.ready_bytes < slicing.slice_bytes
                && let Some(packed) = slicing.packed.pop_front()
            {
                slicing.packed_bytes -= packed.tuples.len();
                let batch =
                    tuple::decode(&packed.tuples).expect("a tuple decodes as it was encoded");
                emitter.route(batch, packed.weight);
            }
            emitter.outputs.iter_mut().try_for_each(|named| named.outlet.refill())
        })
    }

    fn has_room(&self) -> bool {
        self.slicing.as_ref().is_none_or(|s| s.lane.has_room())
    }

    fn is_ready(&self) -> bool {
        self.edges.iter().any(|edge| !edge.ready.is_empty())
            || self.outputs.iter().any(|named| named.outlet.is_ready())
    }

    fn totals(&self) -> (u64, usize) {
        let own = (self.total_tuples, self.total_bytes);
        self.outputs.iter().fold(own, |(tuples, bytes), named| {
            let (more_tuples, more_bytes) = named.outlet.totals();
            (tuples + more_tuples, bytes + more_bytes)
        })
    }

    fn emitted(&self) -> u64 {
        let of_outputs: u64 = self.outputs.iter().map(|named| named.outlet.emitted()).sum();
        self.total_tuples + self.buffer.len() as u64 + of_outputs
    }
}

impl<T: Tuple> NamedOutlet for Emitter<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn leads_on(&self) -> Result<(), String> {
        Emitter::leads_on(self)
    }

    fn overflowed(&self) -> bool {
        Emitter::overflowed(self)
    }

    fn is_full(&self) -> bool {
        Emitter::is_full(self)
    }

    fn bytes(&self) -> usize {
        Emitter::bytes(self)
    }

    fn attempt(&mut self) {
        Emitter::attempt(self);
    }

    fn stands(&mut self) {
        Emitter::stands(self);
    }

    fn take_back(&mut self) {
        Emitter::take_back(self);
    }
}

/// How to make the emitter of each task of a component: one partitioner per consumer.
pub(crate) struct OutletOf<T> {
    /// Each with its number among all of the component's edges.
    pub(crate) edges: Vec<(usize, MakePartitioner<T>)>,
    /// The named outputs beside this one.
    pub(crate) outputs: Vec<Arc<dyn Declared>>,
    /// A spout's, if it says the event time of its tuples.
    pub(crate) event_time: Option<(LatestOf<T>, EventTime)>,
}

impl<T> Default for OutletOf<T> {
    fn default() -> Self {
        OutletOf { edges: Vec::new(), outputs: Vec::new(), event_time: None }
    }
}

impl<T: Tuple> OutletOf<T> {
    /// How many edges leave it, and the named outputs beside it.
    pub(crate) fn edges_total(&self) -> usize {
        self.edges.len() + self.outputs.iter().map(|output| output.edges()).sum::<usize>()
    }

    /// Makes the emitter of a spout's task, which is told how much to emit; `targets` has one entry per
    /// edge.
    pub(crate) fn make(&self, targets: &[Target]) -> Emitter<T> {
        assert_eq!(targets.len(), self.edges_total(), "one target per edge");
        self.build(targets, false)
    }

    /// Makes the emitter of a task, one that ships in slices where it is a bolt's; `targets` has one entry for each edge
    /// of the component.
    pub(crate) fn build(&self, targets: &[Target], slices: bool) -> Emitter<T> {
        let edge = |(number, make): &(usize, MakePartitioner<T>)| Edge {
            number: *number,
            to: make(&targets[*number]),
            ready: Vec::new(),
            kept: 0,
        };
        let slicing = |target: &Target| Slicing {
            lane: target.lane.clone(),
            slice_bytes: target.lane.slice_bytes(),
            packed: VecDeque::new(),
            packed_bytes: 0,
            overflowed: false,
        };
        Emitter {
            buffer: Vec::new(),
            bytes: 0,
            total_bytes: 0,
            total_tuples: 0,
            edges: self.edges.iter().map(edge).collect(),
            outputs: self.outputs.iter().map(|output| output.make(targets, slices)).collect(),
            output_is_full: false,
            task: targets.first().map(|target| target.from.clone()),
            failed: None,
            ready_bytes: 0,
            slicing: targets.first().filter(|_| slices).map(slicing),
            attempt: None,
            times: self.event_time.clone().map(|(latest_of, config)| Times::new(latest_of, config)),
        }
    }
}
