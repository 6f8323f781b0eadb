//! Reads everything on the medium again and tells what is not as written.

use std::path::Path;

use super::damage::{Damage, FileError};
use super::identity::Identity;
use super::journal::replay;
use super::manifest::Manifest;
use super::shard::Shard;

impl Shard {
    /// Checks identity, manifest, extents and journal. No checkpoint runs meanwhile; appends do.
    pub(crate) fn scrub(&self) -> Vec<Damage> {
        let (_still, extents, journal) = self.hold_still();
        let mut damages = Vec::new();
        let mut check = |path: &Path, result: Result<(), FileError>| match result {
            Ok(()) => {}
            Err(FileError::Damaged(damage)) => damages.push(damage),
            Err(other) => damages.push(Damage::new(path, 0, other.to_string())),
        };
        check(&self.dir.join("IDENTITY"), Identity::load(&*self.disk, &self.dir).map(drop));
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
}
