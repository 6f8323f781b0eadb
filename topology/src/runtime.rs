//! Running a topology: taking it over, running its workers, starting again when a generation fails.
//!
//! * `takeover`: the driver of the recovery core: claim, fence, close at the last commit, restate; `at_once`: several
//!   ledgers or partitions together;
//! * `go_back`: its steps on the way back to a named commit; `sources`: what that reads again;
//! * [`named`]: commits given names, by whoever wants to come back to them;
//! * [`topologies`]: those there are, and the deletion of one;
//! * `announce`: who runs a topology, said in metadata while it does; `activity`: whether it is to read its sources;
//! * `kept`: tables that survive a generation in memory, and the bound on all of them;
//! * `restored`: what tasks begin with: positions, changelogs, writers;
//! * `commit_log`: where commit records go, and the trimming that follows them;
//! * `local`: the loop over generations in this process, and the processes it starts;
//! * `mesh`: several processes: who they are, what they tell each other, how they are joined.

mod activity;
mod announce;
mod at_once;
mod commit_log;
mod faults;
mod go_back;
mod kept;
mod local;
mod mesh;
pub mod named;
mod options;
mod probe;
mod progress;
mod restored;
mod sources;
mod takeover;
pub mod topologies;
mod topology_store;

pub(crate) use announce::{Announcer, read as announced_run};
pub(crate) use commit_log::CommitLog;
#[doc(hidden)]
pub use faults::Faults;
pub(crate) use kept::{Kept, KeptTable, MemoryShare};
pub(crate) use local::Restarts;
pub use local::{Children, Summary};
pub(crate) use mesh::Link;
pub use mesh::{MeshError, Placed, Processes, Seat, Secret, Started, Starter};
pub use named::{NamedCommit, NamedError};
pub(crate) use named::{last_acknowledged, newest_commit};
pub use options::RunOptions;
pub use progress::Progress;
pub(crate) use restored::{Restored, Resumed};
pub(crate) use takeover::read_record as stored_topology;
pub(crate) use topology_store::key as topology_key;
