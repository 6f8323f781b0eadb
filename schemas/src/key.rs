//! Where a key goes: its hash, its place on the partition ring, its key group.
//!
//! All three are frozen for ever: state and streams on disk were placed by them. Golden values in the
//! tests below hold them in place.

/// XXH3-64 of a key's encoding.
#[inline]
pub fn hash(encoding: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(encoding)
}

/// The partition, of `partitions`, that owns `hash`: equal ranges of a 16-bit ring, never a modulo.
///
/// # Panics
/// When `partitions` is 0 or above 65,536.
#[inline]
pub fn partition(hash: u64, partitions: u32) -> u32 {
    assert!((1..=1 << 16).contains(&partitions), "a stream has 1 to 65536 partitions");
    let ring = hash >> 48;
    u32::try_from((ring * u64::from(partitions)) >> 16).expect("below the partition count")
}

/// The key group, of `key_groups`, that owns `hash`.
///
/// It is taken from bits the partition ring does not use, so a task's keys spread over partitions.
///
/// # Panics
/// When `key_groups` is 0 or above 65,536.
#[inline]
pub fn key_group(hash: u64, key_groups: u32) -> u32 {
    assert!((1..=1 << 16).contains(&key_groups), "a topology has 1 to 65536 key groups");
    let bits = (hash >> 32) & 0xffff;
    u32::try_from((bits * u64::from(key_groups)) >> 16).expect("below the key group count")
}

/// The task, of `tasks`, that owns a key group.
///
/// # Panics
/// When `key_groups` is 0.
pub fn task_of_group(group: u32, key_groups: u32, tasks: u32) -> u32 {
    u32::try_from(u64::from(group) * u64::from(tasks) / u64::from(key_groups)).expect("below tasks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn placement_is_frozen() {
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"egret"), golden::EGRET);
        assert_eq!(partition(u64::MAX, 3), 2);
        assert_eq!(partition(1 << 63, 2), 1);
        assert_eq!(key_group(0x0000_8000_0000_0000, 4096), 2048);
    }

    mod golden {
        pub(super) const EGRET: u64 = xxhash_rust::const_xxh3::xxh3_64(b"egret");
    }

    proptest! {
        #[test]
        fn every_hash_has_a_home(hash: u64, parts in 1u32..70, groups in 1u32..=65536, tasks in 1u32..99) {
            prop_assert!(partition(hash, parts) < parts);
            let group = key_group(hash, groups);
            prop_assert!(group < groups);
            prop_assert!(task_of_group(group, groups, tasks) < tasks);
        }
    }
}
