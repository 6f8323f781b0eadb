//! The files of a sink's directory, and every change that is made to them.
//!
//! ```text
//! part-00002-000007.csv             part 7 of partition 2: whole, committed, for everyone to read
//! .part-00002-000008.g12            part 8 while generation 12 writes it
//! .part-00002-000008.g12.copy       a part 8 that generation 12 takes from one before, while it does
//! .shown-00002-000008               part 8, the last of a run that ended, is whole: how many bytes it has
//! .egret-sink-0123456789abcdef      whose directory it is
//! ```
//! A generation writes files of its own only: one that was taken over and does not know it writes into files that
//! nobody looks at.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use egret_schemas::key;

use super::error::FileSinkError;
use crate::simulation::failpoint;

const OWNER: &str = ".egret-sink-";
const COPY: &str = ".copy";
const SHOWN: &str = ".shown-";

/// A file of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) partition: u32,
    pub(super) number: u64,
    /// Who writes it; `None`: it is whole.
    pub(super) generation: Option<u32>,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) dir: PathBuf,
    /// What names of whole parts end with.
    pub(super) suffix: &'static str,
}

fn at(path: &Path) -> impl Fn(io::Error) -> FileSinkError + '_ {
    |source| FileSinkError::Io { path: path.to_owned(), source }
}

/// A name without its last part after a dot, and that.
fn split(name: &str) -> Option<(u32, u64)> {
    let (partition, number) = name.strip_prefix("part-")?.split_once('-')?;
    Some((partition.parse().ok()?, number.parse().ok()?))
}

impl Parts {
    pub(super) fn path(&self, part: Part) -> PathBuf {
        let Part { partition, number, generation } = part;
        self.dir.join(match generation {
            Some(generation) => format!(".part-{partition:05}-{number:06}.g{generation}"),
            None => format!("part-{partition:05}-{number:06}{}", self.suffix),
        })
    }

    fn parse(&self, name: &str) -> Option<Part> {
        if let Some(name) = name.strip_prefix('.') {
            let (name, generation) = name.split_once(".g")?;
            let (partition, number) = split(name)?;
            return Some(Part { partition, number, generation: Some(generation.parse().ok()?) });
        }
        let (partition, number) = split(name.strip_suffix(self.suffix)?)?;
        Some(Part { partition, number, generation: None })
    }

    /// The parts there are, in order, whole ones of a number first; what is neither is not this sink's.
    pub(super) fn list(&self) -> Result<Vec<Part>, FileSinkError> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name();
            parts.extend(name.to_str().and_then(|name| self.parse(name)));
        }
        parts.sort_unstable();
        Ok(parts)
    }

    /// Copies that were under way when a process ended: by whose generation, and of which partition.
    pub(super) fn copies(&self) -> Result<Vec<(Part, PathBuf)>, FileSinkError> {
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let entry = entry.map_err(at(&self.dir))?;
            let name = entry.file_name();
            let part = name.to_str().and_then(|name| self.parse(name.strip_suffix(COPY)?));
            copies.extend(part.filter(|part| part.generation.is_some()).map(|p| (p, entry.path())));
        }
        copies.sort_unstable();
        Ok(copies)
    }

    pub(super) fn remove_file(&self, path: &Path) -> Result<(), FileSinkError> {
        let remove = || {
            failpoint()?;
            fs::remove_file(path)
        };
        remove().map_err(at(path))
    }

    fn note(&self, Part { partition, number, .. }: Part) -> PathBuf {
        self.dir.join(format!("{SHOWN}{partition:05}-{number:06}"))
    }

    /// Notes that a part is about to be shown that no commit says is whole, and how long it is.
    pub(super) fn note_shown(&self, part: Part, bytes: u64) -> Result<(), FileSinkError> {
        let path = self.note(part);
        let note = || {
            failpoint()?;
            let mut file = File::create(&path)?;
            file.write_all(bytes.to_string().as_bytes())?;
            failpoint()?;
            file.sync_all()
        };
        note().map_err(at(&path))?;
        self.sync()
    }

    /// Whether it is noted that a part of so many bytes was shown.
    pub(super) fn was_shown(&self, part: Part, bytes: u64) -> bool {
        fs::read_to_string(self.note(part)).is_ok_and(|noted| noted == bytes.to_string())
    }

    /// Takes back what was noted of parts of a partition before `number`: the record has moved on.
    pub(super) fn forget_notes(&self, partition: u32, number: u64) -> Result<(), FileSinkError> {
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let entry = entry.map_err(at(&self.dir))?;
            let name = entry.file_name();
            let noted = name.to_str().and_then(|name| {
                let (of, number) = name.strip_prefix(SHOWN)?.split_once('-')?;
                Some((of.parse::<u32>().ok()?, number.parse::<u64>().ok()?))
            });
            if noted.is_some_and(|(of, noted)| of == partition && noted < number) {
                self.remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Makes the directory this owner's, or refuses it.
    pub(super) fn claim(&self, owner: &str) -> Result<(), FileSinkError> {
        fs::create_dir_all(&self.dir).map_err(at(&self.dir))?;
        let mine = format!("{OWNER}{:016x}", key::hash(owner.as_bytes()));
        let path = self.dir.join(&mine);
        if !path.exists() {
            fs::write(&path, owner).map_err(at(&path))?;
            self.sync()?;
        }
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let entry = entry.map_err(at(&self.dir))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(OWNER) && name != mine) {
                let owner = fs::read_to_string(entry.path()).map_err(at(&entry.path()))?;
                // It is not this sink's after all.
                fs::remove_file(&path).map_err(at(&path))?;
                return Err(FileSinkError::Owned { dir: self.dir.clone(), owner });
            }
        }
        Ok(())
    }

    pub(super) fn len(&self, part: Part) -> Result<u64, FileSinkError> {
        let path = self.path(part);
        Ok(fs::metadata(&path).map_err(at(&path))?.len())
    }

    /// Makes changes of names durable.
    pub(super) fn sync(&self) -> Result<(), FileSinkError> {
        let sync = || {
            failpoint()?;
            File::open(&self.dir)?.sync_all()
        };
        sync().map_err(at(&self.dir))
    }

    /// A new part.
    pub(super) fn create(&self, part: Part) -> Result<File, FileSinkError> {
        let path = self.path(part);
        let create = || {
            failpoint()?;
            OpenOptions::new().append(true).create_new(true).open(&path)
        };
        let file = create().map_err(at(&path))?;
        self.sync()?;
        Ok(file)
    }

    pub(super) fn write(
        &self,
        part: Part,
        file: &mut File,
        bytes: &[u8],
    ) -> Result<(), FileSinkError> {
        let mut write = || {
            failpoint()?;
            file.write_all(bytes)
        };
        write().map_err(at(&self.path(part)))
    }

    /// Makes what was written durable.
    pub(super) fn sync_part(&self, part: Part, file: &File) -> Result<(), FileSinkError> {
        let sync = || {
            failpoint()?;
            file.sync_data()
        };
        sync().map_err(at(&self.path(part)))
    }

    pub(super) fn remove(&self, part: Part) -> Result<(), FileSinkError> {
        let path = self.path(part);
        let remove = || {
            failpoint()?;
            fs::remove_file(&path)
        };
        remove().map_err(at(&path))
    }

    /// Makes a part whole, for everyone to read.
    pub(super) fn show(&self, part: Part) -> Result<(), FileSinkError> {
        let path = self.path(part);
        let rename = || {
            failpoint()?;
            fs::rename(&path, self.path(Part { generation: None, ..part }))
        };
        rename().map_err(at(&path))?;
        self.sync()
    }

    /// The first `bytes` of a part of another generation as this one's own.
    pub(super) fn copy(&self, of: Part, bytes: u64, to: Part) -> Result<(), FileSinkError> {
        let (from, path) = (self.path(of), self.path(to));
        let mut temporary = path.clone().into_os_string();
        temporary.push(COPY);
        let copy = || {
            failpoint()?;
            let mut file = File::create(&temporary)?;
            let copied = io::copy(&mut File::open(&from)?.take(bytes), &mut file)?;
            if copied < bytes {
                return Err(io::Error::other("it became shorter while it was copied"));
            }
            failpoint()?;
            file.sync_data()?;
            failpoint()?;
            fs::rename(&temporary, &path)
        };
        copy().map_err(at(&path))?;
        self.sync()
    }

    /// Goes on with a part of this generation.
    pub(super) fn append(&self, part: Part) -> Result<File, FileSinkError> {
        let path = self.path(part);
        OpenOptions::new().append(true).open(&path).map_err(at(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_name_and_nothing_else_is_one() {
        let parts = Parts { dir: "d".into(), suffix: ".csv" };
        for generation in [None, Some(12)] {
            let part = Part { partition: 2, number: 7, generation };
            let path = parts.path(part);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(parts.parse(name), Some(part), "{name}");
        }
        for name in [
            "part-00002-000007.json",
            "part-x-1.csv",
            ".part-00002-000008.g12.copy",
            ".part-00002.g1",
            "notes.csv",
        ] {
            assert_eq!(parts.parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts { dir: dir.path().join("out"), suffix: ".txt" };
        parts.claim("sink `out` of topology `a`").unwrap();
        parts.claim("sink `out` of topology `a`").unwrap();
        let refused = parts.claim("sink `out` of topology `b`").unwrap_err();
        assert!(refused.to_string().contains("topology `a`"), "{refused}");
        parts.claim("sink `out` of topology `a`").unwrap();
    }
}
