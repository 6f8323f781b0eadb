//! What must hold, whatever is killed: nine invariants, each with what it must not be mistaken for.
//!
//! Each module states its invariant, drives real parts over real files, in processes of their own where the
//! invariant is about kills, and has a positive control beside it: a run that breaks the invariant on purpose,
//! which the same oracle must find. A control that passes fails the suite.
//!
//! | module | what must hold |
//! |---|---|
//! | [`reference`] | output is what one thread makes of the input, each record once, each key in order |
//! | [`committed_only`] | no reader ever sees a record of an epoch that is in no commit |
//! | [`restored_state`] | restored state is that of the committed epoch, for every kind of operator |
//! | [`first_position`] | the first line read after a restore is the one behind the last committed |
//! | [`zombie`] | who stood still while another took over appends nothing afterwards |
//! | [`backpressure`] | a commit completes while everything is full |
//! | [`unreadable`] | a newest commit that cannot be read stops the topology; it never starts empty |
//! | [`changes`] | stops, starts, other options, tasks and workers lose and repeat nothing |
//! | [`another_graph`] | the same name with another graph is refused; components are known by their names |

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod another_graph;
mod backpressure;
mod changes;
mod committed_only;
mod first_position;
mod lives;
mod reference;
mod restored_state;
mod unreadable;
mod zombie;
