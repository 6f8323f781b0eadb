//! A store whose requests and replies get lost, and a counter that is exact all the same.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::around::{Around, Txn};
use super::{Chance, committed};
use crate::metadata::{Compare, MetaError, MetaStore, Op, TxnOutcome, Versioned};
use crate::outcome::Outcome;

/// A store of which every third transaction gets no answer: half of those were never carried out.
pub type Lossy = Around<Losing>;

/// Loses by a seed.
#[derive(Debug)]
pub struct Losing(Mutex<Chance>);

impl Lossy {
    /// Over a store, losing by a seed.
    pub fn new(store: Arc<dyn MetaStore>, seed: u64) -> Lossy {
        Around::of(store, Losing(Mutex::new(Chance::new(seed))))
    }
}

impl Txn for Losing {
    fn txn(
        &self,
        store: &dyn MetaStore,
        compare: &[Compare],
        ops: &[Op],
    ) -> Result<TxnOutcome, MetaError> {
        let lost = || Err(MetaError::Timeout { at: "a lossy store".to_owned(), waited_ms: 0 });
        let choice = self.0.lock().unwrap_or_else(PoisonError::into_inner).below(6);
        match choice {
            0 => lost(),
            1 => store.txn(compare, ops).and_then(|_| lost()),
            _ => store.txn(compare, ops),
        }
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
