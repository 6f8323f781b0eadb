//! The latest changes of a store that lives in one process: what its watches read.
//!
//! Bounded in events and in bytes; the oldest revision goes first, and goes whole. A watch is a place in
//! here, so it needs no buffer of its own: one that falls behind what is kept is told so.

use std::collections::VecDeque;

use super::watch::{Event, WatchError};
use crate::caps;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Event>,
    bytes: usize,
    /// How many events went before the first kept one.
    gone: u64,
    /// Revisions below this are not, or not wholly, kept.
    oldest: u64,
}

/// Where a watch stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The number of the next event to look at; `None` before the first look.
    at: Option<u64>,
    from: u64,
}

impl Place {
    /// Before everything of this revision.
    pub(super) fn before(revision: u64) -> Place {
        Place { at: None, from: revision }
    }
}

impl History {
    /// Of a store whose last revision is `revision`: it has nothing to tell of what was before.
    pub(super) fn after(revision: u64) -> History {
        History { events: VecDeque::new(), bytes: 0, gone: 0, oldest: revision + 1 }
    }

    /// Takes in all events of one transaction.
    pub(super) fn push(&mut self, events: Vec<Event>) {
        for event in events {
            self.bytes += event.bytes();
            self.events.push_back(event);
        }
        while self.events.len() > caps::META_HISTORY_EVENTS_MAX
            || self.bytes > caps::META_HISTORY_BYTES_MAX
        {
            let first = self.events.front().map_or(0, Event::revision);
            while let Some(event) = self.events.pop_front_if(|event| event.revision() == first) {
                self.bytes -= event.bytes();
                self.gone += 1;
            }
            self.oldest = first + 1;
        }
    }

    /// The next event at or after `place` whose key begins with `prefix`; moves `place` behind it.
    pub(super) fn next(
        &self,
        place: &mut Place,
        prefix: &str,
    ) -> Result<Option<&Event>, WatchError> {
        let at = match place.at {
            None if place.from < self.oldest => return Err(self.compacted()),
            None => self.gone,
            Some(at) if at < self.gone => return Err(self.compacted()),
            Some(at) => at,
        };
        let skip = usize::try_from(at - self.gone).expect("it is at most the number kept");
        let wanted =
            |event: &&Event| event.revision() >= place.from && event.key().starts_with(prefix);
        let found = self.events.range(skip..).enumerate().find(|(_, event)| wanted(event));
        let (passed, event) = match found {
            Some((n, event)) => (skip + n + 1, Some(event)),
            None => (self.events.len(), None),
        };
        place.at = Some(self.gone + passed as u64);
        Ok(event)
    }

    fn compacted(&self) -> WatchError {
        WatchError::Compacted { oldest: self.oldest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, revision: u64) -> Event {
        Event::Put { key: key.to_owned(), value: vec![0; 10], revision }
    }

    #[test]
    fn a_transaction_is_forgotten_whole() {
        let mut history = History::after(0);
        history.push(vec![put("/a", 1), put("/b", 1), put("/c", 1)]);
        for revision in 2..=caps::META_HISTORY_EVENTS_MAX as u64 {
            history.push(vec![put("/d", revision)]);
        }
        // Two more than are kept: all three events of revision 1 went.
        assert_eq!(history.oldest, 2);
        assert_eq!(history.events.len(), caps::META_HISTORY_EVENTS_MAX - 1);
        let late = history.next(&mut Place::before(1), "/");
        assert_eq!(late, Err(WatchError::Compacted { oldest: 2 }));
        assert_eq!(history.next(&mut Place::before(2), "/"), Ok(Some(&put("/d", 2))));
    }

    #[test]
    fn a_transaction_larger_than_the_history_leaves_it_empty() {
        let mut history = History::after(6);
        history.push((0..=caps::META_HISTORY_EVENTS_MAX).map(|n| put(&n.to_string(), 7)).collect());
        assert_eq!((history.events.len(), history.bytes, history.oldest), (0, 0, 8));
        assert_eq!(history.next(&mut Place::before(8), ""), Ok(None));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut history = History::after(0);
        for revision in 1..=5 {
            let value = vec![0; caps::META_HISTORY_BYTES_MAX / 3];
            history.push(vec![Event::Put { key: "/a".to_owned(), value, revision }]);
        }
        assert!(history.bytes <= caps::META_HISTORY_BYTES_MAX);
        assert_eq!(history.oldest, 4);
    }

    #[test]
    fn a_watch_that_fell_behind_is_told() {
        let mut history = History::after(0);
        let mut place = Place::before(1);
        history.push(vec![put("/a", 1)]);
        assert_eq!(history.next(&mut place, "/"), Ok(Some(&put("/a", 1))));
        for revision in 2..caps::META_HISTORY_EVENTS_MAX as u64 + 3 {
            history.push(vec![put("/d", revision)]);
        }
        assert_eq!(
            history.next(&mut place, "/"),
            Err(WatchError::Compacted { oldest: history.oldest })
        );
    }
}
