//! `egret bookie`: one storage node of a cluster, until it is told to end; and the bookies of a cluster
//! looked at and managed.
//!
//! On the first SIGTERM (or SIGINT) it drains: withdraws from the registry, answers what it accepted,
//! checkpoints. On the second it ends at once, which is as safe, and slower to start from.
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | the configuration file |
//! | `serve.rs` | start, ready, drain |
//! | `manage.rs` | list, describe, set |
//! | `decommission.rs` | taking one out |

pub(super) mod config;
mod decommission;
mod manage;
mod serve;

use std::path::PathBuf;

use clap::Args;

use self::config::BookieFile;
use super::exit::{Done, Exit};
use super::output;

/// One storage node of a cluster, or all of them looked at.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    after_help = "The configuration names at least id, cluster, directory, listen and metadata; \
--print-config shows every other key with its default. Among them, fixed when the directory is made: \
shards = N (1 to 64, 1 when nothing is said), parts of the directory that sync side by side, each with a \
journal and threads of its own; more than one helps where the disk syncs several files at once. Under [repair]: \
grace_ms = N (20000 to 86400000, 120000 when nothing is said), for how long nobody may have written a ledger \
of whose last bookies one is gone, before it is taken for abandoned and its copies are made elsewhere.

Examples:
  egret bookie --config b1.toml
  egret bookie list --cluster blue.toml
  egret bookie decommission B3 --cluster blue.toml"
)]
pub struct Bookie {
    /// Serve, as this configuration file (TOML) says.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Print the configuration with every default, and do nothing; what a start would refuse for what the
    /// file says, or for what the files it names hold, is refused.
    #[arg(long)]
    print_config: bool,
    /// Take the place of another incarnation under this id, whose directory is lost; refused while that one
    /// is up. What the bookie was told to be (read-only, decommissioned) stays.
    #[arg(long)]
    replace: bool,
    /// Write address and incarnation here, as JSON, when it serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<manage::Verb>,
}

impl Bookie {
    pub(super) fn run(self) -> Done {
        if let Some(verb) = self.verb {
            return verb.run();
        }
        let config = self.config.ok_or_else(|| Exit::Usage("give --config FILE".to_owned()))?;
        let file = BookieFile::load(&config)?;
        let base = config.parent().map(PathBuf::from).unwrap_or_default();
        if self.print_config {
            file.check(&base)?;
            output::line(file.print()?.trim_end())?;
            return Ok(());
        }
        serve::serve(&file, &base, self.replace, self.ready_file.as_deref())
    }
}
