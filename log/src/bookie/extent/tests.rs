//! An extent comes back as it was written, and damage to any byte of it is told.

use std::sync::Arc;

use egret_schemas::{EntryId, Incarnation, LedgerId, Term};
use proptest::prelude::*;

use super::*;
use crate::bookie::damage::FileError;
use crate::caps;
use crate::disk::{FaultyDisk, OpenHow};
use crate::message::entry_crc;

const OWNER: Incarnation = Incarnation(0x77);
const ID: ExtentId = ExtentId(0x2a);

fn dir() -> &'static Path {
    Path::new("/b/extents")
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(dir()).unwrap();
    disk
}

fn path() -> PathBuf {
    ID.path(dir())
}

/// (ledger, entry, payload), in order.
type Entries = Vec<(u64, u64, Vec<u8>)>;

fn append(writer: &mut ExtentWriter, ledger: u64, entry: u64, payload: &[u8]) {
    let (ledger, entry) = (LedgerId(ledger), EntryId(entry));
    let crc = entry_crc(ledger, entry, payload);
    writer.append(&EntryToWrite { ledger, entry, term: Term(5), crc, payload }).unwrap();
}

fn write(disk: &FaultyDisk, entries: &Entries) -> io::Result<Sealed> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = ExtentWriter::create(&disk, dir(), ID, OWNER, 9)?;
    for (ledger, entry, payload) in entries {
        append(&mut writer, *ledger, *entry, payload);
    }
    writer.seal()
}

fn open(disk: &FaultyDisk) -> Result<Extent, FileError> {
    Extent::open(disk, dir(), ID, OWNER, Arc::new(TableCache::new(caps::TABLE_CACHE_BYTES)))
}

fn example() -> Entries {
    let payload = |ledger: u64, entry: u64| format!("{ledger}:{entry}").repeat(5).into_bytes();
    let ids = [(1, 0), (1, 1), (1, 2), (1, 7), (1, 8), (4, 3), (u64::MAX, 0), (u64::MAX, 1)];
    let mut entries: Entries = ids.iter().map(|&(l, e)| (l, e, payload(l, e))).collect();
    entries[1].2.clear();
    entries
}

/// Everything that can be had, in order; the first error ends it.
fn read_all(extent: &Extent) -> Result<Entries, FileError> {
    let mut found = Vec::new();
    for (number, run) in extent.runs().iter().enumerate() {
        for index in 0..run.count {
            let read = extent.read(number, index)?;
            found.push((run.ledger.0, read.entry.0, read.payload.to_vec()));
        }
    }
    Ok(found)
}

#[test]
fn an_extent_gives_back_what_was_written() {
    let disk = disk();
    let sealed = write(&disk, &example()).unwrap();
    let extent = open(&disk).unwrap();
    assert_eq!(read_all(&extent).unwrap(), example());
    assert_eq!(extent.runs(), sealed.runs);
    let runs: Vec<_> = extent.runs().iter().map(|r| (r.ledger.0, r.first.0, r.count)).collect();
    assert_eq!(runs, [(1, 0, 3), (1, 7, 2), (4, 3, 1), (u64::MAX, 0, 2)]);
    assert_eq!(extent.verify().unwrap(), Verified { entries: 8, bytes: sealed.bytes });
    let (run, index) = extent.find(LedgerId(1), EntryId(8)).unwrap();
    let read = extent.read(run, index).unwrap();
    assert_eq!((read.term, read.crc), (Term(5), entry_crc(LedgerId(1), EntryId(8), &read.payload)));
    assert_eq!(extent.find(LedgerId(1), EntryId(3)), None);
    assert_eq!(extent.find(LedgerId(1), EntryId(9)), None);
    assert_eq!(extent.find(LedgerId(0), EntryId(0)), None);
    assert_eq!(extent.find(LedgerId(2), EntryId(0)), None);
}

#[test]
fn an_extent_without_entries_is_an_extent() {
    let disk = disk();
    write(&disk, &Vec::new()).unwrap();
    assert_eq!(open(&disk).unwrap().verify().unwrap().entries, 0);
}

#[test]
fn a_long_run_is_split_and_stays_whole() {
    let disk = disk();
    let many = u64::from(caps::EXTENT_RUN_ENTRIES_MAX) + 5;
    let entries: Entries = (0..many).map(|entry| (3, entry, vec![1; 100])).collect();
    assert!(many * 140 > u64::try_from(caps::EXTENT_WRITE_BYTES).unwrap(), "several writes");
    write(&disk, &entries).unwrap();
    let extent = open(&disk).unwrap();
    assert_eq!(extent.runs().len(), 2);
    let (run, index) = extent.find(LedgerId(3), EntryId(many - 1)).unwrap();
    assert_eq!((run, index), (1, 4));
    assert_eq!(extent.verify().unwrap().entries, many);
    assert_eq!(read_all(&extent).unwrap(), entries);
}

#[test]
fn the_layout_does_not_change() {
    let disk = disk();
    write(&disk, &vec![(2, 3, b"egret".to_vec())]).unwrap();
    let bytes = disk.bytes(&path()).unwrap();
    assert_eq!(
        &bytes[..48],
        b"EGRETEXT\x01\0\x2a\0\0\0\0\0\0\0\x77\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
          \x09\0\0\0\0\0\0\0\xb5\xf3\x9c\x00\0\0"
    );
    assert_eq!(
        &bytes[4096..4144],
        b"\x05\0\0\0\x8f\xbf\x3f\x81\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
          \x05\0\0\0\0\0\0\0\x52\x65\x4c\x66\0\0\0\0egret\0\0\0"
    );
    // Table, footer and trailer.
    assert_eq!(
        &bytes[4144..],
        b"\0\0\0\0\x2a\0\0\0\0\0\0\0\x77\0\0\0\0\0\0\0\
          \0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\
          \x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\
          \0\x10\0\0\0\0\0\0\x30\0\0\0\0\0\0\0\x30\x10\0\0\
          \0\0\0\0\xc7\x4b\x67\x48\x61\x56\xb3\x85\x34\x10\0\0\0\0\0\0\
          \x58\0\0\0\x54\x58\x45\x54\x45\x52\x47\x45\x75\xbb\x1d\xb6"
    );
}

#[test]
fn every_flipped_byte_is_found_and_none_is_served() {
    let disk = disk();
    let entries = example();
    let bytes = write(&disk, &entries).unwrap().bytes;
    let opened_before = open(&disk).unwrap();
    for at in 0..bytes {
        for mask in [0x01, 0x80, 0xff] {
            disk.flip(&path(), at, mask);
            let found = open(&disk).and_then(|extent| {
                match read_all(&extent) {
                    Ok(read) => assert_eq!(read, entries, "byte {at} changed what is served"),
                    Err(error) => assert!(error.damage().is_some(), "{error}"),
                }
                extent.verify()
            });
            // No byte is outside a checksum, or unchecked padding: none may go unnoticed.
            let error = found.unwrap_err();
            assert!(!matches!(error, FileError::Io(_)), "byte {at}: {error}");
            assert!(error.to_string().starts_with(&*path().to_string_lossy()), "{error}");
            opened_before.verify().expect_err("a scrub reads again what was read before");
            disk.flip(&path(), at, mask);
        }
    }
    open(&disk).unwrap().verify().unwrap();
}

#[test]
fn an_extent_cut_short_at_any_byte_does_not_open() {
    let disk = disk();
    let bytes = write(&disk, &example()).unwrap().bytes;
    let file = disk.open(&path(), OpenHow::Write, false).unwrap();
    for len in (0..bytes).rev() {
        file.set_len(len).unwrap();
        assert!(open(&disk).unwrap_err().damage().is_some(), "{len}");
    }
}

#[test]
fn a_sealed_extent_survives_a_power_cut_and_an_unsealed_one_does_not_open_wrong() {
    let operations = {
        let disk = disk();
        let before = disk.operations();
        write(&disk, &example()).unwrap();
        disk.operations() - before
    };
    for cut in 0..=operations {
        for seed in 0..30 {
            let disk = disk();
            disk.crash_after(disk.operations() + cut);
            let sealed = write(&disk, &example());
            let found = disk.reboot(seed);
            match open(&found).and_then(|extent| extent.verify().map(|_| extent)) {
                Ok(extent) => assert_eq!(read_all(&extent).unwrap(), example()),
                Err(error) => assert!(sealed.is_err(), "cut {cut} seed {seed}: {error}"),
            }
            // The number is taken again after a cut before the manifest.
            write(&found, &example()).unwrap();
            open(&found).unwrap().verify().unwrap();
        }
    }
}

#[test]
fn a_footer_is_never_found_without_the_data_it_speaks_of() {
    let entries: Entries = (0..4).map(|entry| (1, entry, vec![7; 500])).collect();
    let mut footers = 0;
    for cut in 0..6 {
        let disk = disk();
        disk.crash_after(disk.operations() + cut);
        write(&disk, &entries).unwrap_err();
        for seed in 0..400 {
            if let Ok(extent) = open(&disk.reboot(seed)) {
                footers += 1;
                assert_eq!(read_all(&extent).unwrap(), entries, "cut {cut} seed {seed}");
            }
        }
    }
    assert!(footers > 10, "a footer was found only {footers} times");
}

#[test]
fn a_failed_sync_seals_nothing() {
    let disk = disk();
    disk.fail_next_sync();
    assert!(write(&disk, &example()).is_err());
}

#[test]
fn an_entry_that_changed_in_memory_is_not_sealed() {
    let disk: Arc<dyn Disk> = Arc::new(disk());
    let mut writer = ExtentWriter::create(&disk, dir(), ID, OWNER, 9).unwrap();
    let (ledger, entry) = (LedgerId(1), EntryId(2));
    let crc = entry_crc(ledger, entry, b"before");
    let changed = EntryToWrite { ledger, entry, term: Term(1), crc, payload: b"beforE" };
    let error = writer.append(&changed).unwrap_err();
    assert!(error.to_string().starts_with("L1:2 changed in memory"), "{error}");
}

#[test]
#[should_panic(expected = "L1:2 is not after")]
fn entries_come_in_order() {
    let _ = write(&disk(), &vec![(1, 2, vec![]), (1, 2, vec![])]);
}

#[test]
fn an_extent_of_another_incarnation_or_number_is_not_taken() {
    let disk = disk();
    write(&disk, &example()).unwrap();
    let cache = Arc::new(TableCache::new(0));
    let other = Extent::open(&disk, dir(), ID, Incarnation(1), Arc::clone(&cache)).unwrap_err();
    assert!(matches!(other, FileError::Foreign { .. }), "{other}");
    disk.rename(&path(), &ID.next().path(dir())).unwrap();
    let other = Extent::open(&disk, dir(), ID.next(), OWNER, cache).unwrap_err();
    assert!(matches!(other, FileError::Foreign { .. }), "{other}");
}

#[test]
fn extents_the_manifest_does_not_list_are_removed_and_nothing_else() {
    let disk = disk();
    for name in ["X0000000000000001", "X0000000000000002", "X3", "notes", "X000000000000000G"] {
        disk.open(&dir().join(name), OpenHow::CreateNew, false).unwrap();
    }
    let removed = remove_unlisted(&disk, dir(), &BTreeSet::from([ExtentId(2)])).unwrap();
    assert_eq!(removed, [ExtentId(1)]);
    let left = disk.reboot(1).list(dir()).unwrap();
    assert_eq!(left, ["X0000000000000002", "X000000000000000G", "X3", "notes"]);
}

/// Writes `entries`, lets `change` put anything in the place of the data and tables, and seals the
/// result with good checksums for tables, footer and trailer.
fn resealed(
    entries: &Entries,
    named: ExtentId,
    change: impl FnOnce(&mut Vec<u8>, &[Run]),
) -> Result<Entries, FileError> {
    let disk = disk();
    let mut runs = write(&disk, entries).unwrap().runs;
    let mut bytes = disk.bytes(&path()).unwrap();
    let footer_at = runs.last().map(|run| run.table_at + run.table_len()).unwrap();
    bytes.truncate(format::size(footer_at));
    change(&mut bytes, &runs);
    for run in &mut runs {
        let table = format::size(run.table_at)..format::size(run.table_at + run.table_len());
        run.table_crc = crc32c::crc32c(&bytes[table]);
    }
    let owner = format::Owner { extent: named, incarnation: OWNER };
    format::put_footer(&mut bytes, owner, &runs, footer_at);
    disk.remove(&path()).unwrap();
    let file = disk.open(&path(), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let extent = open(&disk)?;
    let read = read_all(&extent);
    assert_eq!(extent.verify().is_ok(), read.is_ok(), "a scrub finds what a read finds");
    read
}

fn three() -> Entries {
    (0..3).map(|entry| (1, entry, vec![7; 24])).collect()
}

#[test]
fn what_has_good_checksums_everywhere_is_served() {
    assert_eq!(resealed(&three(), ID, |_, _| {}).unwrap(), three());
}

#[test]
fn a_table_that_does_not_fit_its_run_is_damage_even_with_a_good_checksum() {
    for (index, offset) in [(0, 1u32), (1, 0), (1, 4), (1, 100), (2, 7), (2, 24), (2, u32::MAX)] {
        let damaged = resealed(&three(), ID, |bytes, runs| {
            let at = format::size(runs[0].table_at) + index * 4;
            bytes[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        });
        let text = damaged.unwrap_err().to_string();
        assert!(text.contains("the offset table does not fit its run"), "{index} {offset}: {text}");
    }
}

#[test]
fn a_table_without_its_checksum_is_damage() {
    let disk = disk();
    let run = write(&disk, &three()).unwrap().runs[0];
    // The one flip that leaves the slots whole: nothing but the checksum tells.
    disk.flip(&path(), run.table_at + 4, 1);
    let error = open(&disk).unwrap().read(0, 0).unwrap_err().to_string();
    assert!(error.contains("offset table checksum mismatch"), "{error}");
}

#[test]
fn an_entry_in_the_place_of_another_is_not_served_as_it() {
    let swapped = resealed(&three(), ID, |bytes, runs| {
        let (at, slot) = (format::size(runs[0].data_at), 64);
        bytes[at..at + 2 * slot].rotate_left(slot);
    });
    let text = swapped.unwrap_err().to_string();
    assert!(text.contains("L1:1 where L1:0 was written"), "{text}");
}

#[test]
fn an_entry_the_clients_checksum_does_not_match_is_not_served() {
    let damaged = resealed(&three(), ID, |bytes, runs| {
        let head = format::EntryHead {
            len: 24,
            ledger: LedgerId(1),
            entry: EntryId(0),
            term: Term(5),
            entry_crc: 1,
        };
        let mut slot = Vec::new();
        format::put_entry_head(&mut slot, &head, &[7; 24]);
        let at = format::size(runs[0].data_at);
        bytes[at..at + slot.len()].copy_from_slice(&slot);
    });
    let text = damaged.unwrap_err().to_string();
    assert!(text.contains("the client's checksum of L1:0 differs"), "{text}");
}

#[test]
fn the_footer_of_another_extent_is_not_believed() {
    let text = resealed(&three(), ID.next(), |_, _| {}).unwrap_err().to_string();
    assert!(text.contains("the footer is another extent's"), "{text}");
}

#[test]
fn runs_that_leave_gaps_overlap_or_overflow_are_damage_even_with_a_good_checksum() {
    type Wrong = (fn(&mut [Run]), &'static str);
    let wrongs: [Wrong; 7] = [
        (|runs| runs[1].data_at += 8, "a run does not follow"),
        (|runs| runs[1].table_at -= 4, "a table does not follow"),
        (|runs| runs[1].ledger = LedgerId(0), "the runs are not in order"),
        (|runs| runs[1].first = EntryId(u64::MAX), "entry numbers overflow"),
        (|runs| runs[1].count = 0, "does not fit its entries"),
        (|runs| runs[0].data_len += 4, "does not fit its entries"),
        (|runs| runs[1].count += 1, "the tables do not end at the footer"),
    ];
    let entries = vec![(1, 0, vec![7; 200]), (1, 2, vec![7; 200])];
    let disk = disk();
    let runs = write(&disk, &entries).unwrap().runs;
    let footer_at = runs[1].table_at + 4;
    let owner = format::Owner { extent: ID, incarnation: OWNER };
    for (change, what) in wrongs {
        let mut runs = runs.clone();
        change(&mut runs);
        let mut footer = Vec::new();
        format::put_footer(&mut footer, owner, &runs, footer_at);
        let file = disk.open(&path(), OpenHow::Write, false).unwrap();
        file.write_all_at(&footer, footer_at).unwrap();
        let text = open(&disk).unwrap_err().to_string();
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn flags_that_are_not_known_are_not_ignored() {
    let head = format::EntryHead {
        len: 0,
        ledger: LedgerId(1),
        entry: EntryId(0),
        term: Term(5),
        entry_crc: entry_crc(LedgerId(1), EntryId(0), &[]),
    };
    let mut slot = Vec::new();
    format::put_entry_head(&mut slot, &head, &[]);
    assert_eq!(format::decode_slot(&slot).unwrap(), head);
    slot[36] = 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&slot[..4]), &slot[8..]);
    slot[4..8].copy_from_slice(&crc.to_le_bytes());
    let error = format::decode_slot(&slot).unwrap_err();
    assert_eq!(error.to_string(), "flags at byte 36: none are known");
}

/// Puts a footer and trailer with good checksums over `runs` after an empty extent's header.
fn forged(runs: u32, footer: &[u8], claimed_len: Option<u32>) -> Vec<u8> {
    use egret_schemas::bytes::Writer;
    let owner = format::Owner { extent: ID, incarnation: OWNER };
    let mut bytes = format::encode_header(owner, 9);
    let start = bytes.len();
    bytes.put_u64(ID.0);
    bytes.put_u128(OWNER.0);
    bytes.put_u64(1);
    bytes.put_u32(runs);
    bytes.extend_from_slice(footer);
    let crc = crc32c::crc32c(&bytes[start..]);
    bytes.put_u32(crc);
    let trailer = bytes.len();
    bytes.put_u64(4096);
    bytes.put_u32(claimed_len.unwrap_or(u32::try_from(trailer - start).unwrap()));
    bytes.extend_from_slice(b"TXETERGE");
    let crc = crc32c::crc32c(&bytes[trailer..]);
    bytes.put_u32(crc);
    bytes
}

fn opened(bytes: &[u8]) -> Result<Extent, FileError> {
    let disk = disk();
    let file = disk.open(&path(), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    open(&disk)
}

#[test]
fn lengths_beyond_the_file_size_nothing_even_with_good_checksums() {
    let text = |bytes: &[u8]| opened(bytes).unwrap_err().to_string();
    let too_many = text(&forged(u32::MAX, &[], None));
    assert!(too_many.contains("does not fit its runs"), "{too_many}");
    let too_long = text(&forged(0, &[], Some(u32::MAX)));
    assert!(too_long.contains("does not end at the trailer"), "{too_long}");
    let mut run = [0; 48];
    run[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    run[20..28].copy_from_slice(&4096u64.to_le_bytes());
    run[28..36].copy_from_slice(&(1u64 << 40).to_le_bytes());
    run[36..44].copy_from_slice(&((1u64 << 40) + 4096).to_le_bytes());
    let too_big = text(&forged(1, &run, None));
    assert!(too_big.contains("the tables do not end at the footer"), "{too_big}");
}

proptest! {
    #[test]
    fn any_entries_come_back(
        ids in prop::collection::btree_map((0..4u64, 0..30u64), 0..300usize, 0..60),
    ) {
        let entries: Entries =
            ids.into_iter().map(|((l, e), len)| (l, e, vec![e.to_le_bytes()[0]; len])).collect();
        let disk = disk();
        write(&disk, &entries).unwrap();
        let extent = open(&disk).unwrap();
        prop_assert_eq!(read_all(&extent).unwrap(), entries.clone());
        for ledger in 0..5 {
            for entry in 0..31 {
                let there = entries.iter().any(|(l, e, _)| (*l, *e) == (ledger, entry));
                let found = extent.find(LedgerId(ledger), EntryId(entry));
                prop_assert_eq!(found.is_some(), there);
                if let Some((run, index)) = found {
                    prop_assert_eq!(extent.read(run, index).unwrap().entry, EntryId(entry));
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(opened(&bytes).is_err());
    }

    #[test]
    fn arbitrary_runs_under_good_checksums_never_panic(
        runs in 0..3u32,
        words in prop::collection::vec(
            prop_oneof![Just(0u32), Just(1), Just(40), Just(4096), any::<u32>()], 0..40),
    ) {
        let footer: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        if let Ok(extent) = opened(&forged(runs, &footer, None)) {
            let _ = extent.verify();
        }
        let exact = footer.iter().copied().chain(std::iter::repeat(0)).take(48).collect::<Vec<_>>();
        if let Ok(extent) = opened(&forged(1, &exact, None)) {
            let _ = extent.verify();
        }
    }

    #[test]
    fn an_arbitrary_slot_decodes_or_not_without_panic(slot in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(format::decode_slot(&slot).is_err());
    }
}
