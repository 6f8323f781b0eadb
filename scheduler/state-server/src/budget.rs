//! Memory for answers: room is reserved before one is made, and given back when it has been taken.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::caps;

/// Bytes are counted in pieces of so many.
const PIECE_BYTES: usize = 1 << 10;

/// What all answers may take together.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    pieces: u32,
}

impl Budget {
    /// So many bytes.
    pub(crate) fn new(bytes: usize) -> Budget {
        let pieces = u32::try_from(bytes / PIECE_BYTES).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(pieces as usize));
        Budget { room, pieces }
    }

    /// Room for so many bytes, or all there is if that is less; `None` when it does not become free in time.
    pub(crate) async fn reserve(&self, bytes: usize) -> Option<Share> {
        let room = Arc::clone(&self.room).acquire_many_owned(self.pieces_of(bytes));
        let room = timeout(caps::ANSWER_WAIT, room).await.ok()?.ok()?;
        Some(Share { room, of: self.clone() })
    }

    /// Room for so many bytes, if there is some now.
    pub(crate) fn reserve_now(&self, bytes: usize) -> Option<Share> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(self.pieces_of(bytes)).ok()?;
        Some(Share { room, of: self.clone() })
    }

    fn pieces_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX).min(self.pieces)
    }
}

/// A part of it; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    room: OwnedSemaphorePermit,
    of: Budget,
}

impl Share {
    /// These bytes, which have their part of the budget until the last of them is dropped; `None` when they are
    /// more than was reserved, and there is no room for that.
    pub(crate) fn hold(mut self, bytes: Vec<u8>) -> Option<Bytes> {
        let (has, needs) = (self.room.num_permits(), self.of.pieces_of(bytes.len()) as usize);
        if needs > has {
            let more = self.of.reserve_now((needs - has) * PIECE_BYTES)?;
            self.room.merge(more.room);
        }
        drop(self.room.split(has.saturating_sub(needs)));
        Some(Bytes::from_owner(Counted { bytes, _room: self.room }))
    }
}

struct Counted {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(what: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime is made").block_on(what)
    }

    #[test]
    fn what_is_reserved_shrinks_to_what_is_held_and_is_given_back_with_the_last_byte() {
        let budget = Budget::new(100 << 10);
        let share = now(budget.reserve(80 << 10)).expect("there is room");
        assert!(budget.reserve_now(30 << 10).is_none(), "80 of 100 are taken");
        let bytes = share.hold(vec![1; 10 << 10]).expect("it is less than was reserved");
        assert!(budget.reserve_now(90 << 10).is_some() && budget.reserve_now(91 << 10).is_none());
        let rest = bytes.slice(5..);
        drop(bytes);
        assert!(budget.reserve_now(91 << 10).is_none(), "some of it is to be written yet");
        drop(rest);
        assert!(budget.reserve_now(100 << 10).is_some());
    }

    #[test]
    fn what_is_more_than_was_reserved_needs_room_and_what_is_more_than_all_takes_all() {
        let budget = Budget::new(100 << 10);
        let share = now(budget.reserve(1)).expect("there is room");
        let other = budget.reserve_now(60 << 10).expect("there is room");
        assert!(share.hold(vec![1; 50 << 10]).is_none());
        drop(other);
        let share = now(budget.reserve(1)).expect("there is room");
        let all = share.hold(vec![1; 200 << 10]).expect("one answer is given whatever it takes");
        assert!(budget.reserve_now(1).is_none());
        drop(all);
        assert!(now(budget.reserve(usize::MAX)).is_some());
    }
}
