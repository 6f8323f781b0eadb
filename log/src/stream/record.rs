//! What is appended to a partition, and what is read from it.

use bytes::Bytes;
use egret_schemas::{Epoch, Position};

use crate::caps;

/// One record of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// What it belongs to, if anything.
    pub key: Option<Bytes>,
    /// What it says.
    pub value: Bytes,
    /// When it happened, in milliseconds since 1970.
    pub event_time_ms: Option<i64>,
    /// Its number at its producer: an idempotent append skips those at or below the last.
    pub sequence: Option<u64>,
}

impl Record {
    /// A record of a value alone.
    pub fn of(value: impl Into<Bytes>) -> Record {
        Record { value: value.into(), ..Record::default() }
    }

    /// Bytes of key and value together; [`caps::RECORD_BYTES_MAX`] at most.
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.len()
    }
}

/// Who appends, for appends that are not to be there twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producer {
    /// Its name: [`caps::PRODUCER_NAME_BYTES_MAX`] at most.
    pub name: Bytes,
    /// What it wants back after a restart, such as where it was in its input:
    /// [`caps::PRODUCER_NOTE_BYTES_MAX`] at most.
    pub note: Bytes,
}

impl Producer {
    /// Whether name and note are within their limits.
    pub(crate) fn fits(&self) -> bool {
        self.name.len() <= caps::PRODUCER_NAME_BYTES_MAX
            && self.note.len() <= caps::PRODUCER_NOTE_BYTES_MAX
    }
}

/// What a partition remembers of a producer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerState {
    /// The highest sequence appended.
    pub last_sequence: Option<u64>,
    /// The note of its last append.
    pub note: Bytes,
}

/// The records of one entry, as read. Keys and values share the entry's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where the first record is; the others follow slot by slot.
    pub first: Position,
    /// The epoch they belong to; 0 in a plain partition.
    pub epoch: Epoch,
    /// The first record's number in the partition: dense, from 0.
    pub first_number: u64,
    /// Who appended them, if it said.
    pub producer: Option<Producer>,
    /// The records.
    pub records: Vec<Record>,
}

impl Batch {
    /// The position of the `index`th record.
    pub fn position(&self, index: u32) -> Position {
        Position { slot: self.first.slot + index, ..self.first }
    }

    /// The position after the last record.
    pub fn next(&self) -> Position {
        self.first.next_entry()
    }
}
