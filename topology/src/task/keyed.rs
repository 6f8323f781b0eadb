//! A bolt with state per key: the table, the changelog, and the user's code between them.

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::vec::IntoIter;

use egret_schemas::key::hash;
use egret_schemas::{EntryAddress, Epoch, Generation};
use egret_state::commit::Slice;
use egret_state::keyed::backing::{Place, Storage};
use egret_state::keyed::changelog::{Head, Written, write_commit};
use egret_state::keyed::format;
use egret_state::keyed::key::Key;
use egret_state::keyed::replay::{Replay, Replayed, Schema};
use egret_state::keyed::schedule::Schedule;
use egret_state::keyed::table::{GUESSES, Guess, KeyedTable};

use super::by_time::ByTime;
use super::schemas;
use super::tries::{Failed, Next, Tried, Tries, call};
use super::{BoltTask, StateLog, TaskError, at_end, chain, guard, kept};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::builder::{Env, KeyFn};
use crate::component::{Context, KeyedBolt, NoTimers, Outlet, Outlets, TaskId, TimerQueue};
use crate::runtime::{Kept, KeptTable, MemoryShare};

/// A keyed task; see the [module](self).
pub(crate) struct Keyed<F: KeyFn<I>, I, O, B: KeyedBolt<F::Key, I, O>, T: Storage> {
    key: F,
    bolt: B,
    out: Outlets<O, I>,
    cx: Context,
    storage: Arc<T>,
    generation: Generation,
    key_groups: u32,
    /// There once the task is restored.
    table: Option<KeyedTable<F::Key, B::State, T::Backing>>,
    time: ByTime,
    replay: Option<Replay<F::Key, B::State, T::Backing>>,
    log: Option<StateLog>,
    schema: format::Schema,
    schema_id: u64,
    /// Whether the replay knows what else it may read.
    declared: bool,
    kept: Arc<Kept>,
    memory: MemoryShare,
    undo_bytes_max: usize,
    /// Whether the table's own account of what changed can be relied on.
    sound: bool,
    /// What is left of the batch under way.
    tuples: IntoIter<I>,
    /// The hashes of their keys.
    hashes: IntoIter<u64>,
    /// How many changed keys of the commit that closes were flushed.
    flushed: usize,
    tries: Option<Tries<I>>,
}

/// What restores a table that lies over this storage.
type ReplayOf<K, S, T> = Replay<K, S, <T as Storage>::Backing>;

impl<F, I, O, B, T> Keyed<F, I, O, B, T>
where
    F: KeyFn<I>,
    I: Tuple,
    O: Tuple,
    B: KeyedBolt<F::Key, I, O>,
    T: Storage,
{
    pub(crate) fn new(
        (key, bolt): (F, B),
        storage: Arc<T>,
        out: Outlets<O, I>,
        cx: Context,
        env: &Env,
        log: Option<StateLog>,
    ) -> Self {
        let cx = Context { timers: TimerQueue::of_keys(), ..cx };
        let time = ByTime::new(bolt.time_to_live());
        let schema = schemas::schema::<F::Key, B::State>(bolt.schema_label());
        let replay = Replay::new(&cx.id.component, Schema::only(schema.id()));
        let schema_id = schema.id();
        let replay = Some(replay);
        let (kept, memory) = (Arc::clone(&env.kept), env.kept.share());
        let undo_bytes_max = env.kept.undo_bytes_max(env.stateful);
        let tries = Tries::of(&cx);
        Keyed {
            key,
            bolt,
            out,
            cx,
            storage,
            generation: env.generation,
            key_groups: env.key_groups,
            table: None,
            time,
            replay,
            log,
            schema,
            schema_id,
            declared: false,
            kept,
            memory,
            undo_bytes_max,
            sound: true,
            tuples: Vec::new().into_iter(),
            hashes: Vec::new().into_iter(),
            flushed: 0,
            tries,
        }
    }

    fn error(&self, why: String, retry: bool) -> TaskError {
        TaskError { task: self.cx.id.clone(), why, retry }
    }

    /// A replay that has read nothing, and knows what it may read.
    pub(super) fn new_replay(&self) -> Result<ReplayOf<F::Key, B::State, T>, TaskError> {
        let Context { topology, id, log, .. } = &self.cx;
        let (own, accepts, conversions) =
            (&self.schema, self.bolt.accepts(), self.bolt.conversions());
        let older = conversions.schemas(&own.key);
        let readable = schemas::readable(log, topology, own, &accepts, &older);
        let (schema, converts) =
            readable.map_err(|error| self.error(chain(&error), error.may_pass()))?;
        let replay = Replay::new(&id.component, schema);
        if conversions.is_empty() {
            return Ok(replay);
        }
        let (storage, id, topology) = (Arc::clone(&self.storage), id.clone(), Arc::clone(topology));
        let (directory, generation) = (log.dir().map(Path::to_owned), self.generation.0);
        let open = move |number: usize| {
            // A name no component has.
            let component = format!("{}~{number}", id.component);
            storage.open(&Place {
                directory: directory.as_deref(),
                topology: &topology,
                component: &component,
                task: id.task,
                generation,
            })
        };
        Ok(replay.converting(conversions, converts, Box::new(open)))
    }

    /// Fires what is due, until that is done or the outlet is full; whether it is done.
    fn fire(&mut self) -> Result<bool, TaskError> {
        let Keyed { bolt, out, cx, table, time, .. } = self;
        let (table, emitter) = (table.as_mut().expect(RESTORED), &mut out.main);
        let done = guard(&cx.id, || {
            while !emitter.is_full() {
                let Some((bytes, timer)) = time.next(cx) else { return Ok(true) };
                let key = F::Key::decode(&bytes)?;
                let slot = table.reach(hash(&bytes), key.borrow())?;
                let (key, state) = table.get_mut(slot);
                bolt.on_timer(key, state, timer, emitter, cx)?;
                if time.take_up_fired(&bytes, cx)? {
                    table.remove(slot);
                }
            }
            Ok(false)
        })?;
        kept(&cx.id, emitter.check())?;
        Ok(done)
    }

    /// As [`go_on`](BoltTask::go_on), for a component whose calls are taken back when they fail.
    fn try_on(&mut self) -> Result<bool, TaskError> {
        let Keyed { key, bolt, out, cx, table, time, tuples, hashes, tries, .. } = self;
        let table = table.as_mut().expect(RESTORED);
        let tries = tries.as_mut().expect("asked for a component that has tries");
        let hides = time.hides(cx);
        while !out.is_full() {
            let tried = match tries.next() {
                Next::Again(tried) => tried,
                Next::Wait => return Ok(false),
                Next::Another => match (tuples.next(), hashes.next()) {
                    (Some(tuple), Some(hash)) => Tried::new(tuple, hash),
                    _ => break,
                },
            };
            let (tuple, hash) = (tried.tuple.clone(), tried.hash);
            let attempt = guard(&cx.id, || {
                if let Some(now) = hides {
                    key.with(&tuple, |key| time.hide(table, hash, key, now))?;
                }
                Ok(key.with(&tuple, |key| table.attempt(hash, key, Guess::NONE))?)
            })?;
            let slot = attempt.slot();
            out.main.attempt();
            let called = call(|| {
                let (key, state) = table.get_mut(slot);
                bolt.execute(key, state, tuple, &mut out.main, cx)
            });
            kept(&cx.id, out.main.leads_on())?;
            match called.and_then(|()| out.main.check().map_err(Failed::told)) {
                Ok(()) => {
                    table.stands(attempt);
                    let forgets = guard(&cx.id, || {
                        out.main.stands();
                        Ok(cx.timers.is_pending() && time.take_up(table.get(slot).0, cx)?)
                    })?;
                    if forgets {
                        table.remove(slot);
                    }
                }
                Err(why) => {
                    out.main.take_back();
                    drop(cx.timers.take());
                    guard(&cx.id, || Ok(table.take_back(attempt)?))?;
                    let letter = tries.failed(tried, why, cx)?;
                    letter.map_or(Ok(()), |letter| out.bury(letter))?;
                }
            }
        }
        Ok(tuples.len() == 0 && !tries.holds())
    }

    /// Makes the table, empty, if that was not done.
    fn open_table(&mut self) -> Result<(), TaskError> {
        if self.table.is_some() {
            return Ok(());
        }
        let Context { topology, id, log, .. } = &self.cx;
        let place = Place {
            directory: log.dir(),
            topology,
            component: &id.component,
            task: id.task,
            generation: self.generation.0,
        };
        let opened = self.storage.open(&place);
        let backing = opened.map_err(|fault| self.error(chain(&*fault), fault.may_pass))?;
        self.table = Some(KeyedTable::over(backing, self.key_groups));
        Ok(())
    }

    /// Writes what changed, and some of what did not.
    fn write(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let id = &self.cx.id;
        let failed = |why: String, retry| TaskError { task: id.clone(), why, retry };
        let table = self.table.as_mut().expect(RESTORED);
        let Some(log) = &mut self.log else {
            table.settle().map_err(|why| failed(chain(&why), why.may_pass()))?;
            self.time.schedule.settle();
            let bytes = table.memory_bytes() + self.time.schedule.memory_bytes();
            self.cx.meter.holds(bytes);
            let taken = self.memory.set(bytes);
            return taken.map_err(|why| failed(why, false));
        };
        let head = Head {
            component: id.component.to_string(),
            task: id.task,
            tasks: self.cx.tasks,
            schema: self.schema_id,
            epoch: commit,
        };
        let schedule = &mut self.time.schedule;
        let live = table.live_bytes() + schedule.live_bytes();
        let swept = table.swept();
        log.begin_ledger_if_due(live, swept).map_err(|why| failed(why, true))?;
        let pace = log.pace(live);
        let sweep = |changed| pace.sweep_bytes(changed);
        // The first is on its way to the disk while the last is encoded.
        let emit = |entry| log.append(commit, entry);
        let written = write_commit(table, schedule, &head, sweep, emit);
        let written: Written = written.map_err(|error| {
            self.sound = false;
            failed(chain(&error), error.may_pass())
        })?;
        log.close(commit, written, table.swept());
        let bytes = table.memory_bytes() + schedule.memory_bytes();
        self.cx.meter.holds(bytes);
        self.memory.set(bytes).map_err(|why| failed(why, false))
    }
}

const RESTORED: &str = "a task is restored before it works";

impl<F: KeyFn<I>, I, O, B: KeyedBolt<F::Key, I, O>, T: Storage> Keyed<F, I, O, B, T> {
    /// The table is as it was at `commit`.
    fn goes_on(&mut self, replayed: Replayed, commit: Epoch) {
        let table = self.table.as_mut().expect(RESTORED);
        if let Some(log) = &mut self.log {
            log.restored(replayed, table.swept());
            if self.undo_bytes_max > 0 {
                let of_schedule = self.undo_bytes_max / 8;
                table.keep_undo(commit, self.undo_bytes_max - of_schedule);
                self.time.schedule.keep_undo(commit, of_schedule);
            }
        }
    }
}

/// What a task that is this and more works on.
pub(super) struct Parts<'a, U, K: Key + ?Sized, S, B> {
    pub(super) id: &'a TaskId,
    pub(super) bolt: &'a mut U,
    pub(super) table: &'a mut KeyedTable<K, S, B>,
    pub(super) schedule: &'a mut Schedule,
}

/// For a task that is this and more.
impl<F, I, O, B, T> Keyed<F, I, O, B, T>
where
    F: KeyFn<I>,
    B: KeyedBolt<F::Key, I, O>,
    T: Storage,
{
    /// Its parts, once it is restored.
    pub(super) fn parts(&mut self) -> Parts<'_, B, F::Key, B::State, T::Backing> {
        let table = self.table.as_mut().expect(RESTORED);
        Parts { id: &self.cx.id, bolt: &mut self.bolt, table, schedule: &mut self.time.schedule }
    }

    /// Lets go of what the process kept of the generation before.
    pub(super) fn forget_kept(&self) {
        drop(self.kept.take(&self.cx.id));
    }
}

/// What a task leaves to the next of its name and number.
pub(super) struct Left<K: Key + ?Sized, S, B> {
    pub(super) table: KeyedTable<K, S, B>,
    pub(super) schedule: Schedule,
    pub(super) schema: u64,
}

impl<F: KeyFn<I>, I, O, B: KeyedBolt<F::Key, I, O>, T: Storage> Drop for Keyed<F, I, O, B, T> {
    fn drop(&mut self) {
        let Some(log) = self.log.as_ref().filter(|_| self.replay.is_none() && self.sound) else {
            return;
        };
        let Some(table) = self.table.take().filter(KeyedTable::is_sound) else { return };
        let schedule = std::mem::take(&mut self.time.schedule);
        let left = Left { table, schedule, schema: self.schema_id };
        let (tasks, log_bytes) = (self.cx.tasks, log.bytes());
        self.kept.put(self.cx.id.clone(), KeptTable { tasks, table: Box::new(left), log_bytes });
    }
}

impl<F, I, O, B, T> BoltTask for Keyed<F, I, O, B, T>
where
    F: KeyFn<I>,
    I: Tuple,
    O: Tuple,
    B: KeyedBolt<F::Key, I, O>,
    T: Storage,
{
    fn id(&self) -> &TaskId {
        &self.cx.id
    }

    fn open(&mut self) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.bolt.open(&self.cx))
    }

    fn restore(
        &mut self,
        at: EntryAddress,
        entry: &[u8],
        takes: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        self.open_table()?;
        if !self.declared {
            self.replay = Some(self.new_replay()?);
            self.declared = true;
        }
        let table = self.table.as_mut().expect("just opened");
        let replay = self.replay.as_mut().expect("restored before it works");
        let applied = replay.apply(at, entry, takes, table, &mut self.time.schedule);
        applied.map_err(|error| self.error(chain(&error), error.may_pass()))
    }

    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        let replay = self.replay.as_mut().expect("restored before it works");
        replay.end_ledger().map_err(|error| self.error(chain(&error), false))
    }

    fn revive(&mut self, commit: Epoch) -> bool {
        let Some(kept) = self.kept.take(&self.cx.id) else { return false };
        let of_now = kept.tasks == self.cx.tasks && self.log.is_some();
        let Some(table) = Some(kept.table).filter(|_| of_now) else { return false };
        let Ok(table) = table.downcast::<Left<F::Key, B::State, T::Backing>>() else {
            return false;
        };
        let Left { mut table, mut schedule, schema } = *table;
        let key_groups = table.key_groups();
        if schema != self.schema_id
            || !table.back_to(commit).is_ok_and(|went| went)
            || !schedule.back_to(commit, key_groups).is_ok_and(|went| went)
        {
            return false;
        }
        self.table = Some(table);
        self.time.schedule = schedule;
        self.replay = None;
        self.goes_on(Replayed { bytes: kept.log_bytes, records: 0 }, commit);
        true
    }

    fn restored(&mut self, commit: Epoch) -> Result<(), TaskError> {
        self.open_table()?;
        let mut replay = self.replay.take().expect("a task is restored once");
        let finished = replay.finish(self.table.as_mut().expect("just opened"));
        let keys = finished.map_err(|error| self.error(chain(&error), error.may_pass()))?;
        if keys > 0 {
            let task = self.cx.id.to_string();
            tracing::info!(task, keys, "state of older types was converted");
        }
        self.goes_on(replay.replayed(), commit);
        Ok(())
    }

    fn committed(&mut self, commit: Epoch) {
        let undos = [self.table.as_mut().and_then(KeyedTable::undo), self.time.schedule.undo()];
        undos.into_iter().flatten().for_each(|undo| undo.committed(commit));
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        assert_eq!(self.tuples.len(), 0, "one batch is done before the next begins");
        let batch = typed::<I>(batch);
        assert_eq!(batch.tuples.len(), batch.hashes.len(), "a keyed bolt is fed by fields");
        self.tuples = batch.tuples.into_iter();
        self.hashes = batch.hashes.into_iter();
    }

    fn go_on(&mut self) -> Result<bool, TaskError> {
        if self.tries.is_some() {
            return self.try_on();
        }
        let Keyed { key, bolt, out, cx, table, time, tuples, hashes, .. } = self;
        let (table, emitter) = (table.as_mut().expect(RESTORED), &mut out.main);
        let hides = time.hides(cx);
        let mut guesses = [Guess::NONE; GUESSES];
        guard(&cx.id, || {
            while !emitter.is_full() && tuples.len() > 0 {
                let ahead = table.guess(hashes.as_slice(), &mut guesses);
                for &guess in &guesses[..ahead] {
                    let (Some(tuple), Some(hash)) = (tuples.next(), hashes.next()) else { break };
                    if let Some(now) = hides {
                        key.with(&tuple, |key| time.hide(table, hash, key, now))?;
                    }
                    let slot = key.with(&tuple, |key| table.reach_guessed(hash, key, guess))?;
                    let (key, state) = table.get_mut(slot);
                    bolt.execute(key, state, tuple, emitter, cx)?;
                    if cx.timers.is_pending() && time.take_up(table.get(slot).0, cx)? {
                        table.remove(slot);
                    }
                    if emitter.is_full() {
                        break;
                    }
                }
            }
            Ok(())
        })?;
        kept(&cx.id, emitter.check())?;
        Ok(tuples.len() == 0)
    }

    fn waits(&self) -> Option<Duration> {
        self.tries.as_ref()?.waits()
    }

    fn close(&mut self, commit: Epoch) -> Result<bool, TaskError> {
        if !self.fire()? {
            return Ok(false);
        }
        let Keyed { bolt, out, cx, table, time, flushed, .. } = self;
        let (table, emitter) = (table.as_mut().expect(RESTORED), &mut out.main);
        *flushed = guard(&cx.id, || {
            table.for_each_dirty(*flushed, |key, state| {
                bolt.flush(key, state, emitter, cx)?;
                if cx.timers.is_pending() {
                    time.take_up_later(key, cx)?;
                }
                Ok(if emitter.is_full() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
        })?;
        kept(&cx.id, emitter.check())?;
        if *flushed < table.dirty_len() {
            return Ok(false);
        }
        *flushed = 0;
        guard(&cx.id, || {
            time.forget(table)?;
            time.expire(table, cx)
        })?;
        time.closed();
        self.write(commit)?;
        Ok(true)
    }

    fn tick(&mut self) -> Result<(), TaskError> {
        let Keyed { bolt, out, cx, .. } = self;
        guard(&cx.id, || {
            bolt.tick(&mut out.main, cx)?;
            // What was asked for a key was asked for none.
            if cx.timers.is_pending() { Err(NoTimers.into()) } else { Ok(()) }
        })?;
        kept(&cx.id, out.main.check())
    }

    fn end(&mut self) {
        at_end(&self.cx.id, || self.bolt.close(&self.cx));
    }

    fn until_due(&self) -> Option<Duration> {
        self.time.until_due(&self.cx)
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        let Some(log) = &mut self.log else { return Ok(Vec::new()) };
        log.durable().map_err(|why| self.error(why, true))
    }

    fn stateful(&self) -> bool {
        true
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.out
    }
}
