//! Which incarnation of a bookie is there now: a key beside the registrations.
//!
//! The value is the incarnation, 16 bytes little-endian, and CRC32C over key and incarnation. This is
//! the one place that decides how such a key goes when its bookie does; the rest of the crate asks.

use std::collections::BTreeMap;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{BookieId, Incarnation};

use super::RegistryError;
use crate::metadata::{Compare, MetaStore, Op};

const PREFIX: &str = "/live/bookies/";

fn key(bookie: BookieId) -> String {
    format!("{PREFIX}{:020}", bookie.0)
}

fn checksum(key: &str, own: Incarnation) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key.as_bytes()), &own.0.to_le_bytes())
}

fn encode(key: &str, own: Incarnation) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    out.put_u128(own.0);
    out.put_u32(checksum(key, own));
    out
}

fn decode(key: &str, bytes: &[u8]) -> Result<(BookieId, Incarnation), DecodeError> {
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

pub(super) fn announce(
    meta: &dyn MetaStore,
    bookie: BookieId,
    own: Incarnation,
) -> Result<(), RegistryError> {
    let key = key(bookie);
    let value = encode(&key, own);
    meta.txn(&[], &[Op::Put(key, value)])?;
    Ok(())
}

pub(super) fn withdraw(
    meta: &dyn MetaStore,
    bookie: BookieId,
    own: Incarnation,
) -> Result<(), RegistryError> {
    let key = key(bookie);
    let Some(held) = meta.get(&key)? else { return Ok(()) };
    if held.value == encode(&key, own) {
        // A conflict: somebody came meanwhile, and is there.
        meta.txn(&[Compare::Revision(key.clone(), held.revision)], &[Op::Delete(key)])?;
    }
    Ok(())
}

pub(super) fn list(meta: &dyn MetaStore) -> Result<BTreeMap<BookieId, Incarnation>, RegistryError> {
    let told = |key: &str, why| RegistryError::Decode { key: key.to_owned(), why };
    let listed = meta.list(PREFIX)?.entries;
    listed.iter().map(|(key, held)| decode(key, &held.value).map_err(|e| told(key, e))).collect()
}
