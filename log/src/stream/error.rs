//! What can go wrong with streams, operation by operation.

use egret_schemas::bytes::DecodeError;
use egret_schemas::{EntryId, Epoch, Generation, LedgerId, Position, SegmentId};

use super::catalog::FormatMismatch;
use super::users::User;
use crate::caps;
use crate::client::error::{RecordError, lost};
use crate::client::{
    CloseError, CreateError, DeleteError, ReadError as LedgerReadError, RecoverError,
};
use crate::metadata::MetaError;
use crate::outcome::Outcome;

/// A name no stream may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Of other characters.
    #[error(
        "`{name}` is no name: use letters, digits, `.`, `_` and `-`, not starting with `.` or `-`"
    )]
    Characters {
        /// The name.
        name: String,
    },
    /// Too long.
    #[error("a name of {bytes} bytes is over the limit of {max}")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// A stream's or partition's record could not be found, read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The metadata store could not answer.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// There is no such stream.
    #[error("there is no stream `{stream}`: create it first")]
    NoStream {
        /// The stream.
        stream: String,
    },
    /// It has fewer partitions.
    #[error(
        "stream `{stream}` has {}, numbered from 0: there is no {asked}",
        match partitions { 1 => "1 partition".to_owned(), n => format!("{n} partitions") }
    )]
    NoPartition {
        /// The stream.
        stream: String,
        /// How many it has.
        partitions: u32,
        /// The one asked for.
        asked: u32,
    },
    /// The record does not decode.
    #[error("the record {key} does not decode: {why}; it was written by another build")]
    Decode {
        /// The record.
        key: String,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// Someone with a higher term writes it now.
    #[error("partition {partition} of `{stream}` was taken over by a newer writer")]
    TakenOver {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
    },
    /// The record changed at every attempt to change it.
    #[error("the record {key} changed at every attempt to change it: several processes write here")]
    Contended {
        /// The record.
        key: String,
    },
    /// A page of a segment list was removed since the record that names it was read.
    #[error(
        "{key} was removed while it was looked for: several processes truncate here; try again"
    )]
    PageGone {
        /// The page.
        key: String,
    },
    /// The log is closed.
    #[error("the log was closed: open it again")]
    Closed,
}

/// A stream could not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateStreamError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its number of partitions.
    #[error("{asked} partitions: a stream has 1 to {max}", max = caps::PARTITIONS_MAX)]
    Partitions {
        /// What was asked.
        asked: u32,
    },
    /// A retention of nothing.
    #[error("a retention of 0 keeps nothing: give more, or none to keep everything")]
    NothingKept,
    /// A retention of what a topology owns.
    #[error("a stream owned by {owner} has no retention: truncate it, or let anybody write it")]
    OwnedRetention {
        /// The topology.
        owner: String,
    },
    /// It is there.
    #[error("stream `{stream}` exists already")]
    Exists {
        /// The stream.
        stream: String,
    },
    /// A former one of its name was half made or half deleted, and could not be removed.
    #[error("what is left of a former stream of its name is in the way: {why}")]
    Unfinished {
        /// Why it could not.
        why: Box<TruncateError>,
    },
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// A writer could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenWriterError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// It writes another format than the stream's.
    #[error(transparent)]
    Format(#[from] FormatMismatch),
    /// Only its owner writes a transactional stream.
    #[error("stream `{stream}` is written by topology `{by}` alone: write to another stream")]
    Owned {
        /// The stream.
        stream: String,
        /// Its owner.
        by: String,
    },
    /// Anyone writes a plain stream, so nobody can own one.
    #[error("stream `{stream}` is not transactional: create one owned by `{topology}`")]
    NotTransactional {
        /// The stream.
        stream: String,
        /// Who asked.
        topology: String,
    },
    /// A later generation has opened it.
    #[error("{held} writes this partition; {asked} is older")]
    Superseded {
        /// Who has it.
        held: Generation,
        /// Who asked.
        asked: Generation,
    },
    /// A segment could not be recovered.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// A segment could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The next segment could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The commit given is not the last one.
    #[error(
        "{segment} holds committed entries beyond the commit given: recover with a later commit"
    )]
    CommitTooOld {
        /// The segment.
        segment: SegmentId,
    },
    /// A segment before the commit's is open and the one after it was not listed by a roll.
    #[error("nothing says where {segment} ends: its partition's record was changed by other means")]
    EndUnknown {
        /// The segment.
        segment: SegmentId,
    },
    /// The commit names a segment the partition never had.
    #[error(
        "the commit names {segment}, which partition {partition} of stream `{stream}` never had: the stream was \
         deleted and made again since; restore it from a copy, or begin anew under another name or in another \
         directory"
    )]
    UnknownSegment {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// The segment.
        segment: SegmentId,
    },
    /// The cut would go through the middle of a commit.
    #[error(
        "entry {segment}:{entry} is of {epoch} and the next one of {next}: a commit is whole or \
         not there; the position given is of no commit"
    )]
    CutInsideCommit {
        /// The segment.
        segment: SegmentId,
        /// The last entry of the commit given.
        entry: EntryId,
        /// Its epoch.
        epoch: Epoch,
        /// The epoch of the next.
        next: Epoch,
    },
}

/// Records could not be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The ledger did not take the entry.
    #[error(transparent)]
    Ledger(#[from] crate::client::AppendError),
    /// The partition could not be opened, or its next segment not begun.
    #[error(transparent)]
    Open(#[from] OpenWriterError),
    /// The segment before could not be closed.
    #[error(transparent)]
    Roll(#[from] CloseError),
    /// A record is larger than any may be.
    #[error("record {index} has {bytes} bytes, over the limit of {max}: split it", max = caps::RECORD_BYTES_MAX)]
    RecordTooLarge {
        /// Which of those given.
        index: usize,
        /// Its size.
        bytes: usize,
    },
    /// A producer's name or note is larger than any may be.
    #[error(
        "a producer's name has at most {} bytes, its note {}: here they have {name} and {note}",
        caps::PRODUCER_NAME_BYTES_MAX,
        caps::PRODUCER_NOTE_BYTES_MAX
    )]
    ProducerTooLarge {
        /// Bytes of its name.
        name: usize,
        /// Bytes of its note.
        note: usize,
    },
    /// The partition remembers as many producers as it may, and this is not one of them.
    #[error(
        "partition {partition} of `{stream}` remembers {producers} producers and has no room for another, \
         whose records it could not tell from repeated ones: use fewer producer names, one for many \
         files say, or another stream, or one with more partitions"
    )]
    TooManyProducers {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// How many it remembers.
        producers: usize,
    },
    /// An epoch before the last, or of another generation.
    #[error(
        "epoch {epoch} after {last}: epochs of a partition never go down, nor leave {generation}"
    )]
    EpochWentBack {
        /// The epoch given.
        epoch: Epoch,
        /// The last one appended.
        last: Epoch,
        /// The writer's generation.
        generation: Generation,
    },
    /// The writer, or its log, was closed.
    #[error("the writer was closed: open the log again")]
    Closed,
}

impl AppendError {
    /// Whether some of the records may be there all the same.
    pub fn outcome(&self) -> Outcome {
        match self {
            AppendError::Ledger(error) => error.outcome(),
            _ => Outcome::Definite,
        }
    }
}

/// A position could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What was there is forgotten.
    #[error("the partition was truncated: it starts at {first}; go on from there")]
    Truncated {
        /// Where it starts now.
        first: Position,
    },
    /// It reads another format than the stream's.
    #[error(transparent)]
    Format(#[from] FormatMismatch),
    /// Nothing ever was or will be there.
    #[error("there is no {asked}: the partition ends at {end}")]
    NoSuchPosition {
        /// What was asked.
        asked: Position,
        /// Where it ends.
        end: Position,
    },
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A ledger.
    #[error("{segment}: {}", ledger_told(*.segment, .why))]
    Ledger {
        /// The segment.
        segment: SegmentId,
        /// Why.
        why: LedgerReadError,
    },
    /// An entry was read as it was written, and does not decode.
    #[error("{segment} ({ledger}:{entry}) does not decode: {why}; it was written by another build")]
    Decode {
        /// The segment.
        segment: SegmentId,
        /// Its ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// What is wrong with it.
        why: DecodeError,
    },
}

/// Of a loss, where to go on is a position.
fn ledger_told(segment: SegmentId, why: &LedgerReadError) -> String {
    match (why, behind(segment, why)) {
        (LedgerReadError::Lost { ledger, entry, first, last }, Some(behind)) => {
            format!("{}; go on at {behind}", lost(*ledger, *entry, (*first, *last)))
        }
        _ => why.to_string(),
    }
}

/// The position behind entries that are gone for good.
fn behind(segment: SegmentId, why: &LedgerReadError) -> Option<Position> {
    match why {
        LedgerReadError::Lost { last: gone, .. } | LedgerReadError::Missing { entry: gone, .. } => {
            Some(Position { segment, entry: gone.next(), slot: 0 })
        }
        _ => None,
    }
}

/// Who uses a stream could not be noted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// So many components use it that no more are kept.
    #[error(
        "stream `{stream}` is used by {max} components of topologies, and no more are kept: let one \
         topology read it and write what others need to streams of their own"
    )]
    TooMany {
        /// The stream.
        stream: String,
        /// How many there may be.
        max: usize,
    },
}

/// A partition could not be truncated, or a stream not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TruncateError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Beyond what readers may see.
    #[error("{asked} is beyond the visible end {end}: only what can be read can be forgotten")]
    BeyondEnd {
        /// What was asked.
        asked: Position,
        /// Where it ends.
        end: Position,
    },
    /// A topology may yet read what would be forgotten.
    #[error(
        "partition {partition} of `{stream}` is needed from {needed} on by {user}: truncate before \
         {needed} at most, or let the topology go on first; if it is gone for good, or shall not be \
         run again, use force (`--force`)"
    )]
    Needed {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// Who needs it.
        user: User,
        /// From where on.
        needed: Position,
    },
    /// Topologies keep state that belongs to the stream.
    #[error(
        "stream `{stream}` is {users}: without it that topology cannot go on, and a stream of the same \
         name will not do instead; if it is gone for good, or shall not be run again, use force \
         (`--force`)"
    )]
    Used {
        /// The stream.
        stream: String,
        /// Who uses it, in words.
        users: String,
    },
    /// Who uses it could not be changed.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The end could not be found.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A ledger could not be deleted; it stays listed as garbage.
    #[error(transparent)]
    Delete(#[from] DeleteError),
}

impl CatalogError {
    /// Whether asking again may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            CatalogError::Meta(error) => error.may_pass(),
            CatalogError::TakenOver { .. }
            | CatalogError::Contended { .. }
            | CatalogError::PageGone { .. } => true,
            CatalogError::NoStream { .. }
            | CatalogError::NoPartition { .. }
            | CatalogError::Decode { .. }
            | CatalogError::Closed => false,
        }
    }
}

impl OpenWriterError {
    /// Whether asking again may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            OpenWriterError::Catalog(error) => error.may_pass(),
            OpenWriterError::Read(error) => error.may_pass(),
            OpenWriterError::Recover(_) | OpenWriterError::Create(_) => true,
            OpenWriterError::Format(_)
            | OpenWriterError::Owned { .. }
            | OpenWriterError::NotTransactional { .. }
            | OpenWriterError::Superseded { .. }
            | OpenWriterError::CommitTooOld { .. }
            | OpenWriterError::EndUnknown { .. }
            | OpenWriterError::UnknownSegment { .. }
            | OpenWriterError::CutInsideCommit { .. } => false,
        }
    }
}

impl From<MetaError> for OpenWriterError {
    fn from(error: MetaError) -> OpenWriterError {
        OpenWriterError::Catalog(CatalogError::Meta(error))
    }
}

impl From<CatalogError> for AppendError {
    fn from(error: CatalogError) -> AppendError {
        AppendError::Open(OpenWriterError::Catalog(error))
    }
}

impl ReadError {
    /// Where there is something to read again, when what was asked for is gone for good.
    pub fn go_on(&self) -> Option<Position> {
        match self {
            ReadError::Truncated { first } => Some(*first),
            ReadError::Ledger { segment, why } => behind(*segment, why),
            _ => None,
        }
    }

    /// Whether asking again may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            ReadError::Catalog(error) => error.may_pass(),
            ReadError::Ledger { .. } => true,
            ReadError::Truncated { .. }
            | ReadError::Format(_)
            | ReadError::NoSuchPosition { .. }
            | ReadError::Decode { .. } => false,
        }
    }

    /// Whether the ledger, or the page that lists it, is gone: the segment was truncated, dropped or
    /// deleted meanwhile.
    pub(crate) fn is_gone(&self) -> bool {
        if let ReadError::Ledger {
            why: LedgerReadError::Doubtful { unheard, .. } | LedgerReadError::NoEnd { unheard, .. },
            ..
        } = self
        {
            return unheard.is_gone();
        }
        matches!(
            self,
            ReadError::Catalog(CatalogError::PageGone { .. })
                | ReadError::Ledger {
                    why: LedgerReadError::Record(RecordError::NoLedger { .. }),
                    ..
                }
        )
    }
}
