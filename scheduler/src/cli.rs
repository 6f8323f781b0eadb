//! `egret`: what is asked on the command line, and how it is answered.
//!
//! Answers go to standard output, everything else to standard error. The process ends with 0 when it
//! was done, 1 when it was not, 2 when the question was wrong, 3 when it was refused; see [`exit`].
//!
//! | module | holds |
//! |---|---|
//! | [`bookie`] | `egret bookie`: one storage node of a cluster |
//! | [`checkpoint`] | `egret checkpoint …`: commits of topologies that have names |
//! | [`init`] | `egret init`: a cluster's authority and certificates |
//! | [`ledger`] | `egret ledger …`: the ledgers of a cluster |
//! | [`state`] | `egret state …`: what topologies keep for their keys |
//! | [`stream`] | `egret stream …`: the log from the shell |
//! | [`topology`] | `egret topology …`: which there are, the plan of one, and the end of one |
//! | [`exit`] | errors and what the process ends with |
//! | `place` | where streams and topologies are |
//! | `output` | tables, JSON, and the end of a pipe |

pub mod bookie;
pub mod checkpoint;
pub mod exit;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod init;
pub mod ledger;
mod output;
mod place;
pub mod state;
pub mod stream;
pub mod topology;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Topologies of spouts and bolts over a durable log.
#[derive(Debug, Parser)]
#[command(name = "egret", version, arg_required_else_help = true, after_help = exit::TABLE)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The log from the shell: standard input in, standard output out.
    Stream(stream::Stream),
    /// Named commits of topologies: what to come back to.
    Checkpoint(checkpoint::Checkpoint),
    /// The topologies that ran here, the plan of one, and the end of one.
    Topology(topology::Topology),
    /// What topologies keep for their keys, as of their last commit.
    State(state::State),
    /// The ledgers of a cluster: what there is, what lacks copies, repair.
    Ledger(ledger::Ledger),
    /// One storage node of a cluster: runs until it is told to end; and what a cluster has of them.
    Bookie(bookie::Bookie),
    /// Make a cluster's authority, and have it issue certificates.
    Init(init::Init),
}

impl Cli {
    /// Does what was asked, and says how the process ends.
    pub fn run(self) -> ExitCode {
        tracing_subscriber::fmt()
            .with_env_filter(
                EnvFilter::try_from_env("EGRET_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
            )
            .with_writer(std::io::stderr)
            // It would say so on standard error, which is what it cannot write to.
            .log_internal_errors(false)
            .init();
        let done = match self.verb {
            Verb::Stream(stream) => stream.run(),
            Verb::Checkpoint(checkpoint) => checkpoint.run(),
            Verb::Topology(topology) => topology.run(),
            Verb::State(state) => state.run(),
            Verb::Ledger(ledger) => ledger.run(),
            Verb::Bookie(bookie) => bookie.run(),
            Verb::Init(init) => init.run(),
        };
        exit::end(done)
    }
}
