//! The ledger protocol and the commit protocol that ship, taken through every order of events there is, and
//! through random ones; a bookie that ships, beside what a bookie promises.
//!
//! Nothing here is a second protocol: [`world`] carries out the effects of `egret_log::ledger`'s own
//! cores between bookies that keep their [`contract`], and [`conformance`] holds shipping bookies to
//! that contract through power cuts and damage.
//!
//! | module | holds |
//! |---|---|
//! | [`commit`] | the commit protocol in the same way: coordinators, workers, takeovers |
//! | [`scope`] | how many bookies, entries, recoverers and faults of each kind |
//! | [`contract`] | what a bookie promises of one ledger |
//! | [`call`] | a request under way and its answer |
//! | [`world`] | writer, recoverers, record, bookies and calls; [`action`] what may happen next |
//! | [`promises`] | what must hold in every state |
//! | [`explore`] | every schedule of a world, by `stateright` |
//! | [`walk`] | random schedules, by seed |
//! | [`conformance`] | random requests, power cuts and damage to one shipping bookie, by seed |
//! | [`dice`] | where seeds become choices |

pub mod action;
pub mod call;
pub mod commit;
pub mod conformance;
pub mod contract;
pub mod dice;
pub mod explore;
pub mod promises;
pub mod scope;
pub mod walk;
pub mod world;
