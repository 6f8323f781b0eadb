//! Every limit, with its why.

use std::time::Duration;

/// The longest key: the tree takes 65,535 bytes, the hash before it among them.
pub(crate) const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// Of the memory a task is given, the table of keys in use takes half, since everything is done there.
pub(crate) const TABLE_PARTS: usize = 2;

/// A quarter is for blocks read from files.
pub(crate) const BLOCK_PARTS: usize = 4;

/// A quarter is for what waits to be written: one buffer that fills, and two full ones.
pub(crate) const BUFFER_PARTS: usize = 12;

/// Full buffers that may wait to be written; who fills a third waits.
pub(crate) const BUFFERS_WAITING_MAX: usize = 2;

/// A buffer below this would make files of nothing.
pub(crate) const BUFFER_BYTES_MIN: u64 = 256 << 10;

/// How large a file gets: a merge takes eleven of them or so, and one that was begun is waited for at the end.
pub(crate) const FILE_BYTES: u64 = 16 << 20;

/// Files that overlap, beyond which who writes waits until some are merged: each costs every reader a look.
pub(crate) const RUNS_MAX: usize = 24;

/// Files kept open by a task.
pub(crate) const OPEN_FILES: usize = 128;

/// How long a disk may take nothing before it counts as broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long the lock of a component's directory may be held by others, each of which only makes or renames one.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
pub(crate) const LOCK_AGAIN: Duration = Duration::from_millis(5);
