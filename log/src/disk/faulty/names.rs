//! The names on a faulty disk: what a process sees, and which of it would survive.
//!
//! Creating, renaming and removing show at once and last after a sync of the directory. After a power
//! cut, a prefix of the changes not yet synced is found: file systems journal names in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::chance::Chance;

/// The number of a file, whatever its name.
pub(super) type Inode = u64;

/// A change of names.
#[derive(Debug, Clone)]
enum Change {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Change::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Remove(path) => {
                names.remove(path);
            }
        }
    }

    /// The directories it happens in.
    fn dirs(&self) -> Vec<PathBuf> {
        let (Change::Create(path, _) | Change::Remove(path) | Change::Rename(path, _)) = self;
        let mut dirs = vec![dir_of(path).to_owned()];
        if let Change::Rename(_, to) = self {
            dirs.push(dir_of(to).to_owned());
        }
        dirs
    }
}

/// The directory a name is in.
pub(super) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// All names.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    live: BTreeMap<PathBuf, Inode>,
    durable: BTreeMap<PathBuf, Inode>,
    unsynced: Vec<Change>,
}

impl Names {
    /// The file of this name.
    pub(super) fn get(&self, path: &Path) -> Option<Inode> {
        self.live.get(path).copied()
    }

    /// Every name a process sees, in order.
    pub(super) fn live(&self) -> &BTreeMap<PathBuf, Inode> {
        &self.live
    }

    pub(super) fn create(&mut self, path: &Path, inode: Inode) {
        self.change(Change::Create(path.to_owned(), inode));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.to_owned()));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }

    /// Makes the changes in one directory durable, and with a rename from elsewhere what led to it.
    pub(super) fn sync(&mut self, dir: &Path) {
        let mut dirs = BTreeSet::from([dir.to_owned()]);
        let mut synced = vec![false; self.unsynced.len()];
        for (change, synced) in self.unsynced.iter().zip(&mut synced).rev() {
            if change.dirs().iter().any(|dir| dirs.contains(dir)) {
                *synced = true;
                dirs.extend(change.dirs());
            }
        }
        let mut synced = synced.into_iter();
        self.unsynced.retain(|change| {
            let synced = synced.next().expect("one mark per change");
            if synced {
                change.apply(&mut self.durable);
            }
            !synced
        });
    }

    /// The names as found after a power cut.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Names {
        let mut found = self.durable.clone();
        for change in &self.unsynced[..chance.up_to(self.unsynced.len())] {
            change.apply(&mut found);
        }
        Names { live: found.clone(), durable: found, unsynced: Vec::new() }
    }
}
