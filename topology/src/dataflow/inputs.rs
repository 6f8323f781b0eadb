//! An operator's data inputs, one for each edge that leads to it, seen as one.

use egret_schemas::Epoch;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use super::chunk::Chunk;
use super::pact::Route;
use crate::batch::Routed;

/// A stream, and how its chunks find their worker.
pub(crate) type Edge<'s> = (Stream<'s, u64, Chunk>, Route);

type Handle = InputHandleCore<u64, Chunk, <Route as ParallelizationContract<u64, Chunk>>::Puller>;

/// Inputs 0 to `count` of an operator.
pub(crate) struct Inputs(Vec<Handle>);

impl Inputs {
    /// Adds the inputs to an operator that has none yet, connected to what outputs it has.
    pub(crate) fn new<'s>(builder: &mut OperatorBuilder<'s, u64>, edges: Vec<Edge<'s>>) -> Inputs {
        assert!(!edges.is_empty(), "what takes tuples takes them from somewhere");
        let new = |(stream, route)| builder.new_input(stream, route);
        Inputs(edges.into_iter().map(new).collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes everything that arrived.
    pub(crate) fn for_each(&mut self, mut take: impl FnMut(Epoch, Routed)) {
        for input in &mut self.0 {
            input.for_each(|cap, chunk| {
                let epoch = Epoch(*cap.least().expect("everything is sent under a capability"));
                take(epoch, chunk.take());
            });
        }
    }
}

/// The earliest epoch that may still come on any of these; nothing if they all ended.
pub(crate) fn frontier(frontiers: &[MutableAntichain<u64>]) -> Option<Epoch> {
    let first = |f: &MutableAntichain<u64>| f.frontier().first().copied().map(Epoch);
    frontiers.iter().filter_map(first).min()
}
