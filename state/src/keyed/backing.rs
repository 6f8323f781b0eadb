//! What may lie beneath a table: states that are not in memory.
//!
//! A [`KeyedTable`](super::KeyedTable) over [`InMemory`] holds every key; that is the usual one, and nothing of what stands here
//! is left of it once compiled. Over any other backing it holds the keys in use, and the rest lies beneath, as
//! bytes under a key of bytes:
//! ```text
//! key:   XXH3-64 of the key's encoding, its highest byte first | the encoding
//! value: size u16 | the whole state, as a record has it
//! ```
//! So the order of keys is that of their hashes, and a sweep that goes by it has places that are numbers. A
//! backing is not what makes state durable: the changelog is, and whatever lay beneath is thrown away
//! and filled again when a generation begins.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

/// What a [`scan`](Backing::scan) shows keys and values to, until it breaks.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Bytes by key, in the order of keys; see the [module](self).
pub trait Backing: fmt::Debug + Send + 'static {
    /// Whether there is anything at all. Where not, a table never asks.
    const HOLDS: bool = true;
    /// A value found.
    type Value: AsRef<[u8]>;

    /// Where it is, for errors.
    fn place(&self) -> String;

    /// What the table above may take of memory between two commits. Keys that change in a commit are in memory
    /// until it ends, however many.
    fn table_bytes_max(&self) -> usize;

    /// What it takes of memory itself.
    fn memory_bytes(&self) -> usize;

    /// The value of a key.
    ///
    /// # Errors
    /// When the place it lies in fails; here as in the other operations.
    fn get(&mut self, key: &[u8]) -> Result<Option<Self::Value>, Box<Fault>>;

    /// Gives a key a value, in the place of any there was.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Box<Fault>>;

    /// Removes a key.
    fn remove(&mut self, key: &[u8]) -> Result<(), Box<Fault>>;

    /// Shows the keys from `from` on, in order, until `each` breaks.
    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Box<Fault>>;
}

/// The place in which states lie beneath a table failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its state beside memory, in {place}: {why}")]
pub struct Fault {
    /// Where they lie.
    pub place: String,
    /// What is wrong, and what to do.
    pub why: String,
    /// Whether beginning again from the last commit may help: everything beneath is made anew then.
    pub may_pass: bool,
}

/// For which task a backing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// A directory of the log on this machine, if it has one.
    pub directory: Option<&'a Path>,
    /// The topology.
    pub topology: &'a str,
    /// The component.
    pub component: &'a str,
    /// The task.
    pub task: u32,
    /// The attempt, which nobody else makes.
    pub generation: u32,
}

/// Where the states of a component's tasks are while it runs.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// What lies beneath the table of a task.
    type Backing: Backing;

    /// Makes an empty one.
    ///
    /// # Errors
    /// When the place cannot be used.
    fn open(&self, place: &Place<'_>) -> Result<Self::Backing, Box<Fault>>;

    /// Where states are, for people; nothing for memory alone.
    fn detail(&self) -> Option<String>;
}

/// Everything is in memory, and nothing beneath.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InMemory;

impl Storage for InMemory {
    type Backing = InMemory;

    fn open(&self, _: &Place<'_>) -> Result<InMemory, Box<Fault>> {
        Ok(InMemory)
    }

    fn detail(&self) -> Option<String> {
        None
    }
}

impl Backing for InMemory {
    const HOLDS: bool = false;
    type Value = [u8; 0];

    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn table_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn memory_bytes(&self) -> usize {
        0
    }

    fn get(&mut self, _: &[u8]) -> Result<Option<[u8; 0]>, Box<Fault>> {
        Ok(None)
    }

    fn put(&mut self, _: &[u8], _: &[u8]) -> Result<(), Box<Fault>> {
        Ok(())
    }

    fn remove(&mut self, _: &[u8]) -> Result<(), Box<Fault>> {
        Ok(())
    }

    fn scan(&mut self, _: &[u8], _: &mut Each<'_>) -> Result<(), Box<Fault>> {
        Ok(())
    }
}
