//! Drives the pure [`ledger`](crate::ledger) core over a [`Transport`](crate::message::Transport) and
//! a [`MetaStore`](crate::metadata::MetaStore). Drivers take no decisions.
//!
//! | module | holds |
//! |---|---|
//! | [`bookies`] | which bookies there are, and the way to each |
//! | [`placement`] | on which of them a fragment is put, pure |
//! | [`ledgers`] | create, recover, watch and delete ledgers |
//! | [`ends`] | how far a ledger may be read, and how sure that is |
//! | [`writer`] | the handle through which one ledger is written; other bookies for failed ones |
//! | `recover`, `reads` | what a recovery asks for, carried out; one entry from whoever has it |
//! | [`loss`], `given_up` | entries of which no copy is left, noted and accepted; bookies that are gone for ever |
//! | [`scan`] | entries one behind the other, read in rows and ahead |
//! | [`repair`], [`repairer`] | copies that are lacking, made; by whom and when |
//! | [`verify`] | every copy of one ledger looked at, and made anew where it is not what was written |
//! | `abandoned` | ledgers whose writer is gone and of whose last bookies one is: kept for their owners |
//! | `copier`, `held` | one such copy; what a bookie has of a ledger already |
//! | `fan_out`, `timer` | one question to several bookies; things done a little later |
//! | [`cluster`] | those of a cluster, found through its registry |
//! | [`error`] | one error enum for each operation |
//!
//! [`LedgerWriter::append_wait`] goes through `Transport::call` on the caller's own thread, so with
//! an idle journal there is no hand-over to another one between an append and its sync. No lock is
//! held across it: callers on several threads share one journal sync.

mod abandoned;
pub mod bookies;
pub mod cluster;
mod copier;
pub mod ends;
pub mod error;
mod fan_out;
mod given_up;
mod held;
pub mod ledgers;
pub mod loss;
pub mod placement;
mod reads;
mod recover;
pub mod repair;
pub mod repairer;
pub mod scan;
mod timer;
pub mod verify;
pub mod writer;

#[cfg(test)]
mod abandoned_tests;
#[cfg(test)]
mod ends_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
pub(crate) mod memory_bookie;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
pub(crate) mod several_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify_tests;

pub use bookies::{Bookies, Candidate, OneBookie};
pub use cluster::{ClusterBookies, ClusterConfig};
pub use ends::{KnownEnd, LedgerEnd};
pub use error::{AppendError, CloseError, CreateError, DeleteError, ReadError, RecoverError};
pub use ledgers::Ledgers;
pub use placement::{Copies, TooFewBookies};
pub use repairer::{Repairer, RepairerConfig};
pub use scan::Scan;
pub use writer::{AppendDone, LedgerWriter, Started};
