//! Whose metadata this is: the cluster's name, written once by its first bookie and never changed.
//!
//! ```text
//! /cluster: version u8 = 1 | name bytes | crc32c u32 over everything before it
//! ```

use egret_schemas::bytes::{DecodeError, Reader, Writer};

use super::sealed::{seal, unseal};
use super::{CAS_TRIES, Registry, RegistryError};
use crate::metadata::{Compare, Op, txn_or_conflict};

pub(super) const KEY: &str = "/cluster";
const VERSION: u8 = 1;

pub(crate) fn encode(name: &String) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + name.len());
    out.put_u8(VERSION);
    out.put_bytes(name.as_bytes());
    seal(out)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
    let what = "cluster's name";
    let mut r = Reader::new(unseal(what, bytes)?);
    if r.u8("version")? != VERSION {
        return Err(r.wrong("version", "not known to this build"));
    }
    let name = r.text(what)?.to_owned();
    r.end(what)?;
    Ok(name)
}

impl Registry {
    /// Whose metadata this is; `None` as long as no bookie came.
    ///
    /// # Errors
    /// When the store cannot answer, or the record is damaged.
    pub fn cluster(&self) -> Result<Option<String>, RegistryError> {
        let Some(held) = self.meta.get(KEY)? else { return Ok(None) };
        let told = |why| RegistryError::Decode { key: KEY.to_owned(), why };
        decode(&held.value).map(Some).map_err(told)
    }

    /// Sees that the metadata is that of no other cluster than `own`.
    ///
    /// # Errors
    /// [`RegistryError::AnotherCluster`] when it is.
    pub fn check_cluster(&self, own: &str) -> Result<(), RegistryError> {
        self.is_of(own).map(drop)
    }

    fn is_of(&self, own: &str) -> Result<bool, RegistryError> {
        match self.cluster()? {
            None => Ok(false),
            Some(found) if found == own => Ok(true),
            Some(found) => Err(RegistryError::AnotherCluster { found, own: own.to_owned() }),
        }
    }

    /// Makes the metadata that of the cluster `own`, unless it is another's. Of two that come first with
    /// different names one is refused.
    ///
    /// # Errors
    /// [`RegistryError::AnotherCluster`] when it is another's.
    pub fn claim_cluster(&self, own: &str) -> Result<(), RegistryError> {
        for _ in 0..CAS_TRIES {
            // Also after a lost answer or a conflict: what is found there decides.
            if self.is_of(own)? {
                return Ok(());
            }
            let absent = Compare::Absent(KEY.to_owned());
            let put = Op::Put(KEY.to_owned(), encode(&own.to_owned()));
            txn_or_conflict(&*self.meta, &[absent], &[put])?;
        }
        Err(RegistryError::ClusterContended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MemoryMeta;
    use proptest::prelude::*;
    use std::sync::{Arc, Barrier};
    use std::thread;

    #[test]
    fn metadata_is_one_clusters_for_ever() {
        let registry = Registry::new(Arc::new(MemoryMeta::new()));
        registry.check_cluster("red").unwrap();
        assert_eq!(registry.cluster().unwrap(), None, "looking claims nothing");
        registry.claim_cluster("blue").unwrap();
        registry.claim_cluster("blue").unwrap();
        registry.check_cluster("blue").unwrap();
        for error in [registry.check_cluster("red"), registry.claim_cluster("red")] {
            let said = error.unwrap_err().to_string();
            assert!(said.contains("`blue`") && said.contains("`red`"), "{said}");
        }
        assert_eq!(registry.cluster().unwrap().as_deref(), Some("blue"));
    }

    #[test]
    fn of_two_that_come_first_one_has_it() {
        for _ in 0..50 {
            let registry = Registry::new(Arc::new(MemoryMeta::new()));
            let begin = Arc::new(Barrier::new(2));
            let claims = ["blue", "red"].map(|name| {
                let (registry, begin) = (registry.clone(), Arc::clone(&begin));
                thread::spawn(move || {
                    begin.wait();
                    registry.claim_cluster(name).map(|()| name)
                })
            });
            let done = claims.map(|claim| claim.join().unwrap());
            let won: Vec<&str> =
                done.iter().filter_map(|done| done.as_ref().ok().copied()).collect();
            assert_eq!(won, [registry.cluster().unwrap().unwrap()]);
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back_and_no_flipped_bit_is_taken(
            name in ".{0,64}", at: proptest::sample::Index,
        ) {
            let mut bytes = encode(&name);
            prop_assert_eq!(decode(&bytes), Ok(name));
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
