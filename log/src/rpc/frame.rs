//! The frame around a header and its payload, pure: bytes in, fields out, nothing trusted.
//!
//! ```text
//!  0         2         3         4              8             12
//! +---------+---------+---------+--------------+--------------+
//! | magic   | version | flags   | header_words | payload_len  |
//! | u16     | u8      | u8      | u32          | u32          |
//! +---------+---------+---------+--------------+--------------+
//! | correlation u64             | header_crc   | payload_crc  |
//! +-----------------------------+--------------+--------------+ 28
//! | header: header_words × 8 bytes                            |
//! +-----------------------------------------------------------+
//! | payload: payload_len bytes                                |
//! +-----------------------------------------------------------+
//! ```
//!
//! Numbers are little-endian. `header_crc` is CRC32C over the 20 bytes before it and the header, so
//! that no length and no correlation is believed before it is checked; `payload_crc` is over the
//! payload. A length over its limit is refused before a byte behind it is read.

use egret_schemas::bytes::{Reader, Writer};

/// The bytes before the header.
pub const HEAD_BYTES: usize = 28;

const MAGIC: u16 = 0x6745;
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = 20;

/// What a side takes at this stage of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest header.
    pub header_bytes_max: usize,
    /// The largest payload.
    pub payload_bytes_max: usize,
}

/// The fixed fields in front of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Joins a reply to its request.
    pub correlation: u64,
    /// Bytes of the header.
    pub header_bytes: usize,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    header_crc: u32,
    payload_crc: u32,
    /// CRC32C of the fields before the checksums.
    fields_crc: u32,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Something else is speaking.
    #[error("a frame begins with {0:#06x} instead of {MAGIC:#06x}: the other side is no Egret")]
    Magic(u16),
    /// A later or earlier Egret is speaking.
    #[error(
        "a frame of version {0}, this side speaks {VERSION}: use the same release on both sides"
    )]
    Version(u8),
    /// A flag nobody gave a meaning yet.
    #[error("a frame has flags {0:#04x}, which this version does not know")]
    Flags(u8),
    /// The header is too long.
    #[error("a header of {bytes} bytes is over the limit of {max}")]
    HeaderTooLarge {
        /// As announced.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The payload is too long.
    #[error("a payload of {bytes} bytes is over the limit of {max}: send fewer records at once")]
    PayloadTooLarge {
        /// As announced.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Damaged on the way.
    #[error("the checksum of a frame's {0} does not match: connect again")]
    Checksum(&'static str),
}

/// The bytes to send before `header` and `payload`.
///
/// # Panics
/// When the header is not whole words, or either is 4 GiB or more: who makes them bounds them.
pub fn encode(correlation: u64, header: &[u8], payload: &[u8]) -> [u8; HEAD_BYTES] {
    assert!(header.len().is_multiple_of(8), "a header of {} bytes is no words", header.len());
    let length = |n| u32::try_from(n).expect("frames are bounded far below 4 GiB");
    let mut out = Vec::with_capacity(HEAD_BYTES);
    out.put_u16(MAGIC);
    out.put_u8(VERSION);
    out.put_u8(0);
    out.put_u32(length(header.len() / 8));
    out.put_u32(length(payload.len()));
    out.put_u64(correlation);
    let header_crc = crc32c::crc32c_append(crc32c::crc32c(&out), header);
    out.put_u32(header_crc);
    out.put_u32(crc32c::crc32c(payload));
    out.try_into().expect("the fields add up to the head")
}

impl FrameHead {
    /// Reads the fields, which stay unproven until [`FrameHead::check_header`].
    pub fn decode(head: &[u8; HEAD_BYTES], limits: Limits) -> Result<FrameHead, FrameError> {
        const WHOLE: &str = "the head holds all its fields";
        let mut fields = Reader::new(head);
        let magic = fields.u16("magic").expect(WHOLE);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let version = fields.u8("version").expect(WHOLE);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let flags = fields.u8("flags").expect(WHOLE);
        if flags != 0 {
            return Err(FrameError::Flags(flags));
        }
        let header_bytes = fields.u32("header words").expect(WHOLE) as usize * 8;
        let payload_bytes = fields.u32("payload length").expect(WHOLE) as usize;
        if header_bytes > limits.header_bytes_max {
            let max = limits.header_bytes_max;
            return Err(FrameError::HeaderTooLarge { bytes: header_bytes, max });
        }
        if payload_bytes > limits.payload_bytes_max {
            let max = limits.payload_bytes_max;
            return Err(FrameError::PayloadTooLarge { bytes: payload_bytes, max });
        }
        Ok(FrameHead {
            correlation: fields.u64("correlation").expect(WHOLE),
            header_bytes,
            payload_bytes,
            header_crc: fields.u32("header checksum").expect(WHOLE),
            payload_crc: fields.u32("payload checksum").expect(WHOLE),
            fields_crc: crc32c::crc32c(&head[..CHECKED_BYTES]),
        })
    }

    /// Proves the fields and the header.
    pub fn check_header(&self, header: &[u8]) -> Result<(), FrameError> {
        let whole = header.len() == self.header_bytes;
        let crc = crc32c::crc32c_append(self.fields_crc, header);
        if whole && crc == self.header_crc { Ok(()) } else { Err(FrameError::Checksum("header")) }
    }

    /// Proves the payload.
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), FrameError> {
        let whole = payload.len() == self.payload_bytes;
        if whole && crc32c::crc32c(payload) == self.payload_crc {
            return Ok(());
        }
        Err(FrameError::Checksum("payload"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { header_bytes_max: 1024, payload_bytes_max: 1024 };

    /// Everything a receiver checks, in its order.
    fn receive(bytes: &[u8]) -> Result<(u64, Vec<u8>, Vec<u8>), FrameError> {
        let head: [u8; HEAD_BYTES] = bytes[..HEAD_BYTES].try_into().expect("a head at least");
        let head = FrameHead::decode(&head, LIMITS)?;
        let mut rest = Reader::new(&bytes[HEAD_BYTES..]);
        let short = |_| FrameError::Checksum("length");
        let header = rest.take(head.header_bytes, "header").map_err(short)?;
        head.check_header(header)?;
        let payload = rest.take(head.payload_bytes, "payload").map_err(short)?;
        head.check_payload(payload)?;
        Ok((head.correlation, header.to_vec(), payload.to_vec()))
    }

    fn whole(correlation: u64, header: &[u8], payload: &[u8]) -> Vec<u8> {
        [&encode(correlation, header, payload), header, payload].concat()
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(
            correlation: u64,
            words in vec(any::<u64>(), 0..40),
            payload in vec(any::<u8>(), 0..300),
        ) {
            let header: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let bytes = whole(correlation, &header, &payload);
            prop_assert_eq!(receive(&bytes), Ok((correlation, header, payload)));
        }

        #[test]
        fn no_flipped_bit_is_taken(
            words in vec(any::<u64>(), 0..8),
            payload in vec(any::<u8>(), 0..60),
            at: proptest::sample::Index,
        ) {
            let header: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let mut bytes = whole(7, &header, &payload);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(receive(&bytes).is_err(), "bit {} was taken", bit);
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(bytes in vec(any::<u8>(), 28..200)) {
            let _ = receive(&bytes);
        }

        #[test]
        fn arbitrary_fields_stay_within_the_limits(mut bytes: [u8; HEAD_BYTES]) {
            bytes[..4].copy_from_slice(&[0x45, 0x67, VERSION, 0]);
            if let Ok(head) = FrameHead::decode(&bytes, LIMITS) {
                prop_assert!(head.header_bytes <= LIMITS.header_bytes_max);
                prop_assert!(head.payload_bytes <= LIMITS.payload_bytes_max);
            }
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let head = encode(0x0102_0304_0506_0708, &[0; 16], b"123456789");
        let expected = [0x45, 0x67, 1, 0, 2, 0, 0, 0, 9, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(head[..20], expected);
        // The check value of CRC32C.
        assert_eq!(head[24..], 0xe306_9283_u32.to_le_bytes());
    }

    #[test]
    fn an_error_says_who_is_speaking_and_what_is_too_large() {
        let mut head = encode(1, &[0; 1032], &[]);
        let said = |head: &[u8; HEAD_BYTES]| {
            FrameHead::decode(head, LIMITS).expect_err("it is over a limit").to_string()
        };
        assert_eq!(said(&head), "a header of 1032 bytes is over the limit of 1024");
        head[2] = 9;
        assert!(said(&head).starts_with("a frame of version 9, this side speaks 1"));
        head[..4].copy_from_slice(b"GET ");
        assert!(said(&head).ends_with("the other side is no Egret"));
    }
}
