//! In memory, with power cuts: a disk that loses all it may lose and nothing it may not.
//!
//! * [`crash_after`](FaultyDisk::crash_after) cuts the power at one operation; from there on everything
//!   fails. [`reboot`](FaultyDisk::reboot) gives the disk as found afterwards, one of the many ways
//!   allowed, chosen by a seed: unsynced sectors kept, lost or old; unsynced names up to some point.
//! * [`flip`](FaultyDisk::flip) damages a byte, [`fail_next_sync`](FaultyDisk::fail_next_sync) a sync,
//!   [`space_limit`](FaultyDisk::space_limit) ends the space.
//!
//! A disk in memory has no lock that keeps a process out while the one before still ends, as a directory
//! has: [`next_process`](FaultyDisk::next_process) ends the one before as a kill does, and nothing that
//! it left running touches the disk any more.
//!
//! A file opened `direct` refuses buffers that are not aligned, as a real one may.

mod chance;
mod medium;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::chance::Chance;
use self::medium::Medium;
use self::names::{Inode, Names, dir_of};
use super::{Disk, DiskFile, OpenHow};

/// A disk in memory that can fail. Clones are the same disk, used by the same process.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
    /// The process that uses it through this handle, and the files it opened.
    process: u64,
}

#[derive(Debug, Default)]
struct State {
    media: BTreeMap<Inode, Medium>,
    names: Names,
    dirs: BTreeSet<PathBuf>,
    next_inode: Inode,
    operations: u64,
    reads: u64,
    crash_after: Option<u64>,
    fail_next_sync: bool,
    space_limit: Option<u64>,
    /// The one process that may use it.
    process: u64,
}

/// The size of a disk not told otherwise.
const SPACE: u64 = 1 << 40;

/// What a started operation comes to.
enum Power {
    On,
    /// It goes this very moment: the operation may take effect in part.
    Goes,
}

fn power_cut() -> io::Error {
    io::Error::other("power cut")
}

fn ended() -> io::Error {
    io::Error::other("the process that opened this was ended: another one uses the disk")
}

fn no_file(path: &Path) -> io::Error {
    let text = format!("{}: no such file or directory", path.display());
    io::Error::new(io::ErrorKind::NotFound, text)
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length in memory fits u64")
}

impl State {
    /// Counts an operation that changes the disk.
    fn start(&mut self) -> io::Result<Power> {
        self.powered()?;
        self.operations += 1;
        Ok(if self.powered().is_err() { Power::Goes } else { Power::On })
    }

    /// Whether there is power: not once more operations were started than may succeed.
    fn powered(&self) -> io::Result<()> {
        match self.crash_after {
            Some(last) if self.operations > last => Err(power_cut()),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        self.names.live().values().map(|inode| size(self.media[inode].live().len())).sum()
    }

    fn free(&self) -> u64 {
        self.space_limit.unwrap_or(SPACE).saturating_sub(self.used())
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.parent().is_none_or(|_| path == Path::new(".")) || self.dirs.contains(path)
    }

    fn medium(&mut self, inode: Inode) -> &mut Medium {
        self.media.get_mut(&inode).expect("a file lives as long as the disk")
    }

    fn named(&self, path: &Path) -> io::Result<Inode> {
        self.names.get(path).ok_or_else(|| no_file(path))
    }
}

impl FaultyDisk {
    /// An empty disk without faults, until told otherwise.
    pub fn new() -> FaultyDisk {
        FaultyDisk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test thread that panicked elsewhere leaves the state whole: nothing below panics midway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for an operation of this handle's process: none once that was ended.
    fn own(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.process == self.process { Ok(state) } else { Err(ended()) }
    }

    /// The same disk for a process started now. Whoever used it before is ended: every operation of
    /// handles and files from then fails from here on, without effect and without being counted. What it
    /// wrote is there, synced or not.
    pub fn next_process(&self) -> FaultyDisk {
        let mut state = self.state();
        state.process += 1;
        FaultyDisk { state: Arc::clone(&self.state), process: state.process }
    }

    /// Operations started since the disk was made or rebooted: writes, syncs, changes of length, and
    /// creating, renaming, removing and syncing names.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Reads of files since the disk was made or rebooted.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Lets `n` operations succeed, counted as [`operations`](FaultyDisk::operations) does, and cuts
    /// the power during the next: it and everything later fails, reads included.
    pub fn crash_after(&self, n: u64) {
        self.state().crash_after = Some(n);
    }

    /// Whether the power was cut.
    pub fn is_cut(&self) -> bool {
        self.state().powered().is_err()
    }

    /// The disk as found when power is back, without further faults; this one stays as it is. The
    /// same seed finds the same disk.
    pub fn reboot(&self, seed: u64) -> FaultyDisk {
        let state = self.state();
        let mut chance = Chance::new(seed);
        let names = state.names.after_power_cut(&mut chance);
        let found = |inode: &Inode| (*inode, state.media[inode].after_power_cut(&mut chance));
        let media = names.live().values().map(found).collect();
        FaultyDisk {
            state: Arc::new(Mutex::new(State {
                media,
                names,
                dirs: state.dirs.clone(),
                next_inode: state.next_inode,
                space_limit: state.space_limit,
                ..State::default()
            })),
            process: 0,
        }
    }

    /// Damages the byte at `offset`: the bits in `mask` change.
    ///
    /// # Panics
    /// When there is no such byte: the test meant another one.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.state();
        let inode = state.names.get(path);
        let offset = usize::try_from(offset).expect("an offset in memory fits usize");
        let there = inode.is_some_and(|inode| state.medium(inode).flip(offset, mask));
        assert!(there, "{} has no byte {offset} to flip", path.display());
    }

    /// Lets the next sync, of a file or directory, fail. What the file's sync was to make durable
    /// stays visible but is lost at a power cut unless written again, however often it is synced.
    pub fn fail_next_sync(&self) {
        self.state().fail_next_sync = true;
    }

    /// Lets all files together take at most this many bytes.
    pub fn space_limit(&self, bytes: u64) {
        self.state().space_limit = Some(bytes);
    }

    /// Every file and its length, in order of their names.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let len = |inode: &Inode| size(state.media[inode].live().len());
        state.names.live().iter().map(|(path, inode)| (path.clone(), len(inode))).collect()
    }

    /// What a process would read in a file; `None` when there is no such file.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|inode| state.media[&inode].live().to_vec())
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: OpenHow, direct: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.own()?;
        state.powered()?;
        let inode = match how {
            OpenHow::Read | OpenHow::Write => state.named(path)?,
            OpenHow::CreateNew => {
                if !state.is_dir(dir_of(path)) {
                    return Err(no_file(dir_of(path)));
                }
                if state.names.get(path).is_some() || state.is_dir(path) {
                    let text = format!("{} exists already", path.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
                }
                let power = state.start()?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.media.insert(inode, Medium::default());
                state.names.create(path, inode);
                if let Power::Goes = power {
                    return Err(power_cut());
                }
                inode
            }
        };
        let (disk, path) = (self.clone(), path.to_owned());
        Ok(Arc::new(FaultyFile { disk, path, inode, writes: how != OpenHow::Read, direct }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.own()?;
        state.powered()?;
        if state.is_dir(path) {
            return Ok(());
        }
        if path.ancestors().any(|dir| state.names.get(dir).is_some()) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if let Power::Goes = state.start()? {
            return Err(power_cut());
        }
        state.dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.own()?;
        state.powered()?;
        state.named(from)?;
        if !state.is_dir(dir_of(to)) {
            return Err(no_file(dir_of(to)));
        }
        let power = state.start()?;
        state.names.rename(from, to);
        if let Power::Goes = power { Err(power_cut()) } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.own()?;
        state.powered()?;
        state.named(path)?;
        let power = state.start()?;
        state.names.remove(path);
        if let Power::Goes = power { Err(power_cut()) } else { Ok(()) }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.own()?;
        state.powered()?;
        if !state.is_dir(path) {
            return Err(no_file(path));
        }
        if let Power::Goes = state.start()? {
            return Err(power_cut());
        }
        if std::mem::take(&mut state.fail_next_sync) {
            return Err(sync_failed(path));
        }
        state.names.sync(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.own()?;
        state.powered()?;
        if !state.is_dir(path) {
            return Err(no_file(path));
        }
        let here = state.names.live().keys().filter(|name| dir_of(name) == path);
        Ok(here.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.own()?;
        state.powered()?;
        Ok(state.names.get(path).is_some() || state.is_dir(path))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.own()?;
        state.powered()?;
        Ok(state.free())
    }
}

fn sync_failed(path: &Path) -> io::Error {
    io::Error::other(format!("{}: sync: input/output error", path.display()))
}

/// An open file on a faulty disk.
#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    inode: Inode,
    writes: bool,
    direct: bool,
}

impl FaultyFile {
    fn error(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        io::Error::new(kind, format!("{}: {what}", self.path.display()))
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writes {
            return Ok(());
        }
        Err(self.error(io::ErrorKind::PermissionDenied, "opened to read only"))
    }

    /// Where the buffer goes, as memory counts; aligned where the page cache does not help.
    fn place(&self, buf: &[u8], at: u64) -> io::Result<usize> {
        let aligned = [size(buf.as_ptr().addr()), size(buf.len()), at];
        if self.direct && aligned.iter().any(|n| n % 4096 != 0) {
            return Err(self.error(io::ErrorKind::InvalidInput, "a direct buffer is not aligned"));
        }
        Ok(usize::try_from(at).expect("an offset in memory fits usize"))
    }
}

impl DiskFile for FaultyFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let at = self.place(buf, at)?;
        let mut state = self.disk.own()?;
        state.powered()?;
        state.reads += 1;
        let live = state.media[&self.inode].live();
        let there = at.checked_add(buf.len()).and_then(|end| live.get(at..end));
        let there = there
            .ok_or_else(|| self.error(io::ErrorKind::UnexpectedEof, "the file ends before"))?;
        buf.copy_from_slice(there);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.check_writable()?;
        let at = self.place(buf, at)?;
        let mut state = self.disk.own()?;
        let power = state.start()?;
        let len = state.media[&self.inode].live().len();
        let grows = size((at + buf.len()).saturating_sub(len));
        let short =
            usize::try_from(grows.saturating_sub(state.free())).expect("part of the buffer");
        // As on a file system, what still fits is written.
        let fits = &buf[..buf.len().saturating_sub(short)];
        if !fits.is_empty() || short == 0 {
            state.medium(self.inode).write(fits, at);
        }
        match power {
            Power::Goes => Err(power_cut()),
            Power::On if short > 0 => {
                Err(self.error(io::ErrorKind::StorageFull, "no space left on device"))
            }
            Power::On => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.own()?;
        if let Power::Goes = state.start()? {
            return Err(power_cut());
        }
        if std::mem::take(&mut state.fail_next_sync) {
            state.medium(self.inode).sync_failed();
            return Err(sync_failed(&self.path));
        }
        state.medium(self.inode).sync();
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.disk.own()?;
        let power = state.start()?;
        let len = size(state.media[&self.inode].live().len());
        if bytes.saturating_sub(len) > state.free() {
            return Err(self.error(io::ErrorKind::StorageFull, "no space left on device"));
        }
        let bytes = usize::try_from(bytes).expect("a length in memory fits usize");
        state.medium(self.inode).set_len(bytes);
        if let Power::Goes = power { Err(power_cut()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.own()?;
        state.powered()?;
        Ok(size(state.media[&self.inode].live().len()))
    }
}

#[cfg(test)]
mod tests;
