//! A sink of the user's own: flushed when a commit closes, so what the commit covers is outside.

use egret_schemas::Epoch;

use super::{DurableOutput, SinkEnds, SinkTask, TaskError, at_end, guard};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::budget::Charge;
use crate::component::{Context, Sink};

pub(crate) struct ExternalSink<T, S> {
    sink: S,
    cx: Context,
    closed: Vec<Epoch>,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T: Tuple, S: Sink<T>> ExternalSink<T, S> {
    pub(crate) fn new(sink: S, cx: Context) -> Self {
        ExternalSink { sink, cx, closed: Vec::new(), of: std::marker::PhantomData }
    }
}

impl<T: Tuple, S: Sink<T>> SinkTask for ExternalSink<T, S> {
    fn open(&mut self, _: &SinkEnds) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.sink.open(&self.cx))
    }

    fn write(&mut self, _: Epoch, batch: Box<dyn AnyBatch>, _: &Charge) -> Result<(), TaskError> {
        let batch = typed::<T>(batch);
        guard(&self.cx.id, || {
            batch.tuples.into_iter().try_for_each(|tuple| self.sink.write(tuple, &self.cx))
        })
    }

    fn close(&mut self, commit: Epoch) -> Result<(), TaskError> {
        guard(&self.cx.id, || self.sink.flush(&self.cx))?;
        self.closed.push(commit);
        Ok(())
    }

    fn durable(&mut self) -> Result<Vec<DurableOutput>, TaskError> {
        Ok(self.closed.drain(..).map(|commit| (commit, Vec::new())).collect())
    }

    fn publish(&mut self, _: Epoch) -> Result<(), TaskError> {
        Ok(())
    }

    fn end(&mut self) {
        at_end(&self.cx.id, || self.sink.close(&self.cx));
    }
}
