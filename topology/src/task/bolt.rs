//! A bolt without state.

use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::Slice;

use super::{BoltTask, TaskError, guard, kept};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::component::{Bolt, Context, Emitter, Outlet, TaskId};

pub(crate) struct PlainBolt<I, O, B> {
    bolt: B,
    emitter: Emitter<O>,
    cx: Context,
    /// What is left of the batch under way.
    work: std::vec::IntoIter<I>,
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> PlainBolt<I, O, B> {
    pub(crate) fn new(bolt: B, emitter: Emitter<O>, cx: Context) -> Self {
        PlainBolt { bolt, emitter, cx, work: Vec::new().into_iter() }
    }
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> BoltTask for PlainBolt<I, O, B> {
    fn id(&self) -> &TaskId {
        &self.cx.id
    }

    fn open(&mut self) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.bolt.open(&self.cx))
    }

    fn revive(&mut self, _: Epoch) -> bool {
        true
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

    fn restored(&mut self, _: Epoch) -> Result<(), TaskError> {
        Ok(())
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        assert_eq!(self.work.len(), 0, "one batch is done before the next begins");
        self.work = typed::<I>(batch).tuples.into_iter();
    }

    fn go_on(&mut self) -> Result<bool, TaskError> {
        let PlainBolt { bolt, emitter, cx, work } = self;
        guard(&cx.id, || {
            while !emitter.is_full()
                && let Some(tuple) = work.next()
            {
                bolt.execute(tuple, emitter, cx)?;
            }
            Ok(())
        })?;
        kept(&cx.id, emitter.check())?;
        Ok(work.len() == 0)
    }

    fn close(&mut self, _: Epoch) -> Result<bool, TaskError> {
        Ok(true)
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        Ok(Vec::new())
    }

    fn committed(&mut self, _: Epoch) {}

    fn stateful(&self) -> bool {
        false
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}
