//! A topology in several worker processes: who they are, what they tell each other, how they form a mesh.
//!
//! ```text
//!   rank 0, the leader ◀── control: hello, beats, begin, ended ──▶ rank 1 … n-1, the members
//!        ▲                                                             ▲
//!        └──────── per generation and pair: batches, credit ───────────┘
//! ```
//!
//! * The leader has the topology: it takes it over, writes its commits, and says which generation begins.
//!   Members do as they are told; what they open, they open under the generation they are told.
//! * Every connection begins with a [`hello`] that says rank, generation, binary and plan, and proves both ways
//!   that it belongs to the run: by a secret, or, on several hosts, by certificates shown before. Only then is
//!   it handed to timely, which never listens.
//! * A peer that goes away or says nothing for [`silence`](crate::RunOptions::silence_ms) is given up, and
//!   the generation with it. Those that are left keep their processes and form the next one over fresh
//!   connections.
//!
//! | module | holds |
//! |---|---|
//! | [`hello`] | the first words on a connection |
//! | `line` | a control connection: messages, beats, silence |
//! | `message` | what leader and members tell each other |
//! | `link` | an established connection: plain on one machine, TLS beyond it |
//! | `door` | who connects to this process |
//! | `placed` | processes that somebody else placed on hosts, by rank |
//! | `connect` | the connections of one generation |
//! | `leader` | the members, from the leader's side |
//! | `member` | a member's life |
//! | `error` | what can go wrong with it |

mod connect;
mod door;
mod error;
pub(crate) mod hello;
mod leader;
mod line;
mod link;
mod member;
mod message;
mod placed;

pub use error::MeshError;
pub use hello::Secret;
pub(crate) use leader::{Leader, Recruits};
pub(crate) use link::Link;
#[cfg(test)]
pub(crate) use member::stand_still;
pub(crate) use member::{Member, Told};
pub(crate) use message::{Begin, Done};
pub use placed::Placed;

use std::net::SocketAddr;
use std::sync::Arc;

/// How a run is spread over processes.
#[derive(Clone, Default)]
pub enum Processes {
    /// Everything in this one.
    #[default]
    One,
    /// This is the first of so many; `starter` starts the others, and starts them again when they are gone.
    First {
        /// How many there are, this one included.
        count: u32,
        /// Starts the others.
        starter: Arc<dyn Starter>,
    },
    /// This is one of the others.
    Other(Seat),
    /// This is one of several that somebody else placed on hosts, and starts again when they end.
    Placed(Placed),
}

impl Processes {
    /// Whether this process leads the run, and so does once what is done once for all of them.
    pub fn leads(&self) -> bool {
        match self {
            Processes::One | Processes::First { .. } => true,
            Processes::Other(_) => false,
            Processes::Placed(placed) => placed.rank == 0,
        }
    }
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Processes::One => f.write_str("One"),
            Processes::First { count, .. } => write!(f, "First of {count}"),
            Processes::Other(seat) => write!(f, "{seat:?}"),
            Processes::Placed(placed) => write!(f, "{placed:?}"),
        }
    }
}

/// A place among the worker processes of a topology, and the way to the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// From 1 on; the first process has none.
    pub rank: u32,
    /// How many processes there are.
    pub count: u32,
    /// Where the first one listens.
    pub leader: SocketAddr,
    /// What proves that both belong to the run.
    pub secret: Secret,
}

/// Starts worker processes; how is its own affair.
pub trait Starter: Send + Sync {
    /// Starts the process that takes `seat`.
    ///
    /// # Errors
    /// When it could not be started.
    fn start(&self, seat: &Seat) -> std::io::Result<Box<dyn Started>>;
}

/// A process that was started.
pub trait Started: Send {
    /// How it ended, in words, if it did.
    fn ended(&mut self) -> Option<String>;

    /// Ends it now and waits until it is gone; one that ended is let be.
    fn kill(&mut self);

    /// Waits until it ends by itself, which it was told to, or ends it after `wait`.
    fn settle(&mut self, wait: std::time::Duration);
}
