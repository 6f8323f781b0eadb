//! Every decoder of this package as a plain function of bytes, for fuzzing; see `egret_log::fuzzing`.

use egret_log::fuzzing::{Sample, Target};
use egret_schemas::{EntryId, LedgerId, Position, SegmentId};

use crate::batch::{AnyBatch, Batch, Tag, decode_any, register, typed};
use crate::connect::log_spout::place;
use crate::{Blob, Either, Tuple};

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

/// A type without a column of its own.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
enum Plain {
    Nothing,
    Some { text: String, numbers: Vec<u16> },
}

impl Tuple for Plain {}

/// Several types of a batch, so that a change of one column is seen by the others, too.
fn batch(bytes: &[u8]) -> bool {
    let all = [
        batch_of::<(Blob, u64)>,
        batch_of::<(String, u64)>,
        batch_of::<(u64, i32, bool)>,
        batch_of::<Either<Option<String>, Vec<char>>>,
        batch_of::<Vec<Vec<u8>>>,
        batch_of::<Plain>,
    ];
    // Each of them is tried.
    all.iter().filter(|of| of(bytes)).count() > 0
}

fn encoded<T: Tuple>(tuples: Vec<T>, hashes: Vec<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    AnyBatch::encode(&Batch { tuples, hashes }, &mut bytes);
    bytes
}

fn batch_samples() -> Vec<Sample> {
    let counts = vec![(Blob::from("heron"), 1u64), (Blob::from("egret"), 300)];
    let sides: Vec<Either<Option<String>, Vec<char>>> = vec![
        Either::Left(Some("heron".to_owned())),
        Either::Right(vec!['e', 'g']),
        Either::Left(None),
        Either::Right(Vec::new()),
    ];
    let plain = Plain::Some { text: "egret".to_owned(), numbers: vec![1, 300] };
    vec![
        ("two_counts", encoded(counts, vec![7, 8])),
        ("numbers", encoded(vec![(1u64, -1i32, true), (2, 0, false)], Vec::new())),
        ("sides", encoded(sides, Vec::new())),
        ("lists", encoded(vec![vec![vec![1u8], vec![]], vec![], vec![vec![2; 300]]], Vec::new())),
        ("plain", encoded(vec![Plain::Nothing, plain], Vec::new())),
    ]
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
