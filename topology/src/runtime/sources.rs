//! What a commit says of the streams its topology reads, against what those streams say.
//!
//! Only spouts that read Egret's own streams appear here: what another source keeps is its own affair, and
//! a commit that names a position it no longer has fails when the spout opens.

use std::collections::BTreeMap;

use egret_log::Log;
use egret_log::stream::error::{CatalogError, ReadError};
use egret_log::stream::{Kept, Places, Reads, Sources, User};
use egret_schemas::Position;
use egret_state::commit::{CommitRecord, Names};

use super::named::NamedError;
use crate::connect::log_spout::place;
use crate::task::chain;

/// One partition as a commit has it: the position, and the ledger that is in.
struct At<'a> {
    partition: u32,
    position: Position,
    ledger: &'a str,
}

fn parse<'a>(split: &[u8], text: &'a [u8]) -> Option<At<'a>> {
    let partition = std::str::from_utf8(split).ok()?.parse().ok()?;
    let (position, ledger) = place(std::str::from_utf8(text).ok()?).ok()?;
    Some(At { partition, position, ledger })
}

/// Where a commit has a component in the stream it reads.
fn positions<'a>(record: &'a CommitRecord, reads: &Reads<'_>) -> Result<Vec<At<'a>>, NamedError> {
    let splits = record.spouts.get(reads.component).into_iter().flatten();
    let at = |(split, text): (&'a Vec<u8>, &'a Vec<u8>)| {
        parse(split, text).ok_or_else(|| NamedError::Position {
            component: reads.component.to_owned(),
            stream: reads.stream.to_owned(),
            position: String::from_utf8_lossy(text).into_owned(),
        })
    };
    splits.map(at).collect()
}

fn places(record: &CommitRecord, reads: &Reads<'_>) -> Result<Places, NamedError> {
    Ok(positions(record, reads)?.into_iter().map(|at| (at.partition, at.position)).collect())
}

/// What all these names need of each stream: the lowest position of any.
pub(super) fn kept_by(sources: &Sources, names: &Names) -> Result<Kept, NamedError> {
    let mut kept = Kept::new();
    for reads in sources.reads() {
        for named in names.commits.values() {
            for (partition, position) in places(&named.record, &reads)? {
                let streams = kept.entry(reads.stream.to_owned()).or_default();
                let needed = streams.entry(reads.component.to_owned()).or_default();
                let lowest = needed.entry(partition).or_insert(position);
                *lowest = (*lowest).min(position);
            }
        }
    }
    Ok(kept)
}

/// Whether everything that is read again from this commit on was still needed, and so still kept, when
/// the sources were looked at. If not, there is a newer commit.
pub(super) fn still_needed(sources: &Sources, record: &CommitRecord) -> Result<bool, NamedError> {
    let reads: BTreeMap<&str, Reads<'_>> = sources.reads().map(|r| (r.component, r)).collect();
    for (component, splits) in &record.spouts {
        let of_a_stream = || splits.iter().any(|(split, text)| parse(split, text).is_some());
        let forced = || NamedError::Forced { component: component.clone() };
        let Some(reads) = reads.get(component.as_str()) else {
            // A spout of another kind of source, or one whose claim was taken away.
            if of_a_stream() {
                return Err(forced());
            }
            continue;
        };
        let needed = reads.needed.ok_or_else(forced)?;
        let moved_on = |at: &At<'_>| needed.get(&at.partition).is_some_and(|n| *n > at.position);
        if positions(record, reads)?.iter().any(moved_on) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether every position of a commit can be read from; if not, why.
pub(super) fn check_sources(
    log: &Log,
    sources: &Sources,
    record: &CommitRecord,
) -> Result<(), String> {
    for reads in sources.reads() {
        let (component, stream) = (reads.component, reads.stream);
        for At { partition, position, ledger } in
            positions(record, &reads).map_err(|error| chain(&error))?
        {
            let described = match log.describe_partition(stream, partition) {
                Ok(described) => described,
                Err(ReadError::Catalog(CatalogError::NoStream { .. })) => {
                    return Err(format!("stream `{stream}`, which `{component}` reads, is gone"));
                }
                Err(error) => return Err(chain(&error)),
            };
            let first = described.first;
            if position < first {
                return Err(format!(
                    "stream `{stream}` was truncated by force: its partition {partition} begins at {first}, \
                     and `{component}` would go on at {position}"
                ));
            }
            let there = described.segments.iter().find(|segment| segment.id == position.segment);
            if there.is_some_and(|there| ledger != "-" && there.ledger.to_string() != ledger) {
                return Err(format!(
                    "stream `{stream}` was deleted and made again: its records are not those that \
                     `{component}` read"
                ));
            }
        }
    }
    let read = |component: &&String| !sources.reads().any(|reads| reads.component == *component);
    match record.spouts.keys().find(|component| {
        let splits = &record.spouts[*component];
        read(component) && splits.iter().any(|(split, text)| parse(split, text).is_some())
    }) {
        Some(component) => {
            Err(format!("the stream that `{component}` reads was deleted, or truncated by force"))
        }
        None => Ok(()),
    }
}

/// Has the sources keep what is read again from this commit on.
pub(super) fn rewind(log: &Log, topology: &str, record: &CommitRecord) -> Result<(), NamedError> {
    let sources = log.sources(topology)?;
    for reads in sources.reads() {
        let to = places(record, &reads)?;
        if to.is_empty() {
            continue;
        }
        let user = User { topology: topology.to_owned(), component: reads.component.to_owned() };
        log.rewind(reads.stream, &user, &to)?;
    }
    Ok(())
}
