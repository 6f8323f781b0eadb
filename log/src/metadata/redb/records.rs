//! A value as it is stored, and the sums over all records.
//!
//! ```text
//! table "records": key → version u8 = 2 | revision u64 | value
//! table "store":   "revision" → u64, "count" → u64, "digest" → u64
//! ```
//! The checksums of [`pages`](super::pages) tell a byte that changed. What they cannot tell is a write
//! the medium said it did and did not do: the page before is whole too. So the sum (wrapping) of XXH3-64
//! over (key, stored value) of all records is kept beside them in the same transaction.

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use xxhash_rust::xxh3::Xxh3;

use crate::metadata::Versioned;

/// Version 1 had a checksum of its own.
const VERSION: u8 = 2;
const HEAD_BYTES: usize = 9;

/// What is known of the whole store; changes with each transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) revision: u64,
    pub(super) count: u64,
    pub(super) digest: u64,
}

impl Totals {
    pub(super) fn add(&mut self, key: &str, stored: &[u8]) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(digest(key, stored));
    }

    pub(super) fn remove(&mut self, key: &str, stored: &[u8]) {
        self.count -= 1;
        self.digest = self.digest.wrapping_sub(digest(key, stored));
    }
}

fn digest(key: &str, stored: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key.as_bytes());
    hash.update(stored);
    hash.digest()
}

pub(crate) fn encode(value: &Versioned) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + value.value.len());
    out.put_u8(VERSION);
    out.put_u64(value.revision);
    out.extend_from_slice(&value.value);
    out
}

pub(crate) fn decode(stored: &[u8]) -> Result<Versioned, String> {
    let mut r = Reader::new(stored);
    let mut head = || Ok((r.u8("version")?, r.u64("revision")?));
    let (version, revision) = head().map_err(|e: DecodeError| e.to_string())?;
    if version != VERSION {
        return Err(format!("version {version} is not known to this build"));
    }
    Ok(Versioned { value: stored[HEAD_BYTES..].to_vec(), revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_frozen() {
        let value = Versioned { value: b"v".to_vec(), revision: 3 };
        let stored = encode(&value);
        assert_eq!(stored, [2, 3, 0, 0, 0, 0, 0, 0, 0, b'v']);
        assert_eq!(decode(&stored), Ok(value));
        assert_eq!(digest("/k", &stored), 14_332_828_189_487_594_846);
    }

    #[test]
    fn a_value_of_another_version_or_cut_short_is_refused() {
        assert!(decode(&[1; 20]).unwrap_err().contains("version 1"));
        assert!(decode(&[2; 8]).is_err());
    }
}
