//! The drivers over a bookie in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::memory_bookie::{MemoryBookie, ledgers};
use super::*;
use crate::ledger::metadata::TransitionError;
use crate::ledger::{CloseAt, LedgerKind};
use crate::message::{Refusal, Reply, ReplyTo, Request, Transport, Wake};
use crate::outcome::Outcome;

fn owned() -> LedgerKind {
    LedgerKind::Transactional { owner: "words".to_owned() }
}

fn text(s: &'static str) -> Bytes {
    Bytes::from_static(s.as_bytes())
}

#[test]
fn what_was_appended_is_read_at_once_and_after_the_close() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    assert_eq!(ledgers.end(id), Ok(LedgerEnd::Open { lac: None }));
    assert_eq!(writer.append_wait(text("a")), Ok(EntryId(0)));
    assert_eq!(ledgers.read(id, EntryId(0)), Ok(text("a")));
    assert_eq!(writer.append_wait(text("b")), Ok(EntryId(1)));
    assert!(matches!(ledgers.read(id, EntryId(2)), Err(ReadError::Beyond { .. })));
    assert!(matches!(writer.close(Some(EntryId(0))), Err(CloseError::NotThere { .. })));
    writer.close(Some(EntryId(1))).unwrap();
    writer.close(Some(EntryId(1))).unwrap();
    assert_eq!(ledgers.end(id), Ok(LedgerEnd::Closed { last: Some(EntryId(1)) }));
    assert_eq!(ledgers.recover(id, Term(5), CloseAt::End), Ok(Some(EntryId(1))));
}

#[test]
fn numbers_are_never_used_again() {
    let (_, one) = ledgers();
    let first = one.reserve().unwrap();
    assert_eq!(one.reserve().unwrap(), LedgerId(first.0 + 1));
    let two = Ledgers::new(one.bookies().clone(), Copies::ONE, one.metadata().clone());
    assert!(two.reserve().unwrap() > LedgerId(first.0 + 1));
}

#[test]
fn acknowledgements_out_of_order_reach_callbacks_in_order() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.hold_adds();
    let (sender, receiver) = sync_channel(8);
    for payload in ["a", "b", "c"] {
        let sender = sender.clone();
        writer.append(text(payload), Box::new(move |done| sender.send(done).unwrap()));
    }
    writer.barrier(Box::new(move |done| sender.send(done).unwrap()));
    bookie.release_in_reverse(3);
    let done: Vec<_> = receiver.iter().map(|done| done.unwrap().0).collect();
    assert_eq!(done, [0, 1, 2, 2]);
}

#[test]
fn concurrent_callers_wait_together() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.hold_adds();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| writer.append_wait(text("x")).unwrap());
        }
        // All four adds are on their way before any is answered: no lock is held across the sync.
        bookie.release_in_reverse(4);
    });
    assert_eq!(writer.last_confirmed(), Some(EntryId(3)));
    assert_eq!(bookie.adds(), 4);
}

/// A bookie that notes by which way adds came.
#[derive(Debug, Default)]
struct Noting {
    bookie: MemoryBookie,
    called: AtomicUsize,
}

impl Transport for Noting {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.bookie.send(to, request, reply);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        let adds = usize::from(matches!(request, Request::Add { .. }));
        self.called.fetch_add(adds, Ordering::Relaxed);
        self.bookie.call(to, request)
    }

    fn incarnation(&self) -> Incarnation {
        self.bookie.incarnation()
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.bookie.watch_lac(ledger, beyond, wake);
    }
}

/// Sixteen threads that appended at once each wrote, or was handed the journal, on its own, and then
/// waited for those that had not yet reported the entries before: three switches of threads an append.
#[test]
fn only_an_entry_that_is_alone_is_written_by_the_thread_that_waits() {
    let noting = Arc::new(Noting::default());
    let meta = Arc::new(crate::metadata::MemoryMeta::new());
    let ledgers = Ledgers::on_one(noting.clone(), meta);
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    writer.append_wait(text("alone")).unwrap();
    assert_eq!(noting.called.load(Ordering::Relaxed), 1);
    noting.bookie.hold_adds();
    writer.append(text("under way"), Box::new(drop));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| writer.append_wait(text("beside it")));
        noting.bookie.release_in_reverse(2);
        assert_eq!(waits.join().unwrap(), Ok(EntryId(2)));
    });
    assert_eq!(noting.called.load(Ordering::Relaxed), 1);
}

#[test]
fn threads_that_wait_together_all_learn_that_an_entry_before_theirs_failed() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.hold_adds();
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..3).map(|_| scope.spawn(|| writer.append_wait(text("x")))).collect();
        bookie.refuse_adds(Some(Refusal::DiskFull { dir: "/d".into(), free: 1 }));
        bookie.release_in_reverse(3);
        for thread in waiting {
            assert!(matches!(thread.join().unwrap(), Err(AppendError::Failed { .. })));
        }
    });
    assert!(writer.append_wait(text("y")).is_err());
}

/// A bookie that takes its time to take note of what readers may see.
#[derive(Debug)]
struct LateLac {
    bookie: Arc<MemoryBookie>,
    arrived: std::sync::mpsc::SyncSender<()>,
    go_on: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Transport for LateLac {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        if let Request::WriteLac { .. } = request {
            self.arrived.send(()).unwrap();
            // Go on when the test lets go of the other end: the two adds may be answered in either
            // order, and then there are two words to take note of.
            let _ended = self.go_on.lock().unwrap().recv();
        }
        self.bookie.send(to, request, reply);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        self.bookie.call(to, request)
    }

    fn incarnation(&self) -> Incarnation {
        self.bookie.incarnation()
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.bookie.watch_lac(ledger, beyond, wake);
    }
}

/// One thread's answer confirms another thread's entry, too. That other one was once woken before
/// the bookie was told what readers may see, and did not find its own record.
#[test]
fn what_is_acknowledged_is_visible_to_whoever_was_told() {
    let (bookie, plain) = ledgers();
    let (arrived, arrives) = sync_channel(2);
    let (go, go_on) = sync_channel::<()>(1);
    let late = LateLac { bookie: bookie.clone(), arrived, go_on: std::sync::Mutex::new(go_on) };
    let ledgers = Ledgers::on_one(Arc::new(late), plain.metadata().clone());
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.hold_adds();
    let (told, tells) = sync_channel(4);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (writer, ledgers, told) = (&writer, &ledgers, told.clone());
            scope.spawn(move || {
                let entry = writer.append_wait(text("x")).unwrap();
                told.send(ledgers.read(id, entry)).unwrap();
            });
        }
        let asynchronous = told.clone();
        // The word of what readers may see goes out on the thread that brings an answer.
        scope.spawn(|| bookie.release_in_reverse(2));
        arrives.recv().unwrap();
        let read = ledgers.clone();
        writer.when_confirmed(
            EntryId(1),
            Box::new(move |done| asynchronous.send(read.read(id, done.unwrap())).unwrap()),
        );
        let early = tells.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "told before readers see it: {early:?}");
        drop(go);
        for _ in 0..3 {
            assert_eq!(tells.recv().unwrap(), Ok(text("x")));
        }
    });
}

#[test]
fn a_fenced_writer_learns_that_its_append_may_be_there() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    writer.append_wait(text("a")).unwrap();
    assert!(matches!(
        ledgers.recover(id, Term(1), CloseAt::End),
        Err(RecoverError::Record(error::RecordError::Transition {
            why: TransitionError::SameTerm { .. },
            ..
        }))
    ));
    assert_eq!(ledgers.recover(id, Term(2), CloseAt::End), Ok(Some(EntryId(0))));
    let error = writer.append_wait(text("b")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(writer.append_wait(text("c")).unwrap_err().outcome(), Outcome::Definite);
    assert!(writer.close(Some(EntryId(0))).is_err());
}

#[test]
fn a_refused_append_is_definite() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.refuse_adds(Some(Refusal::DiskFull { dir: "/d".into(), free: 1 }));
    let error = writer.append_wait(text("a")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Definite);
    assert!(error.to_string().contains("free some space"), "{error}");
}

#[test]
fn a_ledger_listed_and_never_created_recovers_as_empty_for_ever() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let lost = CloseAt::Entry(Some(EntryId(3)));
    assert!(matches!(
        ledgers.recover(id, Term(2), lost),
        Err(RecoverError::CommittedButAbsent { .. })
    ));
    assert_eq!(ledgers.recover(id, Term(2), CloseAt::End), Ok(None));
    assert_eq!(ledgers.end(id), Ok(LedgerEnd::Closed { last: None }));
    let late = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap_err();
    assert_eq!(late, CreateError::Exists { ledger: id });
}

#[test]
fn a_zombie_that_wrote_the_record_cannot_create_after_the_fence() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let (absent, put, metadata) = ledgers.prepare(id, LedgerKind::Plain, Term(1)).unwrap();
    ledgers.metadata().txn(&[absent], &[put]).unwrap();
    assert_eq!(ledgers.recover(id, Term(2), CloseAt::End), Ok(None));
    assert!(ledgers.create_prepared(id, &metadata).is_err());
}

#[test]
fn a_transactional_ledger_ends_at_the_commit_given() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, owned(), Term(1)).unwrap();
    for payload in ["a", "b", "c"] {
        writer.append_wait(text(payload)).unwrap();
    }
    assert_eq!(ledgers.end(id), Ok(LedgerEnd::Open { lac: None }), "nothing published");
    writer.publish(EntryId(0));
    assert_eq!(ledgers.end(id), Ok(LedgerEnd::Open { lac: Some(EntryId(0)) }));
    let by_anyone = ledgers.recover(id, Term(2), CloseAt::End).unwrap_err();
    assert!(by_anyone.to_string().contains("`words`"), "{by_anyone}");
    let below = ledgers.recover(id, Term(2), CloseAt::Entry(None)).unwrap_err();
    assert!(matches!(below, RecoverError::Recovery { .. }), "{below}");
    let at = |entry| CloseAt::Entry(Some(EntryId(entry)));
    assert_eq!(ledgers.recover(id, Term(2), at(1)), Ok(Some(EntryId(1))));
    assert_eq!(ledgers.recover(id, Term(3), at(1)), Ok(Some(EntryId(1))));
    assert!(ledgers.recover(id, Term(3), at(0)).is_err());
    assert!(matches!(ledgers.read(id, EntryId(2)), Err(ReadError::Beyond { .. })));

    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, owned(), Term(1)).unwrap();
    writer.append_wait(text("a")).unwrap();
    writer.append_wait(text("b")).unwrap();
    bookie.lose(id, EntryId(0));
    let gone = ledgers.recover(id, Term(2), at(1)).unwrap_err();
    assert!(gone.to_string().contains("entry 0 was committed and is gone"), "{gone}");
}

#[test]
fn watchers_are_called_once_when_there_is_more() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let wake = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    ledgers.watch(id, None, wake.clone());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    writer.append_wait(text("a")).unwrap();
    writer.append_wait(text("b")).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    ledgers.watch(id, Some(EntryId(0)), wake);
    assert_eq!(calls.load(Ordering::SeqCst), 2, "it is so already");
}

#[test]
fn a_deleted_ledger_is_gone_and_deleting_again_is_fine() {
    let (_, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    writer.append_wait(text("a")).unwrap();
    assert!(ledgers.delete(id).is_err(), "it is open");
    writer.close(Some(EntryId(0))).unwrap();
    ledgers.delete(id).unwrap();
    ledgers.delete(id).unwrap();
    assert!(ledgers.read(id, EntryId(0)).is_err());
}

#[test]
fn appends_wait_while_too_much_is_in_flight() {
    let (bookie, ledgers) = ledgers();
    let id = ledgers.reserve().unwrap();
    let writer = ledgers.create(id, LedgerKind::Plain, Term(1)).unwrap();
    bookie.hold_adds();
    let large = Bytes::from(vec![0; crate::caps::ENTRY_BYTES_MAX]);
    let start = Barrier::new(2);
    let third = AtomicUsize::new(0);
    writer.append(large.clone(), Box::new(|_| {}));
    writer.append(large.clone(), Box::new(|_| {}));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            writer.append(large.clone(), Box::new(|_| {}));
            third.store(1, Ordering::SeqCst);
        });
        start.wait();
        assert_eq!(writer.last_appended(), Some(EntryId(1)));
        assert_eq!(third.load(Ordering::SeqCst), 0);
        bookie.release_in_reverse(2);
    });
    assert_eq!(third.load(Ordering::SeqCst), 1);
}
