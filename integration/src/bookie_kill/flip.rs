//! Bits of a bookie's files turned over while it is down: a disk that lies.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sim::dice::Dice;

/// Most of a journal's files is zeros that hold nothing: so many places are looked at for each that counts.
const TRIES: u64 = 100;

/// Turns over one bit in each of so many places, wherever something was written; how many were.
///
/// # Errors
/// When a file cannot be read or written.
pub fn flip(dir: &Path, places: u64, dice: &mut Dice) -> anyhow::Result<u64> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    // A directory says in no order.
    files.sort_unstable();
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    if total == 0 {
        return Ok(0);
    }
    let mut flipped = 0;
    for _ in 0..places * TRIES {
        let mut at = dice.roll(total);
        let found = files.iter().find(|(_, bytes)| {
            let here = at < *bytes;
            if !here {
                at -= bytes;
            }
            here
        });
        let Some((path, _)) = found else { continue };
        let file = File::options().read(true).write(true).open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        if byte[0] != 0 {
            byte[0] ^= 1 << dice.roll(8);
            file.write_all_at(&byte, at)?;
            flipped += 1;
        }
        if flipped == places {
            break;
        }
    }
    Ok(flipped)
}

/// Files that may hold entries, and their sizes.
fn collect(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let found = std::fs::metadata(&path)?;
        if found.is_dir() {
            collect(&path, files)?;
        } else if found.len() > 4096 {
            files.push((path, found.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_flipped_and_one_bit_in_each_place() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("shard");
        std::fs::create_dir(&inner).unwrap();
        let (zeros, ones) = (vec![0u8; 8192], vec![0xff; 8192]);
        std::fs::write(inner.join("zeros"), &zeros).unwrap();
        std::fs::write(dir.path().join("ones"), &ones).unwrap();
        std::fs::write(dir.path().join("small"), "an identity").unwrap();
        let flipped = flip(dir.path(), 20, &mut Dice::new(1, "flips")).unwrap();
        let now = std::fs::read(dir.path().join("ones")).unwrap();
        let cleared: u32 = now.iter().map(|byte| byte.count_zeros()).sum();
        assert!(flipped == 20 && (18..=20).contains(&cleared), "{flipped} places, {cleared} bits");
        assert_eq!(std::fs::read(inner.join("zeros")).unwrap(), zeros);
        assert_eq!(std::fs::read(dir.path().join("small")).unwrap(), b"an identity");
    }
}
