//! What the medium can do: writes and reads with nothing around them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret_log::clock;
use egret_log::disk::{Disk, DiskFile, OpenHow, RealDisk};

use super::latencies::{Latencies, Row};
use super::load::rest_until;
use crate::measure::cpu_seconds;

/// Bytes of the file that is written over and over.
const FILE_BYTES: u64 = 64 << 20;

/// What direct I/O asks of addresses and lengths.
const BLOCK: usize = 4096;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// A buffer whose front lies on a block.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Aligned {
        let bytes = vec![1; bytes + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Aligned { bytes, start }
    }

    fn front(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + bytes]
    }
}

/// `records` of `bytes` each in one direct write, padded to whole blocks, and a sync: one after the other
/// over a file whose space is there. The limit of a durable append, and of a group of them.
///
/// # Panics
/// When the scratch directory has no room.
pub fn synced_writes(records: usize, bytes: usize, time: Duration) -> Row {
    let dir = tempfile::tempdir_in(crate::scratch()).expect("a directory");
    let file = filled(&dir.path().join("raw"));
    let write = (records * bytes).next_multiple_of(BLOCK);
    let mut buffer = Aligned::new(write);
    let mut latencies = Latencies::new();
    let (begin, cpu) = (clock::now(), cpu_seconds());
    let mut at = 0;
    while begin.elapsed() < time {
        let started = clock::now();
        file.write_all_at(buffer.front(write), at).expect("a write");
        file.sync_data().expect("a sync");
        latencies.add(started.elapsed());
        at += write as u64;
        if at + write as u64 > FILE_BYTES {
            at = 0;
        }
    }
    latencies.row(begin.elapsed(), (records, write), cpu_seconds() - cpu)
}

/// What a commit takes that only writes: every so often, one synced direct write after the other of so many bytes each, while
/// a second thread writes `beside` bytes a second to other files through the page cache, which it syncs every 2 MiB and
/// of which it keeps the newest 2 GiB. How long all writes of one commit took together.
///
/// # Panics
/// When the scratch directory has no room.
pub fn commits(every: Duration, writes: &[usize], beside: u64, time: Duration) -> Latencies {
    const PIECE: usize = 2 << 20;
    const PIECES_OF_A_FILE: usize = 16;
    const FILES: usize = 64;
    let dir = tempfile::tempdir_in(crate::scratch()).expect("a directory");
    let file = filled(&dir.path().join("raw"));
    let mut buffer = Aligned::new(writes.iter().copied().max().unwrap_or_default() + BLOCK);
    let mut latencies = Latencies::default();
    let (begin, over) = (clock::now(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut written, piece) = (0u64, vec![1; PIECE]);
            let mut files = VecDeque::new();
            while !over.load(Ordering::Acquire) && beside > 0 {
                let path = dir.path().join(format!("beside-{written}"));
                let file = RealDisk.open(&path, OpenHow::CreateNew, false).expect("a file");
                for number in 0..PIECES_OF_A_FILE {
                    rest_until(
                        begin + Duration::from_secs(1).mul_f64(written as f64 / beside as f64),
                    );
                    if over.load(Ordering::Acquire) {
                        break;
                    }
                    file.write_all_at(&piece, (number * PIECE) as u64).expect("a write");
                    file.sync_data().expect("a sync");
                    written += PIECE as u64;
                }
                files.push_back(path);
                if files.len() > FILES {
                    let oldest = files.pop_front().expect("there are some");
                    RealDisk.remove(&oldest).expect("a file is removed");
                }
            }
        });
        let mut at = 0;
        for number in 0.. {
            rest_until(begin + every * number);
            if begin.elapsed() >= time {
                break;
            }
            let started = clock::now();
            for bytes in writes {
                let bytes = bytes.next_multiple_of(BLOCK);
                if at + bytes as u64 > FILE_BYTES {
                    at = 0;
                }
                file.write_all_at(buffer.front(bytes), at).expect("a write");
                file.sync_data().expect("a sync");
                at += bytes as u64;
            }
            latencies.add(started.elapsed());
        }
        over.store(true, Ordering::Release);
    });
    latencies
}

fn filled(path: &Path) -> Arc<dyn DiskFile> {
    let file = RealDisk.open(path, OpenHow::CreateNew, false).expect("a file");
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).expect("space");
    }
    file.sync_data().expect("a sync");
    RealDisk.open(path, OpenHow::Write, true).expect("the file")
}

/// Reads files from front to end past the page cache, `threads` at once; megabytes a second.
///
/// # Panics
/// When a file cannot be read.
pub fn sequential_read(files: &[PathBuf], threads: usize) -> f64 {
    let begin = clock::now();
    let bytes: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|own| {
                scope.spawn(move || {
                    files.iter().skip(own).step_by(threads).map(|f| read(f)).sum::<u64>()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("the files are read")).sum()
    });
    bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()
}

/// Whole blocks of one file.
fn read(path: &Path) -> u64 {
    let file = RealDisk.open(path, OpenHow::Read, true).expect("the file");
    let whole = file.len().expect("a length") / BLOCK as u64 * BLOCK as u64;
    let mut buffer = Aligned::new(READ_BYTES);
    let mut at = 0;
    while at < whole {
        let bytes = usize::try_from(whole - at).unwrap_or(READ_BYTES).min(READ_BYTES);
        file.read_exact_at(buffer.front(bytes), at).expect("a read");
        at += bytes as u64;
    }
    whole
}
