//! Batches: tuples of one type that travel together, erased where their type does not matter.
//!
//! Erasure is per batch, never per tuple: one virtual call and one downcast for about a thousand
//! tuples. A batch that crosses workers is encoded with its type's [`Tag`]; both ends are the same
//! binary, and an unknown tag is an error of the edge, not a guess.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::RwLock;

use egret_schemas::bytes::Writer;

use crate::budget::{Charge, Lane};
use crate::tuple;
use crate::{ColumnError, Columns, Tuple};

/// Tuples in one batch, where the component does not end a batch sooner.
pub(crate) const BATCH_TUPLES: usize = 1024;

/// Bytes in one batch after which it is shipped although it is not full.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// Names a tuple type on the way between workers of one binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    pub(crate) fn of<T: 'static>() -> Tag {
        Tag(egret_schemas::key::hash(type_name::<T>().as_bytes()))
    }
}

/// Tuples of one type; `hashes` runs beside them when a fields grouping computed them.
#[derive(Clone, Debug)]
pub(crate) struct Batch<T> {
    pub(crate) tuples: Vec<T>,
    pub(crate) hashes: Vec<u64>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { tuples: Vec::new(), hashes: Vec::new() }
    }
}

/// A [`Batch`] whose type is known to its ends only.
pub(crate) trait AnyBatch: Send {
    fn len(&self) -> usize;
    fn tag(&self) -> Tag;
    fn clone_box(&self) -> Box<dyn AnyBatch>;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
    fn encode(&self, out: &mut Vec<u8>);
}

impl fmt::Debug for dyn AnyBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {}", self.len())
    }
}

impl<T: Tuple> AnyBatch for Batch<T> {
    fn len(&self) -> usize {
        self.tuples.len()
    }

    fn tag(&self) -> Tag {
        Tag::of::<T>()
    }

    fn clone_box(&self) -> Box<dyn AnyBatch> {
        Box::new(self.clone())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    /// As `{count u32, hashed u8, hashes u64 each if that is 1, column of tuples}`.
    fn encode(&self, out: &mut Vec<u8>) {
        let Batch { tuples, hashes } = self;
        let hashed = !hashes.is_empty();
        assert!(!hashed || hashes.len() == tuples.len(), "each tuple has a hash, or none has");
        out.put_u32(u32::try_from(tuples.len()).expect("a batch is small"));
        out.put_u8(u8::from(hashed));
        u64::encode_column(hashes.iter(), out);
        T::encode_column(tuples.iter(), out);
    }
}

fn decode<T: Tuple>(bytes: &[u8]) -> Result<Box<dyn AnyBatch>, BatchError> {
    let mut columns = Columns::new(bytes);
    let (count, rest) = columns.take::<T>(5)?.split_at(4);
    let count = u32::from_le_bytes(count.try_into().expect("four bytes")) as usize;
    let hashes = match rest {
        [0] => Vec::new(),
        [1] => u64::decode_column(&mut columns, count)?.collect(),
        _ => return Err(BatchError::Hashed),
    };
    let tuples = tuple::decode_all::<T>(columns, count)?;
    Ok(Box::new(Batch { tuples, hashes }))
}

/// Bytes that are no batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("a batch of an unknown type arrived")]
    Unknown,
    #[error("it says neither that there are hashes nor that there are none")]
    Hashed,
    #[error(transparent)]
    Column(#[from] ColumnError),
}

type Decode = fn(&[u8]) -> Result<Box<dyn AnyBatch>, BatchError>;

static DECODERS: RwLock<BTreeMap<u64, Decode>> = RwLock::new(BTreeMap::new());

/// Makes batches of `T` known to the receiving side. Done by the builder for every stream.
pub(crate) fn register<T: Tuple>() {
    DECODERS.write().expect("no panic while held").insert(Tag::of::<T>().0, decode::<T>);
}

/// Decodes a batch that [`AnyBatch::encode`] wrote.
pub(crate) fn decode_any(tag: Tag, bytes: &[u8]) -> Result<Box<dyn AnyBatch>, BatchError> {
    let decode = DECODERS.read().expect("no panic while held").get(&tag.0).copied();
    decode.ok_or(BatchError::Unknown)?(bytes)
}

/// A batch on its way to a task, counted against the budget until it is consumed.
#[derive(Debug)]
pub(crate) struct Routed {
    /// The task of the receiving component.
    pub(crate) task: u32,
    /// The tuples.
    pub(crate) batch: Box<dyn AnyBatch>,
    /// What it weighs.
    pub(crate) charge: Charge,
}

impl Routed {
    pub(crate) fn new<T: Tuple>(task: u32, batch: Batch<T>, bytes: usize, lane: &Lane) -> Routed {
        Routed { task, batch: Box::new(batch), charge: lane.charge(bytes) }
    }

    /// A message of the engine itself.
    pub(crate) fn message<T: Tuple>(to: u32, message: Vec<T>) -> Routed {
        let batch = Box::new(Batch { tuples: message, hashes: Vec::new() });
        Routed { task: to, batch, charge: Charge::nothing() }
    }

    pub(crate) fn copy(&self) -> Routed {
        Routed { task: self.task, batch: self.batch.clone_box(), charge: self.charge.copy() }
    }
}

/// Gives a batch its type back.
///
/// # Panics
/// When the batch is of another type: the builder gave both ends of the edge the same one.
pub(crate) fn typed<T: Tuple>(batch: Box<dyn AnyBatch>) -> Batch<T> {
    *batch.into_any().downcast::<Batch<T>>().expect("both ends of an edge have one type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_crosses_with_its_hashes() {
        register::<(String, u64)>();
        let batch =
            Batch { tuples: vec![("a".to_owned(), 1), ("b".to_owned(), 2)], hashes: vec![7, 8] };
        let mut bytes = Vec::new();
        AnyBatch::encode(&batch, &mut bytes);
        let back = typed::<(String, u64)>(decode_any(Tag::of::<(String, u64)>(), &bytes).unwrap());
        assert_eq!(back.tuples, batch.tuples);
        assert_eq!(back.hashes, batch.hashes);
    }

    #[test]
    fn an_unknown_type_and_torn_bytes_are_errors() {
        assert!(decode_any(Tag(1), &[]).is_err());
        register::<(String, u64)>();
        let tag = Tag::of::<(String, u64)>();
        let tuples = vec![("a".to_owned(), 1u64), ("b".to_owned(), 2)];
        for hashes in [vec![], vec![7, 8]] {
            let mut bytes = Vec::new();
            AnyBatch::encode(&Batch { tuples: tuples.clone(), hashes }, &mut bytes);
            assert!(decode_any(tag, &bytes).is_ok());
            for end in 0..bytes.len() {
                assert!(decode_any(tag, &bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
            }
            bytes.push(0);
            assert!(decode_any(tag, &bytes).is_err(), "a byte too many");
            bytes[4] = 2;
            assert!(decode_any(tag, &bytes).is_err(), "hashes of another kind");
        }
    }
}
