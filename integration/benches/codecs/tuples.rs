//! What is encoded.

use bytemuck::{Pod, Zeroable};
use columnar::Columnar;
use egret::Blob;
use serde::{Deserialize, Serialize};

/// Tuples in a batch, as the engine makes them.
pub(crate) const BATCH: usize = 1024;

/// A struct of numbers, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Pod, Zeroable, Columnar)]
#[repr(C)]
pub(crate) struct Fixed {
    id: u64,
    at: i64,
    price: f64,
    count: u32,
    kind: u32,
}
egret::columns!(Fixed { id: u64, at: i64, price: f64, count: u32, kind: u32 });

/// A struct of numbers and texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Columnar)]
pub(crate) struct Wide {
    id: u64,
    at: i64,
    price: f64,
    open: bool,
    name: String,
    city: String,
    referrer: Option<u64>,
    note: String,
}
egret::columns!(Wide {
    id: u64,
    at: i64,
    price: f64,
    open: bool,
    name: String,
    city: String,
    referrer: Option<u64>,
    note: String,
});

/// Batches of what `make` gives for a number.
fn batches<T>(count: usize, make: impl Fn(u64) -> T) -> Vec<Vec<T>> {
    let mut seed = 1u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        make(seed)
    };
    (0..count).map(|_| (0..BATCH).map(|_| next()).collect()).collect()
}

/// A word of 3 to 11 letters; there are ten thousand.
fn word(n: u64) -> String {
    let word = n % 10_000;
    let letters = 3 + word % 9;
    (0..letters).map(|at| char::from(b'a' + ((word >> at) % 26).to_le_bytes()[0])).collect()
}

pub(crate) fn numbers(count: usize) -> Vec<Vec<u64>> {
    batches(count, |n| n)
}

pub(crate) fn pairs(count: usize) -> Vec<Vec<(u64, u64)>> {
    batches(count, |n| (n, n % 1000))
}

pub(crate) fn fixed(count: usize) -> Vec<Vec<Fixed>> {
    batches(count, |id| {
        let [a, b, ..] = id.to_le_bytes();
        Fixed { id, at: 1_000_000, price: f64::from(a), count: a.into(), kind: b.into() }
    })
}

pub(crate) fn blobs(count: usize) -> Vec<Vec<Blob>> {
    batches(count, |n| Blob::from(word(n).as_str()))
}

pub(crate) fn words(count: usize) -> Vec<Vec<String>> {
    batches(count, word)
}

pub(crate) fn counts(count: usize) -> Vec<Vec<(String, u64)>> {
    batches(count, |n| (word(n), n % 1000))
}

pub(crate) fn wide(count: usize) -> Vec<Vec<Wide>> {
    batches(count, |id| Wide {
        id,
        at: 1_000_000,
        price: 0.5,
        open: id % 2 == 0,
        name: word(id),
        city: word(id >> 8),
        referrer: (id % 3 == 0).then_some(id),
        note: word(id).repeat(4),
    })
}
