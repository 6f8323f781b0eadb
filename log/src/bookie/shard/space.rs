//! What is still taken as the disk fills, or on an operator's word.
//!
//! From much to little free space: everything; no new ledgers, until there is clearly more again; no
//! writers' adds, copies still; nothing that grows. Below that the reserve lets checkpoints and
//! compaction end, fences and deletions be written. A refusal is definite: nothing was changed.

use super::{Shard, State};
use crate::bookie::stats::Space;
use crate::message::{Refusal, Request};

/// How much room there is, as last measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) space: Space,
    pub(super) free: u64,
    /// An operator's word.
    pub(super) read_only: bool,
}

impl Default for Room {
    fn default() -> Room {
        Room { space: Space::Roomy, free: u64::MAX, read_only: false }
    }
}

impl Shard {
    /// Why `request` is not taken for want of space, or because the bookie is read-only.
    pub(super) fn shut(&self, state: &mut State, request: &Request) -> Option<Refusal> {
        let writes = match request {
            Request::Create { .. } => Space::Roomy,
            Request::Add { copy: false, .. } => Space::NoLedgers,
            _ => return None,
        };
        if state.room_left.read_only {
            return Some(Refusal::ReadOnly);
        }
        // Ledgers are rare enough to ask each time; adds ask when they would be refused.
        if writes == Space::Roomy || state.room_left.space > writes {
            self.measure(state);
        }
        let Room { space, free, .. } = state.room_left;
        (space > writes).then(|| Refusal::DiskFull { dir: self.dir.clone(), free })
    }

    /// Takes note of how much room there is.
    pub(super) fn measure(&self, state: &mut State) {
        // A disk that does not tell is one that will say so when it is written to.
        let Ok(free) = self.disk.free_bytes(&self.dir) else { return };
        let for_copies = self.config.disk_reserve_bytes + self.config.copy_reserve_bytes;
        let low = self.config.disk_low_bytes.max(for_copies);
        let high = self.config.disk_high_bytes.max(low);
        let was = state.room_left.space;
        let space = if free < for_copies && self.config.copy_reserve_bytes > 0 {
            Space::CopiesOnly
        } else if free < low || free < high && was != Space::Roomy {
            Space::NoLedgers
        } else {
            Space::Roomy
        };
        if space != was {
            tracing::warn!(free, ?space, "the room on the disk changed");
        }
        (state.room_left.space, state.room_left.free) = (space, free);
    }

    /// Whether anything new is taken, on an operator's word.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.lock().room_left.read_only = read_only;
    }
}
