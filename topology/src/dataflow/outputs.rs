//! An operator's data outputs: one port per edge, and the capabilities for them.

use egret_schemas::Epoch;
use timely::container::NoopBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;

use super::chunk::Chunk;
use crate::component::Outlet;

pub(crate) type Port = OutputBuilder<u64, NoopBuilder<Chunk>>;

/// Ports and capabilities; the capabilities are the operator's own and move with its input frontier.
pub(crate) struct Outputs {
    ports: Vec<Port>,
    caps: Vec<Capability<u64>>,
}

impl Outputs {
    /// The ports, with their initial capabilities moved to the generation's first epoch.
    pub(crate) fn new(ports: Vec<Port>, mut caps: Vec<Capability<u64>>, first: Epoch) -> Outputs {
        assert_eq!(ports.len(), caps.len(), "one capability per port");
        caps.iter_mut().for_each(|cap| cap.downgrade(&first.0));
        Outputs { ports, caps }
    }

    /// Sends what the outlet has ready, as of `epoch`; whether it has more packed.
    pub(crate) fn ship(&mut self, outlet: &mut dyn Outlet, epoch: Epoch) -> bool {
        if !outlet.is_ready() {
            return outlet.taken();
        }
        for (edge, (port, cap)) in self.ports.iter_mut().zip(&self.caps).enumerate() {
            let mut ready = outlet.take(edge).peekable();
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
        self.caps.first().map_or(Epoch(0), |cap| Epoch(*cap.time()))
    }

    /// Nothing before `epoch` will be sent any more. **Here capabilities move.**
    pub(crate) fn advance(&mut self, epoch: Epoch) {
        for cap in &mut self.caps {
            if *cap.time() < epoch.0 {
                cap.downgrade(&epoch.0);
            }
        }
    }

    /// Nothing will be sent any more. **Here capabilities drop.**
    pub(crate) fn end(&mut self) {
        self.caps.clear();
        self.ports.clear();
    }
}
