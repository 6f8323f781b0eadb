//! A spout and its emitter.

use super::{SpoutTask, TaskError, guard};
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
        guard(&self.cx.id, || self.spout.open(&self.cx, committed))
    }

    fn next(&mut self, bytes: usize) -> Result<Next, TaskError> {
        guard(&self.cx.id, || self.spout.next(bytes, &mut self.emitter, &self.cx))
    }

    fn positions(&self) -> Positions {
        self.spout.positions()
    }

    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.spout.committed(positions))
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}
