//! Keyed state larger than memory: the keys in use in memory, the others in files.
//!
//! ```
//! use egret_state::keyed::Storage;
//! use egret_state_large::LargerThanMemory;
//!
//! // 256 MiB of memory for each task of the component, however many keys it has.
//! let storage = LargerThanMemory::new(256).at("/var/lib/egret-work");
//! assert_eq!(storage.detail().unwrap(), "keys not in use are in files: 256 MiB of memory for each task");
//! ```
//! Given to a component where it is attached: `.keyed_with("count", 4, LargerThanMemory::new(256), || Count)`.
//!
//! | module | holds |
//! |---|---|
//! | `larger` | [`LargerThanMemory`], what a component is given |
//! | `place` | the directory of a task: one owner, wiped before and after |
//! | `files` | [`Files`]: bytes by key in an LSM tree |
//! | `keeper` | the thread that writes the tree's files and merges them |
//! | `caps` | every limit, with its why |
//!
//! # What always holds
//! 1. Files are no state that counts. State is restored from its ledgers, these files begin empty with every
//!    table, are never synced for durability, and go when the table does. What a killed process left
//!    is removed by the next one that works for the same topology.
//! 2. A directory has one owner, who holds a lock on it for as long as it lives; nobody removes what is locked.
//! 3. Nothing waits for the disk without an end: a disk that takes nothing for a minute is an error.
//! 4. An error of the disk ends the generation. The next one begins with empty files.

mod caps;
mod files;
mod keeper;
mod larger;
mod place;

pub use files::Files;
pub use larger::LargerThanMemory;
