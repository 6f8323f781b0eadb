//! Who a bookie is: its id, its cluster and the incarnation of its directory, written once and never
//! changed.
//!
//! An address says where a bookie is; the incarnation says which life of its data this is. A directory
//! that was wiped gets another one, so that nobody takes its "never heard of it" for proof.
//!
//! ```text
//! IDENTITY: magic 8 | version u16 | bookie u64 | incarnation u128 | created_ms u64
//!           | cluster (since version 2) | shards u16 (since version 3) | crc32c u32
//! ```
//! The one bookie of a data directory is in no cluster: its name is empty.

use std::io;
use std::path::{Path, PathBuf};

use egret_schemas::bytes::{Reader, Writer};
use egret_schemas::{BookieId, Incarnation};

use super::damage::{Damage, FileError};
use super::whole_file;
use crate::disk::Disk;
use crate::{caps, clock};

const NAME: &str = "IDENTITY";
const MAGIC: &[u8; 8] = b"EGRETIDT";
const VERSION: u16 = 3;
/// The first versions, which are read too: without a cluster, and of one shard.
const VERSION_ALONE: u16 = 1;
const VERSION_OF_ONE_SHARD: u16 = 2;
#[cfg(test)]
const BYTES: u64 = 52;
const BYTES_MAX: u64 = 52 + caps::CLUSTER_NAME_BYTES_MAX as u64;

/// Where a bookie keeps data: if anything is there, it had an identity.
const DATA: [&str; 5] = [".", "extents", "journal", "shard00", "shard00/journal"];

/// A bookie's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name in ensembles.
    pub bookie: BookieId,
    /// The cluster it belongs to; empty when it is in none.
    pub cluster: String,
    /// This life of its directory.
    pub incarnation: Incarnation,
    /// When it was formatted, in wall-clock milliseconds, for people.
    pub created_ms: u64,
    /// How many shards the directory was formatted with.
    pub shards: u16,
}

/// Why a directory's identity could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is data, and nothing tells whose.
    #[error(
        "{}: holds {found} but no IDENTITY: put the IDENTITY back that it had, or name an empty directory",
        .dir.display()
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// One of the files found.
        found: String,
    },
    /// It is another bookie's.
    #[error(
        "{}: is the directory of {found}, not of {asked}: name its own directory, or an empty one",
        .dir.display()
    )]
    Another {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who came.
        asked: String,
    },
    /// It was formatted with another number of shards.
    #[error(
        "{}: was formatted with {found} shards, not with {asked}: write `shards = {found}`, or take an empty \
         directory",
        .dir.display()
    )]
    Shards {
        /// The directory.
        dir: PathBuf,
        /// How many it has.
        found: u16,
        /// How many it was to have.
        asked: u16,
    },
}

impl From<io::Error> for IdentityError {
    fn from(error: io::Error) -> IdentityError {
        IdentityError::File(error.into())
    }
}

impl Identity {
    /// A new identity for an empty directory.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    ///
    /// # Panics
    /// When there are to be no shards, or more than [`SHARDS_MAX`](caps::SHARDS_MAX).
    pub fn mint(bookie: BookieId, shards: u16) -> io::Result<Identity> {
        Identity::mint_in(String::new(), bookie, shards)
    }

    fn mint_in(cluster: String, bookie: BookieId, shards: u16) -> io::Result<Identity> {
        assert!((1..=caps::SHARDS_MAX).contains(&shards), "a bookie of {shards} shards");
        let incarnation = Incarnation(Identity::random()?);
        Ok(Identity { bookie, cluster, incarnation, created_ms: clock::wall_ms(), shards })
    }

    /// A number nobody else has.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> io::Result<u128> {
        let mut bits = [0; 16];
        let mut filled = 0;
        while filled < bits.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut bits[filled..], flags)?;
        }
        Ok(u128::from_le_bytes(bits))
    }

    /// Reads the identity of a directory; `None` when it has none.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Identity>, FileError> {
        let path = dir.join(NAME);
        match whole_file::read(disk, &path, BYTES_MAX)? {
            Some(bytes) => decode(&path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The name of a file of data in a directory, if there is any.
    pub fn data(disk: &dyn Disk, dir: &Path) -> io::Result<Option<String>> {
        for part in DATA {
            let part = if part == "." { dir.to_owned() } else { dir.join(part) };
            let names = if disk.exists(&part)? { disk.list(&part)? } else { Vec::new() };
            let data =
                |name: &String| name != "LOCK" && name != NAME && *name != format!("{NAME}.tmp");
            if let Some(found) = names.into_iter().find(data) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads the identity of a directory, or gives an empty one a new identity, durably.
    ///
    /// # Errors
    /// [`IdentityError::Missing`] when there is data but no identity: its owner is unknown.
    pub fn load_or_mint(
        disk: &dyn Disk,
        dir: &Path,
        bookie: BookieId,
        shards: u16,
    ) -> Result<Identity, IdentityError> {
        Identity::load_or_mint_with(disk, dir, || Identity::mint(bookie, shards))
    }

    /// The same for a bookie of a cluster, whose directory it must be.
    ///
    /// # Errors
    /// [`IdentityError::Another`] when it is that of another bookie or another cluster's,
    /// [`IdentityError::Shards`] when it has more or fewer shards: where a ledger lives depends on it.
    ///
    /// # Panics
    /// When the cluster's name is empty or too long: the caller has checked it.
    pub fn load_or_mint_in(
        disk: &dyn Disk,
        dir: &Path,
        cluster: &str,
        bookie: BookieId,
        shards: u16,
    ) -> Result<Identity, IdentityError> {
        assert!((1..=caps::CLUSTER_NAME_BYTES_MAX).contains(&cluster.len()), "no name: {cluster}");
        let mint = || Identity::mint_in(cluster.to_owned(), bookie, shards);
        let identity = Identity::load_or_mint_with(disk, dir, mint)?;
        identity.check(dir, cluster, bookie, shards)?;
        Ok(identity)
    }

    /// Whether the directory it was found in is that of this bookie of this cluster, in so many shards.
    ///
    /// # Errors
    /// [`IdentityError::Another`] or [`IdentityError::Shards`] when it is not.
    pub fn check(
        &self,
        dir: &Path,
        cluster: &str,
        bookie: BookieId,
        shards: u16,
    ) -> Result<(), IdentityError> {
        if self.cluster == cluster && self.bookie == bookie {
            let (dir, found) = (dir.to_owned(), self.shards);
            return match found == shards {
                true => Ok(()),
                false => Err(IdentityError::Shards { dir, found, asked: shards }),
            };
        }
        let named = |bookie: BookieId, cluster: &str| match cluster {
            "" => "a bookie without a cluster".to_owned(),
            cluster => format!("{bookie} of {cluster}"),
        };
        Err(IdentityError::Another {
            dir: dir.to_owned(),
            found: named(self.bookie, &self.cluster),
            asked: named(bookie, cluster),
        })
    }

    fn load_or_mint_with(
        disk: &dyn Disk,
        dir: &Path,
        mint: impl FnOnce() -> io::Result<Identity>,
    ) -> Result<Identity, IdentityError> {
        if let Some(identity) = Identity::load(disk, dir)? {
            return Ok(identity);
        }
        if let Some(found) = Identity::data(disk, dir)? {
            return Err(IdentityError::Missing { dir: dir.to_owned(), found });
        }
        let identity = mint()?;
        identity.store(disk, dir)?;
        Ok(identity)
    }

    /// Writes the identity into an empty directory, durably.
    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        whole_file::replace(disk, dir, NAME, &self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(VERSION);
        out.put_u64(self.bookie.0);
        out.put_u128(self.incarnation.0);
        out.put_u64(self.created_ms);
        out.put_bytes(self.cluster.as_bytes());
        out.put_u16(self.shards);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }
}

pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Identity, FileError> {
    let body = whole_file::checked(path, bytes)?;
    let mut reader = Reader::new(body);
    let damage = |error| Damage::decoding(path, 0, &error);
    if reader.take(MAGIC.len(), "magic").map_err(damage)? != MAGIC {
        return Err(Damage::new(path, 0, "not an identity").into());
    }
    let version = reader.u16("version").map_err(damage)?;
    if !(VERSION_ALONE..=VERSION).contains(&version) {
        let file = path.to_owned();
        return Err(FileError::Version { file, found: version, known: VERSION });
    }
    let identity = Identity {
        bookie: BookieId(reader.u64("bookie").map_err(damage)?),
        incarnation: Incarnation(reader.u128("incarnation").map_err(damage)?),
        created_ms: reader.u64("created").map_err(damage)?,
        cluster: match version {
            VERSION_ALONE => String::new(),
            _ => reader.text("cluster").map_err(damage)?.to_owned(),
        },
        shards: match version {
            VERSION_ALONE | VERSION_OF_ONE_SHARD => 1,
            _ => reader.u16("shards").map_err(damage)?,
        },
    };
    if !(1..=caps::SHARDS_MAX).contains(&identity.shards) {
        return Err(Damage::new(path, 0, format!("{} shards", identity.shards)).into());
    }
    reader.end("identity").map_err(damage)?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{FaultyDisk, OpenHow};
    use proptest::prelude::*;

    fn disk() -> (FaultyDisk, &'static Path) {
        let disk = FaultyDisk::new();
        disk.create_dir(Path::new("/b")).unwrap();
        (disk, Path::new("/b"))
    }

    #[test]
    fn an_identity_is_minted_once() {
        let (disk, dir) = disk();
        let first = Identity::load_or_mint(&disk, dir, BookieId(7), 3).unwrap();
        assert_eq!(first.shards, 3);
        assert_eq!(first.bookie, BookieId(7));
        let disk = disk.reboot(1);
        assert_eq!(Identity::load_or_mint(&disk, dir, BookieId(8), 1).unwrap(), first);
        assert_ne!(Identity::mint(BookieId(7), 1).unwrap().incarnation, first.incarnation);
    }

    #[test]
    fn the_layout_does_not_change() {
        let identity = Identity {
            bookie: BookieId(0x0102),
            cluster: "blue".to_owned(),
            incarnation: Incarnation(0x0a0b),
            created_ms: 0x0c0d,
            shards: 0x05,
        };
        let golden = b"EGRETIDT\x03\x00\
            \x02\x01\0\0\0\0\0\0\
            \x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x0d\x0c\0\0\0\0\0\0\
            \x04\0\0\0blue\
            \x05\0\
            \x6e\xce\x54\x63";
        assert_eq!(identity.encode(), golden);
        assert_eq!(decode(Path::new("IDENTITY"), golden).unwrap(), identity);
    }

    #[test]
    fn an_identity_of_the_first_version_has_no_cluster_and_one_shard() {
        let golden = b"EGRETIDT\x01\x00\
            \x02\x01\0\0\0\0\0\0\
            \x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x0d\x0c\0\0\0\0\0\0\
            \xe9\x57\x88\x7f";
        let found = decode(Path::new("IDENTITY"), golden).unwrap();
        assert_eq!((found.bookie, &*found.cluster, found.shards), (BookieId(0x0102), "", 1));
    }

    #[test]
    fn an_identity_of_the_second_version_has_one_shard() {
        let golden = b"EGRETIDT\x02\x00\
            \x02\x01\0\0\0\0\0\0\
            \x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x0d\x0c\0\0\0\0\0\0\
            \x04\0\0\0blue\
            \x5a\xf6\x66\x28";
        let found = decode(Path::new("IDENTITY"), golden).unwrap();
        assert_eq!((found.bookie, &*found.cluster, found.shards), (BookieId(0x0102), "blue", 1));
    }

    #[test]
    fn a_directory_is_one_bookies_of_one_cluster_for_ever() {
        let (disk, dir) = disk();
        let first = Identity::load_or_mint_in(&disk, dir, "blue", BookieId(7), 2).unwrap();
        assert_eq!((first.bookie, &*first.cluster, first.shards), (BookieId(7), "blue", 2));
        let disk = disk.reboot(1);
        let again = Identity::load_or_mint_in(&disk, dir, "blue", BookieId(7), 2).unwrap();
        assert_eq!(again, first);
        let error = Identity::load_or_mint_in(&disk, dir, "blue", BookieId(7), 1).unwrap_err();
        assert!(matches!(error, IdentityError::Shards { found: 2, asked: 1, .. }), "{error}");
        // Whoever opens the directory finds the same one.
        assert_eq!(Identity::load_or_mint(&disk, dir, BookieId(0), 1).unwrap(), first);
        for (cluster, bookie) in [("blue", BookieId(8)), ("red", BookieId(7))] {
            let error = Identity::load_or_mint_in(&disk, dir, cluster, bookie, 1).unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains(&format!("of B7 of blue, not of {bookie} of {cluster}")),
                "{said}"
            );
        }
    }

    #[test]
    fn the_directory_of_no_cluster_gets_into_none() {
        let (disk, dir) = disk();
        Identity::load_or_mint(&disk, dir, BookieId(0), 1).unwrap();
        let error = Identity::load_or_mint_in(&disk, dir, "blue", BookieId(0), 1).unwrap_err();
        assert!(error.to_string().contains("a bookie without a cluster"), "{error}");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (disk, dir) = disk();
        Identity::load_or_mint(&disk, dir, BookieId(7), 1).unwrap();
        for bit in 0..BYTES * 8 {
            disk.flip(&dir.join(NAME), bit / 8, 1 << (bit % 8));
            let error = Identity::load(&disk, dir).unwrap_err();
            assert!(error.to_string().contains("/b/IDENTITY"), "{error}");
            disk.flip(&dir.join(NAME), bit / 8, 1 << (bit % 8));
        }
        Identity::load(&disk, dir).unwrap();
    }

    #[test]
    fn a_directory_with_data_but_no_identity_gets_no_new_one() {
        for (part, name) in [
            ("/b", "MANIFEST"),
            ("/b/extents", "X1"),
            ("/b/journal", "J1"),
            ("/b/shard00", "MANIFEST"),
            ("/b/shard00/journal", "J1"),
        ] {
            let (disk, dir) = disk();
            disk.create_dir(Path::new(part)).unwrap();
            disk.open(&Path::new(part).join(name), OpenHow::CreateNew, false).unwrap();
            let error = Identity::load_or_mint(&disk, dir, BookieId(7), 1).unwrap_err();
            assert!(matches!(&error, IdentityError::Missing { found, .. } if found == name));
        }
    }

    #[test]
    fn a_power_cut_while_minting_does_not_stand_in_the_way() {
        for cut in 0..6 {
            for seed in 0..20 {
                let (disk, dir) = disk();
                disk.crash_after(disk.operations() + cut);
                let minted = Identity::load_or_mint(&disk, dir, BookieId(7), 1);
                let found =
                    Identity::load_or_mint(&disk.reboot(seed), dir, BookieId(7), 1).unwrap();
                assert!(minted.is_err() || minted.is_ok_and(|minted| minted == found));
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(decode(Path::new("IDENTITY"), &bytes).is_err());
        }
    }
}
