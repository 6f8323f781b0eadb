//! Where components put their output.

use std::fmt;

use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES, Routed};
use crate::grouping::{MakePartitioner, Partitioner, Target};

/// Takes tuples and hands them on in batches, one copy for each consumer.
pub struct Emitter<T> {
    buffer: Vec<T>,
    bytes: usize,
    total_bytes: usize,
    total_tuples: u64,
    edges: Vec<Box<dyn Partitioner<T>>>,
    ready: Vec<Vec<Routed>>,
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

    /// Bytes emitted since the task began.
    pub fn bytes(&self) -> usize {
        self.total_bytes + self.bytes
    }

    fn ship(&mut self) {
        let batch = std::mem::replace(&mut self.buffer, Vec::with_capacity(BATCH_TUPLES));
        let bytes = std::mem::take(&mut self.bytes);
        self.total_bytes += bytes;
        self.total_tuples += batch.len() as u64;
        let Some(last) = self.edges.len().checked_sub(1) else { return };
        for edge in 0..last {
            self.edges[edge].route(batch.clone(), bytes, &mut self.ready[edge]);
        }
        self.edges[last].route(batch, bytes, &mut self.ready[last]);
    }
}

/// An emitter seen by the dataflow, which does not know its type.
pub(crate) trait Outlet {
    /// Ends open batches; with `flush`, those kept back by the groupings too.
    fn finish(&mut self);
    /// Takes the batches ready for one edge.
    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed>;
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
}

impl<T> Default for OutletOf<T> {
    fn default() -> Self {
        OutletOf { edges: Vec::new() }
    }
}

impl<T: Tuple> OutletOf<T> {
    /// Makes one task's emitter; `targets` has one entry per edge.
    pub(crate) fn make(&self, targets: &[Target]) -> Emitter<T> {
        assert_eq!(targets.len(), self.edges.len(), "one target per edge");
        Emitter {
            buffer: Vec::new(),
            bytes: 0,
            total_bytes: 0,
            total_tuples: 0,
            edges: self.edges.iter().zip(targets).map(|(make, target)| make(target)).collect(),
            ready: targets.iter().map(|_| Vec::new()).collect(),
        }
    }
}
