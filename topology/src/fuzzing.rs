//! Every decoder of this package as a plain function of bytes, for fuzzing; see `egret_log::fuzzing`.

use egret_log::fuzzing::{Sample, Target};
use egret_schemas::{EntryId, LedgerId, Position, SegmentId};

use crate::batch::{AnyBatch, Batch, Tag, decode_any, register, typed};
use crate::connect::log_spout::place;
use crate::{Blob, Tuple};

/// Every target of this package.
pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "tuple_batch", run: batch, samples: batch_samples },
        Target { name: "spout_position", run: position, samples: position_samples },
    ]
}

fn batch_of<T: Tuple + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    register::<T>();
    let tag = Tag::of::<T>();
    let Ok(batch) = decode_any(tag, bytes) else { return false };
    let mut again = Vec::new();
    batch.encode(&mut again);
    let batch = typed::<T>(batch);
    let back = typed::<T>(decode_any(tag, &again).expect("what was taken is taken again"));
    assert_eq!((back.tuples, back.hashes), (batch.tuples, batch.hashes), "a batch comes back");
    true
}

fn batch(bytes: &[u8]) -> bool {
    let counted = batch_of::<(Blob, u64)>(bytes);
    batch_of::<(String, u64)>(bytes) || counted
}

fn batch_samples() -> Vec<Sample> {
    let tuples = vec![(Blob::from("heron"), 1u64), (Blob::from("egret"), 300)];
    let batch = Batch { tuples, hashes: vec![7, 8] };
    let mut bytes = Vec::new();
    AnyBatch::encode(&batch, &mut bytes);
    vec![("two_counts", bytes)]
}

fn position(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok((at, ledger)) = place(text) else { return false };
    let again = format!("{at}@{ledger}");
    let back = place(&again).expect("what was taken is taken again");
    assert_eq!(back, (at, ledger), "a position comes back");
    true
}

fn position_samples() -> Vec<Sample> {
    let at = Position { segment: SegmentId(3), entry: EntryId(17), slot: 2 };
    vec![("in_a_segment", format!("{at}@{}", LedgerId(42)).into_bytes())]
}
