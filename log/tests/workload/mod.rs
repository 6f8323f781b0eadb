//! One scripted life of a log, and what must hold of what is found after it was cut short.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::{EntryId, Epoch, Generation, Position, SegmentId};

use super::crate_under_test::stream::{
    Log, Owner, PartitionWriter, Producer, ReadFrom, Record, StreamConfig, TransactionalWriter,
};

type Outcome<T> = Result<T, String>;

/// What was done, as its caller knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// Streams whose creation was acknowledged.
    created: Vec<&'static str>,
    /// Acknowledged plain records and where they are, in order.
    acked: Vec<(String, Position)>,
    /// A plain record under way: it may be there.
    trying: Option<String>,
    /// Acknowledged sequences of the idempotent producer, and what was tried.
    sequences: u64,
    sequences_tried: u64,
    /// Truncation acknowledged and tried.
    truncated: Option<Position>,
    truncating: Option<Position>,
    /// What the topology committed: to where, and all records up to there.
    committed: Option<(SegmentId, Option<EntryId>)>,
    committed_records: Vec<String>,
    /// Aborted, or not committed yet.
    generation: u32,
    deleting: bool,
    deleted: bool,
}

fn text<E: ToString>(error: E) -> String {
    error.to_string()
}

fn owner(generation: u32) -> Owner {
    Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 0,
        generation: Generation(generation),
    }
}

const PRODUCER: &str = "producer";

fn sequences(range: std::ops::Range<u64>) -> (Producer, Vec<Record>) {
    let producer = Producer { name: PRODUCER.into(), note: range.end.to_string().into() };
    let record = |n: u64| Record { sequence: Some(n), ..Record::of(format!("p{n}")) };
    (producer, range.map(record).collect())
}

impl Model {
    /// The script, until the first error.
    pub(crate) fn run(&mut self, open: &dyn Fn() -> Outcome<Log>) -> Outcome<()> {
        let log = open()?;
        self.create(&log, "s", None)?;
        self.create(&log, "d", None)?;
        self.create(&log, "t", Some("words"))?;
        let writer = log.writer("s", 0).map_err(text)?;
        for n in 0..5 {
            self.append(&writer, n)?;
        }
        self.idempotent(&writer, 3)?;
        self.topology(&log, 6)?;
        self.delete(&log)?;
        // Without closing: what follows is a takeover after a stop.
        drop((log, writer));

        let log = open()?;
        let writer = log.writer("s", 0).map_err(text)?;
        self.idempotent(&writer, 6)?;
        for n in 5..9 {
            self.append(&writer, n)?;
        }
        let before = self.acked[3].1;
        self.truncating = Some(before);
        log.truncate("s", 0, before, false).map_err(text)?;
        self.truncated = Some(before);
        self.topology(&log, 5)?;
        self.idempotent(&writer, 9)?;
        log.close().map_err(text)?;

        let log = open()?;
        self.append(&log.writer("s", 0).map_err(text)?, 9)?;
        self.topology(&log, 3)?;
        log.close().map_err(text)?;
        Ok(())
    }

    fn create(&mut self, log: &Log, name: &'static str, owner: Option<&str>) -> Outcome<()> {
        let transactional = owner.map(str::to_owned);
        let config =
            StreamConfig { segment_bytes_max: 40, transactional, ..StreamConfig::default() };
        log.create_stream(name, config).map_err(text)?;
        self.created.push(name);
        Ok(())
    }

    fn append(&mut self, writer: &PartitionWriter, n: usize) -> Outcome<()> {
        let value = format!("s{n}");
        self.trying = Some(value.clone());
        let appended = writer.append_wait(&[Record::of(value.clone())]).map_err(text)?;
        self.trying = None;
        self.acked.push((value, appended.position));
        Ok(())
    }

    fn idempotent(&mut self, writer: &PartitionWriter, upto: u64) -> Outcome<()> {
        self.sequences_tried = upto;
        let (producer, records) = sequences(0..upto);
        let appended = writer.append_as_wait(&producer, &records).map_err(text)?;
        assert_eq!(u64::from(appended.duplicates), self.sequences, "those acknowledged before");
        self.sequences = upto;
        Ok(())
    }

    /// A generation of a topology: some commits, the last epochs not committed.
    fn topology(&mut self, log: &Log, epochs: u32) -> Outcome<()> {
        self.generation += 1;
        let mut writer = log
            .transactional_writer("t", 0, &owner(self.generation), self.committed)
            .map_err(text)?;
        let mut uncommitted = Vec::new();
        for n in 0..epochs {
            let records: Vec<String> =
                (0..2).map(|i| format!("t{}.{n}.{i}", self.generation)).collect();
            let at =
                append_epoch(&mut writer, Epoch::new(Generation(self.generation), n, 0), &records)?;
            uncommitted.extend(records);
            if n % 2 == 1 {
                // The commit record is durable here: the test's memory stands for the commit ledger.
                self.committed = Some((at.0, Some(at.1)));
                self.committed_records.append(&mut uncommitted);
                writer.publish(at).map_err(text)?;
            }
        }
        Ok(())
    }

    fn delete(&mut self, log: &Log) -> Outcome<()> {
        let writer = log.writer("d", 0).map_err(text)?;
        for n in 0..3 {
            writer.append_wait(&[Record::of(format!("d{n}"))]).map_err(text)?;
        }
        self.deleting = true;
        log.delete_stream("d", false).map_err(text)?;
        self.deleted = true;
        Ok(())
    }

    /// Opens what was found and checks all that was acknowledged, then goes on with it.
    pub(crate) fn check(&mut self, open: &dyn Fn() -> Outcome<Log>, told: &str) {
        let log = open().unwrap_or_else(|error| panic!("{told}: {error}"));
        let names: Vec<_> = log.streams().unwrap().into_iter().map(|info| info.name).collect();
        for name in &self.created {
            let gone = *name == "d" && self.deleting;
            assert!(gone || names.iter().any(|n| n == name), "{told}: {name} of {names:?}");
        }
        assert!(!self.deleted || !names.contains(&"d".to_owned()), "{told}: d is back");
        if self.created.contains(&"s") {
            self.check_plain(&log, told);
        }
        if self.created.contains(&"t") {
            self.check_transactional(&log, told);
        }
        log.close().unwrap_or_else(|error| panic!("{told}: {error}"));
        // Once more, now that everything was recovered and closed.
        let log = open().unwrap_or_else(|error| panic!("{told}, again: {error}"));
        if self.created.contains(&"s") {
            self.check_plain(&log, told);
        }
    }

    fn check_plain(&mut self, log: &Log, told: &str) {
        let writer = log.writer("s", 0).unwrap_or_else(|e| panic!("{told}: {e}"));
        let state = writer.producer_state(PRODUCER.as_bytes()).unwrap();
        let known = state.as_ref().and_then(|s| s.last_sequence).map_or(0, |last| last + 1);
        assert!((self.sequences..=self.sequences_tried).contains(&known), "{told}: {known} known");
        if let Some(state) = state {
            assert_eq!(
                state.note,
                Bytes::from(known.to_string()),
                "{told}: the note of that append"
            );
        }
        // The producer tries again: all of it is there once.
        let upto = self.sequences_tried + 1;
        let (producer, records) = sequences(0..upto);
        let appended = writer.append_as_wait(&producer, &records).unwrap();
        assert_eq!(u64::from(appended.duplicates), known, "{told}");
        (self.sequences, self.sequences_tried) = (upto, upto);

        let all = read_all(log, "s", ReadFrom::Earliest, told);
        let first = all.first().map(|(_, position)| *position);
        let start = self.truncated.or(self.truncating);
        let oldest = self.acked.first().map_or(first, |(_, position)| Some(*position));
        let whole = self.truncated.is_none() && first == oldest;
        assert!(whole || first == start, "{told}: starts at {first:?}, not at {start:?}");
        let kept = |position: &Position| Some(*position) >= first;

        let plain: Vec<_> = all.iter().filter(|(v, _)| v.starts_with('s')).cloned().collect();
        let mut expected: Vec<_> =
            self.acked.iter().filter(|(_, position)| kept(position)).cloned().collect();
        if plain.len() > expected.len() {
            let (last, position) = plain.last().unwrap().clone();
            assert_eq!(Some(&last), self.trying.as_ref(), "{told}: invented");
            expected.push((last.clone(), position));
            self.acked.push((last, position));
        }
        self.trying = None;
        assert_eq!(plain, expected, "{told}");
        let numbered: Vec<&str> =
            all.iter().map(|(v, _)| v.as_str()).filter(|v| v.starts_with('p')).collect();
        let wanted: Vec<String> = (0..upto).map(|n| format!("p{n}")).collect();
        let lost = wanted.len() - numbered.len();
        assert!(lost == 0 || !whole, "{told}: {numbered:?}");
        assert_eq!(numbered, wanted[lost..], "{told}: each once, in order");
        for (value, position) in expected {
            let here = read_all(log, "s", ReadFrom::At(position), told);
            assert_eq!(here[0].0, value, "{told}: {position}");
        }
    }

    fn check_transactional(&mut self, log: &Log, told: &str) {
        let values = |log: &Log| -> Vec<String> {
            read_all(log, "t", ReadFrom::Earliest, told).into_iter().map(|(v, _)| v).collect()
        };
        let visible = values(log);
        assert!(
            self.committed_records.starts_with(&visible),
            "{told}: visible {visible:?}, committed {:?}",
            self.committed_records
        );
        self.generation += 1;
        let opened = log.transactional_writer("t", 0, &owner(self.generation), self.committed);
        let mut writer = opened.unwrap_or_else(|e| panic!("{told}: at {:?}: {e}", self.committed));
        assert_eq!(values(log), self.committed_records, "{told}: exactly what was committed");
        let epoch = Epoch::first(Generation(self.generation));
        let at = append_epoch(&mut writer, epoch, &["after".to_owned()]).unwrap();
        writer.publish(at).unwrap();
        self.committed = Some((at.0, Some(at.1)));
        self.committed_records.push("after".to_owned());
        assert_eq!(values(log), self.committed_records, "{told}: and on it goes");
    }
}

fn append_epoch(
    writer: &mut TransactionalWriter,
    epoch: Epoch,
    records: &[String],
) -> Outcome<(SegmentId, EntryId)> {
    let records: Vec<Record> = records.iter().map(|value| Record::of(value.clone())).collect();
    let (sender, receiver) = sync_channel(1);
    writer.append(epoch, &records, Box::new(move |done| sender.send(done).unwrap()));
    receiver.recv().unwrap().map_err(text)
}

fn read_all(log: &Log, stream: &str, from: ReadFrom, told: &str) -> Vec<(String, Position)> {
    let mut reader = log.reader(stream, 0, from).unwrap_or_else(|e| panic!("{told}: {e}"));
    let mut found = Vec::new();
    let mut number = None;
    while let Some(batch) =
        reader.next_wait(Duration::ZERO).unwrap_or_else(|e| panic!("{told}: {e}"))
    {
        let expected = number.get_or_insert(batch.first_number);
        assert_eq!(batch.first_number, *expected, "{told}: numbers are dense");
        *expected += batch.records.len() as u64;
        for (record, index) in batch.records.iter().zip(0..) {
            let value = String::from_utf8(record.value.to_vec()).unwrap();
            found.push((value, batch.position(index)));
        }
    }
    found
}
