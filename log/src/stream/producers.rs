//! What a partition remembers of its producers: a function of its entries, in their order.
//!
//! The table is bounded by number and by bytes; the producer that appended longest ago is forgotten
//! first, at the same entry by whoever applies them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::record::{Producer, ProducerState, Record};
use crate::caps;

#[derive(Debug, Clone)]
struct Held {
    state: ProducerState,
    /// Where it stands in `order`.
    touched: u64,
}

/// The table; see the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Producers {
    by_name: HashMap<Bytes, Held>,
    order: BTreeMap<u64, Bytes>,
    touches: u64,
    bytes: usize,
}

impl Producers {
    /// What is remembered of one.
    pub fn get(&self, name: &[u8]) -> Option<&ProducerState> {
        self.by_name.get(name).map(|held| &held.state)
    }

    /// All of them, the one that appended longest ago first.
    pub fn oldest_first(&self) -> impl ExactSizeIterator<Item = (&Bytes, &ProducerState)> {
        self.order.values().map(|name| (name, &self.by_name[name].state))
    }

    /// Starts from a snapshot.
    pub fn restore(snapshot: Vec<(Bytes, ProducerState)>) -> Producers {
        let mut producers = Producers::default();
        for (name, state) in snapshot {
            producers.put(name, state);
        }
        producers
    }

    /// Notes one entry of a producer.
    pub fn apply(&mut self, producer: &Producer, records: &[Record]) {
        let highest = records.iter().filter_map(|record| record.sequence).max();
        self.note(producer, highest);
    }

    /// Notes that a producer appended, up to sequence `highest`.
    pub fn note(&mut self, producer: &Producer, highest: Option<u64>) {
        let before = self.get(&producer.name).and_then(|state| state.last_sequence);
        // Copies: slices of an entry would keep all of it in memory.
        let name = Bytes::copy_from_slice(&producer.name);
        let note = Bytes::copy_from_slice(&producer.note);
        self.put(name, ProducerState { last_sequence: before.max(highest), note });
    }

    fn put(&mut self, name: Bytes, state: ProducerState) {
        if let Some(held) = self.by_name.remove(&name) {
            self.order.remove(&held.touched);
            self.bytes -= name.len() + held.state.note.len();
        }
        self.bytes += name.len() + state.note.len();
        self.touches += 1;
        self.order.insert(self.touches, name.clone());
        self.by_name.insert(name, Held { state, touched: self.touches });
        while self.by_name.len() > caps::PRODUCERS_MAX || self.bytes > caps::PRODUCERS_BYTES_MAX {
            let (_, oldest) = self.order.pop_first().expect("one for each name");
            let held = self.by_name.remove(&oldest).expect("the order names those there");
            self.bytes -= oldest.len() + held.state.note.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(n: usize) -> Producer {
        Producer { name: n.to_string().into(), note: "n".into() }
    }

    #[test]
    fn the_highest_sequence_and_the_last_note_stay() {
        let mut all = Producers::default();
        all.note(&producer(1), Some(9));
        all.note(&Producer { note: "later".into(), ..producer(1) }, Some(4));
        let state = ProducerState { last_sequence: Some(9), note: "later".into() };
        assert_eq!(all.get(b"1"), Some(&state));
        assert_eq!(all.oldest_first().len(), 1);
    }

    #[test]
    fn the_one_that_appended_longest_ago_is_forgotten_first() {
        let mut all = Producers::default();
        for n in 0..caps::PRODUCERS_MAX {
            all.note(&producer(n), Some(1));
        }
        all.note(&producer(0), Some(2));
        all.note(&producer(caps::PRODUCERS_MAX), Some(1));
        assert!(all.get(b"0").is_some() && all.get(b"1").is_none() && all.get(b"2").is_some());
        let snapshot = all.oldest_first().map(|(n, s)| (n.clone(), s.clone())).collect();
        let again = Producers::restore(snapshot);
        assert!(again.oldest_first().eq(all.oldest_first()));
        assert_eq!(again.bytes, all.bytes);
    }
}
