//! The ledger protocol, pure: facts come in, effects go out.
//!
//! No clock, thread, file, socket or randomness is used below this module, so every schedule can be
//! replayed. [`crate::client`] carries the effects out and takes no decisions of its own.
//!
//! | module | holds |
//! |---|---|
//! | [`ensemble`] | quorum sizes, who stores an entry |
//! | [`metadata`] | a ledger's record and its transitions; [`metadata_codec`] its bytes |
//! | [`coverage`] | the one function that says what a set of answers proves |
//! | [`writer`] | appends, acknowledgements in order, failure |
//! | [`reader`] | what one answer is worth; one entry read from its replicas |
//! | [`row`] | the same of a batched read |
//! | [`recovery`] | fence, find or verify the end, close |
//! | [`repair`] | which copies a ledger lacks |
//! | [`effect`] | what the cores ask to have done |
//!
//! What always holds: an entry acknowledged to a caller is read by everyone for ever after; two
//! closers of a ledger agree on its last entry; an entry's number decides its bytes.

mod ahead;
pub mod coverage;
pub mod effect;
pub mod ensemble;
pub mod metadata;
pub mod metadata_codec;
pub mod reader;
pub mod recovery;
pub mod repair;
pub mod row;
pub mod writer;

#[cfg(test)]
mod schedule_tests;

pub use effect::{RecoveryEffect, WriterEffect};
pub use ensemble::{Ensemble, Member, Quorum, QuorumError};
pub use metadata::{Found, LedgerKind, LedgerMetadata, LedgerState, Proposal, TransitionError};
pub use recovery::CloseAt;
