//! The handle through which one ledger is written.
//!
//! The [core](crate::ledger::writer) decides; this carries adds to the bookie and answers back. Its
//! lock guards the core only: it is never held while a bookie writes, nor while a callback runs. A
//! callback must not append: it runs on the thread that makes room for appends that wait.
//!
//! What holds when a callback gets `Ok(entry)`, or a wait returns it: `entry` and every entry before it
//! are acknowledged, and in a plain ledger readers see them already: the bookie is told first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::error::{AppendError, CloseError};
use super::ledgers::Ledgers;
use crate::caps;
use crate::ledger::effect::WriterEffect;
use crate::ledger::writer::{AddAnswer, Writer, WriterFailure};
use crate::ledger::{LedgerKind, LedgerMetadata};
use crate::message::{Reply, Request, Transport, Unknown, entry_crc};
use crate::outcome::Outcome;

/// Called once, on any thread, when an append is acknowledged or failed. It must not block.
pub type AppendDone = Box<dyn FnOnce(Result<EntryId, AppendError>) + Send>;

/// Writes one ledger; one owner. See the [module](self).
#[derive(Debug)]
pub struct LedgerWriter {
    shared: Arc<Shared>,
    ledgers: Ledgers,
    kind: LedgerKind,
}

struct Shared {
    transport: Arc<dyn Transport>,
    to: Incarnation,
    ledger: LedgerId,
    term: Term,
    state: Mutex<State>,
    changed: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.ledger, self.term)
    }
}

struct State {
    core: Writer,
    effects: Vec<WriterEffect>,
    /// The last entry whose callers may know that it is acknowledged.
    told: Option<EntryId>,
    /// Callbacks by the entry they wait for; those of one entry in order.
    waiting: BTreeMap<EntryId, Vec<AppendDone>>,
    /// Entries that failed and whose caller waits in [`Started::wait`].
    failed: BTreeMap<EntryId, (WriterFailure, Outcome)>,
    blocked: usize,
}

/// A callback and what it is told.
type Told = (AppendDone, Result<EntryId, AppendError>);

/// What is to be done once the lock is released.
#[derive(Default)]
struct After {
    done: Vec<Told>,
    publish: Option<EntryId>,
}

impl LedgerWriter {
    pub(super) fn new(
        ledgers: Ledgers,
        transport: Arc<dyn Transport>,
        ledger: LedgerId,
        metadata: &LedgerMetadata,
    ) -> LedgerWriter {
        let member = metadata.last_fragment().1.member(0);
        let state = State {
            core: Writer::new(ledger, metadata),
            effects: Vec::new(),
            told: None,
            waiting: BTreeMap::new(),
            failed: BTreeMap::new(),
            blocked: 0,
        };
        let shared = Shared {
            transport,
            to: member.incarnation,
            ledger,
            term: metadata.term,
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        LedgerWriter { shared: Arc::new(shared), ledgers, kind: metadata.kind.clone() }
    }

    /// The ledger written.
    pub fn id(&self) -> LedgerId {
        self.shared.ledger
    }

    /// The term written under.
    pub fn term(&self) -> Term {
        self.shared.term
    }

    /// The last entry acknowledged, with all before it.
    pub fn last_confirmed(&self) -> Option<EntryId> {
        self.shared.lock().core.confirmed()
    }

    /// The last entry given a number.
    pub fn last_appended(&self) -> Option<EntryId> {
        self.shared.lock().core.last_appended()
    }

    /// Why this writer ended, if it has.
    pub fn failure(&self) -> Option<WriterFailure> {
        self.shared.lock().core.failure().cloned()
    }

    /// Appends, and returns at once with the entry's number; `done` is told how it went. Waits while
    /// more than [`caps::WRITER_IN_FLIGHT_BYTES_MAX`] are unacknowledged. `None` when the writer has
    /// ended: `done` was told why.
    pub fn append(&self, payload: Bytes, done: AppendDone) -> Option<EntryId> {
        match self.begin(payload) {
            Ok(started) => {
                let entry = started.entry;
                started.send(done);
                Some(entry)
            }
            Err(error) => {
                done(Err(error));
                None
            }
        }
    }

    /// Waits until an entry that was appended, and every one before it, is acknowledged.
    pub fn wait_confirmed(&self, entry: EntryId) -> Result<EntryId, AppendError> {
        self.shared.wait_confirmed(entry)
    }

    /// Calls `done` when an entry that was appended, and every one before it, is acknowledged, or the
    /// entry failed; at once if that is known.
    pub fn when_confirmed(&self, entry: EntryId, done: AppendDone) {
        let early = self.shared.lock().wait_for(entry, done);
        if let Some((done, result)) = early {
            done(result);
        }
    }

    /// Appends and waits until the entry, and every one before it, is acknowledged.
    pub fn append_wait(&self, payload: Bytes) -> Result<EntryId, AppendError> {
        self.begin(payload)?.wait()
    }

    /// Gives `payload` its number and nothing more, so that a caller can order appends under its own
    /// lock and wait outside it.
    pub fn begin(&self, payload: Bytes) -> Result<Started, AppendError> {
        if payload.len() > caps::ENTRY_BYTES_MAX {
            let (bytes, max) = (payload.len(), caps::ENTRY_BYTES_MAX);
            return Err(AppendError::TooLarge { bytes, max });
        }
        let shared = &self.shared;
        let mut state = shared.lock();
        while !state.core.is_idle()
            && state.core.pending_bytes() + payload.len() > caps::WRITER_IN_FLIGHT_BYTES_MAX
        {
            state = shared.wait(state);
        }
        let State { core, effects, .. } = &mut *state;
        let entry = core
            .append(payload, effects)
            .map_err(|why| AppendError::Ended { ledger: shared.ledger, why })?;
        match effects.pop() {
            Some(WriterEffect::Send { lac, payload, .. }) if effects.is_empty() => {
                Ok(Started { shared: shared.clone(), entry, lac, payload: Some(payload) })
            }
            other => unreachable!("one bookie, one add: {other:?}"),
        }
    }

    /// Calls `done` when everything appended so far is acknowledged, or failed.
    pub fn barrier(&self, done: AppendDone) {
        let early = {
            let mut state = self.shared.lock();
            match (state.core.last_appended(), state.core.failure()) {
                (_, Some(why)) => {
                    let why = why.clone();
                    Some((done, Err(AppendError::Ended { ledger: self.shared.ledger, why })))
                }
                (None, None) => Some((done, Ok(EntryId(0)))),
                (Some(entry), None) => state.wait_for(entry, done),
            }
        };
        if let Some((done, result)) = early {
            done(result);
        }
    }

    /// Waits until everything appended so far is acknowledged; the last entry of it.
    pub fn drain(&self) -> Result<Option<EntryId>, WriterFailure> {
        let mut state = self.shared.lock();
        while !state.core.is_idle() {
            state = self.shared.wait(state);
        }
        match state.core.failure() {
            Some(why) => Err(why.clone()),
            None => Ok(state.core.confirmed()),
        }
    }

    /// Lets readers of a transactional ledger see up to `upto`. Plain ledgers need no telling.
    ///
    /// # Panics
    /// When `upto` is not acknowledged.
    pub fn publish(&self, upto: EntryId) {
        let after = {
            let mut state = self.shared.lock();
            let State { core, effects, .. } = &mut *state;
            core.publish(upto, effects);
            self.shared.collect(&mut state)
        };
        self.shared.finish(after);
    }

    /// Closes the ledger for ever: a plain one behind its last entry, which `last` must be; a
    /// transactional one at any acknowledged entry, dropping what lies beyond.
    pub fn close(&self, last: Option<EntryId>) -> Result<(), CloseError> {
        let ledger = self.shared.ledger;
        let confirmed = self.drain().map_err(|why| CloseError::Ended { ledger, why })?;
        let allowed = match self.kind {
            LedgerKind::Plain => last == confirmed,
            LedgerKind::Transactional { .. } => last <= confirmed,
        };
        if !allowed {
            return Err(CloseError::NotThere { ledger, confirmed, asked: last });
        }
        self.ledgers.close(ledger, self.shared.term, last)?;
        Ok(())
    }
}

/// An entry that has its number and was not sent yet. Dropping it without waiting sends it.
#[derive(Debug)]
#[must_use = "an entry that is not sent holds up every later one"]
pub struct Started {
    shared: Arc<Shared>,
    entry: EntryId,
    lac: Option<EntryId>,
    payload: Option<Bytes>,
}

impl Started {
    /// Its number.
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// Sends it; `done` is told when it, and every entry before it, is acknowledged.
    pub fn send(self, done: AppendDone) {
        let early = self.shared.lock().wait_for(self.entry, done);
        if let Some((done, result)) = early {
            // An earlier entry failed meanwhile, and with it the writer.
            done(result);
        }
        // Dropping sends.
    }

    /// Sends it on this thread and waits until it, and every entry before it, is acknowledged.
    pub fn wait(mut self) -> Result<EntryId, AppendError> {
        let (shared, entry) = (&self.shared, self.entry);
        let payload = self.payload.take().expect("it is sent once");
        let reply = shared.transport.call(shared.to, shared.add(entry, self.lac, payload));
        shared.on_reply(entry, reply);
        shared.wait_confirmed(entry)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(payload) = self.payload.take() {
            let (shared, entry) = (self.shared.clone(), self.entry);
            let request = shared.add(entry, self.lac, payload);
            let reply = move |reply| shared.on_reply(entry, reply);
            self.shared.transport.send(self.shared.to, request, Box::new(reply));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.blocked += 1;
        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.blocked -= 1;
        state
    }

    fn add(&self, entry: EntryId, lac: Option<EntryId>, payload: Bytes) -> Request {
        let crc = entry_crc(self.ledger, entry, &payload);
        Request::Add { ledger: self.ledger, entry, term: self.term, lac, crc, payload }
    }

    fn on_reply(&self, entry: EntryId, reply: Reply) {
        let after = {
            let mut state = self.lock();
            let State { core, effects, .. } = &mut *state;
            core.on_answer(0, entry, judge(reply), effects);
            self.collect(&mut state)
        };
        self.finish(after);
    }

    fn wait_confirmed(&self, entry: EntryId) -> Result<EntryId, AppendError> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.result(self.ledger, entry) {
                return result;
            }
            state = self.wait(state);
        }
    }

    /// Takes the core's effects: what can be done under the lock is, the rest is returned.
    fn collect(&self, state: &mut State) -> After {
        let mut after = After::default();
        let mut confirmed = None;
        let mut effects = std::mem::take(&mut state.effects);
        for effect in effects.drain(..) {
            match effect {
                WriterEffect::Confirm { entry } => confirmed = Some(entry),
                WriterEffect::Publish { lac } => after.publish = Some(lac),
                WriterEffect::Fail { entry, failure, outcome } => {
                    let ledger = self.ledger;
                    for done in state.waiting.remove(&entry).into_iter().flatten() {
                        let why = failure.clone();
                        let error = AppendError::Failed { ledger, entry, why, outcome };
                        after.done.push((done, Err(error)));
                    }
                    state.failed.insert(entry, (failure, outcome));
                    self.wake(state);
                }
                WriterEffect::Send { .. } => unreachable!("answers send nothing at one bookie"),
            }
        }
        state.effects = effects;
        if let (Some(upto), None) = (confirmed, after.publish) {
            self.tell(state, upto, &mut after.done);
        }
        after
    }

    /// Lets callers know that everything up to `upto` is acknowledged.
    fn tell(&self, state: &mut State, upto: EntryId, done: &mut Vec<Told>) {
        state.told = state.told.max(Some(upto));
        while let Some(first) = state.waiting.first_entry()
            && Some(*first.key()) <= state.told
        {
            let (entry, waiting) = first.remove_entry();
            done.extend(waiting.into_iter().map(|callback| (callback, Ok(entry))));
        }
        self.wake(state);
    }

    fn wake(&self, state: &State) {
        if state.blocked > 0 {
            self.changed.notify_all();
        }
    }

    fn finish(&self, mut after: After) {
        if let Some(lac) = after.publish {
            let request = Request::WriteLac { ledger: self.ledger, term: self.term, lac };
            // Nothing is lost when it is not taken: the next add carries the same.
            self.transport.send(self.to, request, Box::new(|_| {}));
            let mut state = self.lock();
            if Some(lac) <= state.core.confirmed() {
                self.tell(&mut state, lac, &mut after.done);
            }
        }
        for (done, result) in after.done {
            done(result);
        }
    }
}

impl State {
    /// How the entry went, once that is known.
    fn result(&self, ledger: LedgerId, entry: EntryId) -> Option<Result<EntryId, AppendError>> {
        if Some(entry) <= self.told {
            return Some(Ok(entry));
        }
        let (why, outcome) = self.failed.get(&entry)?.clone();
        Some(Err(AppendError::Failed { ledger, entry, why, outcome }))
    }

    /// Registers a callback, or gives it back with the answer that is known already.
    fn wait_for(
        &mut self,
        entry: EntryId,
        done: AppendDone,
    ) -> Option<(AppendDone, Result<EntryId, AppendError>)> {
        if let Some(result) = self.result(self.core.ledger(), entry) {
            return Some((done, result));
        }
        self.waiting.entry(entry).or_default().push(done);
        None
    }
}

fn judge(reply: Reply) -> AddAnswer {
    match reply {
        Reply::Done => AddAnswer::Done,
        Reply::Refused(refusal) => AddAnswer::Refused(refusal),
        Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
        _ => {
            AddAnswer::Unknown(Unknown::Poisoned { why: "an answer to something else".to_owned() })
        }
    }
}
