//! Keyed state: the table bolts work on, and the bytes it becomes in a ledger.
//!
//! | module | holds |
//! |---|---|
//! | [`key`] | what can be a key, and its frozen encoding |
//! | [`table`] | the working table: one probe per access, changes remembered per commit |
//! | [`changelog`] | the entries of a state ledger, written |
//! | [`replay`] | the entries of a state ledger, read back into a table |
//! | [`chain`] | which ledgers a task would be restored from, and when to begin a new one |

pub mod chain;
pub mod changelog;
pub mod key;
pub mod replay;
pub mod table;

pub use key::Key;
pub use table::{KeyedTable, State};
