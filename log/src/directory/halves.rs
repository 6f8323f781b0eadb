//! The two halves of a data directory, bookie and metadata, know each other.
//!
//! The metadata says under [`KEY`] which bookie's ledgers it tells of: the incarnation that also stands in
//! the bookie's `IDENTITY`. So a half that is missing, or that comes from another directory, is
//! noticed, and nothing is ever begun anew beside a half that was in use.
//!
//! The metadata is made first and the identity last. So `IDENTITY` without metadata is never what a
//! crash left, and metadata without `IDENTITY` only while it holds nothing else.

use std::io;
use std::path::{Path, PathBuf};

use egret_schemas::bytes::{DecodeError, Reader};
use egret_schemas::{BookieId, Incarnation};

use super::OpenError;
use crate::bookie;
use crate::bookie::identity::{Identity, IdentityError};
use crate::disk::Disk;
use crate::metadata::{Compare, MetaError, MetaStore, Op, RedbMeta, Versioned};

/// Where the metadata says whose it is.
const KEY: &str = "/id/bookie";

/// Why the halves of a data directory do not go together.
#[derive(Debug, thiserror::Error)]
pub enum HalvesError {
    /// The bookie was in use, and there is no metadata.
    #[error(
        "{missing} is missing beside {bookie}, which is in use: put it back from the same copy as the rest, or name an empty directory",
        missing = .missing.display(), bookie = .bookie.display()
    )]
    NoMetadata {
        /// The metadata's file.
        missing: PathBuf,
        /// The bookie's directory.
        bookie: PathBuf,
    },
    /// The metadata was in use, and there is no bookie.
    #[error(
        "{missing} is missing or empty beside {metadata}, which is in use: put it back from the same copy as the rest, or name an empty directory",
        missing = .missing.display(), metadata = .metadata.display()
    )]
    NoBookie {
        /// The bookie's directory.
        missing: PathBuf,
        /// The metadata's file.
        metadata: PathBuf,
    },
    /// They come from different data directories.
    #[error(
        "{bookie} is bookie {found}, and {metadata} belongs to {expected}: put back the two of the same copy",
        bookie = .bookie.display(), metadata = .metadata.display()
    )]
    Strangers {
        /// The bookie's directory.
        bookie: PathBuf,
        /// Who it is.
        found: Incarnation,
        /// The metadata's file.
        metadata: PathBuf,
        /// Whom it tells of.
        expected: String,
    },
}

/// Whether there is anything of a data directory: its metadata at `file`, or a bookie in `place`.
pub(super) fn is_there(disk: &dyn Disk, place: &Path, file: &Path) -> io::Result<bool> {
    let there = || -> io::Result<bool> {
        if disk.exists(file)? {
            return Ok(true);
        }
        // What cannot be read as an identity is one all the same: to be told of, not to be made anew.
        let identity = |disk| !matches!(Identity::load(disk, place), Ok(None));
        Ok(disk.exists(place)? && (identity(disk) || Identity::data(disk, place)?.is_some()))
    };
    match there() {
        // A file stands where the directory should.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        told => told,
    }
}

/// Opens the metadata at `file`, or makes it for an empty directory, and sees to it that the bookie in
/// `place` is the one it tells of.
pub(super) fn join(
    disk: &dyn Disk,
    place: &Path,
    file: &Path,
    shards: u16,
) -> Result<RedbMeta, OpenError> {
    let told = |source| OpenError::Directory { dir: place.to_owned(), source };
    let identity = match disk.exists(place).map_err(told)? {
        true => Identity::load(disk, place).map_err(bookie::OpenError::from)?,
        false => None,
    };
    if identity.is_none()
        && let Some(found) = Identity::data(disk, place).map_err(told)?
    {
        let missing = IdentityError::Missing { dir: place.to_owned(), found };
        return Err(bookie::OpenError::from(missing).into());
    }
    if identity.is_some() && !disk.exists(file).map_err(told)? {
        let (missing, bookie) = (file.to_owned(), place.to_owned());
        return Err(HalvesError::NoMetadata { missing, bookie }.into());
    }
    let meta = RedbMeta::open(disk, file)?;
    let said = meta.get(KEY)?;
    let expected = said.as_ref().map(|said| decode(file, &said.value)).transpose()?;
    match identity {
        Some(found) if Some(found.incarnation) == expected => {}
        Some(found) => {
            let expected = expected.map_or("none".to_owned(), |expected| expected.to_string());
            let (bookie, metadata) = (place.to_owned(), file.to_owned());
            let found = found.incarnation;
            return Err(HalvesError::Strangers { bookie, found, metadata, expected }.into());
        }
        None if meta.list("")?.into_iter().any(|(key, _)| key != KEY) => {
            let (missing, metadata) = (place.to_owned(), file.to_owned());
            return Err(HalvesError::NoBookie { missing, metadata }.into());
        }
        None => begin(disk, place, &meta, said, shards).map_err(|error| match error {
            Begin::Io(source) => told(source),
            Begin::Meta(error) => error.into(),
        })?,
    }
    Ok(meta)
}

#[derive(Debug, thiserror::Error)]
enum Begin {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// Gives an empty directory a new identity, in both halves.
fn begin(
    disk: &dyn Disk,
    place: &Path,
    meta: &RedbMeta,
    said: Option<Versioned>,
    shards: u16,
) -> Result<(), Begin> {
    disk.create_dir(place)?;
    let identity = Identity::mint(BookieId(0), shards)?;
    let compare = match said {
        Some(said) => Compare::Revision(KEY.to_owned(), said.revision),
        None => Compare::Absent(KEY.to_owned()),
    };
    let value = identity.incarnation.0.to_le_bytes().to_vec();
    // Nobody else writes here: this process holds the directory, so it cannot conflict.
    meta.txn(&[compare], &[Op::Put(KEY.to_owned(), value)])?;
    Ok(identity.store(disk, place)?)
}

fn decode(file: &Path, value: &[u8]) -> Result<Incarnation, MetaError> {
    let read = |mut reader: Reader<'_>| {
        let incarnation = reader.u128("incarnation")?;
        reader.end("incarnation")?;
        Ok(Incarnation(incarnation))
    };
    read(Reader::new(value)).map_err(|error: DecodeError| MetaError::Record {
        file: file.to_owned(),
        record: KEY.to_owned(),
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::bookie::BookieConfig;
    use crate::directory::LogConfig;
    use crate::disk::FaultyDisk;
    use crate::stream::{Log, StreamConfig};

    /// A data directory with a stream in it, closed.
    fn used() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        log.create_stream("s", StreamConfig::default()).unwrap();
        log.close().unwrap();
        dir
    }

    fn refused(dir: &Path) -> HalvesError {
        match Log::open(dir, LogConfig::default()) {
            Err(OpenError::Halves(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn still_has_its_stream(dir: &Path) {
        let log = Log::open(dir, LogConfig::default()).unwrap();
        assert_eq!(log.streams().unwrap().len(), 1);
        log.close().unwrap();
    }

    #[test]
    fn a_used_bookie_without_metadata_is_refused_and_nothing_is_made_in_its_place() {
        let dir = used();
        let (file, away) = (dir.path().join("meta.redb"), dir.path().join("away"));
        fs::rename(&file, &away).unwrap();
        let error = refused(dir.path());
        assert!(matches!(&error, HalvesError::NoMetadata { missing, .. } if *missing == file));
        assert!(error.to_string().contains("put it back"), "{error}");
        assert!(!file.exists());
        fs::rename(&away, &file).unwrap();
        still_has_its_stream(dir.path());
    }

    #[test]
    fn used_metadata_without_a_bookie_is_refused_and_nothing_is_made_in_its_place() {
        let dir = used();
        let (place, away) = (dir.path().join("bookie"), dir.path().join("away"));
        fs::rename(&place, &away).unwrap();
        let error = refused(dir.path());
        assert!(matches!(&error, HalvesError::NoBookie { missing, .. } if *missing == place));
        assert!(!place.exists());
        fs::create_dir(&place).unwrap();
        assert!(
            matches!(refused(dir.path()), HalvesError::NoBookie { .. }),
            "an empty one is none"
        );
        fs::remove_dir(&place).unwrap();
        fs::rename(&away, &place).unwrap();
        still_has_its_stream(dir.path());
    }

    #[test]
    fn halves_of_two_directories_are_refused() {
        let (one, other) = (used(), used());
        fs::copy(other.path().join("meta.redb"), one.path().join("meta.redb")).unwrap();
        assert!(matches!(refused(one.path()), HalvesError::Strangers { .. }));
        still_has_its_stream(other.path());
    }

    /// Wherever the power goes while a directory is begun, the next start begins it, or finds it.
    #[test]
    fn a_cut_while_a_directory_is_begun_does_not_stand_in_the_way() {
        let mut cut = 0;
        loop {
            let disk = FaultyDisk::new();
            let open = |disk: &FaultyDisk| {
                let bookie = BookieConfig {
                    journal_file_bytes: 16 << 10,
                    background: false,
                    ..BookieConfig::default()
                };
                let disk: Arc<dyn Disk> = Arc::new(disk.clone());
                let config = LogConfig { disk: Some(disk), bookie, ..LogConfig::default() };
                Log::open(Path::new("/data"), config)
            };
            disk.crash_after(cut);
            drop(open(&disk));
            for seed in 0..8 {
                let found = open(&disk.reboot(seed));
                found.unwrap_or_else(|error| panic!("cut {cut} seed {seed}: {error}"));
            }
            if !disk.is_cut() {
                break;
            }
            cut += 1;
        }
        assert!(cut > 30, "{cut} cuts");
    }
}
