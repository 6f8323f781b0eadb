//! A bolt without state.

use std::time::Duration;

use egret_schemas::Epoch;

use super::tries::{Failed, Next, Tried, Tries, call};
use super::{BoltTask, TaskError, at_end, guard, kept};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::component::{Bolt, Context, Outlet, Outlets, TaskId};

pub(crate) struct PlainBolt<I, O, B> {
    bolt: B,
    out: Outlets<O, I>,
    cx: Context,
    /// What is left of the batch under way.
    work: std::vec::IntoIter<I>,
    tries: Option<Tries<I>>,
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> PlainBolt<I, O, B> {
    pub(crate) fn new(bolt: B, out: Outlets<O, I>, cx: Context) -> Self {
        let tries = Tries::of(&cx);
        PlainBolt { bolt, out, cx, work: Vec::new().into_iter(), tries }
    }

    /// As [`go_on`](BoltTask::go_on), for a component whose calls are taken back when they fail.
    fn try_on(&mut self) -> Result<bool, TaskError> {
        let PlainBolt { bolt, out, cx, work, tries } = self;
        let tries = tries.as_mut().expect("asked for a component that has tries");
        while !out.is_full() {
            let tried = match tries.next() {
                Next::Again(tried) => tried,
                Next::Wait => return Ok(false),
                Next::Another => match work.next() {
                    Some(tuple) => Tried::new(tuple, 0),
                    None => break,
                },
            };
            out.main.attempt();
            let tuple = tried.tuple.clone();
            let called = call(|| bolt.execute(tuple, &mut out.main, cx));
            kept(&cx.id, out.main.leads_on())?;
            match called.and_then(|()| out.main.check().map_err(Failed::told)) {
                Ok(()) => guard(&cx.id, || {
                    out.main.stands();
                    Ok(())
                })?,
                Err(why) => {
                    out.main.take_back();
                    let letter = tries.failed(tried, why, cx)?;
                    letter.map_or(Ok(()), |letter| out.bury(letter))?;
                }
            }
        }
        Ok(work.len() == 0 && !tries.holds())
    }
}

impl<I: Tuple, O: Tuple, B: Bolt<I, O>> BoltTask for PlainBolt<I, O, B> {
    fn id(&self) -> &TaskId {
        &self.cx.id
    }

    fn open(&mut self) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.bolt.open(&self.cx))
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        assert_eq!(self.work.len(), 0, "one batch is done before the next begins");
        self.work = typed::<I>(batch).tuples.into_iter();
    }

    fn go_on(&mut self) -> Result<bool, TaskError> {
        if self.tries.is_some() {
            return self.try_on();
        }
        let PlainBolt { bolt, out, cx, work, .. } = self;
        let emitter = &mut out.main;
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

    fn waits(&self) -> Option<Duration> {
        self.tries.as_ref()?.waits()
    }

    fn close(&mut self, _: Epoch) -> Result<bool, TaskError> {
        Ok(true)
    }

    fn tick(&mut self) -> Result<(), TaskError> {
        let PlainBolt { bolt, out, cx, .. } = self;
        guard(&cx.id, || bolt.tick(&mut out.main, cx))?;
        kept(&cx.id, out.main.check())
    }

    fn end(&mut self) {
        at_end(&self.cx.id, || self.bolt.close(&self.cx));
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.out
    }
}
