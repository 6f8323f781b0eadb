//! An operator's data outputs: one port per edge that leaves it, and the capabilities for them.

use egret_schemas::Epoch;
use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;

use super::chunk::Chunk;
use crate::component::Outlet;

pub(crate) type Port = OutputBuilder<u64, NoopBuilder<Chunk>>;

/// Ports and capabilities; the capabilities are the operator's own and move with its input frontier.
pub(crate) struct Outputs {
    ways: Vec<Way>,
}

/// One edge that leaves the operator.
struct Way {
    /// Which of the components it leaves that are one operator, and which of that one's edges it is.
    from: (usize, usize),
    port: Port,
    cap: Capability<u64>,
}

impl Outputs {
    /// The ports of one component, with their initial capabilities moved to the generation's first epoch.
    pub(crate) fn new(ports: Vec<Port>, caps: Vec<Capability<u64>>, first: Epoch) -> Outputs {
        let ports = ports.into_iter().enumerate().map(|(edge, port)| ((0, edge), port));
        Outputs::of_chain(ports.collect(), caps, first)
    }

    /// The same of several that are one operator: each port with the component's place and its edge.
    pub(crate) fn of_chain(
        ports: Vec<((usize, usize), Port)>,
        mut caps: Vec<Capability<u64>>,
        first: Epoch,
    ) -> Outputs {
        assert_eq!(ports.len(), caps.len(), "one capability per port");
        caps.iter_mut().for_each(|cap| cap.downgrade(&first.0));
        let ways = ports.into_iter().zip(caps).map(|((from, port), cap)| Way { from, port, cap });
        Outputs { ways: ways.collect() }
    }

    /// Sends what the outlet has ready, as of `epoch`; whether it has more packed.
    pub(crate) fn ship(&mut self, outlet: &mut dyn Outlet, epoch: Epoch) -> bool {
        self.ship_of(0, outlet, epoch)
    }

    /// The same for the component at this place of several.
    pub(crate) fn ship_of(&mut self, place: usize, outlet: &mut dyn Outlet, epoch: Epoch) -> bool {
        if !outlet.is_ready() {
            return outlet.taken();
        }
        for Way { from, port, cap } in &mut self.ways {
            if from.0 != place {
                continue;
            }
            let mut ready = outlet.take(from.1).peekable();
            if ready.peek().is_none() {
                continue;
            }
            let cap = cap.delayed(&epoch.0);
            let mut output = port.activate();
            let mut session = output.session_with_builder(&cap);
            for routed in ready {
                session.give_container(&mut Chunk::from(routed));
            }
        }
        outlet.taken()
    }

    /// The earliest epoch something can still be sent at.
    pub(crate) fn earliest(&self) -> Epoch {
        self.ways.first().map_or(Epoch(0), |way| Epoch(*way.cap.time()))
    }

    /// Nothing before `epoch` will be sent any more. **Here capabilities move.**
    pub(crate) fn advance(&mut self, epoch: Epoch) {
        for Way { cap, .. } in &mut self.ways {
            if *cap.time() < epoch.0 {
                cap.downgrade(&epoch.0);
            }
        }
    }

    /// Nothing will be sent any more. **Here capabilities drop.**
    pub(crate) fn end(&mut self) {
        self.ways.clear();
    }
}
