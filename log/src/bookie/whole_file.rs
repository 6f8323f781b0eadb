//! Small files that are read and replaced as a whole: found in the old state or the new, never between.

use std::io;
use std::path::Path;

use super::damage::{Damage, FileError};
use crate::disk::{Disk, OpenHow};
use crate::mutants::{self, Mutant};

/// Writes `bytes` as `dir/name`, replacing what is there: temporary file, sync, rename, sync of the
/// directory. When it returns `Ok` the new content is what every later start finds; on an error either
/// may be.
pub(super) fn replace(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.open(&temporary, OpenHow::CreateNew, false)?;
    file.write_all_at(bytes, 0)?;
    if !mutants::on(Mutant::ManifestNotSynced) {
        file.sync_data()?;
    }
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// Reads a file of at most `bytes_max`; `None` when there is none.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, FileError> {
    let file = match disk.open(path, OpenHow::Read, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let len = file.len()?;
    if len > bytes_max {
        let what = format!("{len} bytes long, where at most {bytes_max} are");
        return Err(Damage::new(path, bytes_max, what).into());
    }
    let mut bytes = vec![0; usize::try_from(len).expect("the limit fits memory")];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// The body of a file that ends with the CRC32C of all before it.
pub(super) fn checked<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(Damage::new(path, 0, format!("only {} bytes long", bytes.len())));
    };
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if stored == computed {
        return Ok(body);
    }
    let what = format!("checksum {stored:08x} stored, {computed:08x} computed");
    Err(Damage::new(path, 0, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultyDisk;

    #[test]
    fn a_power_cut_leaves_the_old_content_or_the_new() {
        let dir = Path::new("/b");
        let path = dir.join("F");
        let old = vec![1; 1500];
        let new = vec![2; 1700];
        for cut in 0..6 {
            for seed in 0..40 {
                let disk = FaultyDisk::new();
                disk.create_dir(dir).unwrap();
                replace(&disk, dir, "F", &old).unwrap();
                disk.crash_after(disk.operations() + cut);
                let done = replace(&disk, dir, "F", &new);
                let found = disk.reboot(seed);
                let read = read(&found, &path, 4096).unwrap().unwrap();
                assert!(read == new || read == old && done.is_err(), "cut {cut} seed {seed}");
                // What the cut left behind does not stand in the way.
                replace(&found, dir, "F", &new).unwrap();
                assert_eq!(found.files().len(), 1);
            }
        }
    }

    #[test]
    fn a_file_larger_than_allowed_is_not_read() {
        let disk = FaultyDisk::new();
        disk.create_dir(Path::new("/b")).unwrap();
        replace(&disk, Path::new("/b"), "F", &[0; 100]).unwrap();
        let error = read(&disk, Path::new("/b/F"), 99).unwrap_err();
        assert!(error.damage().is_some(), "{error}");
        assert!(read(&disk, Path::new("/b/F"), 100).unwrap().is_some());
        assert!(read(&disk, Path::new("/b/G"), 100).unwrap().is_none());
    }
}
