//! Probing for several keys before any of them is used.
//!
//! In a table larger than the caches a probe waits for memory two or three times: for the index, for the slot and
//! for the key. Probes one after the other by hash alone do not depend on each other, so the processor has several
//! under way; [`KeyedTable::guess`] makes one for each of a few tuples to come, and
//! [`KeyedTable::reach_guessed`] then looks at the key. A guess is only a number: where it is wrong, because the
//! key is new or gone or another has its hash, the key is looked up as ever.

use std::borrow::Borrow;
use std::hint::black_box;

use super::{KeyedTable, Life, Slot, SlotId};
use crate::keyed::backing::{Backing, Fault};
use crate::keyed::key::Key;
use crate::keyed::state::State;

/// How many keys are worth guessing at once: enough for what memory has under way at a time, few enough
/// to be in the first cache still when they are used.
pub const GUESSES: usize = 16;

/// Which slot a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess(u32);

impl Guess {
    /// No guess.
    pub const NONE: Guess = Guess(u32::MAX);
}

impl<K: Key + ?Sized, S: State, B: Backing> KeyedTable<K, S, B> {
    /// Guesses the slots of the keys with these hashes, the first [`GUESSES`]; how many those are.
    #[inline]
    pub fn guess(&self, hashes: &[u64], guesses: &mut [Guess; GUESSES]) -> usize {
        let number = hashes.len().min(GUESSES);
        for (guess, &hash) in guesses.iter_mut().zip(hashes) {
            let same = |&slot: &u32| self.slots[slot as usize].hash == hash;
            *guess = self.index.find(hash, same).map_or(Guess::NONE, |&slot| Guess(slot));
        }
        let mut peeked = 0;
        for guess in &guesses[..number] {
            peeked ^= self.slots.get(guess.0 as usize).map_or(0, |slot| slot.key.borrow().peek());
        }
        black_box(peeked);
        number
    }

    /// Like [`reach`](Self::reach), with a guess made earlier.
    ///
    /// # Errors
    /// When what lies beneath cannot be read.
    #[inline]
    pub fn reach_guessed(
        &mut self,
        hash: u64,
        key: &K,
        guess: Guess,
    ) -> Result<SlotId, Box<Fault>> {
        match self.slots.get(guess.0 as usize) {
            Some(slot)
                if slot.life == Life::Live && slot.hash == hash && slot.key.borrow() == key =>
            {
                Ok(SlotId(guess.0))
            }
            _ => self.reach(hash, key),
        }
    }
}

/// Has memory bring these slots and their keys.
pub(super) fn warm<K: Key + ?Sized, S>(slots: &[Slot<K::Owned, S>], numbers: &[u32]) {
    let mut hashes = 0;
    for &number in numbers {
        hashes ^= slots[number as usize].hash;
    }
    let mut peeked = 0;
    for &number in numbers {
        peeked ^= slots[number as usize].key.borrow().peek();
    }
    black_box((hashes, peeked));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::record::{Record, What};
    use egret_schemas::bytes::DecodeError;
    use egret_schemas::{Epoch, Generation};

    type Table = KeyedTable<str, u64>;

    fn filled(keys: u64) -> Table {
        let mut table = Table::new(16);
        for n in 0..keys {
            let key = format!("key {n}");
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = n;
        }
        table
    }

    #[test]
    fn keys_that_are_there_are_guessed_and_others_are_not() {
        let table = filled(100);
        let keys: Vec<String> = (95..105).map(|n| format!("key {n}")).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| key.hash64()).collect();
        let mut guesses = [Guess::NONE; GUESSES];
        assert_eq!(table.guess(&hashes, &mut guesses), 10);
        for (n, (guess, key)) in guesses.iter().zip(&keys).enumerate() {
            let found = table.find_slot(key.hash64(), key);
            assert_eq!(found, (guess.0 != u32::MAX).then_some(guess.0));
            assert_eq!(found.is_some(), n < 5, "{key}");
        }
        let many: Vec<u64> = (0..100).map(|n| format!("key {n}").hash64()).collect();
        assert_eq!(table.guess(&many, &mut guesses), GUESSES);
    }

    #[test]
    fn a_wrong_guess_reaches_the_right_key() {
        let mut table = filled(100);
        let mut reach = |key: &str, guess| {
            let slot = table.reach_guessed(key.hash64(), key, guess).unwrap();
            let (found, n) = table.get(slot);
            (found.to_owned(), *n)
        };
        for guess in [Guess::NONE, Guess(3), Guess(7), Guess(100), Guess(5000)] {
            assert_eq!(reach("key 3", guess), ("key 3".to_owned(), 3));
            let other = format!("new {guess:?}");
            assert_eq!(reach(&other, guess), (other.clone(), 0));
        }
    }

    /// A key whose hash is that of every other one.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Alike(u64);

    impl Key for Alike {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }
        fn decode(bytes: &[u8]) -> Result<Alike, DecodeError> {
            u64::decode(bytes).map(Alike)
        }
        fn hash64(&self) -> u64 {
            7
        }
    }

    #[test]
    fn a_guess_for_a_hash_that_keys_share_reaches_the_key_that_was_asked_for() {
        let mut table = KeyedTable::<Alike, u64>::new(16);
        for n in 0..3 {
            let slot = table.entry(7, &Alike(n));
            *table.get_mut(slot).1 = n + 10;
        }
        let mut guesses = [Guess::NONE; GUESSES];
        table.guess(&[7], &mut guesses);
        for n in 0..3 {
            let slot = table.reach_guessed(7, &Alike(n), guesses[0]).unwrap();
            assert_eq!(table.get(slot), (&Alike(n), &(n + 10)));
        }
    }

    /// A guess was made, and then the key went.
    #[test]
    fn a_key_removed_after_it_was_guessed_begins_empty() {
        let mut table = filled(10);
        let hash = "key 3".hash64();
        let mut guesses = [Guess::NONE; GUESSES];
        table.guess(&[hash], &mut guesses);
        let slot = table.entry(hash, "key 3");
        table.remove(slot);
        let slot = table.reach_guessed(hash, "key 3", guesses[0]).unwrap();
        assert_eq!(table.get_mut(slot), ("key 3", &mut 0));
        table.remove(slot);
        table.drain(Epoch::new(Generation(1), 0, 0), |_| ()).unwrap();
        assert_eq!(table.len(), 9);
        let record = Record { group: 0, key: b"key 3", what: What::Plain(&[7]) };
        table.restore_guessed(hash, &record, guesses[0]).unwrap();
        assert_eq!(table.find(hash, "key 3"), Some(&7));
    }
}
