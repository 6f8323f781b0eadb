//! Which files there are, and how far each was read.
//!
//! A position is `offset line hash mark`: the byte the next record begins at, the line it is, what stands
//! before it ([`tail`]), and `e` where that was the end of the file, `m` where there was more.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use egret_schemas::key;

use super::error::FileError;

/// Bytes before a position by which a file is known again.
const TAIL_BYTES: usize = 64;

/// Which files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) dir: PathBuf,
    /// The one file, or what the names of those in the directory begin and end with.
    names: Names,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    One(String),
    Like(String, String),
}

impl Pattern {
    /// `path` is a file, a directory, or names in a directory with a `*` for anything.
    pub(super) fn new(path: &Path) -> Pattern {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => path,
        };
        match name {
            Some(name) if name.contains('*') => {
                let (head, tail) = name.split_once('*').unwrap_or((&name, ""));
                let names = Names::Like(head.to_owned(), tail.to_owned());
                Pattern { dir: parent.to_owned(), names }
            }
            Some(name) if !path.is_dir() => {
                Pattern { dir: parent.to_owned(), names: Names::One(name) }
            }
            _ => {
                let names = Names::Like(String::new(), String::new());
                Pattern { dir: path.to_owned(), names }
            }
        }
    }

    fn fits(&self, name: &str) -> bool {
        match &self.names {
            Names::One(one) => name == one,
            Names::Like(head, tail) => {
                let rest = name.strip_prefix(head.as_str());
                !name.starts_with('.') && rest.is_some_and(|rest| rest.ends_with(tail))
            }
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The files there are now, in order of their names, and how long each is.
    pub(super) fn list(&self) -> Result<Vec<(String, u64)>, FileError> {
        if let Names::One(name) = &self.names {
            let path = self.path(name);
            let len = fs::metadata(&path).map_err(|source| FileError::Io { path, source })?.len();
            return Ok(vec![(name.clone(), len)]);
        }
        let io = |source| FileError::Io { path: self.dir.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(FileError::Name { path: entry.path() });
            };
            if !self.fits(&name) {
                continue;
            }
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => files.push((name, meta.len())),
                Ok(_) => {}
                // It went between two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FileError::Io { path: entry.path(), source }),
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.names {
            Names::One(name) => write!(f, "{}", self.path(name).display()),
            Names::Like(head, tail) => write!(f, "{}/{head}*{tail}", self.dir.display()),
        }
    }
}

/// The task of a file: by its name alone, so that all tasks agree whatever comes and goes.
pub(super) fn task_of(name: &str, tasks: u32) -> u32 {
    key::partition(key::hash(name.as_bytes()), tasks)
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: u64,
    /// The line that begins there, from 1.
    pub(super) line: u64,
    /// What stands before it.
    pub(super) tail: u64,
    /// Whether there was nothing behind it.
    pub(super) is_end: bool,
}

impl Place {
    /// The beginning of a file.
    pub(super) const START: Place = Place { at: 0, line: 1, tail: 0, is_end: false };

    pub(super) fn text(&self) -> String {
        let mark = if self.is_end { 'e' } else { 'm' };
        format!("{} {} {:016x} {mark}", self.at, self.line, self.tail)
    }

    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Place, FileError> {
        let wrong = || FileError::Position {
            name: name.to_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        };
        let words = std::str::from_utf8(text).map_err(|_| wrong())?;
        let words: Vec<&str> = words.split(' ').collect();
        let [at, line, tail, mark @ ("e" | "m")] = words[..] else { return Err(wrong()) };
        Ok(Place {
            at: at.parse().map_err(|_| wrong())?,
            line: line.parse().map_err(|_| wrong())?,
            tail: u64::from_str_radix(tail, 16).map_err(|_| wrong())?,
            is_end: mark == "e",
        })
    }

    /// The end of a file as it is now, and whether it is within a line.
    pub(super) fn at_end(path: &Path, len: u64) -> Result<(Place, bool), FileError> {
        let file = open(path)?;
        let mut last = [b'\n'];
        if let Some(at) = len.checked_sub(1) {
            let read = file.read_exact_at(&mut last, at);
            read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        }
        let place = Place { at: len, line: 1, tail: tail(&file, path, len)?, is_end: true };
        Ok((place, last != [b'\n']))
    }

    /// The same as [`check`](Place::check), of a file that is not open.
    pub(super) fn check_path(&self, path: &Path, len: u64) -> Result<(), FileError> {
        if self.at == 0 { Ok(()) } else { self.check(&open(path)?, path, len) }
    }

    /// Refuses a file that is not the one this is a place in.
    pub(super) fn check(&self, file: &File, path: &Path, len: u64) -> Result<(), FileError> {
        if len < self.at {
            return Err(FileError::Truncated { path: path.to_owned(), len, at: self.at });
        }
        match tail(file, path, self.at)? == self.tail {
            true => Ok(()),
            false => Err(FileError::Replaced { path: path.to_owned(), at: self.at }),
        }
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| FileError::Io { path: path.to_owned(), source })
}

/// A hash of what stands before a byte of a file: 0 at its beginning.
pub(super) fn tail(file: &File, path: &Path, at: u64) -> Result<u64, FileError> {
    let mut bytes = [0; TAIL_BYTES];
    let before = usize::try_from(at).unwrap_or(TAIL_BYTES).min(TAIL_BYTES);
    let bytes = &mut bytes[..before];
    let read = file.read_exact_at(bytes, at - before as u64);
    read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    Ok(if bytes.is_empty() { 0 } else { key::hash(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_file_a_directory_or_names_in_one() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", ".hidden.csv"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        fs::create_dir(dir.path().join("d.csv")).unwrap();
        let list = |path: &str| {
            let listed = Pattern::new(&dir.path().join(path)).list().unwrap();
            listed.into_iter().map(|(name, len)| format!("{name} {len}")).collect::<Vec<_>>()
        };
        assert_eq!(list(""), ["a.csv 5", "b.csv 5", "c.txt 5"]);
        assert_eq!(list("*.csv"), ["a.csv 5", "b.csv 5"]);
        assert_eq!(list("c*t"), ["c.txt 5"]);
        assert_eq!(list("b.csv"), ["b.csv 5"]);
        let none = Pattern::new(&dir.path().join("none")).list().unwrap_err();
        assert!(none.to_string().contains("none"), "{none}");
    }

    #[test]
    fn a_place_is_read_back_and_anything_else_is_refused() {
        let place = Place { at: 17, line: 3, tail: u64::MAX, is_end: true };
        assert_eq!(Place::parse("f", place.text().as_bytes()).unwrap(), place);
        assert_eq!(Place::parse("f", Place::START.text().as_bytes()).unwrap(), Place::START);
        for text in ["", "1 2 3", "1 2 zz e", "1 2 3 x", "-1 2 3 e", "S1:0:0@L4"] {
            assert!(Place::parse("f", text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_known_again_by_what_stands_before_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let place = |text: &str, at| {
            fs::write(&path, text).unwrap();
            let file = File::open(&path).unwrap();
            let tail = tail(&file, &path, at).unwrap();
            Place { at, line: 1, tail, is_end: false }
        };
        let check = |text: &str, place: Place| {
            fs::write(&path, text).unwrap();
            place.check(&File::open(&path).unwrap(), &path, text.len() as u64)
        };
        let read = place("head\none\ntwo\n", 9);
        assert!(check("head\none\nother, and more\n", read).is_ok(), "it grew");
        assert!(matches!(check("head\n", read), Err(FileError::Truncated { len: 5, at: 9, .. })));
        assert!(matches!(check("head\nsix\ntwo\n", read), Err(FileError::Replaced { .. })));
        assert!(check("anything", Place::START).is_ok());
    }
}
