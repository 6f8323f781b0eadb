//! A reader of every output that looks all the time, and what must hold of what it saw.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret_log::Log;
use egret_log::stream::{PartitionReader, Poll, ReadFrom};
use egret_schemas::Position;

use super::input::{Input, OUTPUTS};
use super::world::Broken;

/// A record as a reader saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Position,
    key: Vec<u8>,
    value: u64,
}

/// What was seen of each partition of each stream, in order.
pub(super) type Output = BTreeMap<(&'static str, u32), Vec<Seen>>;

/// Reads on and on; see the [module](self).
#[derive(Debug)]
pub(super) struct Watcher {
    log: Log,
    readers: BTreeMap<(&'static str, u32), PartitionReader>,
    pub(super) seen: Output,
}

/// Something that was read for the first time.
pub(super) struct News {
    pub(super) stream: &'static str,
    pub(super) partition: u32,
    /// The first of so many records of one entry.
    pub(super) at: Position,
    pub(super) records: usize,
}

impl Watcher {
    pub(super) fn new(log: Log) -> Watcher {
        Watcher { log, readers: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// Reads what there is to see now, and says why not all of it, if so.
    pub(super) fn look(&mut self) -> Result<(Vec<News>, Option<String>), Broken> {
        let (mut news, mut failed) = (Vec::new(), None);
        for (stream, partitions) in OUTPUTS {
            for partition in 0..partitions {
                let looked = self.look_at(stream, partition, &mut news)?;
                failed = failed.or(looked.err());
            }
        }
        Ok((news, failed))
    }

    fn look_at(
        &mut self,
        stream: &'static str,
        partition: u32,
        news: &mut Vec<News>,
    ) -> Result<Result<(), String>, Broken> {
        let id = (stream, partition);
        let seen = self.seen.entry(id).or_default();
        let mut reader = match self.readers.remove(&id) {
            Some(reader) => reader,
            None => {
                let from = match seen.last() {
                    Some(last) => ReadFrom::At(Position { slot: last.at.slot + 1, ..last.at }),
                    None => ReadFrom::Earliest,
                };
                match self.log.reader(stream, partition, from) {
                    Ok(reader) => reader,
                    Err(error) => return Ok(Err(egret::chain(&error))),
                }
            }
        };
        loop {
            match reader.poll(&(Arc::new(|| ()) as _)) {
                Ok(Poll::Batch(batch)) => {
                    if batch.first_number != seen.len() as u64 {
                        let what = format!(
                            "{stream}/{partition}: record {} follows {} records, at {}",
                            batch.first_number,
                            seen.len(),
                            batch.first
                        );
                        return Err(("positions neither repeat nor skip", what));
                    }
                    news.push(News {
                        stream,
                        partition,
                        at: batch.first,
                        records: batch.records.len(),
                    });
                    for (slot, record) in (batch.first.slot..).zip(batch.records) {
                        let at = Position { slot, ..batch.first };
                        let text = std::str::from_utf8(&record.value).ok();
                        let value = text.and_then(|text| text.parse().ok());
                        let (Some(key), Some(value)) = (record.key, value) else {
                            let what = format!("{stream}/{partition}: {at} is no output");
                            return Err(("what is read was written", what));
                        };
                        seen.push(Seen { at, key: key.to_vec(), value });
                    }
                }
                Ok(Poll::Pending) => {
                    self.readers.insert(id, reader);
                    return Ok(Ok(()));
                }
                // Opened again when it is looked at next.
                Err(error) => return Ok(Err(egret::chain(&error))),
            }
        }
    }
}

/// What was seen must be there still, where it was.
pub(super) fn check_kept(seen: &Output, there: &Output) -> Result<(), Broken> {
    for ((stream, partition), seen) in seen {
        let there = there.get(&(*stream, *partition)).map_or(&[][..], Vec::as_slice);
        if let Some(gone) = seen.iter().zip(there).find(|(seen, there)| seen != there) {
            let what =
                format!("{stream}/{partition}: {:?} was seen, now it is {:?}", gone.0, gone.1);
            return Err(("what was seen stays", what));
        }
        if there.len() < seen.len() {
            let gone = &seen[there.len()];
            let what = format!("{stream}/{partition}: {gone:?} was seen, and is gone");
            return Err(("what was seen stays", what));
        }
    }
    Ok(())
}

/// The output is what a plain count of the input gives, each key in its order; how many records are
/// repeated, which there are only `at_least_once`. Windows wait for event time, which a partition that was read to its
/// end before the last start holds back: they may be missing unless the output is to be `whole`.
pub(super) fn check_output(
    input: &Input,
    output: &Output,
    (at_least_once, whole): (bool, bool),
) -> Result<u64, Broken> {
    let mut repeated = 0;
    for (stream, _) in OUTPUTS {
        let (every, windows) = (stream == OUTPUTS[0].0, stream == OUTPUTS[2].0);
        let rule = match (every, windows) {
            (true, _) => "each input counts once",
            (_, true) => "each window is told once",
            _ => "sums grow to the whole",
        };
        let mut last: BTreeMap<&[u8], u64> = BTreeMap::new();
        for ((of, partition), seen) in output.iter().filter(|((of, _), _)| *of == stream) {
            for Seen { at, key, value } in seen {
                let before = last.get(&key[..]).copied().unwrap_or(0);
                let follows = match (every, windows) {
                    (true, _) => *value == before + 1,
                    (_, true) => before == 0,
                    _ => *value > before,
                };
                if !follows && !at_least_once {
                    let key = key.escape_ascii();
                    let what =
                        format!("{of}/{partition}: {at} has {value} of {key} after {before}");
                    return Err((rule, what));
                }
                repeated += u64::from(!follows && *value <= before);
                last.insert(key, before.max(*value));
            }
        }
        let expected = input.last_of(stream);
        for (key, wanted) in &expected {
            let found = last.remove(&key[..]).unwrap_or(0);
            if windows && found == 0 && !whole {
                continue;
            }
            if found != *wanted {
                let key = key.escape_ascii();
                return Err((rule, format!("{stream} ends with {found} of {key}, not {wanted}")));
            }
        }
        if let Some((key, value)) = last.first_key_value() {
            let key = key.escape_ascii();
            return Err((rule, format!("{stream} has {value} of {key}, which never came")));
        }
    }
    Ok(repeated)
}
