//! Running a topology: taking it over, running its workers, starting again when a generation fails.
//!
//! * `takeover`: the driver of the recovery core: claim, fence, close at the last commit, restate;
//! * `restored`: what tasks begin with: positions, changelogs, writers;
//! * `commit_log`: where commit records go, and the trimming that follows them;
//! * `local`: the loop over generations in this process, and the processes it starts;
//! * `mesh`: several processes: who they are, what they tell each other, how they are joined.

mod commit_log;
mod local;
mod mesh;
mod options;
mod progress;
mod restored;
mod takeover;
mod topology_store;

pub(crate) use commit_log::CommitLog;
pub use local::{Children, Summary};
pub use mesh::{MeshError, Processes, Seat, Secret, Started, Starter};
#[doc(hidden)]
pub use options::Faults;
pub use options::RunOptions;
pub use progress::Progress;
pub(crate) use restored::Restored;
