//! A keyed task's table in a process that does not run the task, its types put away.

use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::{RestoreSet, Slice};
use egret_state::keyed::backing::Backing;
use egret_state::keyed::following::{Arrived, Following};
use egret_state::keyed::key::Key;
use egret_state::keyed::replay::ReplayError;
use egret_state::keyed::state::State;
use egret_state::view::{Stretch, Way};

use super::keyed::Left;
use crate::runtime::KeptTable;

/// See the [module](self) and [`Following`].
pub(crate) trait WarmTask: Send {
    /// What it was restored from; `None` while it is at no commit, and of no use to go on from.
    fn held(&self) -> Option<&RestoreSet>;
    fn begin(&mut self, way: &Way);
    fn entry(&mut self, of: &Stretch, at: EntryAddress, bytes: &[u8]) -> Result<(), ReplayError>;
    fn end(&mut self, stretch: &Stretch) -> Result<(), ReplayError>;
    fn arrive(&mut self, slices: &[Slice]);
    /// Bytes of memory.
    fn memory_bytes(&self) -> usize;
    /// What the component's task of this number, of so many, goes on with at the end of `commit`.
    fn into_kept(self: Box<Self>, tasks: u32, commit: Epoch) -> Option<KeptTable>;
}

/// One of a component whose schema has this number.
pub(crate) struct Warm<K: Key + ?Sized, S, B> {
    pub(crate) following: Following<K, S, B>,
    pub(crate) schema: u64,
}

impl<K, S, B> WarmTask for Warm<K, S, B>
where
    K: Key + ?Sized + 'static,
    S: State,
    B: Backing,
{
    fn held(&self) -> Option<&RestoreSet> {
        self.following.held()
    }

    fn begin(&mut self, way: &Way) {
        self.following.begin(way);
    }

    fn entry(&mut self, of: &Stretch, at: EntryAddress, bytes: &[u8]) -> Result<(), ReplayError> {
        self.following.entry(of, at, bytes)
    }

    fn end(&mut self, stretch: &Stretch) -> Result<(), ReplayError> {
        self.following.end(stretch)
    }

    fn arrive(&mut self, slices: &[Slice]) {
        self.following.arrive(slices);
    }

    fn memory_bytes(&self) -> usize {
        self.following.memory_bytes()
    }

    fn into_kept(self: Box<Self>, tasks: u32, commit: Epoch) -> Option<KeptTable> {
        let Warm { following, schema } = *self;
        let Arrived { table, schedule, log_bytes } = following.into_arrived(commit)?;
        let left = Left { table, schedule, schema };
        Some(KeptTable { tasks, table: Box::new(left), log_bytes })
    }
}
