//! What can go wrong between worker processes.

use std::io;
use std::time::Duration;

/// Why worker processes do not come together. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// No place to listen at, no randomness, no thread.
    #[error("worker processes cannot be joined: {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A place that cannot be listened at.
    #[error(
        "worker processes cannot be listened for at {at}: {source}: say where with --listen HOST:PORT"
    )]
    Listen {
        /// Where.
        at: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A process could not be started.
    #[error("worker process {rank} of {count} could not be started: {source}")]
    Start {
        /// Which one.
        rank: u32,
        /// Of how many.
        count: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A process ends again and again before it joins.
    #[error(
        "worker process {rank} ended ({how}) before it joined, {times} times: its own message says why"
    )]
    Ends {
        /// Which one.
        rank: u32,
        /// How the last one ended.
        how: String,
        /// How often.
        times: u32,
    },
    /// An address that is none.
    #[error("`{address}` is nowhere to listen at: {why}")]
    Address {
        /// As it was given.
        address: String,
        /// Why.
        why: String,
    },
    /// Asked to end while others were waited for.
    #[error(
        "asked to end while worker processes {ranks:?} of {count} were waited for: nothing after the last commit is \
         kept"
    )]
    Asked {
        /// Which ones.
        ranks: Vec<u32>,
        /// Of how many.
        count: u32,
    },
    /// Processes that do not come.
    #[error(
        "worker processes {ranks:?} of {count} did not join within {waited:?}: see what they are doing, or run fewer"
    )]
    Missing {
        /// Which ones.
        ranks: Vec<u32>,
        /// Of how many.
        count: u32,
        /// How long they were waited for.
        waited: Duration,
    },
    /// The first process is not there, or does not let this one in.
    #[error("worker process {rank} cannot join the first one at {at}: {why}")]
    Join {
        /// This one.
        rank: u32,
        /// Where the first one is.
        at: String,
        /// Why not.
        why: String,
    },
    /// The first process went away.
    #[error(
        "the first worker process is gone ({why}): this one, {rank}, stops; nothing after the last commit is kept"
    )]
    LeaderGone {
        /// This one.
        rank: u32,
        /// How it was noticed.
        why: String,
    },
    /// The run failed, and the first process says why.
    #[error("the run was given up: the first worker process says why; this one, {rank}, stops")]
    Stopped {
        /// This one.
        rank: u32,
    },
}
