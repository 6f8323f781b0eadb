//! Pages with checksums: one slot, and the beginning of a file with both copies of its first page.

use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;

use super::{CRC_AT, PAGE, Pages, SLOT, check, seal};
use crate::disk::{Disk, FaultyDisk, OpenHow};
use crate::fuzzing::{Sample, Target, with_checksum};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "metadata_page", run: page, samples: page_samples },
    Target { name: "metadata_pages", run: pages, samples: pages_samples },
];

/// The page that stands in the sample.
const NUMBER: u64 = 3;

fn page(bytes: &[u8]) -> bool {
    let mut slot = bytes.to_vec();
    slot.resize(SLOT, 0);
    with_checksum(&slot, |slot| {
        let Ok(sequence) = check(slot, NUMBER) else { return false };
        let again = seal(&slot[..PAGE], NUMBER, sequence);
        assert_eq!(check(&again, NUMBER), Ok(sequence));
        true
    })
}

fn page_samples() -> Vec<Sample> {
    vec![("page_3", seal(&[7; PAGE], NUMBER, 5))]
}

/// A file of slots, opened and read through.
fn pages(bytes: &[u8]) -> bool {
    let as_it_is = one_file(bytes);
    let mut sealed = bytes.to_vec();
    for slot in sealed.chunks_exact_mut(SLOT) {
        let crc = crc32c::crc32c(&slot[..CRC_AT]);
        slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }
    one_file(&sealed) || as_it_is
}

fn one_file(bytes: &[u8]) -> bool {
    let path = Path::new("/meta/pages");
    let disk = FaultyDisk::new();
    disk.create_dir(Path::new("/meta")).expect("the disk is new");
    let file = disk.open(path, OpenHow::CreateNew, false).expect("the disk is new");
    file.write_all_at(bytes, 0).expect("the disk has room");
    let file: Arc<_> = disk.open(path, OpenHow::Write, false).expect("it was just made");
    let Ok(pages) = Pages::open(file, path) else { return false };
    let mut page = vec![0; PAGE];
    let count = pages.len().expect("the disk does not fail") / PAGE as u64;
    let read = |at| pages.read(at * PAGE as u64, &mut page).is_ok();
    let all = (0..count).map(read).filter(|read| *read).count();
    let whole = pages.look_at_all().expect("the disk does not fail").is_none();
    assert!(all > 0, "the first page was found to be right");
    whole
}

fn pages_samples() -> Vec<Sample> {
    let first = [1; PAGE];
    let whole = [seal(&first, 0, 4), seal(&first, 0, 5), seal(&[2; PAGE], 1, 0)];
    vec![("two_pages", whole.concat())]
}
