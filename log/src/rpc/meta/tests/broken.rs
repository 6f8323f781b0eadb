//! Connections that break and holders that fall silent, by somebody in between who passes frames on, or not.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use egret_schemas::metadata::MetaRequest;

use super::*;
use crate::clock;
use crate::metadata::conformance::Chance;
use crate::metadata::conformance::lossy::Counter;
use crate::metadata::{Compare, Event};
use crate::rpc::Bell;
use crate::rpc::connection::{Connection, ConnectionError};
use crate::rpc::frame::Limits;
use crate::rpc::server::{NoPlace, Speak};
use crate::rpc::socket::{META_SOCKET_NAME, connect};

const LIMITS: Limits =
    Limits { header_bytes_max: caps::META_HEADER_BYTES_MAX, payload_bytes_max: 0 };

/// Stands between those who attach and the holder.
struct Between {
    holder: std::path::PathBuf,
    chance: Mutex<Chance>,
    /// Of so many requests one breaks its connection before the holder hears of it, one after.
    one_of: u64,
    /// Nothing is passed on.
    silent: Arc<AtomicBool>,
}

impl Between {
    fn start(held: &Held, seed: u64, one_of: u64) -> (TempDir, Server, Arc<AtomicBool>) {
        let dir = tempfile::tempdir().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let between = Between {
            holder: held.dir.path().to_owned(),
            chance: Mutex::new(Chance::new(seed)),
            one_of,
            silent: Arc::clone(&silent),
        };
        let server = Server::speaking(dir.path(), Box::new(between)).unwrap();
        (dir, server, silent)
    }
}

impl Speak for Between {
    fn socket(&self) -> &'static str {
        META_SOCKET_NAME
    }

    fn connections_max(&self) -> usize {
        caps::META_CONNECTIONS_MAX
    }

    fn turn_away(&self, why: NoPlace) -> Vec<u8> {
        panic!("there is room for everybody: {why:?}");
    }

    fn converse(&self, from: &mut Connection, bell: &Arc<Bell>) -> Result<(), ConnectionError> {
        let stream: UnixStream = connect(&self.holder, META_SOCKET_NAME, PATIENCE)?;
        let mut to = Connection::new(stream)?;
        while let Some(frame) = from.receive(LIMITS, None)? {
            let hello = matches!(MetaRequest::decode(&frame.header), Ok(MetaRequest::Hello { .. }));
            let choice = match self.one_of {
                0 => 2,
                one_of if hello => self.chance.lock().unwrap().below(2 * one_of),
                one_of => self.chance.lock().unwrap().below(one_of),
            };
            if choice == 0 {
                return Ok(());
            }
            to.send(frame.correlation, &frame.header, &[])?;
            let answer = loop {
                if bell.is_closed() {
                    return Ok(());
                }
                // Looked at after there is an answer: whatever is asked once it is set is not passed on.
                let ready = to.is_ready(Duration::from_millis(2))?;
                if ready && !self.silent.load(Ordering::SeqCst) {
                    break to.receive(LIMITS, None)?;
                }
                if from.is_ready(Duration::from_millis(2))? {
                    return Ok(());
                }
            };
            let Some(answer) = answer else { return Ok(()) };
            if choice == 1 {
                return Ok(());
            }
            from.send(answer.correlation, &answer.header, &[])?;
        }
        Ok(())
    }
}

/// The same as the conformance suite's, with real connections that really break.
#[test]
fn a_counter_is_exact_though_connections_break() {
    const CALLERS: u64 = 3;
    const EACH: u64 = 12;
    for seed in 0..4 {
        let held = Held::new();
        let (dir, _server, _) = Between::start(&held, seed, 6);
        let store = attach(dir.path(), PATIENCE);
        thread::scope(|scope| {
            for who in 0..CALLERS {
                let store = &store;
                scope.spawn(move || {
                    let mut counter = Counter::new(store, who);
                    (0..EACH).for_each(|_| counter.add_one());
                });
            }
        });
        let all = CALLERS * EACH;
        let counted = Counter::read(&*held.store);
        assert_eq!(counted, (all, usize::try_from(all).unwrap()), "seed {seed}");
    }
}

/// Transactions of several keys, so that a revision may be seen in parts.
#[test]
fn a_watch_gives_each_event_once_though_connections_break() {
    for seed in 0..4 {
        let held = Held::new();
        let (dir, _server, _) = Between::start(&held, seed, 4);
        let store = attach(dir.path(), PATIENCE);
        let mut watch = store.watch("/", 1).unwrap();
        let mut expected = Vec::new();
        let mut seen: Vec<Event> = Vec::new();
        for round in 0..30 {
            let ops: Vec<Op> = (0..3).map(|n| put(&format!("/{n}"), &round.to_string())).collect();
            let revision = committed(held.store.txn(&[], &ops).unwrap());
            expected.extend(ops.iter().map(|op| Event::Put {
                key: op.key().to_owned(),
                value: op.value().to_owned(),
                revision,
            }));
            if round % 2 == 1 {
                while seen.len() < expected.len() {
                    seen.push(soon(&mut watch));
                }
            }
        }
        assert_eq!(seen, expected, "seed {seed}");
    }
}

/// Whoever stopped the holder stopped everybody else for good.
#[test]
fn a_holder_that_is_silent_is_a_timeout_and_goes_on_afterwards() {
    let wait = Duration::from_millis(300);
    let held = Held::new();
    let (dir, _server, silent) = Between::start(&held, 0, 0);
    let store = attach(dir.path(), wait);
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let mut watch = store.watch("/", first + 1).unwrap();
    assert_eq!(watch.next(Duration::ZERO), Ok(None));
    silent.store(true, Ordering::SeqCst);
    let start = clock::now();
    let at_first = [Compare::Revision("/a".to_owned(), first)];
    let error = store.txn(&at_first, &[put("/a", "2")]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(matches!(error, MetaError::Timeout { waited_ms: 300, .. }), "{error}");
    let error = store.get("/a").unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!(watch.next(Duration::from_millis(20)), Ok(None), "a stall ends no watch");
    assert!(clock::now() - start < PATIENCE, "nothing hangs");
    silent.store(false, Ordering::SeqCst);
    // Settled by reading back: the write came through, or it is done now. Once, either way.
    let again = held.store.txn(&at_first, &[put("/a", "2")]).unwrap();
    let event = soon(&mut watch);
    assert_eq!(event.key(), "/a");
    if let TxnOutcome::Committed { revision } = again {
        assert_eq!(event.revision(), revision);
    }
    let held_now = settled(&store);
    assert_eq!((held_now.value, held_now.revision), (b"2".to_vec(), event.revision()));
}

/// The connections that were silent are given up one by one.
fn settled(store: &AttachedMeta) -> Versioned {
    let until = clock::now() + PATIENCE;
    loop {
        match store.get("/a") {
            Ok(held) => return held.expect("it was written"),
            Err(error) => assert!(error.may_pass() && clock::now() < until, "{error}"),
        }
    }
}

/// A request went out on a connection that was dead already, and nobody could say whether it had been done.
#[test]
fn a_holder_that_died_is_found_gone_before_anything_is_asked() {
    let held = Held::new();
    let (dir, server, _) = Between::start(&held, 0, 0);
    let store = attach(dir.path(), PATIENCE);
    committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    // No goodbye is said here, as when a process dies.
    server.close();
    let gone = store.txn(&[], &[put("/a", "2")]).unwrap_err();
    assert!(matches!(gone, MetaError::Gone { .. }), "{gone}");
    assert_eq!(gone.outcome(), Outcome::Definite);
}

/// Nobody answered what was carried out: unknown, and not again.
#[test]
fn a_reply_that_is_lost_leaves_unknown_what_was_done() {
    let held = Held::new();
    // Of four that are asked, some are cut behind the holder's answer.
    let (dir, _server, _) = Between::start(&held, 3, 3);
    let store = attach(dir.path(), PATIENCE);
    let (mut done_unheard, mut not_done) = (0, 0);
    for n in 0..200 {
        let key = format!("/{n}");
        match store.txn(&[], &[put(&key, "1")]) {
            Ok(_) => assert!(held.store.get(&key).unwrap().is_some()),
            Err(error) => {
                assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
                let why = "its holder went away before it answered";
                assert!(error.to_string().contains(why), "{error}");
                match held.store.get(&key).unwrap() {
                    Some(_) => done_unheard += 1,
                    None => not_done += 1,
                }
            }
        }
    }
    assert!(done_unheard > 0 && not_done > 0, "{done_unheard} done, {not_done} not");
}
