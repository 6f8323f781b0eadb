//! How records stand in a payload: one behind the other, nothing between.
//!
//! ```text
//! flags u8 (1 key, 2 event time, 4 sequence) · [key_len var · key] · value_len var · value
//!          · [event_time_ms i64] · [sequence var]
//! ```
//!
//! Lengths are unsigned LEB128. Encoding copies each byte once, into the payload; decoding copies
//! none: a [`RecordRef`] borrows from the payload.

use crate::bytes::{DecodeError, Reader, Writer};

const KEY: u8 = 1;
const EVENT_TIME: u8 = 2;
const SEQUENCE: u8 = 4;

/// One record, borrowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// What its partition is chosen by.
    pub key: Option<&'a [u8]>,
    /// The record itself.
    pub value: &'a [u8],
    /// When it happened, in milliseconds since 1970.
    pub event_time_ms: Option<i64>,
    /// Its number at its producer.
    pub sequence: Option<u64>,
}

impl<'a> RecordRef<'a> {
    /// Appends this record to a payload.
    pub fn put(&self, payload: &mut Vec<u8>) {
        let flag = |present: bool, bit| if present { bit } else { 0 };
        payload.put_u8(
            flag(self.key.is_some(), KEY)
                | flag(self.event_time_ms.is_some(), EVENT_TIME)
                | flag(self.sequence.is_some(), SEQUENCE),
        );
        if let Some(key) = self.key {
            put_slice(payload, key);
        }
        put_slice(payload, self.value);
        if let Some(time) = self.event_time_ms {
            payload.put_i64(time);
        }
        if let Some(sequence) = self.sequence {
            payload.put_var(sequence);
        }
    }

    /// How many bytes [`RecordRef::put`] adds at most.
    pub fn bytes_max(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.len() + 1 + 4 * 10
    }

    /// The next record of a payload.
    pub fn take(payload: &mut Reader<'a>) -> Result<RecordRef<'a>, DecodeError> {
        let flags = payload.u8("record flags")?;
        if flags & !(KEY | EVENT_TIME | SEQUENCE) != 0 {
            return Err(payload.wrong("record flags", "a flag of a later version"));
        }
        let has = |bit| flags & bit != 0;
        Ok(RecordRef {
            key: has(KEY).then(|| take_slice(payload, "record key")).transpose()?,
            value: take_slice(payload, "record value")?,
            event_time_ms: has(EVENT_TIME).then(|| payload.i64("event time")).transpose()?,
            sequence: has(SEQUENCE).then(|| payload.var("sequence")).transpose()?,
        })
    }
}

fn put_slice(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.put_var(bytes.len() as u64);
    payload.extend_from_slice(bytes);
}

fn take_slice<'a>(payload: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = payload.var(what)?;
    // More than fits a usize is more than there is.
    payload.take(usize::try_from(length).unwrap_or(usize::MAX), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back(
            records: Vec<(Option<Vec<u8>>, Vec<u8>, Option<i64>, Option<u64>)>,
        ) {
            let records: Vec<RecordRef<'_>> = records
                .iter()
                .map(|(key, value, event_time_ms, sequence)| RecordRef {
                    key: key.as_deref(),
                    value,
                    event_time_ms: *event_time_ms,
                    sequence: *sequence,
                })
                .collect();
            let mut payload = Vec::new();
            for record in &records {
                let before = payload.len();
                record.put(&mut payload);
                prop_assert!(payload.len() - before <= record.bytes_max());
            }
            let mut reader = Reader::new(&payload);
            for record in &records {
                prop_assert_eq!(RecordRef::take(&mut reader), Ok(*record));
            }
            prop_assert_eq!(reader.end("payload"), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.remaining() > 0 && RecordRef::take(&mut reader).is_ok() {}
        }
    }

    #[test]
    fn the_layout_of_a_record_is_frozen() {
        let mut payload = Vec::new();
        RecordRef {
            key: Some(b"k"),
            value: b"value",
            event_time_ms: Some(-2),
            sequence: Some(300),
        }
        .put(&mut payload);
        let mut expected = vec![7, 1, b'k', 5];
        expected.extend(b"value");
        expected.extend([254, 255, 255, 255, 255, 255, 255, 255, 0xac, 0x02]);
        assert_eq!(payload, expected);
    }

    #[test]
    fn a_length_beyond_the_payload_is_an_error() {
        let mut bytes = vec![0];
        bytes.put_var(u64::MAX);
        let error = RecordRef::take(&mut Reader::new(&bytes)).unwrap_err();
        assert_eq!(error.to_string(), "record value at byte 11: the record ends before it");
    }
}
