//! The container of every edge: one batch on its way to a task, or nothing.
//!
//! Between workers it travels as
//! `{tag u64, task u32, batch length u32, weight u64, lane u32, batch, zeros to a multiple of 8}`; a
//! lane of all ones is none.

use std::cell::{Cell, RefCell};
use std::io::Write;

use egret_schemas::bytes::{Reader, Writer};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

use crate::batch::{Routed, Tag, decode_any};
use crate::budget::Charge;

/// Stands for the lane of a message of the engine itself.
const NO_LANE: u32 = u32::MAX;

thread_local! {
    /// What encodings are made in, one after the other.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A routed batch. Empty only as what `take` leaves behind.
#[derive(Default)]
pub(crate) struct Chunk {
    routed: Option<Routed>,
    /// The encoding, made when timely asks for its length and written when it asks for the bytes.
    encoded: RefCell<Vec<u8>>,
}

impl From<Routed> for Chunk {
    fn from(routed: Routed) -> Chunk {
        Chunk { routed: Some(routed), encoded: RefCell::default() }
    }
}

impl Chunk {
    /// The task it is addressed to.
    ///
    /// # Panics
    /// When it was taken already.
    pub(crate) fn task(&self) -> u32 {
        self.routed.as_ref().expect("a chunk on an edge holds a batch").task
    }

    /// Takes the batch out.
    ///
    /// # Panics
    /// When it was taken already.
    pub(crate) fn take(&mut self) -> Routed {
        self.routed.take().expect("a chunk on an edge holds a batch")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.routed.is_none()
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Chunk {
        Chunk { routed: self.routed.as_ref().map(Routed::copy), encoded: RefCell::default() }
    }
}

impl Accountable for Chunk {
    fn record_count(&self) -> i64 {
        self.routed
            .as_ref()
            .map_or(0, |routed| i64::try_from(routed.batch.len()).unwrap_or(i64::MAX))
    }
}

impl ContainerBytes for Chunk {
    fn from_bytes(bytes: Bytes) -> Chunk {
        // Both ends are this very binary, so what does not decode is a defect here; the panic ends
        // this worker, its peers are told, and the generation is given up.
        let parse = || -> Result<Routed, String> {
            let mut reader = Reader::new(&bytes);
            let tag = Tag(reader.u64("tag").map_err(|e| e.to_string())?);
            let task = reader.u32("task").map_err(|e| e.to_string())?;
            let length = reader.u32("length").map_err(|e| e.to_string())?;
            let weight = reader.u64("weight").map_err(|e| e.to_string())?;
            let lane = reader.u32("lane").map_err(|e| e.to_string())?;
            let body = reader.take(length as usize, "batch").map_err(|e| e.to_string())?;
            let weight = usize::try_from(weight).unwrap_or(usize::MAX);
            let charge = Charge::take_over((lane != NO_LANE).then_some(lane), weight);
            let batch = decode_any(tag, body).map_err(|e| e.to_string())?;
            Ok(Routed { task, batch, charge })
        };
        let routed = parse().unwrap_or_else(|why| panic!("a batch between workers: {why}"));
        Chunk { routed: Some(routed), encoded: RefCell::default() }
    }

    fn length_in_bytes(&self) -> usize {
        let mut encoded = self.encoded.borrow_mut();
        if encoded.is_empty() {
            *encoded = SCRATCH.take();
            encoded.clear();
            let routed = self.routed.as_ref().expect("a chunk on an edge holds a batch");
            encoded.put_u64(routed.batch.tag().0);
            encoded.put_u32(routed.task);
            encoded.put_u32(0);
            encoded.put_u64(routed.charge.bytes() as u64);
            encoded.put_u32(routed.charge.lane().unwrap_or(NO_LANE));
            let start = encoded.len();
            routed.batch.encode(&mut encoded);
            let length = u32::try_from(encoded.len() - start).expect("a batch is below 4 GiB");
            encoded[12..16].copy_from_slice(&length.to_le_bytes());
            let padded = encoded.len().next_multiple_of(8);
            encoded.resize(padded, 0);
        }
        encoded.len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        self.length_in_bytes();
        let encoded = std::mem::take(&mut *self.encoded.borrow_mut());
        writer.write_all(&encoded).expect("timely's buffer takes what it reserved");
        SCRATCH.set(encoded);
        if let Some(routed) = &self.routed {
            routed.charge.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, register, typed};
    use crate::budget::{Budget, Lane};

    #[test]
    fn a_chunk_is_the_same_on_the_other_worker() {
        register::<String>();
        let lane = Lane::new(&Budget::new(1 << 20, 6), 5);
        let batch = Batch { tuples: vec!["a".to_owned(), "bc".to_owned()], hashes: vec![1, 2] };
        let chunk = Chunk::from(Routed::new(3, batch, 99, &lane));
        let mut bytes = Vec::new();
        assert_eq!(chunk.length_in_bytes() % 8, 0);
        chunk.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), chunk.length_in_bytes());
        let mut whole = timely::bytes::arc::BytesMut::from(bytes);
        let length = whole.len();
        let mut back = Chunk::from_bytes(whole.extract_to(length));
        assert_eq!((back.task(), back.record_count()), (3, 2));
        let routed = back.take();
        assert_eq!((routed.charge.bytes(), routed.charge.lane()), (99, Some(5)));
        assert_eq!(typed::<String>(routed.batch).tuples, ["a", "bc"]);
    }
}
