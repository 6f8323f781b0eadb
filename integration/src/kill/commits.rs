//! The commit history of the word count, gathered kill by kill, and what it does not cover.
//!
//! A topology keeps the commit records of its last two generations, so each generation's are read before
//! the next but one begins. They are read from a copy: whatever a kill left is for the program itself
//! to recover.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use egret_log::{Log, LogConfig};
use egret_schemas::{EntryId, Epoch, Generation, Position};
use egret_state::commit::{CommitRecord, TopologyRecord};

/// Which epoch wrote the entry at a place: partition, position of its first record.
pub type Epochs = BTreeMap<(u32, Position), Epoch>;

/// The last committed epoch of each generation that committed anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commits {
    last: BTreeMap<Generation, Epoch>,
}

impl Commits {
    /// Adds what a commit record says.
    pub fn add(&mut self, record: &CommitRecord) {
        let last = self.last.entry(record.last.generation()).or_default();
        *last = record.last.max(*last);
    }

    /// Adds the records that lie in a data directory which nobody holds.
    pub fn look(&mut self, data: &Path, topology: &str) -> Result<()> {
        if !data.is_dir() {
            return Ok(());
        }
        let copy = tempfile::tempdir_in(data.parent().context("data lies in a directory")?)?;
        copy_files(data, copy.path())?;
        let log = Log::open(copy.path(), LogConfig::default())?;
        self.read(&log, topology)?;
        log.close()?;
        Ok(())
    }

    /// Adds the records that are in a log while nobody writes any.
    pub fn read(&mut self, log: &Log, topology: &str) -> Result<()> {
        if let Some(held) = log.metadata().get(&format!("/topology/{topology}"))? {
            for ledger in TopologyRecord::decode(&held.value)?.commit_ledgers {
                // Its end is where reading stops: it may be open, deleted, or listed and never made.
                let read = |entry| log.ledgers().read_unconfirmed(ledger, EntryId(entry)).ok();
                for record in (0..).map_while(read) {
                    self.add(&CommitRecord::decode(&record)?);
                }
            }
        }
        Ok(())
    }

    /// How many generations committed something.
    pub fn generations(&self) -> usize {
        self.last.len()
    }

    /// Whether an epoch is part of a commit.
    pub fn cover(&self, epoch: Epoch) -> bool {
        self.last.get(&epoch.generation()).is_some_and(|last| epoch <= *last)
    }

    /// The entries of epochs that are part of no commit.
    pub fn uncovered(&self, seen: &Epochs) -> Vec<String> {
        seen.iter()
            .filter(|(_, epoch)| !self.cover(**epoch))
            .map(|((partition, at), epoch)| format!("partition {partition} {at}: {epoch}"))
            .collect()
    }
}

/// Copies what is in a directory.
///
/// # Errors
/// When something cannot be read or written.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            fs::create_dir(&to)?;
            copy_files(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::SegmentId;

    fn epoch(generation: u32, commit: u32) -> Epoch {
        Epoch::new(Generation(generation), commit, 0)
    }

    fn seen(epochs: &[Epoch]) -> Epochs {
        let at = |e: u64| Position { segment: SegmentId(1), entry: EntryId(e), slot: 0 };
        (0..).zip(epochs).map(|(e, epoch)| ((0, at(e)), *epoch)).collect()
    }

    #[test]
    fn an_epoch_beyond_its_generations_last_commit_is_uncovered() {
        let mut commits = Commits::default();
        let mut record = CommitRecord::genesis(Generation(1), 0);
        record.last = epoch(1, 7).commit_end();
        commits.add(&record);
        record.generation = Generation(3);
        record.last = epoch(3, 0).commit_end();
        commits.add(&record);
        assert!(commits.uncovered(&seen(&[epoch(1, 0), epoch(1, 7), epoch(3, 0)])).is_empty());
        assert_eq!(commits.uncovered(&seen(&[epoch(1, 8)])), ["partition 0 S1:0:0: G1.8.0"]);
        assert_eq!(commits.uncovered(&seen(&[epoch(2, 0)])).len(), 1, "it committed nothing");
    }
}
