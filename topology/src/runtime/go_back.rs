//! The steps of a takeover that goes back to a named commit, and what such a commit changed for later ones.

use std::collections::BTreeMap;

use egret_log::client::RecoverError;
use egret_log::client::error::RecordError as LedgerError;
use egret_log::ledger::{CloseAt, TransitionError};
use egret_schemas::{EntryId, LedgerId, Term};
use egret_state::commit::{CommitRecord, Fact, Partition, SinkPosition};

use super::takeover::Driver;
use super::{named, sources};
use crate::{Error, Result};

impl Driver<'_> {
    /// Before anything is written: whoever runs the topology is left alone when this says no.
    pub(super) fn check_named(&self, of: &str, record: &CommitRecord) -> Result<Fact> {
        let read = self.log.sources(of)?;
        Ok(Fact::Checked(named::check(self.log, &read, record)))
    }

    /// How far readers see the output, when the commit that says where it ends cannot be read.
    pub(super) fn find_visible(&self, partitions: Vec<Partition>) -> Result<Fact> {
        let mut ends = BTreeMap::new();
        for (stream, partition) in partitions {
            let end = self.visible_end(&stream, partition)?;
            ends.insert((stream, partition), end);
        }
        Ok(Fact::Visible(ends))
    }

    /// How far readers see one partition.
    pub(super) fn visible_end(&self, stream: &str, partition: u32) -> Result<Option<SinkPosition>> {
        let described = self.log.describe_partition(stream, partition);
        let described = described.map_err(Error::other)?;
        let end = described.end;
        let there = described.segments.iter().any(|segment| segment.id == end.segment);
        Ok(there.then(|| (end.segment, end.entry.before())))
    }

    pub(super) fn rewind(&self, record: &CommitRecord) -> Result<Fact> {
        sources::rewind(self.log, self.topology, record).map_err(Error::other)?;
        Ok(Fact::Rewound)
    }

    /// Closes a state ledger at a committed entry. It may have been closed beyond that: before the topology
    /// went back to a named commit, it was needed further than it is now.
    pub(super) fn close_at(&self, id: LedgerId, term: Term, last: Option<EntryId>) -> Result<()> {
        match self.ledgers.recover(id, term, CloseAt::Entry(last)) {
            Err(RecoverError::Record(LedgerError::Transition {
                why: TransitionError::ClosedElsewhere { last: end, .. },
                ..
            })) if end > last => Ok(()),
            closed => Ok(closed.map(|_| ())?),
        }
    }

    /// Closes a state ledger that only the named commit needs, wherever it ends, but not before that.
    pub(super) fn close_beyond(
        &self,
        id: LedgerId,
        term: Term,
        last: Option<EntryId>,
    ) -> Result<()> {
        match (self.ledgers.recover(id, term, CloseAt::End)?, last) {
            (end, Some(entry)) if end < last => {
                Err(RecoverError::CommittedButAbsent { ledger: id, entry }.into())
            }
            _ => Ok(()),
        }
    }
}
