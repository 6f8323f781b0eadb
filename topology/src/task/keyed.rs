//! A bolt with state per key: the table, the changelog, and the user's code between them.

use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::Slice;
use egret_state::keyed::changelog::{Head, Written, schema_id, write_delta, write_image};
use egret_state::keyed::replay::{Replay, Schema};
use egret_state::keyed::table::KeyedTable;

use super::{BoltTask, StateLog, TaskError, chain, guard};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::builder::KeyFn;
use crate::component::{Context, Emitter, KeyedBolt, Outlet, TaskId};

/// A keyed task; see the [module](self).
pub(crate) struct Keyed<F: KeyFn<I>, I, O, B: KeyedBolt<F::Key, I, O>> {
    key: F,
    bolt: B,
    emitter: Emitter<O>,
    cx: Context,
    table: KeyedTable<F::Key, B::State>,
    replay: Option<Replay<F::Key, B::State>>,
    log: Option<StateLog>,
    schema: u64,
}

impl<F, I, O, B> Keyed<F, I, O, B>
where
    F: KeyFn<I>,
    I: Tuple,
    O: Tuple,
    B: KeyedBolt<F::Key, I, O>,
{
    pub(crate) fn new(
        key: F,
        bolt: B,
        emitter: Emitter<O>,
        cx: Context,
        key_groups: u32,
        log: Option<StateLog>,
    ) -> Self {
        let schema = schema_id(&bolt.schema());
        let replay = Replay::new(&cx.id.component, Schema::only(schema));
        let table = KeyedTable::new(key_groups);
        Keyed { key, bolt, emitter, cx, table, replay: Some(replay), log, schema }
    }

    fn error(&self, why: String, retry: bool) -> TaskError {
        TaskError { task: self.cx.id.clone(), why, retry }
    }

    /// Writes what changed, or everything if an image is due.
    fn write(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let id = &self.cx.id;
        let failed = |why: String, retry| TaskError { task: id.clone(), why, retry };
        let Some(log) = &mut self.log else {
            return self
                .table
                .drain_dirty(|_| Ok::<(), std::convert::Infallible>(()))
                .map_err(|never| match never {});
        };
        let head = Head {
            component: id.component.to_string(),
            task: id.task,
            tasks: self.cx.tasks,
            schema: self.schema,
            epoch: commit,
        };
        let image = log.begin_image_if_due(self.table.len()).map_err(|why| failed(why, true))?;
        let emit = |entry: Vec<u8>| log.append(commit, entry);
        let written = match image {
            true => write_image(&mut self.table, &head, emit),
            false => write_delta(&mut self.table, &head, emit),
        };
        let written: Written = written.map_err(|error| failed(chain(&error), false))?;
        log.close(commit, written);
        Ok(())
    }
}

impl<F, I, O, B> BoltTask for Keyed<F, I, O, B>
where
    F: KeyFn<I>,
    I: Tuple,
    O: Tuple,
    B: KeyedBolt<F::Key, I, O>,
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
        let replay = self.replay.as_mut().expect("restored before it works");
        let applied = replay.apply(at, entry, takes, &mut self.table);
        applied.map_err(|error| self.error(chain(&error), false))
    }

    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        let replay = self.replay.as_mut().expect("restored before it works");
        replay.end_ledger().map_err(|error| self.error(chain(&error), false))
    }

    fn restored(&mut self) {
        let replayed = self.replay.take().expect("a task is restored once").replayed();
        if let Some(log) = &mut self.log {
            log.restored(replayed);
        }
    }

    fn execute(&mut self, batch: Box<dyn AnyBatch>) -> Result<(), TaskError> {
        let batch = typed::<I>(batch);
        assert_eq!(batch.tuples.len(), batch.hashes.len(), "a keyed bolt is fed by fields");
        let Keyed { key, bolt, emitter, cx, table, .. } = self;
        guard(&cx.id, || {
            batch.tuples.into_iter().zip(batch.hashes).try_for_each(|(tuple, hash)| {
                let slot = key.with(&tuple, |key| table.entry(hash, key));
                let (key, state) = table.get_mut(slot);
                bolt.execute(key, state, tuple, emitter, cx)
            })
        })
    }

    fn close(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let Keyed { bolt, emitter, cx, table, .. } = self;
        guard(&cx.id, || table.for_each_dirty(|key, state| bolt.flush(key, state, emitter, cx)))?;
        self.write(commit)
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        let Some(log) = &mut self.log else { return Ok(Vec::new()) };
        log.durable().map_err(|why| self.error(why, true))
    }

    fn stateful(&self) -> bool {
        true
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}
