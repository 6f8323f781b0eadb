//! The state of a topology, read by a process that does not run it.
//!
//! A [`Replica`] reads the topology's record, its newest commit and the state ledgers that names, and holds
//! what they say: the state as of that commit, never anything that is not committed. It follows while the
//! topology runs, through restarts, other numbers of tasks and commits gone back to, and it answers as of the
//! last commit while the topology does not run. It needs nothing of the program: formats of keys and states
//! are kept in the metadata ([`schema_key`]).
//!
//! | module | holds |
//! |---|---|
//! | `reading` | the newest commit, and the entries a plan asks for |
//! | [`shown`] | what is held, asked: keys and states as JSON |
//! | [`follow`] | a thread that keeps a replica at the newest commit |
//! | [`error`] | why there is nothing to show |
//!
//! # What always holds
//! * An answer is of one commit, and names it. Later answers are of that one or of later ones, or of an earlier one
//!   that the topology went back to: then the generation that wrote it is a later one
//!   ([`Mark::written_by`](egret_state::view::Mark)).
//! * Reading shuts nobody out: not the topology, not its trimming. What was trimmed while it was read is
//!   looked for again, from the newest commit.
//! * What is held is bounded where a limit is given.

pub mod error;
pub mod follow;
mod reading;
pub mod shown;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use egret_log::Log;
use egret_schemas::key::{hash, key_group};
use egret_state::view::{Mark, Staged, Wanted};

pub use error::ReplicaError;
pub use follow::{Follower, Freshness};
pub use shown::{Page, Shown};

use reading::Cursor;

/// The metadata key of a schema's text.
pub fn schema_key(topology: &str, id: u64) -> String {
    format!("{}{id:016x}", schema_prefix(topology))
}

/// Where the texts of a topology's schemas are kept.
pub(crate) fn schema_prefix(topology: &str) -> String {
    format!("/topologies/{topology}/schemas/")
}

/// Attempts to read a commit while the topology goes on and trims what it needed.
const TRIES: usize = 64;
/// Of those, how many may fail at one and the same commit: then it is not the trimming.
const TRIES_AT_ONE: usize = 3;

/// What to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// One component; `None` for all.
    pub component: Option<String>,
    /// Bytes that may be held; `None` for any.
    pub memory_bytes: Option<usize>,
}

/// A topology's state as of a commit; see the [module](self).
#[derive(Debug)]
pub struct Replica {
    options: ReplicaOptions,
    wanted: Wanted,
    cursor: Cursor,
    shown: Arc<RwLock<Shown>>,
}

impl Replica {
    /// One that holds nothing yet.
    pub fn new(topology: &str, options: ReplicaOptions) -> Replica {
        let wanted = Wanted { component: options.component.clone(), groups: None };
        let shown = Arc::new(RwLock::new(Shown::new(topology)));
        Replica { options, wanted, cursor: Cursor::new(topology), shown }
    }

    /// What is held; it changes in one step whenever [`catch_up`](Replica::catch_up) finds a newer commit.
    pub fn shown(&self) -> &Arc<RwLock<Shown>> {
        &self.shown
    }

    /// What is held now.
    pub fn read(&self) -> RwLockReadGuard<'_, Shown> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds only what one key needs, of a replica that holds nothing yet.
    ///
    /// # Errors
    /// When the topology, the component or the key is none, or something cannot be read.
    pub fn only_key(&mut self, log: &Log, component: &str, word: &str) -> Result<(), ReplicaError> {
        for left in (0..TRIES).rev() {
            let newest = self.cursor.newest(log)?;
            let set = newest.record.state.get(component);
            let set = set.ok_or_else(|| self.cursor.no_component(component, &newest.record))?;
            let schema = match self.cursor.last_schema(log, set) {
                Ok(schema) => schema,
                Err(error) if left == 0 || !error.may_be_trimmed() => return Err(error),
                Err(_) => continue,
            };
            let key = shown::key_of(schema.as_ref(), word)?;
            let group = key_group(hash(&key), newest.key_groups);
            let component = Some(component.to_owned());
            self.wanted = Wanted { component, groups: Some(group..group + 1) };
            return Ok(());
        }
        Ok(())
    }

    /// Goes to the newest commit. Whether there was a newer one.
    ///
    /// # Errors
    /// When there is no such topology, or something cannot be read; what was held stays.
    pub fn catch_up(&mut self, log: &Log) -> Result<bool, ReplicaError> {
        let mut failed: Option<(Mark, usize)> = None;
        for _ in 0..TRIES {
            let newest = self.cursor.newest(log)?;
            let mark = Mark::of(&newest.record);
            // Of a commit ledger that is written, each bookie knows its own end: an older commit than the one
            // that is held is no news.
            if self.read().view().mark() >= Some(mark) {
                return Ok(false);
            }
            let error = match self.go_to(log, &newest) {
                Ok(()) => return Ok(true),
                Err(error) if !error.may_be_trimmed() => return Err(error),
                Err(error) => error,
            };
            let times = match failed {
                Some((at, times)) if at == mark => times + 1,
                _ => 1,
            };
            if times >= TRIES_AT_ONE {
                return Err(error);
            }
            failed = Some((mark, times));
        }
        Err(ReplicaError::Busy { topology: self.cursor.topology().to_owned() })
    }

    fn go_to(&mut self, log: &Log, newest: &reading::Newest) -> Result<(), ReplicaError> {
        if let Some(wanted) = &self.options.component
            && !newest.record.state.contains_key(wanted)
        {
            return Err(self.cursor.no_component(wanted, &newest.record));
        }
        let (plan, mut staged) = {
            let shown = self.read();
            let plan = shown.view().plan(&newest.record, &self.wanted);
            let limit = self.options.memory_bytes;
            let staged = Staged::new(shown.view(), &plan, newest.key_groups, limit);
            (plan, staged)
        };
        for piece in &plan.pieces {
            reading::piece(log, piece, &mut staged)?;
        }
        let unknown = self.read().unknown_schemas(&staged);
        let schemas = self.cursor.schemas(log, unknown)?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.switch(staged, schemas);
        Ok(())
    }
}
