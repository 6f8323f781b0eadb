//! The stream `counts` as a table: the last count of each word.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use egret_log::Log;
use egret_log::stream::ReadFrom;

/// The last committed count of each word.
pub(crate) fn counts(log: &Log) -> Result<BTreeMap<Vec<u8>, u64>> {
    let info = log.stream("counts")?;
    let mut counts = BTreeMap::new();
    for partition in 0..info.config.partitions {
        let mut reader = log.reader("counts", partition, ReadFrom::Earliest)?;
        let end = reader.end()?;
        let mut is_first = true;
        while let Some(batch) = reader.next_wait(Duration::ZERO)? {
            if batch.first >= end {
                break;
            }
            if is_first && batch.first_number > 0 {
                bail!(
                    "partition {partition} of stream `counts` was truncated: words counted before are \
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
pub(crate) fn print(log: &Log, all: bool, top: usize) -> Result<()> {
    let counts = counts(log)?;
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
