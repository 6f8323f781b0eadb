//! A spout and its emitter.

use std::time::Duration;

use egret_log::clock;
use egret_state::commit::Mark;

use super::{SpoutTask, TaskError, at_end, guard};
use crate::Tuple;
use crate::component::{Context, Emitter, Next, Outlet, Positions, Spout};

pub(crate) struct TypedSpout<T, S> {
    spout: S,
    emitter: Emitter<T>,
    cx: Context,
}

impl<T: Tuple, S: Spout<T>> TypedSpout<T, S> {
    pub(crate) fn new(spout: S, emitter: Emitter<T>, cx: Context) -> Self {
        TypedSpout { spout, emitter, cx }
    }
}

impl<T: Tuple, S: Spout<T>> SpoutTask for TypedSpout<T, S> {
    fn open(&mut self, committed: &Positions) -> Result<(), TaskError> {
        let TypedSpout { spout, emitter, cx } = self;
        guard(&cx.id, || {
            spout.open(cx, committed)?;
            if let Some((times, _)) = emitter.times() {
                times.begin(spout.splits());
            }
            Ok(())
        })
    }

    fn next(&mut self, bytes: usize) -> Result<Next, TaskError> {
        let TypedSpout { spout, emitter, cx } = self;
        guard(&cx.id, || {
            let next = spout.next(bytes, emitter, cx)?;
            if let (Some((times, open)), Next::Idle | Next::After(_) | Next::Done) =
                (emitter.times(), next)
            {
                times.all_quiet(open, clock::now());
            }
            Ok(next)
        })
    }

    fn positions(&self) -> Positions {
        self.spout.positions()
    }

    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.spout.committed(positions))
    }

    fn mark(&mut self) -> Option<(Mark, Option<Duration>)> {
        let TypedSpout { emitter, cx, .. } = self;
        let (times, _) = emitter.times()?;
        let now = clock::now();
        let mark = times.mark(now, |split, out| {
            let (task, split) = (cx.id.to_string(), split);
            match out {
                true => tracing::info!(task, split, "a quiet split is left out of the watermark"),
                false => tracing::info!(task, split, "a split counts for the watermark again"),
            }
        });
        Some((mark, times.until_idle(now)))
    }

    fn tick(&mut self) -> Result<Option<Duration>, TaskError> {
        let TypedSpout { spout, cx, .. } = self;
        guard(&cx.id, || spout.tick(cx))
    }

    fn activate(&mut self, active: bool) -> Result<(), TaskError> {
        let TypedSpout { spout, cx, .. } = self;
        guard(&cx.id, || if active { spout.activate(cx) } else { spout.deactivate(cx) })
    }

    fn end(&mut self) {
        at_end(&self.cx.id, || self.spout.close(&self.cx));
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}
