//! Keyed state: the table bolts work on, and the bytes it becomes in a ledger.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | what can be a key, and its frozen encoding |
//! | [`state`] | what can be kept for a key, and how it becomes bytes |
//! | [`cell`] | the parts of a state that are written one by one |
//! | [`mod@format`] | what the bytes of keys and values mean, for who has not the types |
//! | [`kinds`] | values, lists, maps, and states put together of them |
//! | [`schedule`] | timers, and when a key's state expires |
//! | [`backing`] | what may lie beneath a table: states that are not in memory |
//! | [`table`] | the working table: one probe per access, changes remembered per commit |
//! | [`undo`] | what takes the changes since the last commit back, in memory |
//! | [`record`] | one key's record |
//! | [`changelog`] | the entries of a state ledger, written |
//! | [`replay`] | the entries of a state ledger, read back into a table |
//! | [`following`] | a task's table in a process that does not run it, brought from commit to commit |
//! | [`convert`] | states of older types, made into those of now |
//! | [`chain`] | which ledgers a task would be restored from, and how much to rewrite to let go of old ones |

pub mod backing;
pub mod cell;
pub mod chain;
pub mod changelog;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod convert;
pub mod following;
pub mod format;
pub mod key;
pub mod kinds;
pub mod record;
pub mod replay;
pub mod schedule;
pub mod state;
pub mod table;
pub mod undo;

pub use backing::{Backing, InMemory, Storage};
pub use convert::Conversions;
pub use key::Key;
pub use kinds::{ExpiringMap, ListState, MapState, Value};
pub use state::State;
pub use table::KeyedTable;
