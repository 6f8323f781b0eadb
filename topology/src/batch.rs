//! Batches: tuples of one type that travel together, erased where their type does not matter.
//!
//! Erasure is per batch, never per tuple: one virtual call and one downcast for about a thousand
//! tuples. A batch that crosses workers is encoded with its type's [`Tag`]; both ends are the same
//! binary, and an unknown tag is an error of the edge, not a guess.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::RwLock;

use crate::Tuple;
use crate::budget::{Charge, Lane};

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

    fn encode(&self, out: &mut Vec<u8>) {
        use egret_schemas::bytes::Writer;
        out.put_u32(u32::try_from(self.hashes.len()).expect("a batch is small"));
        for hash in &self.hashes {
            out.put_u64(*hash);
        }
        let taken = std::mem::take(out);
        *out = postcard::to_extend(&self.tuples, taken)
            .expect("a tuple's Serialize must not fail: it is a plain value");
    }
}

fn decode<T: Tuple>(bytes: &[u8]) -> Result<Box<dyn AnyBatch>, String> {
    let mut reader = egret_schemas::bytes::Reader::new(bytes);
    let hashes = (|| {
        let count = reader.u32("hashes")?;
        let raw = reader.take(count as usize * 8, "hashes")?;
        Ok::<_, egret_schemas::bytes::DecodeError>(
            raw.chunks_exact(8)
                .map(|b| u64::from_le_bytes(b.try_into().expect("chunks of eight")))
                .collect::<Vec<u64>>(),
        )
    })()
    .map_err(|e| e.to_string())?;
    let tuples: Vec<T> = postcard::take_from_bytes(&bytes[reader.at()..])
        .map_err(|e| format!("a batch of {} does not decode: {e}", type_name::<T>()))?
        .0;
    Ok(Box::new(Batch { tuples, hashes }))
}

type Decode = fn(&[u8]) -> Result<Box<dyn AnyBatch>, String>;

static DECODERS: RwLock<BTreeMap<u64, Decode>> = RwLock::new(BTreeMap::new());

/// Makes batches of `T` known to the receiving side. Done by the builder for every stream.
pub(crate) fn register<T: Tuple>() {
    DECODERS.write().expect("no panic while held").insert(Tag::of::<T>().0, decode::<T>);
}

/// Decodes a batch that [`AnyBatch::encode`] wrote.
pub(crate) fn decode_any(tag: Tag, bytes: &[u8]) -> Result<Box<dyn AnyBatch>, String> {
    let decode = DECODERS.read().expect("no panic while held").get(&tag.0).copied();
    decode.ok_or_else(|| "a batch of an unknown type arrived".to_owned())?(bytes)
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
        register::<u64>();
        assert!(decode_any(Tag::of::<u64>(), &[9, 0, 0, 0]).is_err());
    }
}
