//! The drivers over several bookies in memory: some die, some are slow, some come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::memory_bookie::MemoryBookie;
use super::repair::{Pace, RepairError};
use super::*;
use crate::ledger::repair::Standing;
use crate::ledger::{CloseAt, LedgerKind, Member};
use crate::message::{Refusal, Transport, Unknown};
use crate::metadata::MemoryMeta;
use crate::rpc::bookie::client::NoWay;

/// Bookies in memory, of which those named take new ledgers.
#[derive(Debug)]
pub(crate) struct Several {
    all: Vec<Arc<MemoryBookie>>,
    taking: Mutex<Vec<usize>>,
    /// Whose directory is another one now.
    replaced: Mutex<Vec<BookieId>>,
    /// Who says that it is there, whether it answers or not.
    there: Mutex<Vec<BookieId>>,
    /// Those whose other directory serves, under the same id.
    back: Mutex<BTreeMap<BookieId, Arc<MemoryBookie>>>,
}

/// Every other directory's.
const OTHER: Incarnation = Incarnation(99);

fn member(index: usize) -> Member {
    let n = index as u64 + 1;
    Member { bookie: BookieId(n), incarnation: Incarnation(u128::from(n)) }
}

impl Bookies for Several {
    fn transport(&self, member: Member) -> Arc<dyn Transport> {
        let index = usize::try_from(member.bookie.0 - 1).unwrap();
        match self.back.lock().unwrap().get(&member.bookie) {
            Some(back) if member.incarnation == OTHER => Arc::clone(back) as Arc<dyn Transport>,
            Some(_) => {
                let (asked, own) = (member.incarnation, OTHER);
                Arc::new(NoWay::new(asked, Unknown::Incarnation { asked, own }))
            }
            None => Arc::clone(&self.all[index]) as Arc<dyn Transport>,
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let taking = self.taking.lock().unwrap();
        let back = self.back.lock().unwrap();
        let now = |member: Member| match back.contains_key(&member.bookie) {
            true => Member { incarnation: OTHER, ..member },
            false => member,
        };
        let candidate = |&n: &usize| Candidate { member: now(member(n)), rack: String::new() };
        taking.iter().map(candidate).collect()
    }

    fn is_there(&self, member: Member) -> bool {
        self.there.lock().unwrap().contains(&member.bookie)
    }

    fn standing(&self, member: Member) -> Standing {
        match self.replaced.lock().unwrap().contains(&member.bookie) && member.incarnation != OTHER
        {
            true => Standing::Replaced { by: OTHER },
            false => Standing::Present,
        }
    }
}

pub(crate) struct World {
    bookies: Arc<Several>,
    pub(crate) ledgers: Ledgers,
}

impl World {
    pub(crate) fn new(count: usize) -> World {
        let all = (0..count).map(|_| Arc::new(MemoryBookie::default())).collect();
        let bookies = Arc::new(Several {
            all,
            taking: Mutex::new((0..count).collect()),
            replaced: Mutex::default(),
            there: Mutex::default(),
            back: Mutex::default(),
        });
        let meta = Arc::new(MemoryMeta::new());
        let ledgers = Ledgers::new(bookies.clone(), Copies::default(), meta);
        World { bookies, ledgers }
    }

    pub(crate) fn replaced(&self, index: usize) {
        self.bookies.replaced.lock().unwrap().push(member(index).bookie);
    }

    /// It is there again under its id, with an empty directory.
    pub(crate) fn back_with_another(&self, index: usize) -> Arc<MemoryBookie> {
        self.replaced(index);
        let back = Arc::new(MemoryBookie::default());
        self.bookies.back.lock().unwrap().insert(member(index).bookie, Arc::clone(&back));
        back
    }

    /// Every directory is again what it was.
    pub(crate) fn returned(&self) {
        self.bookies.replaced.lock().unwrap().clear();
    }

    /// Who says that it is there.
    pub(crate) fn there(&self, these: &[usize]) {
        *self.bookies.there.lock().unwrap() = these.iter().map(|&n| member(n).bookie).collect();
    }

    pub(crate) fn taking(&self, these: &[usize]) {
        *self.bookies.taking.lock().unwrap() = these.to_vec();
    }

    pub(crate) fn size(&self) -> usize {
        self.bookies.all.len()
    }

    pub(crate) fn bookie(&self, index: usize) -> &MemoryBookie {
        &self.bookies.all[index]
    }

    pub(crate) fn writer(&self) -> (LedgerId, LedgerWriter) {
        let id = self.ledgers.reserve().unwrap();
        (id, self.ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap())
    }

    /// Which bookies are in the ensemble that holds the entry.
    pub(crate) fn holders(&self, id: LedgerId, entry: u64) -> Vec<usize> {
        let record = self.ledgers.describe(id).unwrap();
        let members = record.fragment_of(EntryId(entry)).1.members().to_vec();
        members.iter().map(|m| usize::try_from(m.bookie.0 - 1).unwrap()).collect()
    }

    pub(crate) fn copies(&self, id: LedgerId, entry: u64) -> usize {
        let holds = |&index: &usize| self.bookie(index).holds(id, EntryId(entry));
        self.holders(id, entry).iter().filter(|index| holds(index)).count()
    }
}

pub(crate) fn text(n: u64) -> Bytes {
    Bytes::from(format!("entry {n}"))
}

#[test]
fn an_entry_has_three_copies_and_is_read_from_any() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    for n in 0..10 {
        assert_eq!(writer.append_wait(text(n)), Ok(EntryId(n)));
    }
    assert_eq!(writer.last_replicated(), Some(EntryId(9)));
    for down in 0..3 {
        world.bookie(down).set_down(true);
        assert_eq!(world.copies(id, 9), 3);
        assert_eq!(world.ledgers.read(id, EntryId(9)), Ok(text(9)), "without {down}");
        world.bookie(down).set_down(false);
    }
    writer.close(Some(EntryId(9))).unwrap();
}

#[test]
fn a_bookie_that_dies_is_replaced_and_everything_has_its_copies() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let dead = world.holders(id, 0)[0];
    world.bookie(dead).set_down(true);
    for n in 1..50 {
        assert_eq!(writer.append_wait(text(n)), Ok(EntryId(n)));
    }
    let holders = world.holders(id, 49);
    assert!(!holders.contains(&dead), "{holders:?}");
    assert_eq!(world.ledgers.describe(id).unwrap().fragments.len(), 2);
    assert_eq!(writer.missing_bookies(), 0);
    // The new one is sent the last entries; it answers on its own thread's time.
    writer.drain().unwrap();
    for n in 1..50 {
        assert!(world.copies(id, n) >= 2, "entry {n}");
        assert_eq!(world.ledgers.read(id, EntryId(n)), Ok(text(n)));
    }
    writer.close(Some(EntryId(49))).unwrap();
}

#[test]
fn without_a_spare_bookie_writing_goes_on_at_the_ack_quorum() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    world.bookie(2).set_down(true);
    for n in 1..20 {
        assert_eq!(writer.append_wait(text(n)), Ok(EntryId(n)));
    }
    assert_eq!(writer.missing_bookies(), 1);
    assert_eq!(writer.last_replicated(), Some(EntryId(0)));
    assert_eq!(world.copies(id, 19), 2);
    world.bookie(1).set_down(true);
    let error = writer.append_wait(text(20)).unwrap_err();
    assert_eq!(error.outcome(), crate::Outcome::Unknown, "{error}");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    world.bookie(1).set_down(false);
    let end = world.ledgers.recover(id, Term(2), CloseAt::End).unwrap();
    assert!(end >= Some(EntryId(19)), "{end:?}");
}

#[test]
fn a_bookie_that_comes_back_is_filled_up() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    world.bookie(2).set_down(true);
    for n in 1..20 {
        writer.append_wait(text(n)).unwrap();
    }
    writer.close(Some(EntryId(19))).unwrap();
    let lacking = world.ledgers.describe(id).unwrap().lacking;
    assert_eq!(lacking.into_iter().collect::<Vec<_>>(), [(EntryId(0), BookieId(3))]);
    world.taking(&[0, 1]);
    let early = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert!(matches!(early.failed[..], [(_, _, RepairError::Nobody { .. })]), "{early:?}");

    world.bookie(2).set_down(false);
    world.taking(&[0, 1, 2]);
    let sweep = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert_eq!((sweep.lacking, sweep.made[0].2.entries), (1, 19), "{sweep:?}");
    assert!((0..20).all(|n| world.copies(id, n) == 3));
    let again = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert_eq!((again.ledgers, again.lacking), (1, 0));
}

#[test]
fn what_a_lost_disk_held_is_copied_to_another_bookie() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    for n in 0..10 {
        writer.append_wait(text(n)).unwrap();
    }
    writer.close(Some(EntryId(9))).unwrap();
    let lost = world.holders(id, 0)[1];
    world.bookie(lost).set_down(true);
    world.replaced(lost);
    let others: Vec<usize> = (0..4).filter(|n| *n != lost).collect();
    let sweep = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert_eq!((sweep.made.len(), sweep.made[0].2.entries), (1, 10), "{sweep:?}");
    let mut holders = world.holders(id, 9);
    holders.sort_unstable();
    assert_eq!(holders, others);
    assert!((0..10).all(|n| world.copies(id, n) == 3));
    assert_eq!(world.ledgers.read(id, EntryId(9)), Ok(text(9)));
}

/// Waits until something holds, in bounded time.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = crate::clock::now() + Duration::from_secs(30);
    while !holds() {
        assert!(crate::clock::now() < until, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn one_bookie_repairs_and_when_it_ends_another_does() {
    let world = World::new(3);
    let lacking = || {
        let (id, writer) = world.writer();
        writer.append_wait(text(0)).unwrap();
        world.bookie(2).set_down(true);
        writer.append_wait(text(1)).unwrap();
        writer.close(Some(EntryId(1))).unwrap();
        world.bookie(2).set_down(false);
        id
    };
    let every = Duration::from_millis(10);
    let config = RepairerConfig { every, ..RepairerConfig::default() };
    let start = |n| Repairer::start(world.ledgers.clone(), member(n), || false, config).unwrap();
    let leader = || world.ledgers.metadata().get(repairer::LEADER_KEY).unwrap().map(|v| v.value);
    let first = start(0);
    eventually("somebody leads", || leader().is_some());
    assert_eq!(leader().unwrap(), b"B1");
    let second = start(1);
    let id = lacking();
    eventually("the copy is made", || (0..2).all(|n| world.copies(id, n) == 3));
    assert_eq!(leader().unwrap(), b"B1");
    first.stop();
    eventually("another leads", || leader().is_some_and(|name| name == b"B2"));
    let id = lacking();
    eventually("the copy is made", || (0..2).all(|n| world.copies(id, n) == 3));
    second.stop();
    assert_eq!(leader(), None);
}

#[test]
fn an_entry_no_copy_is_left_of_is_a_loss_and_said() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    writer.append_wait(text(1)).unwrap();
    writer.close(Some(EntryId(1))).unwrap();
    let holders = world.holders(id, 0);
    for &holder in &holders[1..] {
        world.bookie(holder).lose(id, EntryId(1));
    }
    world.bookie(holders[0]).lose(id, EntryId(1));
    world.replaced(holders[0]);
    let sweep = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    let (_, _, why) = &sweep.failed[0];
    assert!(why.is_loss() && why.to_string().contains("is gone"), "{why}");
    assert_eq!(world.holders(id, 0), holders, "nothing was changed");
}

#[test]
fn a_new_ledger_is_made_with_fewer_copies_while_there_are_no_more_bookies() {
    let world = World::new(3);
    world.taking(&[0, 1]);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    assert_eq!(world.ledgers.describe(id).unwrap().quorum.to_string(), "2/2/2");
    world.taking(&[0]);
    let next = world.ledgers.reserve().unwrap();
    let error = world.ledgers.create(next, LedgerKind::Plain, Term(1)).unwrap_err();
    assert!(error.to_string().contains("1 bookies take new ledgers and 2 are needed"), "{error}");
}

#[test]
fn a_bookie_that_takes_no_ledger_is_replaced_before_the_first_entry() {
    let world = World::new(4);
    world.taking(&[0, 1, 2]);
    world.bookie(1).refuse_creates(Some(Refusal::ReadOnly));
    let id = world.ledgers.reserve().unwrap();
    let (absent, put, metadata) = world.ledgers.prepare(id, LedgerKind::Plain, Term(1)).unwrap();
    world.ledgers.metadata().txn(&[absent], &[put]).unwrap();
    world.taking(&[0, 1, 2, 3]);
    let writer = world.ledgers.create_prepared(id, &metadata).unwrap();
    writer.append_wait(text(0)).unwrap();
    let mut holders = world.holders(id, 0);
    holders.sort_unstable();
    assert_eq!(holders, [0, 2, 3]);
}

/// Two bookies of a new ledger died, and are still listed as there.
#[test]
fn a_ledger_begins_on_others_when_most_of_its_bookies_do_not_answer() {
    let world = World::new(5);
    world.taking(&[0, 1, 2]);
    (0..2).for_each(|down| world.bookie(down).set_down(true));
    let id = world.ledgers.reserve().unwrap();
    let error = world.ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap_err();
    assert!(matches!(error, CreateError::Unknown { .. }), "there is nobody else: {error}");
    let id = world.ledgers.reserve().unwrap();
    let (absent, put, metadata) = world.ledgers.prepare(id, LedgerKind::Plain, Term(1)).unwrap();
    world.ledgers.metadata().txn(&[absent], &[put]).unwrap();
    world.taking(&[0, 1, 2, 3, 4]);
    let writer = world.ledgers.create_prepared(id, &metadata).unwrap();
    writer.append_wait(text(0)).unwrap();
    let mut holders = world.holders(id, 0);
    holders.sort_unstable();
    assert_eq!(holders, [2, 3, 4]);
}

#[test]
fn recovery_ends_with_one_bookie_of_three_gone() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    for n in 0..5 {
        writer.append_wait(text(n)).unwrap();
    }
    world.bookie(0).set_silent(true);
    assert_eq!(world.ledgers.recover(id, Term(2), CloseAt::End), Ok(Some(EntryId(4))));
    world.bookie(0).set_silent(false);
    let error = writer.append_wait(text(5)).unwrap_err();
    assert!(error.to_string().contains("newer owner"), "{error}");
}

#[test]
fn a_slow_bookie_is_hedged() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    writer.close(Some(EntryId(0))).unwrap();
    // Whoever is asked first says nothing.
    let first = usize::try_from(id.0 % 3).unwrap();
    let slow = world.ledgers.describe(id).unwrap().last_fragment().1.member(first);
    let slow = usize::try_from(slow.bookie.0 - 1).unwrap();
    world.bookie(slow).set_silent(true);
    assert_eq!(world.ledgers.read(id, EntryId(0)), Ok(text(0)));
    world.bookie(slow).set_silent(false);
}

/// Elsewhere a reader kept the bookies it once knew of a closed ledger, and found nobody when they were
/// gone one after the other, each replaced by a copy made in time.
#[test]
fn a_reader_with_an_old_record_looks_where_the_copies_are_now() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    writer.drain().unwrap();
    writer.close(Some(EntryId(0))).unwrap();
    let meta = Arc::clone(world.ledgers.metadata());
    let reader = Ledgers::new(world.bookies.clone(), Copies::default(), meta);
    assert_eq!(reader.read(id, EntryId(0)), Ok(text(0)));
    let before = world.holders(id, 0);
    world.bookie(before[1]).set_down(true);
    world.replaced(before[1]);
    let sweep = repair::sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert_eq!(sweep.made.len(), 1, "{sweep:?}");
    before.iter().for_each(|&index| world.bookie(index).set_down(true));
    assert_eq!(reader.read(id, EntryId(0)), Ok(text(0)));
}

/// Elsewhere a close after a failed append ended the ledger before entries that were there.
#[test]
fn a_writer_that_failed_closes_nothing_and_recovery_finds_what_is_there() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    // One copy of the next is made and not two: it may or may not be there.
    world.bookie(0).refuse_adds(Some(Refusal::ReadOnly));
    world.bookie(1).refuse_adds(Some(Refusal::ReadOnly));
    assert!(writer.append_wait(text(1)).is_err());
    let error = writer.close(Some(EntryId(0))).unwrap_err();
    assert!(matches!(error, CloseError::Ended { .. }), "{error}");
    assert!(matches!(world.ledgers.end(id), Ok(LedgerEnd::Open { .. })));
    world.bookie(0).refuse_adds(None);
    world.bookie(1).refuse_adds(None);
    let end = world.ledgers.recover(id, Term(2), CloseAt::End).unwrap();
    assert!(end >= Some(EntryId(0)), "{end:?}");
}

#[test]
fn an_overloaded_bookie_is_asked_again() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    world.bookie(1).refuse_adds(Some(Refusal::Overloaded { retry_after_ms: 1 }));
    writer.append_wait(text(0)).unwrap();
    world.bookie(1).refuse_adds(None);
    let (told, tells) = sync_channel(1);
    writer.append(text(1), Box::new(move |done| told.send(done).unwrap()));
    assert_eq!(tells.recv_timeout(Duration::from_secs(20)).unwrap(), Ok(EntryId(1)));
    assert_eq!(writer.missing_bookies(), 0);
    assert_eq!(world.ledgers.describe(id).unwrap().fragments.len(), 1);
}

#[test]
fn watchers_over_several_bookies_are_called_once() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let wake = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    world.ledgers.watch(id, None, wake);
    writer.append_wait(text(0)).unwrap();
    writer.append_wait(text(1)).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(world.ledgers.end(id), Ok(LedgerEnd::Open { lac: Some(EntryId(1)) }));
}

#[test]
fn a_ledger_is_forgotten_only_when_every_bookie_of_every_fragment_has() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let dead = world.holders(id, 0)[0];
    world.bookie(dead).set_down(true);
    writer.append_wait(text(1)).unwrap();
    writer.append_wait(text(2)).unwrap();
    let end = writer.drain().unwrap();
    writer.close(end).unwrap();
    assert!(matches!(world.ledgers.delete(id), Err(DeleteError::Bookie { .. })));
    world.bookie(dead).set_down(false);
    world.ledgers.finish_deletions().unwrap();
    assert!(world.ledgers.describe(id).is_err());
    assert!((0..4).all(|n| !world.bookie(n).holds(id, EntryId(0))));
}

/// A bookie that was stopped held whoever trimmed up for the whole deadline of a request, ledger by ledger.
#[test]
fn a_deletion_waits_little_for_a_bookie_that_says_nothing() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let end = writer.drain().unwrap();
    writer.close(end).unwrap();
    world.bookie(1).set_silent(true);
    let error = world.ledgers.delete(id).unwrap_err();
    let said = format!(
        "{id} is not deleted everywhere: B2 says: no answer within 2000 ms; it is tried again by and by"
    );
    assert_eq!(error.to_string(), said);
    assert!(!world.bookie(0).holds(id, EntryId(0)) && !world.bookie(2).holds(id, EntryId(0)));
    // What it was asked is done when it goes on.
    world.bookie(1).set_silent(false);
    assert!(!world.bookie(1).holds(id, EntryId(0)));
    world.ledgers.finish_deletions().unwrap();
    assert!(world.ledgers.describe(id).is_err());
}

/// A deletion waited for ever for a directory that nobody had any more, and with it all that came after.
#[test]
fn a_ledger_is_forgotten_without_those_whose_directory_is_another_one() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let end = writer.drain().unwrap();
    writer.close(end).unwrap();
    world.bookie(0).set_down(true);
    assert!(world.ledgers.delete(id).is_err(), "it may come back");
    world.replaced(0);
    world.ledgers.finish_deletions().unwrap();
    assert!(world.ledgers.describe(id).is_err());
    assert!((1..3).all(|n| !world.bookie(n).holds(id, EntryId(0))));
}
