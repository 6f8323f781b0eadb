//! The disk that cuts the power loses what was not synced, and nothing else.

use super::*;

fn dir() -> &'static Path {
    Path::new("/data")
}

fn at(name: &str) -> PathBuf {
    dir().join(name)
}

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(dir()).unwrap();
    disk
}

/// A file whose name and bytes are durable.
fn durable(disk: &FaultyDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(&at(name), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir()).unwrap();
    file
}

/// What is found under a name over many power cuts.
fn outcomes(disk: &FaultyDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| disk.reboot(seed).bytes(&at(name))).collect()
}

#[test]
fn what_was_synced_is_always_found() {
    let disk = disk();
    durable(&disk, "a", &[7; 2000]);
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(vec![7; 2000])]));
}

#[test]
fn unsynced_sectors_are_kept_lost_and_reordered_one_by_one() {
    let disk = disk();
    let file = durable(&disk, "a", &[0; 1024]);
    file.write_all_at(&[1; 1024], 0).unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    let found = outcomes(&disk, "a");
    // Each of the two sectors is as durable, as after the first write, or as after the second.
    assert_eq!(found.len(), 9);
    for bytes in found.into_iter().flatten() {
        assert!(bytes[..512].iter().all(|b| *b == bytes[0]), "a sector is never torn");
        assert!(bytes[512..].iter().all(|b| *b == bytes[512]));
    }
}

#[test]
fn a_write_inside_a_sector_keeps_its_neighbours() {
    let disk = disk();
    let file = durable(&disk, "a", b"abcdef");
    file.write_all_at(b"X", 2).unwrap();
    let expected = [b"abcdef", b"abXdef"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from(expected));
}

#[test]
fn an_unsynced_file_may_be_absent_empty_short_or_zeros() {
    let disk = disk();
    let file = disk.open(&at("a"), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(&[9; 600], 0).unwrap();
    let found = outcomes(&disk, "a");
    assert!(found.contains(&None), "its name was not synced");
    assert!(found.contains(&Some(vec![])), "its name survived, its length did not");
    assert!(found.contains(&Some(vec![0; 600])), "its length survived, its bytes did not");
    assert!(found.contains(&Some(vec![9; 600])));
}

#[test]
fn syncing_a_file_does_not_sync_its_name() {
    let disk = disk();
    let file = disk.open(&at("a"), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None, Some(b"x".to_vec())]));
    disk.sync_dir(dir()).unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(b"x".to_vec())]));
}

#[test]
fn a_rename_lasts_only_after_the_directory_is_synced() {
    let disk = disk();
    durable(&disk, "old", b"old");
    durable(&disk, "new", b"new");
    disk.rename(&at("new"), &at("old")).unwrap();
    assert_eq!(disk.bytes(&at("old")).unwrap(), b"new");
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcomes(&disk, "old"), BTreeSet::from([old, new.clone()]));
    for seed in 0..50 {
        let found = disk.reboot(seed);
        let moved = found.bytes(&at("new")).is_none();
        assert_eq!(moved, found.bytes(&at("old")).unwrap() == b"new", "a rename is never halved");
    }
    disk.sync_dir(dir()).unwrap();
    assert_eq!(outcomes(&disk, "old"), BTreeSet::from([new]));
    assert_eq!(outcomes(&disk, "new"), BTreeSet::from([None]));
}

#[test]
fn a_removed_file_may_come_back_until_the_directory_is_synced() {
    let disk = disk();
    durable(&disk, "a", b"a");
    disk.remove(&at("a")).unwrap();
    assert_eq!(disk.bytes(&at("a")), None);
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None, Some(b"a".to_vec())]));
    disk.sync_dir(dir()).unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None]));
}

#[test]
fn syncing_one_directory_leaves_the_names_of_another_open() {
    let disk = disk();
    let other = Path::new("/other");
    disk.create_dir(other).unwrap();
    disk.open(&at("a"), OpenHow::CreateNew, false).unwrap();
    disk.open(&other.join("b"), OpenHow::CreateNew, false).unwrap();
    disk.sync_dir(other).unwrap();
    assert!(outcomes(&disk, "a").contains(&None));
    assert!((0..50).all(|seed| disk.reboot(seed).bytes(&other.join("b")).is_some()));
}

#[test]
fn a_rename_into_a_synced_directory_brings_along_what_led_to_it() {
    let disk = disk();
    let other = Path::new("/other");
    disk.create_dir(other).unwrap();
    let file = disk.open(&at("a"), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(b"a", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(&at("a"), &other.join("b")).unwrap();
    disk.sync_dir(other).unwrap();
    for seed in 0..50 {
        assert_eq!(disk.reboot(seed).files(), [(other.join("b"), 1)]);
    }
}

#[test]
fn names_not_synced_survive_in_the_order_they_were_made() {
    let disk = disk();
    for name in ["1", "2", "3"] {
        disk.open(&at(name), OpenHow::CreateNew, false).unwrap();
    }
    let found: BTreeSet<_> = (0..50).map(|seed| disk.reboot(seed).list(dir()).unwrap()).collect();
    let names = |n: usize| ["1", "2", "3"][..n].iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(found, (0..4).map(names).collect());
}

#[test]
fn what_a_shorter_length_cut_off_does_not_come_back_when_the_file_grows() {
    let disk = disk();
    let file = durable(&disk, "a", &[5; 600]);
    file.set_len(100).unwrap();
    file.set_len(600).unwrap();
    file.sync_data().unwrap();
    let mut expected = vec![5; 100];
    expected.resize(600, 0);
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(expected)]));
}

#[test]
fn the_power_goes_at_the_chosen_operation_and_stays_off() {
    let disk = disk();
    let file = durable(&disk, "a", &[0; 1024]);
    disk.crash_after(disk.operations() + 1);
    file.write_all_at(&[1; 512], 0).unwrap();
    assert!(!disk.is_cut());
    assert_eq!(file.write_all_at(&[1; 1024], 0).unwrap_err().to_string(), "power cut");
    assert!(disk.is_cut());
    assert!(file.sync_data().is_err());
    assert!(file.read_exact_at(&mut [0], 0).is_err());
    assert!(disk.list(dir()).is_err());
    assert!(disk.open(&at("b"), OpenHow::CreateNew, false).is_err());
    let found = outcomes(&disk, "a");
    let torn = [vec![0; 512], vec![1; 512]].concat();
    assert!(found.contains(&Some(torn)), "the write being cut may be torn");
    assert!(found.contains(&Some(vec![0; 1024])));
    let back = disk.reboot(1);
    assert_eq!(back.operations(), 0);
    back.open(&at("b"), OpenHow::CreateNew, false).unwrap();
}

#[test]
fn the_same_seed_finds_the_same_disk() {
    let disk = disk();
    let file = durable(&disk, "a", &[0; 4096]);
    file.write_all_at(&[1; 4096], 0).unwrap();
    assert_eq!(disk.reboot(42).bytes(&at("a")), disk.reboot(42).bytes(&at("a")));
    assert_ne!(disk.reboot(42).bytes(&at("a")), disk.reboot(43).bytes(&at("a")));
}

#[test]
fn a_flipped_byte_is_read_and_survives() {
    let disk = disk();
    let file = durable(&disk, "a", b"abc");
    disk.flip(&at("a"), 1, 0x01);
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1).unwrap();
    assert_eq!(&byte, b"c");
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(b"acc".to_vec())]));
}

#[test]
fn after_a_failed_sync_a_good_one_does_not_make_the_bytes_durable() {
    let disk = disk();
    let file = durable(&disk, "a", b"old");
    file.write_all_at(b"new", 0).unwrap();
    disk.fail_next_sync();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert_eq!(disk.bytes(&at("a")).unwrap(), b"new");
    let both = [b"old", b"new"].map(|bytes| Some(bytes.to_vec()));
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from(both));
    file.write_all_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(b"new".to_vec())]));
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let disk = disk();
    disk.space_limit(1000);
    let file = disk.open(&at("a"), OpenHow::CreateNew, false).unwrap();
    file.write_all_at(&[1; 900], 0).unwrap();
    assert_eq!(disk.free_bytes(dir()).unwrap(), 100);
    let error = file.write_all_at(&[2; 200], 900).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.files(), [(at("a"), 1000)]);
    file.write_all_at(&[3; 1000], 0).unwrap();
    assert_eq!(file.set_len(1001).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.remove(&at("a")).unwrap();
    assert_eq!(disk.free_bytes(dir()).unwrap(), 1000);
}

#[test]
fn a_file_is_created_once_in_a_directory_that_is_there() {
    let disk = disk();
    let missing = disk.open(&at("a"), OpenHow::Read, false).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    durable(&disk, "a", b"");
    let twice = disk.open(&at("a"), OpenHow::CreateNew, false).unwrap_err();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    let nowhere = disk.open(Path::new("/no/a"), OpenHow::CreateNew, false).unwrap_err();
    assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    let read_only = disk.open(&at("a"), OpenHow::Read, false).unwrap();
    assert!(read_only.write_all_at(b"x", 0).is_err());
    assert!(disk.exists(&at("a")).unwrap() && disk.exists(dir()).unwrap());
    assert!(!disk.exists(&at("b")).unwrap());
}

#[test]
fn a_direct_file_refuses_what_a_device_would() {
    let disk = disk();
    let file = disk.open(&at("a"), OpenHow::CreateNew, true).unwrap();
    let space = vec![1u8; 12288];
    let aligned = space.as_ptr().align_offset(4096);
    file.write_all_at(&space[aligned..aligned + 4096], 0).unwrap();
    for (from, len, offset) in [(1, 4096, 0), (0, 512, 0), (0, 4096, 512)] {
        let buf = &space[aligned + from..aligned + from + len];
        let error = file.write_all_at(buf, offset).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn a_process_that_was_ended_touches_nothing_any_more() {
    let disk = disk();
    let file = durable(&disk, "a", b"before");
    file.write_all_at(b"unsynced", 6).unwrap();
    let next = disk.next_process();
    let operations = next.operations();
    assert!(file.write_all_at(b"late", 0).is_err() && file.sync_data().is_err());
    assert!(file.set_len(0).is_err() && file.len().is_err());
    assert!(file.read_exact_at(&mut [0], 0).is_err());
    assert!(disk.remove(&at("a")).is_err() && disk.rename(&at("a"), &at("b")).is_err());
    assert!(disk.open(&at("c"), OpenHow::CreateNew, false).is_err());
    assert!(disk.sync_dir(dir()).is_err() && disk.list(dir()).is_err());
    assert_eq!(next.operations(), operations, "nor is it counted");
    let found = next.open(&at("a"), OpenHow::Read, false).unwrap();
    let mut bytes = [0; 14];
    found.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"beforeunsynced");
    assert!(outcomes(&next, "a").len() > 1, "and what it did not sync may be lost");
}
