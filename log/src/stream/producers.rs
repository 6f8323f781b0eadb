//! What a partition remembers of its producers: a function of its entries, in their order.
//!
//! Nobody is ever forgotten: a producer that comes back after any time and tries again must find that
//! its records are there. So the table is bounded by refusing whom it has no room for, and no time
//! makes room: none is long enough to know that a producer will not try again
//! (`docs/006-no-producer-is-forgotten.md`).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{Producer, ProducerState, Record};
use crate::caps;

/// The table; see the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Producers {
    by_name: BTreeMap<Bytes, ProducerState>,
    /// Of names, and of notes as long as they may become: whoever is known is never refused.
    bytes: usize,
}

impl Producers {
    /// What is remembered of one.
    pub fn get(&self, name: &[u8]) -> Option<&ProducerState> {
        self.by_name.get(name)
    }

    /// Whether a producer is known, or there is room for it.
    pub fn admits(&self, name: &[u8]) -> bool {
        let room = self.by_name.len() < caps::PRODUCERS_MAX
            && self.bytes + cost(name) <= caps::PRODUCERS_BYTES_MAX;
        room || self.by_name.contains_key(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Bytes, &ProducerState)> {
        self.by_name.iter()
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

    /// Notes that a producer appended, up to sequence `highest`. Its entry was admitted when it was
    /// appended, so there is room.
    pub fn note(&mut self, producer: &Producer, highest: Option<u64>) {
        let before = self.get(&producer.name).and_then(|state| state.last_sequence);
        // Copies: slices of an entry would keep all of it in memory.
        let name = Bytes::copy_from_slice(&producer.name);
        let note = Bytes::copy_from_slice(&producer.note);
        self.put(name, ProducerState { last_sequence: before.max(highest), note });
    }

    fn put(&mut self, name: Bytes, state: ProducerState) {
        let bytes = cost(&name);
        if self.by_name.insert(name, state).is_none() {
            self.bytes += bytes;
        }
    }
}

fn cost(name: &[u8]) -> usize {
    name.len() + caps::PRODUCER_NOTE_BYTES_MAX
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
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn a_full_table_admits_whom_it_knows_and_nobody_else() {
        let mut all = Producers::default();
        for n in 0..caps::PRODUCERS_MAX {
            assert!(all.admits(&producer(n).name));
            all.note(&producer(n), Some(1));
        }
        all.note(&producer(0), Some(2));
        assert!(all.admits(b"0") && all.admits(b"1"));
        assert!(!all.admits(&producer(caps::PRODUCERS_MAX).name));
        let snapshot = all.iter().map(|(n, s)| (n.clone(), s.clone())).collect();
        let again = Producers::restore(snapshot);
        assert!(again.iter().eq(all.iter()));
        assert_eq!(again.bytes, all.bytes);
    }

    #[test]
    fn long_names_fill_the_table_before_its_memory_or_its_snapshot_outgrow_their_bounds() {
        let mut all = Producers::default();
        let named = |n: usize| format!("{n:0>width$}", width = caps::PRODUCER_NAME_BYTES_MAX);
        let note = Bytes::from(vec![1; caps::PRODUCER_NOTE_BYTES_MAX]);
        let mut n = 0;
        while all.admits(named(n).as_bytes()) {
            all.note(&Producer { name: named(n).into(), note: note.clone() }, Some(1));
            n += 1;
        }
        assert!(n > 7000, "{n}");
        let snapshot = super::super::entry_codec::encode_snapshot(0, all.iter());
        assert!(snapshot.len() < caps::PRODUCERS_BYTES_MAX + (2 << 20), "{}", snapshot.len());
        // What a place in the table takes beside the bytes, nodes being half full at worst.
        let place = 2 * size_of::<(Bytes, ProducerState)>();
        assert!(caps::PRODUCERS_MAX * place <= 12 << 20, "{place}");
    }
}
