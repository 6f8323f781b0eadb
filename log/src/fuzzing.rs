//! Every decoder of bytes from disk or wire as a plain function of bytes, for fuzzing. Only with the
//! feature `fuzzing`, which nothing that ships enables.
//!
//! A [`Target`] takes any bytes and returns. It panics when a promise is broken: a decoder may refuse,
//! and what it takes must come back from its own encoding. Where a checksum guards the bytes they are
//! tried as they are and with the checksum made right; nothing behind it would be reached otherwise.
//!
//! Each target has samples: what the real encoders write, the same on every machine. They begin every
//! search, and they are kept in the repository, where a changed format shows.
//!
//! | module | decoders |
//! |---|---|
//! | `journal` | file header, batch header, record, whole files by replay |
//! | `bookie::extent::fuzzing` | header, entry, footer and trailer, whole extents |
//! | `whole_files` | identity, manifest |
//! | `records` | ledgers, registrations, and what the embedded store keeps them in |
//! | `streams` | streams, partitions, pages of segments, users; entries and their heads |
//! | `wire` | frames, headers, messages, payloads, names |
//! | `meta` | what is asked of a directory's metadata, and what the store does with any of it |
//! | `answers` | what a bookie and a data directory do with any requests |

mod answers;
mod journal;
mod meta;
mod records;
mod streams;
mod whole_files;
mod wire;

use std::fmt::Debug;

/// A decoder to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is called on the command line, and where its corpus is.
    pub name: &'static str,
    /// Tries bytes; whether they were taken.
    pub run: fn(&[u8]) -> bool,
    /// What the real encoders write.
    pub samples: fn() -> Vec<Sample>,
}

/// A name and bytes.
pub type Sample = (&'static str, Vec<u8>);

/// Every target of this package.
pub fn targets() -> Vec<Target> {
    [
        journal::TARGETS,
        crate::bookie::extent::fuzzing::TARGETS,
        whole_files::TARGETS,
        records::TARGETS,
        crate::metadata::redb::pages::fuzzing::TARGETS,
        streams::TARGETS,
        wire::TARGETS,
        meta::TARGETS,
        answers::TARGETS,
    ]
    .concat()
}

/// Whether bytes were taken.
///
/// # Panics
/// When what was taken is not what its own encoding decodes to.
pub fn comes_back<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    let Ok(value) = decode(bytes) else { return false };
    let again = decode(&encode(&value));
    assert!(
        again.as_ref().is_ok_and(|again| *again == value),
        "taken as {value:?}, which comes back as {again:?}"
    );
    true
}

/// Tries bytes as they are, and with the CRC32C of all before in their last four bytes.
pub fn with_checksum(bytes: &[u8], run: impl Fn(&[u8]) -> bool) -> bool {
    let as_they_are = run(bytes);
    let mut sealed = bytes.to_vec();
    match sealed.split_last_chunk_mut::<4>() {
        Some((body, crc)) => *crc = crc32c::crc32c(body).to_le_bytes(),
        None => return as_they_are,
    }
    run(&sealed) || as_they_are
}
