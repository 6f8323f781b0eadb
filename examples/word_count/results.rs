//! The last count of each word, as a table: from the stream of counts, or from what is kept.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::ops::Bound;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use egret::replica::{Replica, ReplicaOptions};
use egret_log::Log;
use egret_log::stream::ReadFrom;

/// By word.
pub(crate) type Counts = BTreeMap<Vec<u8>, u64>;

/// The last committed count of each word, from the state of a topology.
pub(crate) fn kept(log: &Log, topology: &str) -> Result<Counts> {
    let component = Some("count".to_owned());
    let mut replica = Replica::new(topology, ReplicaOptions { component, memory_bytes: None });
    replica.catch_up(log)?;
    let shown = replica.read();
    let count = shown.component("count")?;
    let of = |(word, held)| {
        let n = count.state_json(held).as_u64().context("a count that is no number")?;
        Ok((<[u8]>::to_vec(word), n))
    };
    count.table.range(Bound::Unbounded).map(of).collect()
}

/// The last committed count of each word, from the stream it was written to.
pub(crate) fn written(log: &Log, stream: &str) -> Result<Counts> {
    let info = log.stream(stream)?;
    let mut counts = BTreeMap::new();
    for partition in 0..info.config.partitions {
        let mut reader = log.reader(stream, partition, ReadFrom::Earliest)?;
        let end = reader.end()?;
        let mut is_first = true;
        while let Some(batch) = reader.next_wait(Duration::ZERO)? {
            if batch.first >= end {
                break;
            }
            if is_first && batch.first_number > 0 {
                bail!(
                    "partition {partition} of stream `{stream}` was truncated: words counted before are \
                     not in it, so there is no whole table to print"
                );
            }
            is_first = false;
            for record in batch.records {
                let count = std::str::from_utf8(&record.value)?.parse()?;
                counts.insert(record.key.context("a count without its word")?.to_vec(), count);
            }
        }
    }
    Ok(counts)
}

/// Prints every word by its bytes, or the `top` most frequent ones.
pub(crate) fn print(counts: &Counts, all: bool, top: usize) -> Result<()> {
    let mut rows: Vec<(&Vec<u8>, u64)> = counts.iter().map(|(word, n)| (word, *n)).collect();
    if !all {
        rows.sort_by_key(|(word, n)| (Reverse(*n), *word));
        rows.truncate(top);
    }
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    for (word, n) in rows {
        write!(out, "{n}\t")?;
        out.write_all(word)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Whether the reader of standard output went away, which is no error of ours.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
