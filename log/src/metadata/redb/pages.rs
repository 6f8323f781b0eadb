//! Pages with checksums under redb: what redb reads is what it wrote, or damage that names the place.
//!
//! redb sees a file of pages of 4096 bytes. Each lies in a slot of nine sectors, so that no sector holds
//! bytes of two pages:
//!
//! ```text
//! slot:  page 4096 | magic 8 | version u16 | page number u64 | sequence u64 | zeros | crc32c u32
//! file:  page 0 | page 0 again | page 1 | page 2 | …
//! ```
//! The checksum covers all of the slot before it. The number tells a page that was written to the wrong
//! place. A slot of zeros was never written, and redb does not read it.
//!
//! **Power cuts.** redb commits in two phases: pages nobody refers to yet, sync, then page 0, sync. So a
//! page torn by a power cut is one that redb does not read, page 0 apart. That has two copies: a write
//! goes to the one that is not the last durable one, and once it is durable the other becomes like it.
//! The one with the higher sequence counts. See `docs/003-checksums-under-the-metadata.md`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egret_schemas::bytes::Reader;
use redb::StorageBackend;

use super::MetaError;
use crate::disk::DiskFile;

/// redb's page.
pub(super) const PAGE: usize = 4096;
/// A page and what is known of it.
pub(super) const SLOT: usize = PAGE + 512;
const PAGE_U64: u64 = PAGE as u64;
const SLOT_U64: u64 = SLOT as u64;
const CRC_AT: usize = SLOT - 4;
const MAGIC: &[u8; 8] = b"EGRETPAG";
const VERSION: u16 = 1;
/// What looking at every slot reads at once.
const SCAN_SLOTS: usize = 64;

/// A place in a file that does not hold what was written there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: damaged at byte {offset}: {what}", .file.display())]
pub(super) struct Bad {
    pub(super) file: PathBuf,
    pub(super) offset: u64,
    pub(super) what: String,
}

impl From<Bad> for MetaError {
    fn from(Bad { file, offset, what }: Bad) -> MetaError {
        MetaError::Damaged { file, offset, what }
    }
}

/// The first damage that was come upon, whoever redb told of it.
pub(super) type FirstBad = Arc<Mutex<Option<Bad>>>;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pages {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    head: Mutex<Head>,
    bad: FirstBad,
}

/// Page 0 and its two copies.
#[derive(Debug)]
struct Head {
    page: Vec<u8>,
    sequence: u64,
    /// The copy that holds it.
    newest: u64,
    /// The copy that a power cut cannot change.
    durable: u64,
    /// Whether the other copy holds something else than the durable one.
    behind: bool,
    /// Whether the other copy was written since the last sync.
    unsynced: bool,
}

impl Pages {
    /// Over an empty file.
    pub(super) fn create(file: Arc<dyn DiskFile>, path: &Path) -> Pages {
        let head = Head {
            page: vec![0; PAGE],
            sequence: 0,
            newest: 1,
            durable: 1,
            behind: false,
            unsynced: false,
        };
        Pages { path: path.into(), file, head: Mutex::new(head), bad: FirstBad::default() }
    }

    /// Over a file with pages in it; verifies the first.
    pub(super) fn open(file: Arc<dyn DiskFile>, path: &Path) -> Result<Pages, MetaError> {
        let io = |error: io::Error| MetaError::Io { file: path.into(), why: error.to_string() };
        let len = file.len().map_err(io)?;
        if len < 2 * SLOT_U64 {
            let what = format!("it ends here, before its first pages, {} bytes", 2 * SLOT_U64);
            return Err(MetaError::Damaged { file: path.into(), offset: len, what });
        }
        let mut slot = vec![0; SLOT];
        let mut copies: Vec<HeadCopy> = Vec::new();
        for copy in 0..2 {
            file.read_exact_at(&mut slot, copy * SLOT_U64).map_err(io)?;
            copies.push(check(&slot, 0).map(|sequence| (sequence, copy, slot[..PAGE].to_vec())));
        }
        let newest = copies.iter().flatten().max_by_key(|(sequence, copy, _)| (*sequence, !copy));
        let Some((sequence, newest, page)) = newest.cloned() else {
            return Err(neither(path, &copies));
        };
        if let Some((copy, Err(wrong))) = (0u64..).zip(&copies).find(|(_, copy)| copy.is_err()) {
            let offset = copy * SLOT_U64;
            tracing::warn!(
                file = %path.display(), offset, %wrong,
                "one of the two copies of the first page is torn or damaged: made anew from the other"
            );
        }
        let behind = copies.iter().any(|copy| match copy {
            Ok((other, ..)) => *other != sequence,
            Err(_) => true,
        });
        // The process that wrote it may have ended before its sync; from here on it counts as durable.
        file.sync_data().map_err(io)?;
        let head = Head { page, sequence, newest, durable: newest, behind, unsynced: false };
        Ok(Pages { path: path.into(), file, head: Mutex::new(head), bad: FirstBad::default() })
    }

    /// Where damage is noted, for when redb tells of something else.
    pub(super) fn first_bad(&self) -> FirstBad {
        Arc::clone(&self.bad)
    }

    /// The first slot that is neither as written nor never written, page 0 apart. After a power cut
    /// that may be one that nothing refers to.
    pub(super) fn look_at_all(&self) -> io::Result<Option<Bad>> {
        let mut slots = vec![0; SCAN_SLOTS * SLOT];
        let mut at = 2;
        let end = self.file.len()? / SLOT_U64;
        while at < end {
            let some = (end - at).min(SCAN_SLOTS as u64);
            let bytes = usize::try_from(some).expect("at most SCAN_SLOTS") * SLOT;
            self.file.read_exact_at(&mut slots[..bytes], at * SLOT_U64)?;
            for (slot, number) in slots[..bytes].chunks(SLOT).zip(at..) {
                match check(slot, number - 1) {
                    Ok(_) | Err(Wrong::NeverWritten) => {}
                    Err(wrong) => return Ok(Some(self.damage(number * SLOT_U64, &wrong))),
                }
            }
            at += some;
        }
        Ok(None)
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damage(&self, offset: u64, wrong: &Wrong) -> Bad {
        Bad { file: self.path.clone(), offset, what: wrong.to_string() }
    }

    fn note(&self, bad: Bad) -> io::Error {
        let mut first = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| bad.clone());
        io::Error::new(io::ErrorKind::InvalidData, bad)
    }

    fn write_head(&self, head: &mut Head, copy: u64) -> io::Result<()> {
        let slot = seal(&head.page, 0, head.sequence);
        self.file.write_all_at(&slot, copy * SLOT_U64)
    }
}

impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok((self.file.len()? / SLOT_U64).saturating_sub(1) * PAGE_U64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut slot = vec![0; SLOT];
        let (mut at, mut left) = (offset, out);
        while !left.is_empty() {
            let page = at / PAGE_U64;
            let from = usize::try_from(at % PAGE_U64).expect("less than a page");
            let (now, later) = left.split_at_mut(left.len().min(PAGE - from));
            if page == 0 {
                now.copy_from_slice(&self.head().page[from..from + now.len()]);
            } else {
                let place = (page + 1) * SLOT_U64;
                match self.file.read_exact_at(&mut slot, place) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(self.note(self.damage(place, &Wrong::Ends)));
                    }
                    other => other?,
                }
                check(&slot, page).map_err(|wrong| self.note(self.damage(place, &wrong)))?;
                now.copy_from_slice(&slot[from..from + now.len()]);
            }
            at += now.len() as u64;
            left = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        whole_pages(len)?;
        let slots = if len == 0 { 0 } else { len / PAGE_U64 + 1 };
        self.file.set_len(slots * SLOT_U64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut head = self.head();
        self.file.sync_data()?;
        head.durable = head.newest;
        head.unsynced = false;
        if head.behind {
            let other = 1 - head.durable;
            self.write_head(&mut head, other)?;
            (head.behind, head.unsynced) = (false, true);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut data = data;
        let mut page = offset / PAGE_U64;
        if page == 0 {
            let from = usize::try_from(offset).expect("less than a page");
            let (now, later) = data.split_at(data.len().min(PAGE - from));
            let mut head = self.head();
            head.page[from..from + now.len()].copy_from_slice(now);
            if head.newest == head.durable {
                head.sequence += 1;
                head.newest = 1 - head.durable;
            }
            (head.behind, head.unsynced) = (true, true);
            let newest = head.newest;
            self.write_head(&mut head, newest)?;
            (data, page) = (later, 1);
        } else {
            whole_pages(offset)?;
        }
        if data.is_empty() {
            return Ok(());
        }
        whole_pages(data.len() as u64)?;
        let mut slots = Vec::with_capacity(data.len() / PAGE * SLOT);
        for (bytes, number) in data.chunks(PAGE).zip(page..) {
            slots.extend_from_slice(&seal(bytes, number, 0));
        }
        self.file.write_all_at(&slots, (page + 1) * SLOT_U64)
    }

    fn close(&self) -> io::Result<()> {
        // The copy made by the last sync: with it one flip in page 0 costs nothing, whatever happens.
        if self.head().unsynced { self.file.sync_data() } else { Ok(()) }
    }
}

/// redb writes whole pages, page 0 apart; anything else would need the rest of the page first.
fn whole_pages(bytes: u64) -> io::Result<()> {
    if bytes.is_multiple_of(PAGE_U64) {
        return Ok(());
    }
    let text = format!("{bytes} is not a multiple of a page of {PAGE} bytes");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Why a slot does not hold the page asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("the page there was never written")]
    NeverWritten,
    #[error("the file ends before this page")]
    Ends,
    #[error("the page's checksum is {stored:08x}, its bytes make {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("it holds page {found}, where page {expected} is to be")]
    Misplaced { found: u64, expected: u64 },
    #[error("it is not a page of a metadata store")]
    NotOurs,
    #[error("format version {0}")]
    Version(u16),
}

/// A page in its slot.
fn seal(page: &[u8], number: u64, sequence: u64) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend_from_slice(page);
    slot.extend_from_slice(MAGIC);
    slot.extend_from_slice(&VERSION.to_le_bytes());
    slot.extend_from_slice(&number.to_le_bytes());
    slot.extend_from_slice(&sequence.to_le_bytes());
    slot.resize(CRC_AT, 0);
    let crc = crc32c::crc32c(&slot);
    slot.extend_from_slice(&crc.to_le_bytes());
    slot
}

/// Whether a slot holds this page as written; its sequence.
fn check(slot: &[u8], number: u64) -> Result<u64, Wrong> {
    let (body, crc) = slot.split_last_chunk::<4>().expect("a slot is longer than its checksum");
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if stored != computed {
        let zeros = slot.iter().all(|byte| *byte == 0);
        return Err(if zeros { Wrong::NeverWritten } else { Wrong::Checksum { stored, computed } });
    }
    let mut trailer = Reader::new(&body[PAGE..]);
    if trailer.take(MAGIC.len(), "magic").is_ok_and(|magic| magic != MAGIC) {
        return Err(Wrong::NotOurs);
    }
    let mut fields = || Ok((trailer.u16("v")?, trailer.u64("page")?, trailer.u64("sequence")?));
    let (version, found, sequence) =
        fields().map_err(|_: egret_schemas::bytes::DecodeError| Wrong::NotOurs)?;
    if version != VERSION {
        return Err(Wrong::Version(version));
    }
    if found != number {
        return Err(Wrong::Misplaced { found, expected: number });
    }
    Ok(sequence)
}

/// A copy of page 0 as found: its sequence, which copy it is, and the page.
type HeadCopy = Result<(u64, u64, Vec<u8>), Wrong>;

/// Why neither copy of page 0 is of use.
fn neither(path: &Path, copies: &[HeadCopy]) -> MetaError {
    let wrongs: Vec<&Wrong> = copies.iter().filter_map(|copy| copy.as_ref().err()).collect();
    if let Some(Wrong::Version(found)) = wrongs.iter().find(|w| matches!(w, Wrong::Version(_))) {
        return MetaError::Version { file: path.into(), found: *found, known: VERSION };
    }
    let told: Vec<String> = wrongs.iter().map(|wrong| wrong.to_string()).collect();
    let what = format!("neither copy of the first page is as written: {}", told.join("; "));
    MetaError::Damaged { file: path.into(), offset: 0, what }
}

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, FaultyDisk, OpenHow};

    const PATH: &str = "/f";

    fn file(disk: &FaultyDisk) -> Arc<dyn DiskFile> {
        let how = match disk.exists(Path::new(PATH)).unwrap() {
            true => OpenHow::Write,
            false => OpenHow::CreateNew,
        };
        disk.create_dir(Path::new("/")).unwrap();
        disk.open(Path::new(PATH), how, false).unwrap()
    }

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; PAGE]
    }

    /// Pages 0 to 3 with a content each, all durable.
    fn four(disk: &FaultyDisk) {
        let pages = Pages::create(file(disk), Path::new(PATH));
        pages.set_len(4 * PAGE_U64).unwrap();
        pages.write(0, b"head 1").unwrap();
        pages.write(PAGE_U64, &[page(1), page(2)].concat()).unwrap();
        pages.sync_data().unwrap();
        pages.close().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
    }

    fn reopen(disk: &FaultyDisk) -> Pages {
        Pages::open(file(disk), Path::new(PATH)).unwrap()
    }

    fn head(pages: &Pages) -> Vec<u8> {
        let mut found = vec![0; 6];
        pages.read(0, &mut found).unwrap();
        found
    }

    #[test]
    fn the_layout_does_not_change() {
        let slot = seal(&page(7), 3, 5);
        assert_eq!(slot[PAGE..PAGE + 26], *b"EGRETPAG\x01\0\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        assert!(slot[PAGE + 26..CRC_AT].iter().all(|byte| *byte == 0));
        assert_eq!(slot[CRC_AT..], crc32c::crc32c(&slot[..CRC_AT]).to_le_bytes());
        assert_eq!(slot.len(), SLOT);
        assert_eq!(check(&slot, 3), Ok(5));
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let disk = FaultyDisk::new();
        four(&disk);
        let pages = reopen(&disk);
        assert_eq!(pages.len().unwrap(), 4 * PAGE_U64);
        assert_eq!(head(&pages), b"head 1");
        let mut across = vec![0; 20];
        pages.read(2 * PAGE_U64 - 10, &mut across).unwrap();
        assert_eq!(across, [[1; 10], [2; 10]].concat());
        assert_eq!(pages.look_at_all().unwrap(), None, "a page never written is no damage");
    }

    #[test]
    fn every_flip_is_told_with_its_place_or_mended() {
        let disk = FaultyDisk::new();
        four(&disk);
        for at in (0..4 * SLOT_U64).filter(|at| at % 13 == 0 || at % SLOT_U64 >= PAGE_U64) {
            let disk = disk.reboot(0);
            disk.flip(Path::new(PATH), at, 4);
            let pages = reopen(&disk);
            let mut found = page(0);
            assert_eq!(head(&pages), b"head 1", "byte {at}");
            let slot = at / SLOT_U64;
            for number in [1, 2] {
                let read = pages.read(number * PAGE_U64, &mut found);
                assert_eq!(read.is_err(), slot == number + 1, "page {number}, byte {at}");
            }
            let first = pages.first_bad().lock().unwrap().clone();
            assert_eq!(first.map(|bad| bad.offset), (slot > 1).then_some(slot * SLOT_U64));
        }
    }

    #[test]
    fn a_page_written_to_the_wrong_place_is_told() {
        let disk = FaultyDisk::new();
        four(&disk);
        file(&disk).write_all_at(&seal(&page(1), 1, 0), 3 * SLOT_U64).unwrap();
        let told = reopen(&disk).read(2 * PAGE_U64, &mut page(0)).unwrap_err().to_string();
        assert!(told.contains("byte 13824: it holds page 1, where page 2"), "{told}");
    }

    #[test]
    fn a_flip_in_either_copy_of_the_first_page_is_mended() {
        let disk = FaultyDisk::new();
        four(&disk);
        for copy in 0..2 {
            let disk = disk.reboot(0);
            disk.flip(Path::new(PATH), copy * SLOT_U64 + 3, 1);
            let pages = reopen(&disk);
            pages.write(0, b"head 2").unwrap();
            pages.sync_data().unwrap();
            pages.close().unwrap();
            for copy in 0..2 {
                let disk = disk.reboot(1);
                disk.flip(Path::new(PATH), copy * SLOT_U64 + 3, 1);
                assert_eq!(head(&reopen(&disk)), b"head 2", "both copies are whole again");
            }
        }
    }

    /// The power goes at each operation, the sectors of what was under way are torn in every way, and
    /// the first page is the last one synced or a later one, never neither.
    #[test]
    fn a_cut_never_leaves_the_first_page_without_a_copy() {
        let base = FaultyDisk::new();
        four(&base);
        for cut in 0..14 {
            let disk = base.reboot(0);
            disk.crash_after(cut);
            let mut synced = b"head 1".to_vec();
            let mut tried = synced.clone();
            let mut go = || -> Result<(), Box<dyn std::error::Error>> {
                let pages = Pages::open(file(&disk), Path::new(PATH))?;
                for text in [b"head 2", b"head 3", b"head 4"] {
                    tried = text.to_vec();
                    // All of the page changes, so that a torn one is seen.
                    pages.write(0, &page(text[5]))?;
                    pages.write(0, text)?;
                    pages.sync_data()?;
                    synced = text.to_vec();
                }
                pages.close()?;
                Ok(())
            };
            let _ = go();
            for seed in 0..60 {
                let found = head(&reopen(&disk.reboot(seed)));
                let under_way = found == vec![tried[5]; 6] || found == tried;
                assert!(found == synced || under_way, "cut {cut} seed {seed}: {found:?}");
            }
        }
    }

    #[test]
    fn a_file_cut_short_says_where_it_ends() {
        let disk = FaultyDisk::new();
        four(&disk);
        file(&disk).set_len(SLOT_U64).unwrap();
        let error = Pages::open(file(&disk), Path::new(PATH)).unwrap_err();
        assert!(matches!(error, MetaError::Damaged { offset: 4608, .. }), "{error}");
    }

    #[test]
    fn a_file_of_a_newer_release_is_told_from_damage() {
        let disk = FaultyDisk::new();
        four(&disk);
        for copy in 0..2 {
            let mut slot = seal(&page(0), 0, 1);
            slot[PAGE + 8] = 9;
            let crc = crc32c::crc32c(&slot[..CRC_AT]).to_le_bytes();
            slot[CRC_AT..].copy_from_slice(&crc);
            file(&disk).write_all_at(&slot, copy * SLOT_U64).unwrap();
        }
        let error = Pages::open(file(&disk), Path::new(PATH)).unwrap_err();
        assert!(matches!(error, MetaError::Version { found: 9, .. }), "{error}");
    }
}
