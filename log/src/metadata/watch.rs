//! Following what changes: events in the order of their revisions, without a gap or a repeat.
//!
//! ```text
//! let listing = store.list("/bookies/")?;                       // everything at one revision r
//! let mut watch = store.watch("/bookies/", listing.revision + 1)?; // everything after it
//! ```
//! Events of one transaction share its revision and become visible together: once
//! [`next`](Watch::next) gave `None`, or an event of a higher revision, there is none left of a lower
//! one. So whoever starts over goes on at the last revision plus one.

use std::fmt;
use std::time::{Duration, Instant};

use super::MetaError;
use crate::clock;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A value was written.
    Put {
        /// Under this key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The revision of the transaction that wrote it.
        revision: u64,
    },
    /// A key that was there was removed, by a transaction or because its lease ended.
    Delete {
        /// The key.
        key: String,
        /// The revision of the removal.
        revision: u64,
    },
}

impl Event {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Event::Put { key, .. } | Event::Delete { key, .. } => key,
        }
    }

    /// The revision at which it happened.
    pub fn revision(&self) -> u64 {
        match self {
            Event::Put { revision, .. } | Event::Delete { revision, .. } => *revision,
        }
    }

    /// What it takes of a bounded memory.
    pub(super) fn bytes(&self) -> usize {
        let value = match self {
            Event::Put { value, .. } => value.len(),
            Event::Delete { .. } => 0,
        };
        size_of::<Event>() + self.key().len() + value
    }
}

/// Why a watch ended. It says the same whenever it is asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Events that it should have given are no longer kept.
    #[error(
        "changes before revision {oldest} are no longer kept: list again, and watch from the listing's revision"
    )]
    Compacted {
        /// The oldest revision from which a watch may begin now; a hint, it may have moved on.
        oldest: u64,
    },
    /// Nothing was said for longer than it is [trusted](Watch::trusted_for).
    #[error(
        "nothing was said for {quiet_ms} ms: list again, and watch from the listing's revision"
    )]
    Quiet {
        /// For how long.
        quiet_ms: u64,
    },
    /// The store has ended, or refuses. A store that cannot be reached ends no watch.
    #[error(transparent)]
    Store(#[from] MetaError),
}

/// Where a watch's events come from; what a store implements. Dropping it cancels.
pub trait WatchSource: Send + fmt::Debug {
    /// See [`Watch::next`].
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError>;
}

/// A watch; dropping it cancels.
#[derive(Debug)]
pub struct Watch {
    source: Box<dyn WatchSource>,
    trust: Option<Trust>,
    ended: Option<WatchError>,
}

/// How long silence is believed.
#[derive(Debug)]
struct Trust {
    quiet: Duration,
    heard: Instant,
}

impl Watch {
    /// A watch on what `source` gives.
    pub fn new(source: Box<dyn WatchSource>) -> Watch {
        Watch { source, trust: None, ended: None }
    }

    /// The same, ended by [`Quiet`](WatchError::Quiet) after it said nothing for so long. Nothing tells a
    /// watch that is quiet from one that is dead and does not know it, and whoever trusts a dead one goes by
    /// what it last heard for ever.
    pub fn trusted_for(self, quiet: Duration) -> Watch {
        Watch { trust: Some(Trust { quiet, heard: clock::now() }), ..self }
    }

    /// The next event, or `None` when there was none within `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError> {
        if let Some(why) = &self.ended {
            return Err(why.clone());
        }
        let next = match (self.source.next(timeout), &mut self.trust) {
            (Ok(None), Some(trust)) => trust.silence(),
            (Ok(Some(event)), Some(trust)) => {
                trust.heard = clock::now();
                Ok(Some(event))
            }
            (next, _) => next,
        };
        if let Err(why) = &next {
            self.ended = Some(why.clone());
        }
        next
    }
}

impl Trust {
    fn silence(&self) -> Result<Option<Event>, WatchError> {
        let quiet = clock::now().saturating_duration_since(self.heard);
        if quiet < self.quiet {
            return Ok(None);
        }
        let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
        Err(WatchError::Quiet { quiet_ms })
    }
}
