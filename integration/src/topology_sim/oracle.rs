//! What is committed, as the bookie has it, and what must hold of it.

use std::collections::BTreeMap;

use egret_schemas::{EntryId, Generation, Position, SegmentId};
use egret_state::commit::CommitRecord;

use super::world::Broken;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Per stream and partition, the last entry that a stored commit record names.
    committed: BTreeMap<(String, u32), (SegmentId, Option<EntryId>)>,
    /// The newest generation with a commit record.
    newest: Generation,
    /// Commit records stored.
    pub(super) commits: u64,
}

impl Oracle {
    /// An entry was stored; whether it is a commit record.
    pub(super) fn on_stored(&mut self, entry: &[u8]) -> Result<bool, Broken> {
        let Ok(record) = CommitRecord::decode(entry) else { return Ok(false) };
        if record.generation < self.newest {
            let what = format!(
                "a commit of generation {} was stored after generation {} had begun",
                record.generation.0, self.newest.0
            );
            return Err(("zombie", what));
        }
        self.newest = record.generation;
        self.commits += 1;
        for (stream, ends) in record.sinks {
            for (partition, end) in ends {
                let held = self.committed.entry((stream.clone(), partition)).or_insert(end);
                if end < *held {
                    let what = format!(
                        "a commit has {stream}/{partition} end at {end:?}, an earlier one at {held:?}"
                    );
                    return Err(("order of commits", what));
                }
                *held = end;
            }
        }
        Ok(true)
    }

    /// A reader saw the record at a position.
    pub(super) fn on_seen(&self, stream: &str, partition: u32, at: Position) -> Result<(), Broken> {
        let committed = self.committed.get(&(stream.to_owned(), partition));
        if committed.is_some_and(|end| (at.segment, Some(at.entry)) <= *end) {
            return Ok(());
        }
        let what =
            format!("a reader of {stream}/{partition} saw {at}, and commits end at {committed:?}");
        Err(("only committed records are seen", what))
    }
}
