//! The handle through which one ledger is written.
//!
//! The [core](crate::ledger::writer) decides; this carries adds to the bookies and answers back. Its
//! lock guards the core only: it is never held while a bookie writes, nor while a callback runs. A
//! callback must not append: it runs on the thread that makes room for appends that wait.
//!
//! What holds when a callback gets `Ok(entry)`, or a wait returns it: `entry` and every entry before it
//! are acknowledged, and in a plain ledger the bookies were told that readers may see them. In one
//! process readers see them then; over sockets the word arrives behind the answer.
//!
//! Bookies in place of failed ones are found by a thread of its own (`change`), because that asks the
//! metadata store and waits. A bookie that is gone is replaced though nothing is appended: a ledger of
//! which none is counts as abandoned.

mod change;
mod started;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use self::change::Change;
pub use self::started::Started;
use super::error::{AppendError, CloseError};
use super::ledgers::Ledgers;
use crate::ledger::effect::WriterEffect;
use crate::ledger::writer::{AddAnswer, Writer, WriterFailure};
use crate::ledger::{LedgerKind, LedgerMetadata};
use crate::message::{Refusal, Reply, Request, Transport, Unknown, entry_crc};
use crate::outcome::Outcome;
use crate::{caps, clock, simulation};

/// Called once, on any thread, when an append is acknowledged or failed. It must not block.
pub type AppendDone = Box<dyn FnOnce(Result<EntryId, AppendError>) + Send>;

/// How often an add is sent to a bookie that says it has too much to do, before the bookie counts as
/// failed.
const OVERLOADED_TRIES: u32 = 64;

/// Entries by which the bookies may learn of what readers may see while more adds are under way, which
/// tell them as well.
const LAC_EVERY: u64 = 16;

/// Writes one ledger; one owner. See the [module](self).
#[derive(Debug)]
pub struct LedgerWriter {
    shared: Arc<Shared>,
    kind: LedgerKind,
}

struct Shared {
    ledgers: Ledgers,
    ledger: LedgerId,
    term: Term,
    state: Mutex<State>,
    changed: Condvar,
    /// Nobody holds the handle any more.
    abandoned: AtomicBool,
    changers: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.ledger, self.term)
    }
}

struct State {
    core: Writer,
    effects: Vec<WriterEffect>,
    /// The way to the bookie of each slot.
    ways: Vec<Arc<dyn Transport>>,
    /// When to ask again for bookies that nobody could be found for.
    retry_at: Option<Instant>,
    /// Bookies that failed before may be asked again.
    retrying: bool,
    /// What the bookies were told last.
    lac_told: Option<EntryId>,
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

/// A bookie and how to reach it.
type Way = (Arc<dyn Transport>, Incarnation);

/// One add on its way to one bookie.
#[derive(Debug, Clone)]
struct Sending {
    slot: usize,
    era: u32,
    way: Arc<dyn Transport>,
    to: Incarnation,
    entry: EntryId,
    lac: Option<EntryId>,
    payload: Bytes,
    tries: u32,
}

/// What is to be done once the lock is released.
#[derive(Default)]
struct After {
    sends: Vec<Sending>,
    done: Vec<Told>,
    publish: Option<(EntryId, Vec<Way>)>,
    change: Option<Change>,
}

impl LedgerWriter {
    /// The writer of a ledger that was created on its bookies, but for `failed` ones.
    pub(super) fn new(
        ledgers: Ledgers,
        ledger: LedgerId,
        metadata: &LedgerMetadata,
        failed: Vec<(usize, WriterFailure)>,
    ) -> LedgerWriter {
        let members = metadata.last_fragment().1.members();
        let ways = members.iter().map(|&member| ledgers.bookies().transport(member)).collect();
        let state = State {
            core: Writer::new(ledger, metadata),
            effects: Vec::new(),
            ways,
            retry_at: None,
            retrying: false,
            lac_told: None,
            told: None,
            waiting: BTreeMap::new(),
            failed: BTreeMap::new(),
            blocked: 0,
        };
        let shared = Arc::new(Shared {
            ledgers,
            ledger,
            term: metadata.term,
            state: Mutex::new(state),
            changed: Condvar::new(),
            abandoned: AtomicBool::new(false),
            changers: Mutex::default(),
        });
        if !failed.is_empty() {
            let after = {
                let mut state = shared.lock();
                let State { core, effects, .. } = &mut *state;
                for (slot, failure) in failed {
                    core.on_slot_failed(slot, failure, effects);
                }
                shared.collect(&mut state)
            };
            shared.finish(after);
        }
        // Of one copy there is nobody else to have it.
        if members.len() > 1 {
            shared.look_later();
        }
        LedgerWriter { shared, kind: metadata.kind.clone() }
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

    /// The last entry that is, with all before it, on every bookie it was meant for.
    pub fn last_replicated(&self) -> Option<EntryId> {
        self.shared.lock().core.replicated()
    }

    /// How many bookies of the ensemble failed and could not be replaced: so many copies are missing.
    pub fn missing_bookies(&self) -> usize {
        self.shared.lock().core.given_up().count()
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
        if state.retry_at.is_some_and(|when| when <= clock::now()) {
            shared.retry(&mut state);
        }
        let State { core, effects, ways, .. } = &mut *state;
        let alone = core.is_idle();
        let before = effects.len();
        let entry = core
            .append(payload.clone(), effects)
            .map_err(|why| AppendError::Ended { ledger: shared.ledger, why })?;
        let sends = effects.drain(before..).map(|effect| sending(effect, ways)).collect();
        let after = if effects.is_empty() { None } else { Some(shared.collect(&mut state)) };
        drop(state);
        if let Some(after) = after {
            shared.finish(after);
        }
        Ok(Started { shared: Arc::clone(shared), entry, payload, sends, alone })
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

    /// Looks now whether the bookies are still there.
    #[cfg(test)]
    pub(crate) fn look(&self) {
        self.shared.look();
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
        self.shared.ledgers.close(ledger, self.shared.term, last)?;
        Ok(())
    }
}

impl Drop for LedgerWriter {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

fn sending(effect: WriterEffect, ways: &[Arc<dyn Transport>]) -> Sending {
    match effect {
        WriterEffect::Send { slot, to, era, entry, lac, payload } => Sending {
            slot,
            era,
            way: Arc::clone(&ways[slot]),
            to: to.incarnation,
            entry,
            lac,
            payload,
            tries: 0,
        },
        other => unreachable!("an append sends: {other:?}"),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.blocked += 1;
        let mut state = simulation::wait(&self.changed, &self.state, state);
        state.blocked -= 1;
        state
    }

    fn add(&self, sending: &Sending, crc: u32) -> Request {
        let &Sending { entry, lac, .. } = sending;
        let payload = sending.payload.clone();
        Request::Add { ledger: self.ledger, entry, term: self.term, lac, crc, copy: false, payload }
    }

    fn dispatch(self: &Arc<Self>, sending: Sending, crc: u32) {
        let request = self.add(&sending, crc);
        let (way, to, shared) = (Arc::clone(&sending.way), sending.to, Arc::clone(self));
        way.send(to, request, Box::new(move |reply| shared.on_reply(sending, crc, reply)));
    }

    fn on_reply(self: &Arc<Self>, mut sending: Sending, crc: u32, reply: Reply) {
        if let Reply::Refused(Refusal::Overloaded { retry_after_ms }) = reply
            && sending.tries < OVERLOADED_TRIES
        {
            sending.tries += 1;
            let shared = Arc::clone(self);
            let again = move || shared.dispatch(sending, crc);
            let wait = Duration::from_millis(u64::from(retry_after_ms.clamp(1, 1_000)));
            return self.ledgers.timer().after(wait, again);
        }
        let after = {
            let mut state = self.lock();
            let State { core, effects, .. } = &mut *state;
            let Sending { slot, era, entry, .. } = sending;
            core.on_answer(slot, era, entry, judge(reply), effects);
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
        let (mut confirmed, mut publish) = (None, None);
        let mut effects = std::mem::take(&mut state.effects);
        for effect in effects.drain(..) {
            match effect {
                WriterEffect::Confirm { entry } => confirmed = Some(entry),
                WriterEffect::Publish { lac } => publish = Some(lac),
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
                WriterEffect::ChangeEnsemble { first, failed } => {
                    let again = std::mem::take(&mut state.retrying);
                    let ensemble = state.core.ensemble().clone();
                    after.change = Some(Change { first, failed, ensemble, again });
                }
                send @ WriterEffect::Send { .. } => after.sends.push(sending(send, &state.ways)),
            }
        }
        state.effects = effects;
        match publish.filter(|&lac| state.is_worth_telling(lac)) {
            Some(lac) => {
                state.lac_told = Some(lac);
                after.publish = Some((lac, state.live()));
            }
            None => {
                if let Some(upto) = confirmed {
                    self.tell(state, upto, &mut after.done);
                }
            }
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

    /// Does what is to be done without the lock, and what comes of it.
    fn finish(self: &Arc<Self>, mut after: After) {
        loop {
            for sending in after.sends.drain(..) {
                let crc = entry_crc(self.ledger, sending.entry, &sending.payload);
                self.dispatch(sending, crc);
            }
            if let Some((lac, bookies)) = after.publish.take() {
                for (way, to) in bookies {
                    let request = Request::WriteLac { ledger: self.ledger, term: self.term, lac };
                    // Nothing is lost when it is not taken: the next add carries the same.
                    way.send(to, request, Box::new(|_| {}));
                }
                let mut state = self.lock();
                if Some(lac) <= state.core.confirmed() {
                    self.tell(&mut state, lac, &mut after.done);
                }
            }
            for (done, result) in after.done.drain(..) {
                done(result);
            }
            match after.change.take().and_then(|change| self.start_change(change)) {
                Some(next) => after = next,
                None => return,
            }
        }
    }
}

impl State {
    /// Whether the bookies are told by a message of its own: always where there is one bookie, which
    /// may be in this process; of several while nothing else is under way to tell them.
    fn is_worth_telling(&self, lac: EntryId) -> bool {
        let since = EntryId::after(self.lac_told);
        self.ways.len() == 1 || self.core.is_idle() || lac.0 >= since.0 + LAC_EVERY
    }

    /// The bookies that are told things.
    fn live(&self) -> Vec<Way> {
        let ensemble = self.core.ensemble();
        let way = |slot: usize| (Arc::clone(&self.ways[slot]), ensemble.member(slot).incarnation);
        self.core.live().map(way).collect()
    }

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
