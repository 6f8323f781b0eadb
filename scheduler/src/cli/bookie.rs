//! `egret bookie`: one storage node of a cluster, until it is told to end.
//!
//! On the first SIGTERM (or SIGINT) it drains: withdraws from the registry, answers what it accepted,
//! checkpoints. On the second it ends at once, which is as safe, and slower to start from.
//!
//! | file | holds |
//! |---|---|
//! | `config.rs` | the configuration file |
//! | `serve.rs` | start, ready, drain |
//! | `signals.rs` | when to end |

mod config;
mod serve;
mod signals;

use std::path::PathBuf;

use clap::Args;

use self::config::BookieFile;
use super::exit::Done;
use super::output;

/// One storage node of a cluster.
#[derive(Debug, Args)]
pub struct Bookie {
    /// The configuration file, TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the configuration with every default, and do nothing.
    #[arg(long)]
    print_config: bool,
    /// Take the place of another incarnation under this id, whose directory is lost.
    #[arg(long)]
    replace: bool,
    /// Write address and incarnation here, as JSON, when it serves.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Bookie {
    pub(super) fn run(self) -> Done {
        let file = BookieFile::load(&self.config)?;
        if self.print_config {
            output::line(file.print()?.trim_end())?;
            return Ok(());
        }
        let base = self.config.parent().map(PathBuf::from).unwrap_or_default();
        serve::serve(&file, &base, self.replace, self.ready_file.as_deref())
    }
}
