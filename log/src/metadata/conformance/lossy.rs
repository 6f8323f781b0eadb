//! A store whose requests and replies get lost, and a counter that is exact all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::{Chance, committed};
use crate::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use crate::outcome::Outcome;

/// A store of which every third transaction gets no answer: half of those were never carried out.
#[derive(Debug)]
pub struct Lossy {
    store: Arc<dyn MetaStore>,
    chance: Mutex<Chance>,
}

impl Lossy {
    /// Over a store, losing by a seed.
    pub fn new(store: Arc<dyn MetaStore>, seed: u64) -> Lossy {
        Lossy { store, chance: Mutex::new(Chance::new(seed)) }
    }
}

impl MetaStore for Lossy {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.store.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        let lost = || Err(MetaError::Timeout { at: "a lossy store".to_owned(), waited_ms: 0 });
        let choice = self.chance.lock().unwrap_or_else(PoisonError::into_inner).below(6);
        match choice {
            0 => lost(),
            1 => self.store.txn(compare, ops).and_then(|_| lost()),
            _ => self.store.txn(compare, ops),
        }
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.store.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.store.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.store.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.store.watch(prefix, from_revision)
    }
}

/// A counter whose value says who proposed it: how every compare-and-set here is settled.
#[derive(Debug)]
pub struct Counter<'a> {
    store: &'a dyn MetaStore,
    who: u64,
    proposed: u64,
}

const COUNTER: &str = "/counter";

impl<'a> Counter<'a> {
    /// One caller's; `who` is nobody else's.
    pub fn new(store: &'a dyn MetaStore, who: u64) -> Counter<'a> {
        Counter { store, who, proposed: 0 }
    }

    /// Adds one, exactly one, whatever gets lost. Everyone's additions are listed one by one beside the
    /// counter, in the same transaction, so that a doubled one would show.
    pub fn add_one(&mut self) {
        self.proposed += 1;
        let proposal = format!("{}.{}", self.who, self.proposed);
        let mine = format!("/added/{proposal}");
        loop {
            // An answer that did not come may still come true: read until it is decided.
            if settled(|| self.store.get(&mine)).is_some() {
                return;
            }
            let held = settled(|| self.store.get(COUNTER));
            let (count, compare) = match &held {
                None => (0, Compare::Absent(COUNTER.to_owned())),
                Some(held) => (number(held), Compare::Revision(COUNTER.to_owned(), held.revision)),
            };
            let ops = [
                Op::Put(COUNTER.to_owned(), format!("{} {proposal}", count + 1).into_bytes()),
                Op::Put(mine.clone(), Vec::new()),
            ];
            match self.store.txn(&[compare, Compare::Absent(mine.clone())], &ops) {
                Ok(TxnOutcome::Committed { .. }) => return,
                Ok(TxnOutcome::Conflict) => {}
                Err(error) => assert_eq!(error.outcome(), Outcome::Unknown, "{error}"),
            }
        }
    }

    /// What it says, and how many additions are listed.
    pub fn read(store: &dyn MetaStore) -> (u64, usize) {
        let listed = settled(|| store.list("/added/")).entries.len();
        (settled(|| store.get(COUNTER)).map_or(0, |held| number(&held)), listed)
    }
}

/// A read, asked again until it is answered: it changes nothing.
fn settled<T>(ask: impl Fn() -> Result<T, MetaError>) -> T {
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(MetaError::Timeout { .. } | MetaError::Unreachable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn number(held: &Versioned) -> u64 {
    let text = std::str::from_utf8(&held.value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Callers whose replies get lost, and who read back: nothing is lost or doubled.
pub fn a_counter_is_exact(store: &Arc<dyn MetaStore>, seed: u64) {
    const CALLERS: u64 = 3;
    const EACH: u64 = 15;
    let lossy = Lossy::new(Arc::clone(store), seed);
    thread::scope(|scope| {
        for who in 0..CALLERS {
            let lossy = &lossy;
            scope.spawn(move || {
                let mut counter = Counter::new(lossy, who);
                (0..EACH).for_each(|_| counter.add_one());
            });
        }
    });
    let all = CALLERS * EACH;
    assert_eq!(Counter::read(&**store), (all, usize::try_from(all).unwrap()), "seed {seed}");
    committed(store.txn(&[], &[Op::Delete(COUNTER.to_owned())]).unwrap());
}
