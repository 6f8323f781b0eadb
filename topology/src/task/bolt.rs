//! A bolt without state.

use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::Slice;

use super::{BoltTask, TaskError, guard};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::component::{Bolt, Context, Emitter, Outlet, TaskId};

pub(crate) struct PlainBolt<I, O, B> {
    bolt: B,
    emitter: Emitter<O>,
    cx: Context,
    of: std::marker::PhantomData<fn(I)>,
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> PlainBolt<I, O, B> {
    pub(crate) fn new(bolt: B, emitter: Emitter<O>, cx: Context) -> Self {
        PlainBolt { bolt, emitter, cx, of: std::marker::PhantomData }
    }
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> BoltTask for PlainBolt<I, O, B> {
    fn id(&self) -> &TaskId {
        &self.cx.id
    }

    fn open(&mut self) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.bolt.open(&self.cx))
    }

    fn restore(
        &mut self,
        _: EntryAddress,
        _: &[u8],
        _: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        unreachable!("a bolt without state has no changelog")
    }

    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    fn restored(&mut self) {}

    fn execute(&mut self, batch: Box<dyn AnyBatch>) -> Result<(), TaskError> {
        let batch = typed::<I>(batch);
        guard(&self.cx.id, || {
            batch
                .tuples
                .into_iter()
                .try_for_each(|tuple| self.bolt.execute(tuple, &mut self.emitter, &self.cx))
        })
    }

    fn close(&mut self, _: Epoch) -> Result<(), TaskError> {
        Ok(())
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        Ok(Vec::new())
    }

    fn stateful(&self) -> bool {
        false
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}
