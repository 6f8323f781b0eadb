//! The places where the medium was found not to hold what was written, for repair to go through.
//!
//! Reads, compaction and the scrubber add to it. A place leaves it when it no longer matters: a copy of
//! the entry was stored anew, its ledger was deleted, its file is no longer in use. It is not durable:
//! the scrubber finds the place again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egret_schemas::EntryAddress;

use super::damage::Damage;
use super::index::ExtentIndex;
use crate::caps;

/// One damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
    /// Where, and what was found.
    pub damage: Damage,
    /// The entry that cannot be read; of a table of many the first. None when what is around the entries
    /// is damaged: they can be read until a restart.
    pub entry: Option<EntryAddress>,
}

/// Places by file and offset.
#[derive(Debug, Default)]
pub(crate) struct DamagedPlaces {
    places: BTreeMap<(PathBuf, u64), DamagedPlace>,
    /// How many there was no room for.
    beyond: u64,
}

impl DamagedPlaces {
    /// Takes note of a place.
    pub(crate) fn note(&mut self, damage: Damage, entry: Option<EntryAddress>) {
        let key = (damage.file.clone(), damage.offset);
        if self.places.len() >= caps::DAMAGED_PLACES_MAX && !self.places.contains_key(&key) {
            self.beyond += 1;
            return;
        }
        if !self.places.contains_key(&key) {
            tracing::error!(%damage, "the medium does not hold what was written");
        }
        self.places.insert(key, DamagedPlace { damage, entry });
    }

    /// The places that still matter, with the entries where they are now.
    pub(crate) fn still(&mut self, index: &ExtentIndex) -> Vec<DamagedPlace> {
        self.places.retain(|(file, _), place| match place.entry {
            Some(entry) => index.find(entry).is_some_and(|stored| stored.extent().path() == file),
            None => index.extents().iter().any(|extent| extent.path() == file),
        });
        self.places.values().cloned().collect()
    }

    /// How many places are known, with those there was no room for.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.places.len()).expect("bounded by the limit") + self.beyond
    }
}
