//! How often each bookie was started, as the metadata counts it.
//!
//! ```text
//! /starts/<id>: version u8 = 1 | incarnation u128 | starts u64 | by u128 | crc32c u32
//! ```
//! `by` is a number of the process that wrote it: what is found after a lost answer is its own, or it is
//! another process that started as the same bookie meanwhile.

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{BookieId, Incarnation};

use super::sealed::{seal, unseal};
use super::{CAS_TRIES, Registry, RegistryError};
use crate::bookie::starts::Starts;
use crate::metadata::{Compare, Op, txn_or_conflict};

const VERSION: u8 = 1;

fn key(bookie: BookieId) -> String {
    format!("/starts/{:020}", bookie.0)
}

/// A bookie's starts, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) incarnation: Incarnation,
    pub(crate) starts: u64,
    pub(crate) by: u128,
}

pub(crate) fn encode(counted: &Counted) -> Vec<u8> {
    let mut out = Vec::with_capacity(45);
    out.put_u8(VERSION);
    out.put_u128(counted.incarnation.0);
    out.put_u64(counted.starts);
    out.put_u128(counted.by);
    seal(out)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Counted, DecodeError> {
    let what = "a bookie's starts";
    let mut r = Reader::new(unseal(what, bytes)?);
    if r.u8("version")? != VERSION {
        return Err(r.wrong("version", "not known to this build"));
    }
    let incarnation = Incarnation(r.u128("incarnation")?);
    let (starts, by) = (r.u64("starts")?, r.u128("by")?);
    r.end(what)?;
    Ok(Counted { incarnation, starts, by })
}

impl Registry {
    /// Whether a directory with these starts is what the metadata last knew of a bookie, and the metadata
    /// what the directory last knew of it; the number of the next start.
    ///
    /// # Errors
    /// [`RegistryError::OlderDirectory`] or [`RegistryError::OlderMetadata`] when one of them is an older copy.
    pub fn next_start(
        &self,
        bookie: BookieId,
        own: Incarnation,
        of: Starts,
    ) -> Result<u64, RegistryError> {
        self.judge(bookie, own, of).map(|(next, _)| next)
    }

    /// Counts a start that the directory counts already. `by` is a number nobody else has.
    ///
    /// # Errors
    /// As for [`next_start`](Registry::next_start); [`RegistryError::Twice`] when another process started as
    /// the same bookie meanwhile.
    pub fn count_start(
        &self,
        bookie: BookieId,
        own: Incarnation,
        of: Starts,
        by: u128,
    ) -> Result<(), RegistryError> {
        let key = key(bookie);
        let mut expected = None;
        for _ in 0..CAS_TRIES {
            let (next, held) = self.judge(bookie, own, of)?;
            if held.is_some_and(|(counted, _)| counted.by == by) {
                return Ok(());
            }
            // A lost answer left it as it was; anything else is somebody's.
            let revision = held.map(|(_, revision)| revision);
            if next != of.starts || expected.is_some_and(|expected| expected != revision) {
                return Err(RegistryError::Twice { bookie });
            }
            expected = Some(revision);
            let compare = match revision {
                Some(revision) => Compare::Revision(key.clone(), revision),
                None => Compare::Absent(key.clone()),
            };
            let counted = Counted { incarnation: own, starts: of.starts, by };
            let put = Op::Put(key.clone(), encode(&counted));
            txn_or_conflict(&*self.meta, &[compare], &[put])?;
        }
        Err(RegistryError::Contended { bookie })
    }

    /// The next start, and what is counted, with its revision.
    fn judge(
        &self,
        bookie: BookieId,
        own: Incarnation,
        of: Starts,
    ) -> Result<(u64, Option<(Counted, u64)>), RegistryError> {
        let key = key(bookie);
        let held = match self.meta.get(&key)? {
            Some(held) => {
                let told = |why| RegistryError::Decode { key: key.clone(), why };
                Some((decode(&held.value).map_err(told)?, held.revision))
            }
            None => None,
        };
        // Of another incarnation, whose place is taken, nothing counts.
        let counted =
            held.filter(|(held, _)| held.incarnation == own).map_or(0, |(held, _)| held.starts);
        if counted > of.starts {
            return Err(RegistryError::OlderDirectory { bookie, counted, starts: of.starts });
        }
        if counted < of.known {
            return Err(RegistryError::OlderMetadata { bookie, counted, known: of.known });
        }
        Ok((counted + 1, held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MemoryMeta;
    use crate::metadata::conformance::lossy::Lossy;
    use proptest::prelude::*;
    use std::sync::Arc;

    const B2: BookieId = BookieId(2);
    const OWN: Incarnation = Incarnation(7);

    fn registry() -> Registry {
        Registry::new(Arc::new(MemoryMeta::new()))
    }

    /// A start as a bookie makes it; `crash` leaves it half done.
    fn start(
        registry: &Registry,
        dir: &mut Starts,
        crash: bool,
        by: u128,
    ) -> Result<(), RegistryError> {
        dir.starts = registry.next_start(B2, OWN, *dir)?;
        if crash {
            return Ok(());
        }
        registry.count_start(B2, OWN, *dir, by)?;
        dir.known = dir.starts;
        Ok(())
    }

    #[test]
    fn an_older_copy_of_a_directory_is_told_from_the_newest() {
        let (registry, mut dir) = (registry(), Starts::default());
        start(&registry, &mut dir, false, 1).unwrap();
        let mut copy = dir;
        start(&registry, &mut dir, false, 2).unwrap();
        let error = start(&registry, &mut copy, false, 3).unwrap_err().to_string();
        assert!(error.contains("an older copy") && error.contains("--replace"), "{error}");
        assert!(!error.contains("  "), "{error}");
        start(&registry, &mut dir, false, 4).unwrap();
        // Another one in its place begins anew.
        let mut other = Starts::default();
        other.starts = registry.next_start(B2, Incarnation(8), other).unwrap();
        registry.count_start(B2, Incarnation(8), other, 5).unwrap();
        assert_eq!(other.starts, 1);
    }

    /// Whoever follows the bookies once took what is counted for a bookie's record.
    #[test]
    fn what_is_counted_is_no_bookie() {
        let (registry, mut dir) = (registry(), Starts::default());
        start(&registry, &mut dir, false, 1).unwrap();
        let known = registry.known().unwrap();
        assert!(known.registered.is_empty() && known.live.is_empty());
        assert!(registry.all().unwrap().is_empty());
    }

    #[test]
    fn metadata_made_anew_or_older_is_told_from_the_newest() {
        let (first, mut dir) = (registry(), Starts::default());
        start(&first, &mut dir, false, 1).unwrap();
        let error = start(&registry(), &mut dir.clone(), false, 2).unwrap_err().to_string();
        assert!(error.contains("made anew") && error.contains("older copy"), "{error}");
        assert!(!error.contains("  "), "{error}");
        start(&first, &mut dir, false, 3).unwrap();
    }

    #[test]
    fn of_two_processes_on_copies_of_one_directory_one_starts() {
        let (registry, mut dir) = (registry(), Starts::default());
        start(&registry, &mut dir, false, 1).unwrap();
        let mut copy = dir;
        // Both have counted in their directory before either counts in the metadata.
        dir.starts = registry.next_start(B2, OWN, dir).unwrap();
        copy.starts = registry.next_start(B2, OWN, copy).unwrap();
        registry.count_start(B2, OWN, dir, 2).unwrap();
        let error = registry.count_start(B2, OWN, copy, 3).unwrap_err();
        assert!(matches!(error, RegistryError::Twice { .. }), "{error}");
    }

    proptest! {
        /// Crashes between the two counts, and lost answers, keep nobody from starting again.
        #[test]
        fn a_bookie_always_starts_again(crashes in proptest::collection::vec(any::<bool>(), 1..30), seed in 0..1000u64) {
            let lossy = Lossy::new(Arc::new(MemoryMeta::new()), seed);
            let (registry, mut dir) = (Registry::new(Arc::new(lossy)), Starts::default());
            for (by, crash) in (1..).zip(crashes) {
                start(&registry, &mut dir, crash, by).unwrap();
            }
            start(&registry, &mut dir, false, 99).unwrap();
            prop_assert_eq!(dir.starts, dir.known);
        }

        #[test]
        fn a_count_comes_back(incarnation in any::<u128>(), starts in any::<u64>(), by in any::<u128>()) {
            let counted = Counted { incarnation: Incarnation(incarnation), starts, by };
            prop_assert_eq!(decode(&encode(&counted)), Ok(counted));
        }
    }
}
