//! One segment of Cap'n Proto as plain bytes, and the values that headers share.

use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions, SegmentArray};
use capnp::traits::{FromPointerReader, Owned};

use crate::ids::Incarnation;

/// Deepest: reply → description → users → one → needed → one → position.
const NESTING_MAX: i32 = 16;

/// A header that does not say what a header says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header does not decode: {0}; is the other side an Egret of this version?")]
pub struct HeaderError(pub String);

impl From<capnp::Error> for HeaderError {
    fn from(error: capnp::Error) -> HeaderError {
        HeaderError(error.to_string())
    }
}

impl From<capnp::NotInSchema> for HeaderError {
    fn from(error: capnp::NotInSchema) -> HeaderError {
        HeaderError(error.to_string())
    }
}

impl From<std::str::Utf8Error> for HeaderError {
    fn from(error: std::str::Utf8Error) -> HeaderError {
        HeaderError(error.to_string())
    }
}

/// Builds a message that fits one segment.
pub(crate) fn encode<T: Owned>(fill: impl Fn(T::Builder<'_>)) -> Vec<u8> {
    let mut words = 64;
    loop {
        let allocator = HeapAllocator::new().first_segment_words(words);
        let mut message = Builder::new(allocator);
        fill(message.init_root());
        match *message.get_segments_for_output() {
            [only] => return only.to_vec(),
            // It overflowed: what all segments hold together, and twice that, is enough for one.
            ref all => {
                let bytes: usize = all.iter().map(|s| s.len()).sum();
                words = u32::try_from(bytes / 4).expect("headers are far below 16 GiB");
            }
        }
    }
}

/// Reads a message of one segment.
pub(crate) fn decode<T: Owned, R>(
    bytes: &[u8],
    read: impl FnOnce(T::Reader<'_>) -> Result<R, HeaderError>,
) -> Result<R, HeaderError>
where
    for<'a> T::Reader<'a>: FromPointerReader<'a>,
{
    if bytes.is_empty() || !bytes.len().is_multiple_of(8) {
        return Err(HeaderError(format!("{} bytes are no whole words", bytes.len())));
    }
    // The bytes may lie anywhere; words may not.
    let mut words = capnp::Word::allocate_zeroed_vec(bytes.len() / 8);
    capnp::Word::words_to_bytes_mut(&mut words).copy_from_slice(bytes);
    let mut options = ReaderOptions::new();
    // Each word is read once, twice at most; pointers that lead to the same place again and again
    // are somebody's attempt to make a small message large.
    options.traversal_limit_in_words(Some(2 * words.len() + 16)).nesting_limit(NESTING_MAX);
    let segments = [capnp::Word::words_to_bytes(&words)];
    let message = Reader::new(SegmentArray::new(&segments), options);
    read(message.get_root()?)
}

/// A text, checked to be UTF-8.
pub(crate) fn text(reader: capnp::text::Reader<'_>) -> Result<String, HeaderError> {
    Ok(reader.to_str()?.to_owned())
}

/// Low and high half.
pub(crate) fn halves(incarnation: Incarnation) -> (u64, u64) {
    let low = u64::try_from(incarnation.0 & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(incarnation.0 >> 64).expect("64 bits are left");
    (low, high)
}

pub(crate) fn whole(low: u64, high: u64) -> Incarnation {
    Incarnation(u128::from(high) << 64 | u128::from(low))
}

/// The length of a list to come.
pub(crate) fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("a header lists far fewer than 2^32 of anything")
}

/// Collects without trusting the length that the list claims.
pub(crate) fn collect<T>(
    items: impl Iterator<Item = Result<T, HeaderError>>,
) -> Result<Vec<T>, HeaderError> {
    let mut all = Vec::new();
    for item in items {
        all.push(item?);
    }
    Ok(all)
}
