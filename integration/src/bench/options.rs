//! What every benchmark of the log can be told.

use std::time::Duration;

use clap::Args;

/// Flattened into each program's own options.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often each contender runs
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long each runs
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Threads that append, where many are outstanding
    #[arg(long, default_value_t = 16)]
    pub producers: usize,
    /// Appends outstanding, of all producers together
    #[arg(long, value_delimiter = ',', default_value = "16,64,256,1024")]
    pub outstanding: Vec<usize>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How long each contender runs.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Producers, and how many appends each has outstanding, for so many in all.
    pub fn shares(&self, outstanding: usize) -> (usize, usize) {
        let producers = self.producers.clamp(1, outstanding.max(1));
        (producers, outstanding / producers)
    }
}
