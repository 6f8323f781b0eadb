//! Plans: what runs, as plain data. No I/O, no threads, no timely.
//!
//! * [`LogicalPlan`]: components and the groupings between them, as the builder was told;
//! * [`PhysicalPlan`]: every task on a worker;
//! * [`Exchange`]: what each input costs there;
//! * [`explain`]: all of it as stable text; [`Form`]: as that, as JSON ([`Explained`]), as a graph or a picture.

mod dot;
mod exchange;
mod explain;
mod explained;
mod form;
mod logical;
mod physical;
mod svg;

pub use exchange::{Exchange, Pairs, Reach};
pub use explain::explain;
pub use explained::{Checkpointed, Explained, ExplainedComponent, ExplainedInput, TaskPlace};
pub use form::{Form, ParseFormError};
pub use logical::{ComponentPlan, InputPlan, Kind, LogicalPlan, OutputPlan};
pub use physical::PhysicalPlan;
