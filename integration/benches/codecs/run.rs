//! The codecs, each as two functions: a batch to bytes, and back.

use std::hint::black_box;

use bytemuck::Pod;
use columnar::bytes::stash::Stash;
use columnar::{Columnar, ContainerOf, Index, Len};
use egret::{Blob, Columns, Tuple};
use egret_integration::measure::{cpu_seconds, median};
use timely::bytes::arc::{Bytes, BytesMut};
use timely::dataflow::channels::ContainerBytes;

use crate::tuples::{BATCH, blobs};

/// The codecs of one type of tuples.
pub(crate) struct Run {
    tuples: &'static str,
    rounds: usize,
    rows: Vec<Row>,
}

struct Row {
    codec: &'static str,
    /// Bytes of a tuple, and seconds of every round for all tuples.
    bytes: f64,
    encode: Vec<f64>,
    decode: Vec<f64>,
    tuples: usize,
}

impl Run {
    pub(crate) fn new(tuples: &'static str, rounds: usize) -> Run {
        Run { tuples, rounds, rows: Vec::new() }
    }

    /// Measures one: `arrive` makes of bytes what they are when they arrive.
    pub(crate) fn codec<T, W, R>(
        mut self,
        codec: &'static str,
        batches: &[Vec<T>],
        encode: impl Fn(&Vec<T>, &mut Vec<u8>),
        arrive: impl Fn(Vec<u8>) -> W,
        decode: impl Fn(&W) -> R,
    ) -> Run {
        let mut row = Row {
            codec,
            bytes: 0.0,
            encode: vec![],
            decode: vec![],
            tuples: batches.len() * BATCH,
        };
        let mut out = Vec::new();
        for _ in 0..self.rounds {
            let began = cpu_seconds();
            for batch in batches {
                out.clear();
                encode(black_box(batch), &mut out);
                black_box(&out);
            }
            row.encode.push(cpu_seconds() - began);
            let encoded = |batch: &Vec<T>| {
                let mut out = Vec::new();
                encode(batch, &mut out);
                out
            };
            let arrived: Vec<Vec<u8>> = batches.iter().map(encoded).collect();
            row.bytes = arrived.iter().map(Vec::len).sum::<usize>() as f64 / row.tuples as f64;
            let arrived: Vec<W> = arrived.into_iter().map(&arrive).collect();
            let began = cpu_seconds();
            for bytes in &arrived {
                black_box(decode(black_box(bytes)));
            }
            row.decode.push(cpu_seconds() - began);
        }
        self.rows.push(row);
        self
    }

    /// Those that take any tuple.
    pub(crate) fn all_but_columnar<T: Tuple>(self, batches: &[Vec<T>]) -> Run {
        let egret = |batch: &Vec<T>, out: &mut Vec<u8>| T::encode_column(batch.iter(), out);
        let copied: Vec<Vec<u8>> = batches
            .iter()
            .map(|batch| {
                let mut bytes = Vec::new();
                egret(batch, &mut bytes);
                bytes
            })
            .collect();
        let postcard = |batch: &Vec<T>, out: &mut Vec<u8>| {
            let taken = std::mem::take(out);
            *out = postcard::to_extend(batch, taken).expect("it encodes");
        };
        let arrive = |bytes: Vec<u8>| -> Bytes { BytesMut::from(bytes).freeze() };
        let bincode = |batch: &Vec<T>, out: &mut Vec<u8>| {
            out.reserve(batch.length_in_bytes());
            batch.into_bytes(out);
        };
        let columns = |bytes: &Vec<u8>| -> Vec<T> {
            let mut tuples = Vec::with_capacity(BATCH);
            tuples.extend(T::decode_column(&mut Columns::new(bytes), BATCH).expect("it decodes"));
            tuples
        };
        let copy = |bytes: &Vec<u8>, out: &mut Vec<u8>| out.extend_from_slice(bytes);
        self.codec("memcpy", &copied, copy, |bytes| bytes, Vec::clone)
            .codec("egret's columns", batches, egret, |bytes| bytes, columns)
            .codec(
                "postcard",
                batches,
                postcard,
                |bytes| bytes,
                |bytes| postcard::from_bytes::<Vec<T>>(bytes).expect("it decodes"),
            )
            .codec("bincode, as timely has it", batches, bincode, arrive, |bytes| {
                <Vec<T> as ContainerBytes>::from_bytes(bytes.clone())
            })
    }

    /// All that take these tuples.
    pub(crate) fn all<T: Tuple + Columnar>(self, batches: &[Vec<T>]) -> Run {
        let encode = |batch: &Vec<T>, out: &mut Vec<u8>| {
            let stash: Stash<ContainerOf<T>, Vec<u8>> = Stash::Typed(T::as_columns(batch));
            stash.write_bytes(out).expect("a vector takes it");
        };
        fn stash<T: Columnar>(bytes: &[u8]) -> Stash<ContainerOf<T>, &[u8]> {
            Stash::try_from_bytes(bytes).expect("it decodes")
        }
        self.all_but_columnar(batches)
            .codec(
                "columnar",
                batches,
                encode,
                |bytes| bytes,
                |bytes| -> Vec<T> {
                    let stash = stash::<T>(bytes);
                    let columns = stash.borrow();
                    (0..columns.len()).map(|at| T::into_owned(columns.get(at))).collect()
                },
            )
            .codec(
                "columnar, in place",
                batches,
                encode,
                |bytes| bytes,
                |bytes| {
                    let stash = stash::<T>(bytes);
                    let columns = stash.borrow();
                    for at in 0..columns.len() {
                        black_box(columns.get(at));
                    }
                },
            )
    }

    /// Those that take plain memory.
    pub(crate) fn fixed<T: Pod>(self, batches: &[Vec<T>]) -> Run {
        let encode = |batch: &Vec<T>, out: &mut Vec<u8>| {
            out.extend_from_slice(bytemuck::cast_slice(batch));
        };
        let decode = |bytes: &Vec<u8>| -> Vec<T> { bytemuck::pod_collect_to_vec(&bytes[..]) };
        self.codec("bytemuck", batches, encode, |bytes| bytes, decode)
    }

    #[cfg(not(feature = "abomonation"))]
    pub(crate) fn cast<T>(self, _: &[Vec<T>]) -> Run {
        self
    }

    #[cfg(not(feature = "abomonation"))]
    pub(crate) fn abomonated<T>(self, _: &[Vec<T>]) -> Run {
        self
    }

    /// What it costs that key hashes travel with words, and to compute them again.
    pub(crate) fn hashes(self, batches: usize) -> Run {
        let words = blobs(batches);
        let hash = |word: &Blob| egret_schemas::key::hash(word);
        let hashes: Vec<Vec<u64>> =
            words.iter().map(|batch| batch.iter().map(hash).collect()).collect();
        let send = |batch: &Vec<u64>, out: &mut Vec<u8>| u64::encode_column(batch.iter(), out);
        let receive = |bytes: &Vec<u8>| -> Vec<u64> {
            u64::decode_column(&mut Columns::new(bytes), BATCH).expect("it decodes").collect()
        };
        let words = std::cell::RefCell::new(words.iter().cycle());
        let again = |_: &Vec<u8>| -> Vec<u64> {
            let batch = words.borrow_mut().next().expect("they go round");
            batch.iter().map(hash).collect()
        };
        self.codec("beside it: key hashes, sent", &hashes, send, |bytes| bytes, receive).codec(
            "beside it: key hashes, again",
            &hashes,
            |_, _| {},
            |bytes| bytes,
            again,
        )
    }

    pub(crate) fn print(self) {
        let limit = self.rows.first().map_or(f64::NAN, Row::both);
        for row in &self.rows {
            let ns = |seconds: &Vec<f64>| median(seconds.clone()) * 1e9 / row.tuples as f64;
            let (encode, decode) = (ns(&row.encode), ns(&row.decode));
            println!(
                "| {} | {} | {:.1} | {encode:.2} | {decode:.2} | {:.1} | {:.0} | {:.0} |",
                self.tuples,
                row.codec,
                row.bytes,
                row.both() / limit,
                row.bytes * 1000.0 / encode,
                row.bytes * 1000.0 / decode,
            );
        }
    }
}

impl Row {
    fn both(&self) -> f64 {
        median(self.encode.clone()) + median(self.decode.clone())
    }
}
