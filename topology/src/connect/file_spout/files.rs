//! Which files there are, and how far each was read.
//!
//! A position is `offset line hash mark`: the byte the next record begins at, the line it is, what stands
//! before it ([`tail`]), and `e` where that was the end of the file, `m` where there was more.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
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

    /// Refuses a path that names no files in a way that is known here.
    pub(super) fn check(&self) -> Result<(), FileError> {
        let wrong = |why| Err(FileError::Pattern { path: self.path(&self.names.to_string()), why });
        if self.dir.to_string_lossy().contains('*') {
            return wrong(
                "a `*` stands for a part of a file's name, not of a directory's: read each directory with a spout",
            );
        }
        match &self.names {
            Names::Like(_, tail) if tail.contains('*') => wrong(
                "a name has one `*`: name a larger part of the files, or read them with several spouts",
            ),
            _ => Ok(()),
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
            let io = |source| FileError::Io { path: path.clone(), source };
            let meta = fs::metadata(&path).map_err(io)?;
            check_kind(&path, &meta)?;
            return Ok(vec![(name.clone(), meta.len())]);
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
                Ok(meta) if meta.is_dir() => {}
                Ok(meta) => {
                    check_kind(&entry.path(), &meta)?;
                    files.push((name, meta.len()));
                }
                // It went between two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(FileError::Io { path: entry.path(), source }),
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

/// Refuses what has no bytes at places.
fn check_kind(path: &Path, meta: &fs::Metadata) -> Result<(), FileError> {
    let of = meta.file_type();
    let kind = match () {
        () if of.is_file() => return Ok(()),
        // It was none when the topology was built.
        () if of.is_dir() => "a directory",
        () if of.is_fifo() => "a pipe",
        () if of.is_socket() => "a socket",
        () => "a device",
    };
    Err(FileError::NoFile { path: path.to_owned(), kind })
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Names::One(name) => f.write_str(name),
            Names::Like(head, tail) => write!(f, "{head}*{tail}"),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path(&self.names.to_string()).display())
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
    /// Whether the record before it had no end: the file ended there.
    pub(super) is_cut: bool,
}

impl Place {
    /// The beginning of a file.
    pub(super) const START: Place = Place { at: 0, line: 1, tail: 0, is_end: false, is_cut: false };

    pub(super) fn text(&self) -> String {
        let mark = match (self.is_cut, self.is_end) {
            (true, _) => 'u',
            (false, true) => 'e',
            (false, false) => 'm',
        };
        format!("{} {} {:016x} {mark}", self.at, self.line, self.tail)
    }

    pub(super) fn parse(name: &str, text: &[u8]) -> Result<Place, FileError> {
        let wrong = || FileError::Position {
            name: name.to_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        };
        let words = std::str::from_utf8(text).map_err(|_| wrong())?;
        let words: Vec<&str> = words.split(' ').collect();
        let [at, line, tail, mark @ ("e" | "m" | "u")] = words[..] else { return Err(wrong()) };
        Ok(Place {
            at: at.parse().map_err(|_| wrong())?,
            line: line.parse().map_err(|_| wrong())?,
            tail: u64::from_str_radix(tail, 16).map_err(|_| wrong())?,
            is_end: mark != "m",
            is_cut: mark == "u",
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
        let place =
            Place { at: len, line: 1, tail: tail(&file, path, len)?, is_end: true, is_cut: false };
        Ok((place, last != [b'\n']))
    }

    /// The same as [`check`](Place::check), of a file that is not open.
    pub(super) fn check_path(&self, path: &Path, len: u64) -> Result<(), FileError> {
        if self.at == 0 { Ok(()) } else { self.check(&open(path)?, path, len) }
    }

    /// Where to go on in a file that has grown since its last line was taken without an end: behind that end, if that is
    /// what came.
    pub(super) fn behind_cut(mut self, path: &Path, len: u64) -> Result<Place, FileError> {
        if !self.is_cut || len <= self.at {
            return Ok(self);
        }
        let file = open(path)?;
        self.check(&file, path, len)?;
        let mut next = [0; 2];
        let next = &mut next[..usize::try_from(len - self.at).unwrap_or(2).min(2)];
        let read = file.read_exact_at(next, self.at);
        read.map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        let end = match next {
            [b'\n', ..] => 1,
            [b'\r', b'\n'] => 2,
            _ => {
                let (path, line, at) = (path.to_owned(), self.line, self.at);
                return Err(FileError::Grown { path, line, at });
            }
        };
        self.at += end;
        self.line += 1;
        self.tail = tail(&file, path, self.at)?;
        self.is_cut = false;
        Ok(self)
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
    fn a_path_with_a_star_elsewhere_or_to_what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let why = |path: &str| {
            let pattern = Pattern::new(&dir.path().join(path));
            pattern.check().and_then(|()| pattern.list()).unwrap_err().to_string()
        };
        assert!(why("*/a.csv").contains("*/a.csv: a `*` stands for a part of a file's name"));
        assert!(why("a*b*.csv").contains("a*b*.csv: a name has one `*`"));
        let _held = std::os::unix::net::UnixListener::bind(dir.path().join("s.csv")).unwrap();
        for path in ["s.csv", "*.csv", ""] {
            assert!(why(path).contains("s.csv: is no file but a socket"), "{path}");
        }
        let device = Pattern::new(Path::new("/dev/null")).list().unwrap_err().to_string();
        assert!(device.contains("/dev/null: is no file but a device"), "{device}");
    }

    #[test]
    fn a_file_that_goes_on_behind_a_line_without_an_end_is_gone_on_with_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let behind = |text: &str, at: u64| {
            fs::write(&path, text).unwrap();
            let file = File::open(&path).unwrap();
            let tail = tail(&file, &path, at).unwrap();
            let place = Place { at, line: 2, tail, is_end: true, is_cut: true };
            place
                .behind_cut(&path, text.len() as u64)
                .map(|place| (place.at, place.line, place.is_cut))
        };
        assert_eq!(behind("a\nb", 3).unwrap(), (3, 2, true), "it is as it was");
        assert_eq!(behind("a\nb\nc", 3).unwrap(), (4, 3, false));
        assert_eq!(behind("a\nb\r\n", 3).unwrap(), (5, 3, false));
        for text in ["a\nbc\n", "a\nb\rc"] {
            assert!(
                matches!(behind(text, 3), Err(FileError::Grown { line: 2, at: 3, .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_place_is_read_back_and_anything_else_is_refused() {
        let place = Place { at: 17, line: 3, tail: u64::MAX, is_end: true, is_cut: false };
        assert_eq!(Place::parse("f", place.text().as_bytes()).unwrap(), place);
        let cut = Place { is_cut: true, ..place };
        assert_eq!(Place::parse("f", cut.text().as_bytes()).unwrap(), cut);
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
            Place { at, line: 1, tail, is_end: false, is_cut: false }
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
