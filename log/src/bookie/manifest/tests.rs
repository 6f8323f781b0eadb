//! The manifest is replaced as a whole or not at all.

use super::*;
use crate::disk::FaultyDisk;
use proptest::prelude::*;

const OWNER: Incarnation = Incarnation(0x77);

fn dir() -> &'static Path {
    Path::new("/b")
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(dir()).unwrap();
    disk
}

fn row(ledger: u64, lac: Option<u64>) -> LedgerRow {
    LedgerRow {
        ledger: LedgerId(ledger),
        term: Term(3),
        lac: lac.map(EntryId),
        transactional: ledger.is_multiple_of(2),
        created: true,
        deleted: ledger.is_multiple_of(3),
        replicated: ledger == 6,
        limbo: false,
    }
}

fn example() -> Manifest {
    Manifest {
        sequence: 1,
        checkpoint_lsn: 0x1234,
        next_extent: ExtentId(5),
        limbo_below: LedgerId(8),
        extents: vec![ExtentId(1), ExtentId(4)],
        ledgers: vec![row(1, None), row(6, Some(9))],
        deleted: vec![LedgerRange { first: LedgerId(2), last: LedgerId(3) }],
        ..Manifest::empty(OWNER)
    }
}

fn arbitrary() -> impl Strategy<Value = Manifest> {
    let ids = |max| prop::collection::btree_set(0..max, 0..20usize);
    let ledgers = prop::collection::btree_map(any::<u64>(), any::<(u64, Option<u64>, u8)>(), 0..20);
    (any::<(u128, u64, u64)>(), ids(1000u64), ledgers, ids(500u64)).prop_map(
        |((incarnation, sequence, checkpoint_lsn), extents, ledgers, deleted)| Manifest {
            incarnation: Incarnation(incarnation),
            sequence,
            checkpoint_lsn,
            next_extent: ExtentId(1000),
            limbo_below: LedgerId(sequence),
            extents: extents.into_iter().map(ExtentId).collect(),
            ledgers: ledgers
                .into_iter()
                .map(|(ledger, (term, lac, flags))| LedgerRow {
                    ledger: LedgerId(ledger),
                    term: Term(term),
                    lac: lac.map(EntryId),
                    transactional: flags & 1 != 0,
                    created: flags & 2 != 0,
                    deleted: flags & 4 != 0,
                    replicated: flags & 8 != 0,
                    limbo: flags & 16 != 0,
                })
                .collect(),
            deleted: deleted
                .into_iter()
                .map(|n| LedgerRange { first: LedgerId(n * 3), last: LedgerId(n * 3 + n % 3) })
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_manifest_comes_back_as_it_was(manifest in arbitrary()) {
        let disk = disk();
        manifest.store(&disk, dir(), None).unwrap();
        let found = Manifest::load(&disk, dir(), manifest.incarnation).unwrap();
        prop_assert_eq!(found, Some(manifest));
    }

    #[test]
    fn arbitrary_bytes_are_damage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(Path::new("MANIFEST"), &bytes).is_err());
    }

    /// With a good checksum, so that what is behind it is reached.
    #[test]
    fn arbitrary_checked_bytes_decode_to_themselves_or_not(
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200),
        headed: bool,
    ) {
        let mut bytes = if headed { b"EGRETMAN\x02\0".to_vec() } else { Vec::new() };
        bytes.extend(body);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        if let Ok(manifest) = decode(Path::new("MANIFEST"), &bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }
}

#[test]
fn the_layout_does_not_change() {
    let golden = b"EGRETMAN\x02\0\
        \x77\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x01\0\0\0\0\0\0\0\x34\x12\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\
        \x08\0\0\0\0\0\0\0\
        \x02\0\0\0\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\
        \x02\0\0\0\
        \x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\
        \x06\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x1f\
        \x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
        \xf3\xf0\x22\xa1";
    assert_eq!(example().encode(), golden);
    assert_eq!(decode(Path::new("MANIFEST"), golden).unwrap(), example());
}

#[test]
fn a_manifest_of_the_first_version_is_read_too() {
    let golden = b"EGRETMAN\x01\0\
        \x77\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x01\0\0\0\0\0\0\0\x34\x12\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\
        \x02\0\0\0\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\
        \x02\0\0\0\
        \x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\
        \x06\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0f\
        \x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
        \x4e\xdb\xfc\x97";
    let mut expected = Manifest { limbo_below: LedgerId(0), ..example() };
    expected.ledgers[1].replicated = false;
    assert_eq!(decode(Path::new("MANIFEST"), golden).unwrap(), expected);
}

#[test]
fn every_flipped_bit_is_found() {
    let disk = disk();
    example().store(&disk, dir(), None).unwrap();
    let path = dir().join(NAME);
    let len = disk.bytes(&path).unwrap().len();
    for bit in 0..u64::try_from(len).unwrap() * 8 {
        disk.flip(&path, bit / 8, 1 << (bit % 8));
        let error = Manifest::load(&disk, dir(), OWNER).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("/b/MANIFEST: damaged at byte "), "{text}");
        assert!(text.ends_with("an older copy would deny what came since"), "{text}");
        disk.flip(&path, bit / 8, 1 << (bit % 8));
    }
    assert_eq!(Manifest::load(&disk, dir(), OWNER).unwrap(), Some(example()));
}

#[test]
fn a_manifest_cut_short_at_any_byte_is_damage() {
    let bytes = example().encode();
    for len in 0..bytes.len() {
        assert!(decode(Path::new("MANIFEST"), &bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn a_count_beyond_the_bytes_sizes_nothing() {
    let fixed = Manifest::empty(OWNER).encode();
    for list in 0..3 {
        let mut bytes = fixed[..fixed.len() - 4].to_vec();
        let at = bytes.len() - 12 + list * 4;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        let error = decode(Path::new("MANIFEST"), &bytes).unwrap_err();
        assert!(error.to_string().contains("more than there are bytes for"), "{error}");
    }
}

#[test]
fn another_incarnations_manifest_is_not_taken() {
    let disk = disk();
    example().store(&disk, dir(), None).unwrap();
    let error = Manifest::load(&disk, dir(), Incarnation(0x78)).unwrap_err();
    assert!(matches!(error, FileError::Foreign { .. }), "{error}");
    assert_eq!(Manifest::load(&FaultyDisk::new(), dir(), OWNER).unwrap(), None);
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let mut bytes = example().encode();
    bytes.truncate(bytes.len() - 4);
    bytes[8] = 3;
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32(crc);
    let error = decode(Path::new("MANIFEST"), &bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "MANIFEST: format version 3, this Egret knows 2: use the newer Egret"
    );
}

#[test]
fn a_power_cut_while_storing_leaves_one_of_the_two() {
    let (old, new) = (example(), Manifest { sequence: 2, checkpoint_lsn: 0x2000, ..example() });
    for cut in 0..6 {
        for seed in 0..40 {
            let disk = disk();
            old.store(&disk, dir(), None).unwrap();
            disk.crash_after(disk.operations() + cut);
            let stored = new.store(&disk, dir(), Some(&old));
            let found = Manifest::load(&disk.reboot(seed), dir(), OWNER).unwrap().unwrap();
            assert!(found == new || found == old && stored.is_err(), "cut {cut} seed {seed}");
        }
    }
}

#[test]
fn a_failed_sync_while_storing_is_told() {
    let disk = disk();
    disk.fail_next_sync();
    assert!(example().store(&disk, dir(), None).is_err());
}

#[test]
#[should_panic(expected = "checkpoints do not go back")]
fn a_checkpoint_does_not_go_back() {
    let older = Manifest { sequence: 2, checkpoint_lsn: 1, ..example() };
    let _ = older.store(&disk(), dir(), Some(&example()));
}

#[test]
#[should_panic(expected = "an extent is not below the next number")]
fn an_extent_is_listed_only_below_the_next_number() {
    let _ = Manifest { next_extent: ExtentId(4), ..example() }.store(&disk(), dir(), None);
}
