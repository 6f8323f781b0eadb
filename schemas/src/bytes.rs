//! Bounded little-endian readers and writers for durable records.
//!
//! A [`Reader`] never allocates by a length it read: it only hands out slices of what is there. Every
//! failure names what was being read and where.

/// Bytes that do not hold what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}: {why}")]
pub struct DecodeError {
    /// What was being read.
    pub what: &'static str,
    /// Offset into the record.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// Reads little-endian fields from a slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

macro_rules! read_number {
    ($($name:ident $write:ident $type:ty),*) => {
        impl Reader<'_> {
            $(
                /// Reads one number of this width.
                pub fn $name(&mut self, what: &'static str) -> Result<$type, DecodeError> {
                    let raw = self.take(size_of::<$type>(), what)?;
                    Ok(<$type>::from_le_bytes(raw.try_into().expect("take gave this many bytes")))
                }
            )*
        }
        /// Appends little-endian fields to a buffer.
        pub trait Writer {
            $(
                /// Appends one number of this width.
                fn $write(&mut self, value: $type);
            )*
            /// Appends an unsigned LEB128 number (1 to 10 bytes).
            fn put_var(&mut self, value: u64);
            /// Appends a `u32` length and the bytes.
            ///
            /// # Panics
            /// When there are 4 GiB of them: callers bound what they encode.
            fn put_bytes(&mut self, bytes: &[u8]);
        }
        impl Writer for Vec<u8> {
            $(
                fn $write(&mut self, value: $type) {
                    self.extend_from_slice(&value.to_le_bytes());
                }
            )*
            fn put_var(&mut self, mut value: u64) {
                loop {
                    let [low, ..] = value.to_le_bytes();
                    value >>= 7;
                    if value == 0 {
                        return self.push(low);
                    }
                    self.push(low | 0x80);
                }
            }
            fn put_bytes(&mut self, bytes: &[u8]) {
                self.put_u32(u32::try_from(bytes.len()).expect("a field is bounded far below 4 GiB"));
                self.extend_from_slice(bytes);
            }
        }
    };
}
read_number!(u8 put_u8 u8, u16 put_u16 u16, u32 put_u32 u32, u64 put_u64 u64, u128 put_u128 u128, i64 put_i64 i64);

impl<'a> Reader<'a> {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where the next field starts.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if n > self.remaining() {
            return Err(DecodeError { what, at: self.at, why: "the record ends before it" });
        }
        let slice = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(slice)
    }

    /// A `u32` length and that many bytes.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let n = self.u32(what)?;
        self.take(n as usize, what)
    }

    /// A `u32` length and that many bytes of UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let at = self.at;
        std::str::from_utf8(self.bytes(what)?).map_err(|_| DecodeError {
            what,
            at,
            why: "not UTF-8",
        })
    }

    /// An unsigned LEB128 number.
    pub fn var(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError { what, at, why: "a number above 64 bits" });
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError { what, at, why: "a number above 64 bits" })
    }

    /// An error at the next field, for values that decode but are out of range.
    pub fn wrong(&self, what: &'static str, why: &'static str) -> DecodeError {
        DecodeError { what, at: self.at, why }
    }

    /// Checks that nothing is left over.
    pub fn end(self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 {
            return Ok(());
        }
        Err(DecodeError { what, at: self.at, why: "bytes left over" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(a: u64, b: u32, c: u128, d: i64, tail: Vec<u8>) {
            let mut out = Vec::new();
            out.put_var(a);
            out.put_u32(b);
            out.put_u128(c);
            out.put_i64(d);
            out.put_bytes(&tail);
            let mut r = Reader::new(&out);
            prop_assert_eq!(r.var("a").unwrap(), a);
            prop_assert_eq!(r.u32("b").unwrap(), b);
            prop_assert_eq!(r.u128("c").unwrap(), c);
            prop_assert_eq!(r.i64("d").unwrap(), d);
            prop_assert_eq!(r.bytes("tail").unwrap(), &tail[..]);
            r.end("record").unwrap();
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let mut r = Reader::new(&bytes);
            let _ = r.var("v");
            let _ = r.text("t");
            let _ = r.bytes("b");
        }
    }

    #[test]
    fn a_length_beyond_the_record_is_an_error_not_an_allocation() {
        let error = Reader::new(&[255, 255, 255, 255, 1]).bytes("name").unwrap_err();
        assert_eq!(error.to_string(), "name at byte 4: the record ends before it");
    }
}
