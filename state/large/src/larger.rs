//! What a component is given whose state does not fit in memory.

use std::path::{Path, PathBuf};

use egret_state::keyed::Storage;
use egret_state::keyed::backing::{Fault, Place};

use crate::Files;
use crate::place::Directory;

/// Keys in use in memory, the others in files; see the [crate](crate).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargerThanMemory {
    cache_bytes: usize,
    directory: Option<PathBuf>,
}

impl LargerThanMemory {
    /// With so many MiB of memory for each task: for the keys in use, for blocks of files, and for what waits to be
    /// written. What one commit changes is in memory until it ends and comes beside that.
    pub fn new(cache_mb: usize) -> LargerThanMemory {
        LargerThanMemory::with_cache_bytes(cache_mb.saturating_mul(1 << 20))
    }

    /// The same in bytes.
    pub fn with_cache_bytes(cache_bytes: usize) -> LargerThanMemory {
        LargerThanMemory { cache_bytes, directory: None }
    }

    /// Puts files below this directory of the machine that runs the task, instead of below `state` in the data
    /// directory. A topology whose log is a cluster's has none, and must be told. It should be a disk's: in a file
    /// system in memory nothing is gained.
    #[must_use]
    pub fn at(self, directory: impl AsRef<Path>) -> LargerThanMemory {
        LargerThanMemory { directory: Some(directory.as_ref().to_owned()), ..self }
    }
}

impl Storage for LargerThanMemory {
    type Backing = Files;

    fn open(&self, place: &Place<'_>) -> Result<Files, Box<Fault>> {
        let below = match (&self.directory, place.directory) {
            (Some(directory), _) => directory.clone(),
            (None, Some(directory)) => directory.join("state"),
            (None, None) => {
                let why = "no data directory is known here: name one with `LargerThanMemory::at`";
                return Err(fault("no directory", why, false));
            }
        };
        if self.cache_bytes == 0 {
            let why = "a cache of 0 MiB holds nothing: give 1 or more";
            return Err(fault(below.display(), why, false));
        }
        Files::open(Directory::make(&below, place)?, self.cache_bytes)
    }

    fn detail(&self) -> Option<String> {
        let mib = self.cache_bytes.div_ceil(1 << 20);
        Some(format!("keys not in use are in files: {mib} MiB of memory for each task"))
    }
}

pub(crate) fn fault(place: impl ToString, why: impl Into<String>, may_pass: bool) -> Box<Fault> {
    Box::new(Fault { place: place.to_string(), why: why.into(), may_pass })
}
