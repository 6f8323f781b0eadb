//! The commit protocol as pure cores: facts come in, effects go out.
//!
//! | module | holds |
//! |---|---|
//! | [`coordinator`] | opens epochs, gathers reports, decides on commits |
//! | [`recovery`] | the order in which a new generation takes a topology over |
//! | [`record`] | the commit record and its bytes |
//! | [`topology_record`] | what metadata keeps of a topology, and how it may change |
//! | [`run_record`] | what metadata keeps of whoever runs a topology |
//! | [`named`] | commits that have names, and what those keep |
//! | [`fork`] | topologies that begin at a named commit of another |
//! | [`deletion`] | a topology that is being deleted |
//! | [`restore_set`] | which ledgers hold a component's state, key group by key group |
//! | [`plan`], [`report`] | who takes part in a commit, and what each says |
//! | [`watermark`] | how far event time has come as of a commit |
//! | [`guarantee`] | what a topology promises |

pub mod coordinator;
pub mod deletion;
mod epoch_clock;
pub mod fork;
mod gather;
pub mod guarantee;
mod interval;
pub mod named;
pub mod plan;
pub mod record;
pub mod recovery;
pub mod report;
pub mod restore_set;
mod rounds;
pub mod run_record;
pub mod topology_record;
pub mod watermark;

pub use coordinator::{CommitConfig, Coordinator, Effect, Input, Outcome, Poison};
pub use fork::{Fork, Origin};
pub use guarantee::{Guarantee, ParseGuaranteeError};
pub use named::{NameError, Named, Names, check_name};
pub use plan::{CommitComponent, CommitPlan, Role, TaskId};
pub use record::{CommitRecord, RecordError, RecordKind};
pub use recovery::{
    Fact, Opened, Recovery, RecoveryError, StateEnd, Step, Wanted, check_like, term_of,
};
pub use report::{Durable, SinkPosition, TaskReport};
pub use restore_set::{
    LedgerRange, Reading, RestoreSet, Slice, SliceError, groups_of_task, reading_plan,
};
pub use run_record::{RunRecord, RunState};
pub use topology_record::{ChangeError, Claimant, Graph, Partition, TopologyRecord};
pub use watermark::{Mark, Reached, Timed};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod round_model_tests;
