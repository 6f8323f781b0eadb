//! The frame of a record in the registry: its bytes, and CRC32C over them behind.

use egret_schemas::bytes::{DecodeError, Writer};

/// Puts the checksum behind a record.
pub(super) fn seal(mut record: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&record);
    record.put_u32(crc);
    record
}

/// The record before its checksum, if that holds; `what` is what errors call it.
pub(super) fn unseal<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let Some((record, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(DecodeError { what, at: 0, why: "shorter than its checksum" });
    };
    if crc32c::crc32c(record) != u32::from_le_bytes(*crc) {
        return Err(DecodeError { what, at: record.len(), why: "its checksum does not match" });
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_or_changed_is_no_record_and_is_named() {
        let sealed = seal(b"record".to_vec());
        assert_eq!(unseal("name", &sealed), Ok(&b"record"[..]));
        assert_eq!(unseal("name", &seal(Vec::new())), Ok(&b""[..]));
        let short = unseal("name", &sealed[..3]).unwrap_err();
        assert_eq!((short.what, short.why), ("name", "shorter than its checksum"));
        let mut changed = sealed;
        changed[2] ^= 1;
        let changed = unseal("name", &changed).unwrap_err();
        assert_eq!((changed.at, changed.why), (6, "its checksum does not match"));
    }
}
