//! The shards of a bookie: each with its own journal, extents and threads, so that they sync side by side
//! and one that failed leaves the others working.
//!
//! A ledger belongs to the shard its number hashes to, for ever: how many there are was fixed when the
//! directory was formatted. One shard lives in the bookie's directory itself, several in `shard00`,
//! `shard01` and so on inside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use egret_schemas::LedgerId;

use super::damage::Damage;
use super::manifest;
use super::open::OpenError;
use super::shard::Shard;
use super::whole_file;
use crate::disk::Disk;
use crate::message::{Reply, ReplyTo};

/// Says that every shard was formatted: one that is empty now has lost something.
const FORMATTED: &str = "shards.formatted";

/// The directory of each shard of `count` in `dir`.
pub(super) fn dirs(dir: &Path, count: u16) -> Vec<PathBuf> {
    if count == 1 {
        return vec![dir.to_owned()];
    }
    (0..count).map(|number| dir.join(format!("shard{number:02}"))).collect()
}

/// The number of the shard of a ledger, of `count`.
pub(super) fn of(ledger: LedgerId, count: usize) -> usize {
    let hash = xxhash_rust::xxh3::xxh3_64(&ledger.0.to_le_bytes());
    let count = u64::try_from(count).expect("a count in memory fits u64");
    usize::try_from(hash % count).expect("below a count in memory")
}

/// Refuses when a shard that was formatted has nothing any more.
pub(super) fn check(disk: &dyn Disk, dir: &Path, dirs: &[PathBuf]) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    if dirs.len() == 1 || !disk.exists(&dir.join(FORMATTED)).map_err(io)? {
        return Ok(());
    }
    for shard in dirs {
        let manifest = shard.join(manifest::NAME);
        if !disk.exists(&manifest).map_err(io)? {
            return Err(Damage::new(&manifest, 0, "the shard's manifest is missing").into());
        }
    }
    Ok(())
}

/// Writes down that all shards are formatted.
pub(super) fn formatted(disk: &dyn Disk, dir: &Path, count: usize) -> io::Result<()> {
    if count == 1 || disk.exists(&dir.join(FORMATTED))? {
        return Ok(());
    }
    whole_file::replace(disk, dir, FORMATTED, b"each has a manifest\n")
}

/// Gives one answer once every shard gave its own: done, or the first that is something else.
pub(super) fn gather(
    shards: &[Arc<Shard>],
    reply: ReplyTo,
) -> impl Fn(Reply) + Send + Clone + use<> {
    struct Gathered {
        left: usize,
        other: Option<Reply>,
        reply: Option<ReplyTo>,
    }
    let gathered = Gathered { left: shards.len(), other: None, reply: Some(reply) };
    let gathered = Arc::new(Mutex::new(gathered));
    move |answer| {
        let mut held = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        held.left -= 1;
        if !matches!(answer, Reply::Done) {
            held.other.get_or_insert(answer);
        }
        if held.left > 0 {
            return;
        }
        let (reply, answer) = (held.reply.take(), held.other.take().unwrap_or(Reply::Done));
        drop(held);
        if let Some(reply) = reply {
            reply(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_ledger_lives_does_not_change() {
        let places: Vec<_> = (0..12).map(|n| of(LedgerId(n), 4)).collect();
        let again: Vec<_> = (0..12).map(|n| of(LedgerId(n), 4)).collect();
        assert_eq!(places, again);
        let spread = |shard| (0..4000).filter(|n| of(LedgerId(*n), 4) == shard).count();
        assert!((0..4).all(|shard| (900..1100).contains(&spread(shard))));
        assert!((0..100).all(|n| of(LedgerId(n), 1) == 0));
    }
}
