//! `egret stream …`: the log from the shell.
//!
//! Each verb attaches to the process that holds the data directory, or holds it itself while nobody
//! does; what it does and says is the same either way.
//!
//! | file | verbs |
//! |---|---|
//! | `manage.rs` | create, list, describe, truncate, delete |
//! | `append.rs` | append, from standard input |
//! | `follow.rs` | cat and tail, to standard output |
//! | `text.rs` | records as lines and as JSON, both ways |
//! | `since.rs` | a time in the past |

pub(super) mod append;
mod follow;
mod manage;
pub(super) mod since;
pub(super) mod text;

use clap::{Args, Subcommand};
use egret_log::directory::Directory;

use super::exit::{self, Done};
use super::place::Place;

/// The log from the shell.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Stream {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a stream, and the data directory if there is none.
    Create(manage::Create),
    /// List the streams.
    List(manage::List),
    /// Show a stream and its partitions.
    Describe(manage::Describe),
    /// Append standard input, a record a line.
    Append(append::Append),
    /// Write what a stream holds to standard output.
    Cat(follow::Cat),
    /// Write the last records, then each as it comes.
    Tail(follow::Tail),
    /// Forget what is before a position.
    Truncate(manage::Truncate),
    /// Delete a stream and all it holds.
    Delete(manage::Delete),
}

impl Stream {
    pub(super) fn run(self) -> Done {
        let place = self.place;
        match self.verb {
            Verb::Create(verb) => verb.run(&place),
            Verb::List(verb) => verb.run(&place),
            Verb::Describe(verb) => verb.run(&place),
            Verb::Append(verb) => verb.run(&place),
            Verb::Cat(verb) => verb.run(&place),
            Verb::Tail(verb) => verb.run(&place),
            Verb::Truncate(verb) => verb.run(&place),
            Verb::Delete(verb) => verb.run(&place),
        }
    }
}

/// Lets go of the directory, when all is said: what a command answered is durable, or was only read, so
/// on a disk that takes no checkpoint it was done all the same, and the next start reads the journal.
fn close(directory: Directory) {
    if let Err(error) = directory.close() {
        exit::warn(error);
    }
}
