//! Reads what is on the medium again and tells what is not as written: all at once when asked, and all
//! the time in the background, piece by piece.
//!
//! The background goes through the extents in order of their numbers, however they come and go, and
//! begins again after a rest. It leaves out the journal: what is in it is in memory too, and the next
//! checkpoint writes it anew. Where it was it writes down after each extent, without a sync: a place that
//! was lost costs a second look.

use std::io;
use std::path::Path;
use std::sync::Arc;

use egret_schemas::bytes::{Reader, Writer};
use egret_schemas::{EntryAddress, EntryId};

use super::damage::{Damage, FileError};
use super::extent::{Extent, ExtentId};
use super::journal::replay;
use super::manifest::Manifest;
use super::shard::Shard;
use super::whole_file;
use crate::caps;
use crate::disk::{Disk, OpenHow};

const NAME: &str = "SCRUB";
const MAGIC: &[u8; 8] = b"EGRETSCR";
const BYTES_MAX: u64 = 64;

/// Where the background is: the next entry it reads, if its extent is still there; else the extent
/// after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScrubPlace {
    pub(crate) extent: ExtentId,
    run: usize,
    index: u32,
}

impl ScrubPlace {
    /// Where an earlier life was; the beginning if that is not known.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> ScrubPlace {
        let path = dir.join(NAME);
        let Ok(Some(bytes)) = whole_file::read(disk, &path, BYTES_MAX) else {
            return ScrubPlace::default();
        };
        let extent = whole_file::checked(&path, &bytes).ok().and_then(|body| {
            let mut reader = Reader::new(body);
            let magic = reader.take(MAGIC.len(), "magic").ok()?;
            (magic == MAGIC).then_some(())?;
            reader.u64("extent").ok()
        });
        ScrubPlace { extent: ExtentId(extent.unwrap_or(0)), ..ScrubPlace::default() }
    }

    fn store(self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.put_u64(self.extent.0);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        let temporary = dir.join(format!("{NAME}.tmp"));
        if disk.exists(&temporary)? {
            disk.remove(&temporary)?;
        }
        disk.open(&temporary, OpenHow::CreateNew, false)?.write_all_at(&bytes, 0)?;
        disk.rename(&temporary, &dir.join(NAME))
    }
}

/// What one piece came to.
pub(crate) struct Scrubbed {
    /// Bytes read.
    pub(crate) bytes: u64,
    /// Whether everything was read once.
    pub(crate) turned: bool,
}

impl Shard {
    /// Checks manifest, extents and journal. No checkpoint runs meanwhile; appends do.
    pub(crate) fn scrub(&self) -> Vec<Damage> {
        let (_still, extents, journal) = self.hold_still();
        let mut damages = Vec::new();
        let mut check = |path: &Path, result: Result<(), FileError>| match result {
            Ok(()) => {}
            Err(FileError::Damaged(damage)) => damages.push(damage),
            Err(other) => damages.push(Damage::new(path, 0, other.to_string())),
        };
        let manifest = Manifest::load(&*self.disk, &self.dir, self.own);
        check(&self.dir.join("MANIFEST"), manifest.map(drop));
        for extent in extents {
            check(extent.path(), extent.verify().map(drop));
        }
        for part in journal {
            check(&part.path, replay::verify(&self.disk, &part, self.own));
        }
        damages
    }

    /// Reads the next piece: some entries of one extent, or what is around them.
    pub(crate) fn scrub_piece(&self, place: &mut ScrubPlace) -> Scrubbed {
        let index = self.extent_index();
        let next = index.extents().partition_point(|extent| extent.id() < place.extent);
        let Some(extent) = index.extents().get(next) else {
            *place = ScrubPlace::default();
            return Scrubbed { bytes: 0, turned: true };
        };
        if extent.id() != place.extent {
            *place = ScrubPlace { extent: extent.id(), ..ScrubPlace::default() };
        }
        let bytes = self.scrub_entries(extent, place);
        if place.run < extent.runs().len() {
            return Scrubbed { bytes, turned: false };
        }
        *place = ScrubPlace { extent: extent.id().next(), ..ScrubPlace::default() };
        if let Err(error) = place.store(&*self.disk, &self.dir) {
            tracing::debug!(%error, "where the scrub was is not written down");
        }
        Scrubbed { bytes, turned: false }
    }

    fn scrub_entries(&self, extent: &Arc<Extent>, place: &mut ScrubPlace) -> u64 {
        let mut bytes = 0;
        if place.run == 0
            && place.index == 0
            && let Err(error) = extent.verify_frame()
        {
            self.note_damage(extent.damage_of(error), None);
        }
        while place.run < extent.runs().len() && bytes < caps::UPKEEP_PIECE_BYTES {
            let run = extent.runs()[place.run];
            let address = |index: u32| {
                let entry = EntryId(run.first.0 + u64::from(index));
                Some(EntryAddress { ledger: run.ledger, entry })
            };
            let table = match extent.fresh_table(place.run) {
                Ok(table) => table,
                Err(error) => {
                    self.note_damage(extent.damage_of(error), address(0));
                    (place.run, place.index) = (place.run + 1, 0);
                    continue;
                }
            };
            while place.index < run.count && bytes < caps::UPKEEP_PIECE_BYTES {
                match extent.read_fresh(place.run, &table, place.index) {
                    Ok(entry) => bytes += entry.payload.len() as u64,
                    Err(error) => {
                        self.note_damage(extent.damage_of(error), address(place.index));
                    }
                }
                bytes += 1;
                place.index += 1;
            }
            if place.index >= run.count {
                (place.run, place.index) = (place.run + 1, 0);
            }
        }
        bytes
    }
}
