//! A bolt whose calls are answered after a while, several at once.
//!
//! A call is a future on threads of the component's own; its answer comes back over a bounded queue and wakes the
//! worker. A tuple's call belongs to the commit the tuple came in: the commit does not close here before it is
//! answered, whatever that is, so nothing is under way when it is written, and a restart makes again what no commit
//! has. What is answered is emitted at whichever epoch of the commit is open then.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context as Polled, Poll};
use std::time::Duration;

use egret_schemas::Epoch;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::tries::Failed;
use super::{BoltTask, TaskError, guard, kept};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::component::{
    Calls, ComponentResult, Context, DeadLetter, OnError, Outlet, Outlets, TaskId,
};

/// An answer wakes the worker; it looks again after this long all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What came of a call, or of all tries of it.
enum Answer<I, O> {
    Good(Vec<O>),
    Failed { tuple: I, tries: u32, why: Failed },
}

/// See the [module](self).
pub(crate) struct Calling<I, O, C> {
    call: Arc<C>,
    calls: Calls,
    threads: Handle,
    out: Outlets<O, I>,
    cx: Context,
    /// What is left of the batch under way.
    work: std::vec::IntoIter<I>,
    sender: SyncSender<(u64, Answer<I, O>)>,
    answers: Receiver<(u64, Answer<I, O>)>,
    /// Ends what is under way when the task goes.
    under_way: JoinSet<()>,
    /// Answered and not emitted, by the number of the call.
    answered: BTreeMap<u64, Answer<I, O>>,
    /// The number of the next call.
    next: u64,
    /// The first call that is not emitted.
    first: u64,
    /// Calls made and not emitted.
    open: usize,
    /// Whether the task cannot go on before one is answered.
    waits: bool,
}

impl<I, O, C, U, R> Calling<I, O, C>
where
    I: Tuple,
    O: Tuple,
    C: Fn(I) -> U + Send + Sync + 'static,
    U: Future<Output = ComponentResult<R>> + Send + 'static,
    R: IntoIterator<Item = O> + 'static,
{
    pub(crate) fn new(
        call: C,
        calls: Calls,
        threads: Handle,
        out: Outlets<O, I>,
        cx: Context,
    ) -> Self {
        let (sender, answers) = sync_channel(calls.at_once as usize);
        Calling {
            call: Arc::new(call),
            calls,
            threads,
            out,
            cx,
            work: Vec::new().into_iter(),
            sender,
            answers,
            under_way: JoinSet::new(),
            answered: BTreeMap::new(),
            next: 0,
            first: 0,
            open: 0,
            waits: false,
        }
    }

    fn begin_call(&mut self, tuple: I) {
        let number = self.next;
        self.next += 1;
        self.open += 1;
        let (call, calls, policy) = (Arc::clone(&self.call), self.calls, self.cx.settings.on_error);
        let (sender, wake) = (self.sender.clone(), self.cx.waker());
        let answered = async move {
            let answer = answer(&*call, tuple, calls.timeout, policy).await;
            // There is room for every call that is open; a task that is gone asks for nothing.
            sender.try_send((number, answer)).unwrap_or_default();
            wake();
        };
        self.under_way.spawn_on(answered, &self.threads);
    }
}

impl<I: Tuple, O: Tuple, C> Calling<I, O, C> {
    /// Takes what was answered; whether any of it can be emitted.
    fn receive(&mut self) -> bool {
        self.answered.extend(self.answers.try_iter());
        match self.calls.ordered {
            true => self.answered.contains_key(&self.first),
            false => !self.answered.is_empty(),
        }
    }

    /// Lets go of calls that ended. One that panicked where that is no answer, in the drop of a future that was late or
    /// the clone of its tuple, gives none: waited for, it would hold its commit open for ever.
    fn ended(&mut self) -> Result<(), TaskError> {
        while let Some(ended) = self.under_way.try_join_next() {
            if let Err(error) = ended {
                let why = format!("a call ended without an answer: {error}");
                return Err(TaskError { task: self.cx.id.clone(), why, retry: true });
            }
        }
        Ok(())
    }

    /// Emits what can be, until the outlet is full.
    fn emit(&mut self) -> Result<(), TaskError> {
        self.ended()?;
        while !self.out.is_full() && self.receive() {
            let Some((number, answer)) = self.answered.pop_first() else { break };
            self.first = number + 1;
            self.open -= 1;
            match answer {
                Answer::Good(results) => {
                    guard(&self.cx.id, || {
                        results.into_iter().for_each(|result| self.out.main.emit(result));
                        Ok(())
                    })?;
                }
                Answer::Failed { tuple, tries, why } => self.failed(tuple, tries, why)?,
            }
        }
        kept(&self.cx.id, self.out.main.check())
    }

    fn failed(&mut self, tuple: I, tries: u32, why: Failed) -> Result<(), TaskError> {
        let Failed { why, retry } = why;
        let TaskId { component, task } = &self.cx.id;
        if !self.cx.settings.on_error.sends_letters() {
            return Err(TaskError { task: self.cx.id.clone(), why, retry });
        }
        self.cx.meter.failed();
        self.cx.meter.buried();
        let (component, task) = (component.to_string(), *task);
        self.out.bury(DeadLetter { component, task, tries, error: why, tuple })
    }
}

/// Calls until a call is good, or as often as the policy says.
async fn answer<I, O, C, U, R>(call: &C, tuple: I, limit: Duration, policy: OnError) -> Answer<I, O>
where
    I: Tuple,
    C: Fn(I) -> U,
    U: Future<Output = ComponentResult<R>>,
    R: IntoIterator<Item = O>,
{
    let (times, backoff) = match policy {
        OnError::Retry { times, backoff, .. } => (times, backoff),
        OnError::Fail | OnError::DeadLetter => (0, Duration::ZERO),
    };
    let mut tries = 1;
    loop {
        let again = tuple.clone();
        let one = Caught(Box::pin(async move {
            let results = call(again).await.map_err(|error| Failed::of(error.as_ref()))?;
            Ok(results.into_iter().collect())
        }));
        let why = match timeout(limit, one).await {
            Ok(Ok(results)) => return Answer::Good(results),
            Ok(Err(why)) => why,
            Err(_) => Failed::passing(format!("no answer after {} ms", limit.as_millis())),
        };
        if tries > times {
            return Answer::Failed { tuple, tries, why };
        }
        tries += 1;
        sleep(backoff).await;
    }
}

/// A future whose panic is an error.
struct Caught<F>(Pin<Box<F>>);

impl<T, F: Future<Output = Result<T, Failed>>> Future for Caught<F> {
    type Output = Result<T, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Polled<'_>) -> Poll<Self::Output> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(Failed::panicked(&*panic))))
    }
}

impl<I, O, C, U, R> BoltTask for Calling<I, O, C>
where
    I: Tuple,
    O: Tuple,
    C: Fn(I) -> U + Send + Sync + 'static,
    U: Future<Output = ComponentResult<R>> + Send + 'static,
    R: IntoIterator<Item = O> + 'static,
{
    fn id(&self) -> &TaskId {
        &self.cx.id
    }

    fn open(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        assert_eq!(self.work.len(), 0, "one batch is done before the next begins");
        self.work = typed::<I>(batch).tuples.into_iter();
    }

    /// A batch is done when every call of it is made.
    fn go_on(&mut self) -> Result<bool, TaskError> {
        loop {
            self.emit()?;
            self.waits = self.open >= self.calls.at_once as usize && !self.out.is_full();
            if self.waits || self.out.is_full() {
                return Ok(false);
            }
            match self.work.next() {
                Some(tuple) => self.begin_call(tuple),
                None => return Ok(true),
            }
        }
    }

    fn waits(&self) -> Option<Duration> {
        self.waits.then_some(LOOK_AGAIN)
    }

    fn has_answers(&mut self) -> bool {
        self.receive()
    }

    fn settle(&mut self) -> Result<(), TaskError> {
        self.emit()
    }

    fn close(&mut self, _: Epoch) -> Result<bool, TaskError> {
        self.emit()?;
        self.waits = self.open > 0 && !self.out.is_full();
        Ok(self.open == 0)
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.out
    }
}
