//! A bolt with state per task: a keyed task of one key, and what takes over from another number of tasks.
//!
//! The key is in the task's own run of key groups, so that its state is written, kept, restored, forked and shown
//! as that of any key. When another number of tasks wrote the commit, the task reads the states of those it
//! takes over from; what comes of them is a change like any other, part of the first commit, and what it read
//! of its own key groups is removed by the same. Until that commit is made a restart takes over once more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::{Slice, groups_of_task};
use egret_state::keyed::key::Key;
use egret_state::keyed::replay::Replay;
use egret_state::keyed::schedule::Schedule;
use egret_state::keyed::table::KeyedTable;
use egret_state::keyed::{Conversions, InMemory};

use super::keyed::{Keyed, Parts};
use super::rescale::{groups_of, heirs, key_of_task, part, predecessors, task_of_key};
use super::{BoltTask, StateLog, TaskError, chain, guard};
use crate::Tuple;
use crate::batch::{AnyBatch, Batch, typed};
use crate::builder::{Env, KeyFn};
use crate::component::{
    ComponentResult, Context, Emitter, KeyedBolt, Outlet, Outlets, Rescale, StatefulBolt, TaskId,
    Timer,
};

/// The one key of a task.
#[derive(Clone)]
pub(crate) struct OneKey {
    key: Arc<str>,
    hash: u64,
}

impl<T> KeyFn<T> for OneKey {
    type Key = str;
    #[inline]
    fn with<R>(&self, _: &T, f: impl FnOnce(&str) -> R) -> R {
        f(&self.key)
    }
}

/// A bolt with state per task, seen as one with state per key.
struct OfOneKey<B>(B);

impl<I, O, B: StatefulBolt<I, O>> KeyedBolt<str, I, O> for OfOneKey<B> {
    type State = B::State;

    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0.open(cx)
    }

    fn schema_label(&self) -> String {
        self.0.schema_label()
    }

    fn accepts(&self) -> Vec<String> {
        self.0.accepts()
    }

    fn conversions(&self) -> Conversions<B::State> {
        self.0.conversions()
    }

    fn execute(
        &mut self,
        _: &str,
        state: &mut B::State,
        tuple: I,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        self.0.execute(state, tuple, out, cx)
    }

    fn flush(
        &mut self,
        _: &str,
        state: &mut B::State,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        self.0.flush(state, out, cx)
    }

    fn on_timer(
        &mut self,
        _: &str,
        state: &mut B::State,
        timer: Timer,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        self.0.on_timer(state, timer, out, cx)
    }

    fn tick(&mut self, out: &mut Emitter<O>, cx: &Context) -> ComponentResult {
        self.0.tick(out, cx)
    }

    fn close(&mut self, cx: &Context) {
        self.0.close(cx);
    }
}

/// The states of the tasks this one takes over from, as they are read.
struct Before<S> {
    tasks: u32,
    table: KeyedTable<str, S>,
    schedule: Schedule,
    replay: Option<Replay<str, S>>,
}

/// A task of a stateful bolt; see the [module](self).
pub(crate) struct Stateful<I, O, B: StatefulBolt<I, O>> {
    of: Keyed<OneKey, I, O, OfOneKey<B>, InMemory>,
    key: OneKey,
    task: u32,
    tasks: u32,
    key_groups: u32,
    groups: Range<u32>,
    before: Option<Before<B::State>>,
}

impl<I: Tuple, O: Tuple, B: StatefulBolt<I, O>> Stateful<I, O, B> {
    pub(crate) fn new(
        bolt: B,
        out: Outlets<O, I>,
        cx: Context,
        env: &Env,
        log: Option<StateLog>,
    ) -> Self {
        let (task, tasks, key_groups) = (cx.id.task, cx.tasks, env.key_groups);
        let key = key_of_task(task, tasks, key_groups);
        let key = OneKey { hash: key.hash64(), key: key.into() };
        let groups = groups_of_task(task, tasks, key_groups);
        let of = Keyed::new((key.clone(), OfOneKey(bolt)), Arc::new(InMemory), out, cx, env, log);
        Stateful { of, key, task, tasks, key_groups, groups, before: None }
    }

    fn error(&self, error: &dyn std::error::Error, retry: bool) -> TaskError {
        TaskError { task: self.of.id().clone(), why: chain(error), retry }
    }

    /// The task's state, once it is restored; nothing where it never had any.
    pub(crate) fn state(&mut self) -> Option<&B::State> {
        let OneKey { key, hash } = &self.key;
        self.of.parts().table.find(*hash, key)
    }

    /// The same to be changed: from now on it counts as changed in this commit.
    pub(crate) fn state_mut(&mut self) -> &mut B::State {
        let OneKey { key, hash } = &self.key;
        let table = self.of.parts().table;
        let slot = table.entry(*hash, key);
        table.get_mut(slot).1
    }

    /// Makes the task's state of those it takes over from.
    fn take_over(&mut self, before: Before<B::State>) -> Result<(), TaskError> {
        let Stateful { of, key, task, tasks, key_groups, .. } = self;
        let Parts { id, bolt, table, schedule } = of.parts();
        guard(id, || {
            let rescale = bolt.0.rescale();
            let Before { tasks: before, table: states, schedule: dues, .. } = before;
            let mut taken = BTreeMap::new();
            for (key, state) in states.into_states() {
                let old = task_of_key(&key).filter(|old| *old < before);
                let old =
                    old.ok_or_else(|| format!("state is kept under `{key}`, which is no task's"))?;
                taken.insert(old, (key, state));
            }
            let (mut mine, mut due) = (None, Vec::new());
            for (old, (of, state)) in taken {
                if table.find(of.hash64(), &of).is_some() {
                    let slot = table.entry(of.hash64(), &of);
                    table.remove(slot);
                    schedule.forget(of.as_bytes());
                }
                let heirs = heirs(old, before, *tasks, *key_groups);
                let Some(part) = part(*task, &heirs, rescale, state)? else { continue };
                due.extend_from_slice(dues.of(of.as_bytes()));
                match (&mut mine, rescale) {
                    (None, _) => mine = Some(part),
                    (Some(_), Rescale::Copy) => {}
                    (Some(mine), Rescale::Merge(merge) | Rescale::Deal { merge, .. }) => {
                        merge(mine, part);
                    }
                }
            }
            if let Some(mine) = mine {
                let slot = table.entry(key.hash, &key.key);
                *table.get_mut(slot).1 = mine;
            }
            due.into_iter().try_for_each(|due| schedule.set(key.key.as_bytes(), due))?;
            Ok(())
        })
    }
}

impl<I: Tuple, O: Tuple, B: StatefulBolt<I, O>> BoltTask for Stateful<I, O, B> {
    fn id(&self) -> &TaskId {
        self.of.id()
    }

    fn open(&mut self) -> Result<(), TaskError> {
        self.of.open()
    }

    fn reads(&mut self, before: u32) -> Option<Range<u32>> {
        if before == self.tasks || before == 0 {
            return None;
        }
        let (table, schedule) = (KeyedTable::new(self.key_groups), Schedule::default());
        self.before = Some(Before { tasks: before, table, schedule, replay: None });
        let from = predecessors(self.task, self.tasks, before, self.key_groups);
        Some(groups_of(&from, before, self.key_groups))
    }

    fn revive(&mut self, commit: Epoch) -> bool {
        if self.before.is_some() {
            // What was kept is its own key groups, as the other number of tasks left them.
            self.of.forget_kept();
            return false;
        }
        self.of.revive(commit)
    }

    fn restore(
        &mut self,
        at: EntryAddress,
        entry: &[u8],
        takes: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        let Stateful { of, before, .. } = self;
        if let Some(Before { table, schedule, replay, .. }) = before {
            let replay = match replay {
                Some(replay) => replay,
                None => replay.insert(of.new_replay()?),
            };
            let applied = replay.apply(at, entry, takes, table, schedule);
            applied.map_err(|error| self.error(&error, error.may_pass()))?;
        }
        // Of what it takes over from others, it keeps in its ledgers only what is in its own key groups.
        let own = |group: u32| self.groups.contains(&group) && takes(group);
        if self.groups.clone().any(takes) { self.of.restore(at, entry, &own) } else { Ok(()) }
    }

    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        if let Some(Before { replay: Some(replay), .. }) = &mut self.before {
            let ended = replay.end_ledger();
            ended.map_err(|error| self.error(&error, false))?;
        }
        self.of.restored_ledger()
    }

    fn restored(&mut self, commit: Epoch) -> Result<(), TaskError> {
        self.of.restored(commit)?;
        let Some(mut before) = self.before.take() else { return Ok(()) };
        if let Some(replay) = &mut before.replay {
            let finished = replay.finish(&mut before.table);
            finished.map_err(|error| self.error(&error, error.may_pass()))?;
        }
        self.take_over(before)
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        let Batch { tuples, mut hashes } = typed::<I>(batch);
        hashes.clear();
        hashes.resize(tuples.len(), self.key.hash);
        self.of.begin(Box::new(Batch { tuples, hashes }));
    }

    fn go_on(&mut self) -> Result<bool, TaskError> {
        self.of.go_on()
    }

    fn waits(&self) -> Option<Duration> {
        self.of.waits()
    }

    fn close(&mut self, commit: Epoch) -> Result<bool, TaskError> {
        self.of.close(commit)
    }

    fn tick(&mut self) -> Result<(), TaskError> {
        self.of.tick()
    }

    fn end(&mut self) {
        self.of.end();
    }

    fn until_due(&self) -> Option<Duration> {
        self.of.until_due()
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        self.of.durable()
    }

    fn committed(&mut self, commit: Epoch) {
        self.of.committed(commit);
    }

    fn stateful(&self) -> bool {
        true
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        self.of.outlet()
    }
}
