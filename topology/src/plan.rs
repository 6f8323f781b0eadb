//! Plans: what runs, as plain data. No I/O, no threads, no timely.
//!
//! * [`LogicalPlan`]: components and the groupings between them, as the builder was told;
//! * [`PhysicalPlan`]: every task on a worker;
//! * [`explain`]: both as stable text.

mod explain;
mod logical;
mod physical;

pub use explain::explain;
pub use logical::{ComponentPlan, InputPlan, Kind, LogicalPlan, OutputPlan};
pub use physical::PhysicalPlan;
