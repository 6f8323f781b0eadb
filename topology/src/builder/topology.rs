//! A finished topology: its plan and its components.

use super::parts::Part;
use crate::plan::{LogicalPlan, PhysicalPlan};

/// A topology that can run; made by [`TopologyBuilder::finish`](super::TopologyBuilder::finish).
pub struct Topology {
    pub(crate) plan: LogicalPlan,
    pub(crate) parts: Vec<Part>,
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topology({}, {} components)", self.plan.name, self.plan.components.len())
    }
}

impl Topology {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The component graph.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// The logical and physical plan on `workers` workers, as stable text.
    pub fn explain(&self, workers: u32) -> String {
        self.explain_in(1, workers)
    }

    /// The same on so many processes, with so many workers each.
    pub fn explain_in(&self, processes: u32, workers: u32) -> String {
        let physical = PhysicalPlan::place_in(&self.plan, processes.max(1), workers.max(1));
        crate::plan::explain(&self.plan, &physical)
    }
}
