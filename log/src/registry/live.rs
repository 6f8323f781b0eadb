//! Which incarnation of a bookie is there now: a key beside the registrations.
//!
//! The value is the incarnation, 16 bytes little-endian, and CRC32C over key and incarnation. It hangs
//! on the lease of a [`Presence`](super::Presence).

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{BookieId, Incarnation};

use super::RegistryError;
use crate::metadata::{LeaseId, Op, Versioned};

pub(super) const PREFIX: &str = "/bookies/live/";

pub(crate) fn key(bookie: BookieId) -> String {
    format!("{PREFIX}{:020}", bookie.0)
}

fn checksum(key: &str, own: Incarnation) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), &own.0.to_le_bytes())
}

pub(crate) fn encode(key: &str, own: Incarnation) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    out.put_u128(own.0);
    out.put_u32(checksum(key, own));
    out
}

pub(crate) fn read(key: &str, bytes: &[u8]) -> Result<(BookieId, Incarnation), DecodeError> {
    let mut r = Reader::new(bytes);
    let own = Incarnation(r.u128("incarnation")?);
    if r.u32("checksum")? != checksum(key, own) {
        return Err(r.wrong("checksum", "it does not match"));
    }
    let number = key.strip_prefix(PREFIX).and_then(|number| number.parse().ok());
    let bookie = number.ok_or_else(|| r.wrong("key", "it names no bookie"))?;
    r.end("live bookie")?;
    Ok((BookieId(bookie), own))
}

/// Says that it is there as long as `lease` is.
pub(super) fn put(bookie: BookieId, own: Incarnation, lease: LeaseId) -> Op {
    let key = key(bookie);
    let value = encode(&key, own);
    Op::PutLeased { key, value, lease }
}

pub(super) fn decode(
    key: &str,
    held: &Versioned,
) -> Result<(BookieId, Incarnation), RegistryError> {
    read(key, &held.value).map_err(|why| RegistryError::Decode { key: key.to_owned(), why })
}
