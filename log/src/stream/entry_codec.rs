//! Bytes of one entry.
//!
//! ```text
//! version u8 = 1 | kind u8 | flags u8 | epoch var | first_number var
//! data (kind 1):     [producer when flag 1: name, note] | [appended_ms var when flag 2]
//!                    count var | count × record
//!   record: flags u8 (1 key, 2 event time, 4 sequence) | [key] | value | [time] | [sequence]
//!           times and sequences are zigzag differences from the one before in the entry, from 0
//! snapshot (kind 2): count var | count × (name, flags u8 (1 sequence), [sequence var], note)
//! ```
//! `var` is LEB128, at most 10 bytes; a name, note, key or value is a `var` length and its bytes. The
//! generation of a transactional entry is a field of its epoch; a plain entry's epoch is 0. The time is
//! the writer's, and never goes down within a partition's writer. There is no checksum here: the
//! ledger's covers the whole entry.

use bytes::Bytes;
use egret_schemas::Epoch;
use egret_schemas::bytes::{DecodeError, Reader, Writer};

use super::record::{Producer, ProducerState, Record};

const VERSION: u8 = 1;
const DATA: u8 = 1;
const SNAPSHOT: u8 = 2;
const HAS_PRODUCER: u8 = 1;
const HAS_APPENDED: u8 = 2;
const HAS_KEY: u8 = 1;
const HAS_TIME: u8 = 2;
const HAS_SEQUENCE: u8 = 4;

/// A decoded entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Records.
    Data {
        /// Their epoch.
        epoch: Epoch,
        /// The number of the first.
        first_number: u64,
        /// When they were appended, in milliseconds since 1970.
        appended_ms: Option<u64>,
        /// Who appended them.
        producer: Option<Producer>,
        /// The records, in slot order.
        records: Vec<Record>,
    },
    /// What every producer did before this segment.
    Snapshot {
        /// The number the next record gets.
        next_number: u64,
        /// Name and state.
        producers: Vec<(Bytes, ProducerState)>,
    },
}

/// Encodes records. `records` need not be a slice, so that some may be left out without copying.
pub fn encode_data<'a>(
    epoch: Epoch,
    first_number: u64,
    appended_ms: u64,
    producer: Option<&Producer>,
    records: impl ExactSizeIterator<Item = &'a Record> + Clone,
) -> Bytes {
    let bytes: usize = records.clone().map(|record| record.bytes() + 16).sum();
    let head = 64 + producer.map_or(0, |p| p.name.len() + p.note.len());
    let mut out = Vec::with_capacity(bytes + head);
    let flags = HAS_APPENDED | if producer.is_some() { HAS_PRODUCER } else { 0 };
    out.extend_from_slice(&[VERSION, DATA, flags]);
    out.put_var(epoch.0);
    out.put_var(first_number);
    if let Some(producer) = producer {
        put_slice(&mut out, &producer.name);
        put_slice(&mut out, &producer.note);
    }
    out.put_var(appended_ms);
    out.put_var(records.len() as u64);
    let (mut time, mut sequence) = (0i64, 0u64);
    for record in records {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        out.push(
            flag(record.key.is_some(), HAS_KEY)
                | flag(record.event_time_ms.is_some(), HAS_TIME)
                | flag(record.sequence.is_some(), HAS_SEQUENCE),
        );
        if let Some(key) = &record.key {
            put_slice(&mut out, key);
        }
        put_slice(&mut out, &record.value);
        if let Some(now) = record.event_time_ms {
            out.put_var(zigzag(now.wrapping_sub(time)));
            time = now;
        }
        if let Some(now) = record.sequence {
            out.put_var(zigzag(now.wrapping_sub(sequence).cast_signed()));
            sequence = now;
        }
    }
    Bytes::from(out)
}

/// Encodes what producers did so far.
pub fn encode_snapshot<'a>(
    next_number: u64,
    producers: impl ExactSizeIterator<Item = (&'a Bytes, &'a ProducerState)>,
) -> Bytes {
    let mut out = Vec::with_capacity(32 + producers.len() * 64);
    out.extend_from_slice(&[VERSION, SNAPSHOT, 0]);
    out.put_var(0);
    out.put_var(next_number);
    out.put_var(producers.len() as u64);
    for (name, state) in producers {
        put_slice(&mut out, name);
        match state.last_sequence {
            None => out.push(0),
            Some(sequence) => {
                out.push(1);
                out.put_var(sequence);
            }
        }
        put_slice(&mut out, &state.note);
    }
    Bytes::from(out)
}

/// Decodes an entry; keys, values, names and notes are slices of `entry`.
pub fn decode(entry: &Bytes) -> Result<Entry, DecodeError> {
    let mut r = Reader::new(entry);
    if r.u8("entry version")? != VERSION {
        return Err(r.wrong("entry version", "not known to this build"));
    }
    let kind = r.u8("entry kind")?;
    let flags = r.u8("entry flags")?;
    let epoch = Epoch(r.var("epoch")?);
    let number = r.var("first number")?;
    let decoded = match (kind, flags) {
        (DATA, 0..=3) => {
            let producer = match flags & HAS_PRODUCER {
                0 => None,
                _ => Some(Producer {
                    name: slice(&mut r, entry, "producer name")?,
                    note: slice(&mut r, entry, "producer note")?,
                }),
            };
            let appended_ms = appended(&mut r, flags)?;
            let records = records(&mut r, entry)?;
            Entry::Data { epoch, first_number: number, appended_ms, producer, records }
        }
        (SNAPSHOT, 0) => {
            Entry::Snapshot { next_number: number, producers: producers(&mut r, entry)? }
        }
        _ => return Err(r.wrong("entry kind", "not known to this build")),
    };
    r.end("entry")?;
    Ok(decoded)
}

/// What a data entry says before its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The records' epoch.
    pub epoch: Epoch,
    /// The number of the first.
    pub first_number: u64,
    /// When they were appended, in milliseconds since 1970.
    pub appended_ms: Option<u64>,
    /// How many there are.
    pub records: u64,
}

/// The head of a data entry, without its records; `None` for a snapshot.
pub fn decode_head(entry: &[u8]) -> Result<Option<Head>, DecodeError> {
    let mut r = Reader::new(entry);
    let (version, kind, flags) = (r.u8("entry version")?, r.u8("entry kind")?, r.u8("flags")?);
    let (epoch, first_number) = (Epoch(r.var("epoch")?), r.var("first number")?);
    if version != VERSION {
        return Err(r.wrong("entry version", "not known to this build"));
    }
    if kind == SNAPSHOT {
        return Ok(None);
    }
    if flags & HAS_PRODUCER != 0 {
        for what in ["producer name", "producer note"] {
            let bytes = length(&mut r, what)?;
            r.take(bytes, what)?;
        }
    }
    let appended_ms = appended(&mut r, flags)?;
    Ok(Some(Head { epoch, first_number, appended_ms, records: r.var("record count")? }))
}

fn appended(r: &mut Reader<'_>, flags: u8) -> Result<Option<u64>, DecodeError> {
    if flags & HAS_APPENDED == 0 { Ok(None) } else { r.var("append time").map(Some) }
}

fn records(r: &mut Reader<'_>, entry: &Bytes) -> Result<Vec<Record>, DecodeError> {
    let count = count(r, "record count", 2)?;
    let mut records = Vec::with_capacity(count);
    let (mut time, mut sequence) = (0i64, 0u64);
    for _ in 0..count {
        let flags = r.u8("record flags")?;
        if flags > (HAS_KEY | HAS_TIME | HAS_SEQUENCE) {
            return Err(r.wrong("record flags", "not known to this build"));
        }
        let key = match flags & HAS_KEY {
            0 => None,
            _ => Some(slice(r, entry, "key")?),
        };
        let value = slice(r, entry, "value")?;
        let event_time_ms = match flags & HAS_TIME {
            0 => None,
            _ => {
                time = time.wrapping_add(unzigzag(r.var("event time")?));
                Some(time)
            }
        };
        let sequence = match flags & HAS_SEQUENCE {
            0 => None,
            _ => {
                sequence = sequence.wrapping_add(unzigzag(r.var("sequence")?).cast_unsigned());
                Some(sequence)
            }
        };
        records.push(Record { key, value, event_time_ms, sequence });
    }
    Ok(records)
}

fn producers(
    r: &mut Reader<'_>,
    entry: &Bytes,
) -> Result<Vec<(Bytes, ProducerState)>, DecodeError> {
    let count = count(r, "producer count", 3)?;
    let mut producers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = slice(r, entry, "producer name")?;
        let last_sequence = match r.u8("producer flags")? {
            0 => None,
            1 => Some(r.var("last sequence")?),
            _ => return Err(r.wrong("producer flags", "not known to this build")),
        };
        let note = slice(r, entry, "producer note")?;
        producers.push((name, ProducerState { last_sequence, note }));
    }
    Ok(producers)
}

/// A count of things that take at least `least` bytes each: never more than what is left can hold.
fn count(r: &mut Reader<'_>, what: &'static str, least: usize) -> Result<usize, DecodeError> {
    let count = r.var(what)?;
    match usize::try_from(count) {
        Ok(count) if count <= r.remaining() / least => Ok(count),
        _ => Err(r.wrong(what, "more than the entry can hold")),
    }
}

fn length(r: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let bytes = r.var(what)?;
    usize::try_from(bytes).map_err(|_| r.wrong(what, "longer than memory"))
}

fn slice(r: &mut Reader<'_>, entry: &Bytes, what: &'static str) -> Result<Bytes, DecodeError> {
    let bytes = length(r, what)?;
    let at = r.at();
    r.take(bytes, what)?;
    Ok(entry.slice(at..at + bytes))
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_var(bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    prop_compose! {
        fn record()(
            key in prop::option::of(bytes()),
            value in bytes(),
            event_time_ms: Option<i64>,
            sequence: Option<u64>,
        ) -> Record {
            Record { key, value, event_time_ms, sequence }
        }
    }

    proptest! {
        #[test]
        fn records_come_back(
            epoch: u64,
            first_number: u64,
            appended_ms: u64,
            producer in prop::option::of((bytes(), bytes())),
            records in prop::collection::vec(record(), 0..20),
        ) {
            let producer = producer.map(|(name, note)| Producer { name, note });
            let epoch = Epoch(epoch);
            let entry =
                encode_data(epoch, first_number, appended_ms, producer.as_ref(), records.iter());
            let appended_ms = Some(appended_ms);
            let head = Head { epoch, first_number, appended_ms, records: records.len() as u64 };
            prop_assert_eq!(decode_head(&entry).unwrap(), Some(head));
            let back = decode(&entry).unwrap();
            let data = Entry::Data { epoch, first_number, appended_ms, producer, records };
            prop_assert_eq!(back, data);
        }

        #[test]
        fn snapshots_come_back(
            next_number: u64,
            all in prop::collection::vec((bytes(), any::<Option<u64>>(), bytes()), 0..9),
        ) {
            let producers: Vec<_> = all
                .into_iter()
                .map(|(name, last_sequence, note)| (name, ProducerState { last_sequence, note }))
                .collect();
            let entry = encode_snapshot(next_number, producers.iter().map(|(n, s)| (n, s)));
            prop_assert_eq!(decode_head(&entry).unwrap(), None);
            prop_assert_eq!(decode(&entry).unwrap(), Entry::Snapshot { next_number, producers });
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(kind in 1u8..3, flags in 0u8..4, tail: Vec<u8>) {
            let mut all = vec![VERSION, kind, flags];
            all.extend(&tail);
            let _ = decode(&Bytes::from(all.clone()));
            let _ = decode_head(&all);
            let _ = decode(&Bytes::from(tail));
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let record = |value: &'static str, n: i64| Record {
            key: Some(Bytes::from_static(b"k")),
            value: Bytes::from_static(value.as_bytes()),
            event_time_ms: Some(1000 - n),
            sequence: Some(7),
        };
        let producer = Producer { name: "p".into(), note: "n".into() };
        let records = [record("a", 0), record("b", 1)];
        let entry = encode_data(Epoch(300), 2, 130, Some(&producer), records.iter());
        assert_eq!(
            entry[..],
            [
                1, 1, 3, 0xAC, 2, 2, 1, b'p', 1, b'n', 0x82, 1, 2, //
                7, 1, b'k', 1, b'a', 0xD0, 0x0F, 14, //
                7, 1, b'k', 1, b'b', 1, 0,
            ]
        );
        let state = ProducerState { last_sequence: Some(7), note: "n".into() };
        let snapshot = encode_snapshot(2, [(&Bytes::from_static(b"p"), &state)].into_iter());
        assert_eq!(snapshot[..], [1, 2, 0, 0, 2, 1, 1, b'p', 1, 7, 1, b'n']);
    }

    #[test]
    fn an_entry_that_tells_no_time_is_read_all_the_same() {
        let entry = Bytes::from_static(&[1, 1, 0, 0, 2, 1, 0, 1, b'a']);
        assert_eq!(decode_head(&entry).unwrap().unwrap().appended_ms, None);
        assert!(matches!(decode(&entry), Ok(Entry::Data { appended_ms: None, .. })));
    }

    #[test]
    fn a_count_beyond_the_entry_is_an_error_not_an_allocation() {
        let mut entry = vec![VERSION, DATA, 0, 0, 0];
        entry.put_var(u64::MAX);
        assert!(decode(&Bytes::from(entry)).unwrap_err().to_string().contains("can hold"));
    }
}
