//! Bolts that wait for answers, attached to streams.

use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::parts::{BoltPart, Env, Part};
use super::settings::{Letters, OutletsOf};
use super::stream::{Grouped, Stream};
use super::{BuildError, short_type};
use crate::component::{Calls, ComponentResult, Context, OutletOf};
use crate::grouping::Target;
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, Calling, StateLog};
use crate::{Error, Result, Tuple};

/// Threads that drive the futures of one component.
const THREADS: usize = 2;

impl<T: Tuple> Grouped<T> {
    /// Attaches a bolt that makes a call for each tuple and emits what it answers, so many calls at once in each of its
    /// tasks: a look at a database, a request to a service. `factory` makes the function that is called, once for each
    /// task; what that returns is awaited on threads of the component's own, where tokio's timers and sockets work.
    /// What blocks a thread is to be put in `tokio::task::spawn_blocking`.
    ///
    /// A commit is made when every call of it is answered, however that takes; after a failure the calls that no commit
    /// has are made again. What is called should bear to be called twice with the same tuple.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::{Calls, OnError};
    /// # use egret::{DeadLetter, LogSink, LogSpout, Stream, TopologyBuilder};
    ///
    /// # async fn name_of(id: String) -> Result<String, std::io::Error> { Ok(id) }
    /// # let mut t = TopologyBuilder::new("t");
    /// # let ids = t.spout("ids", 1, LogSpout::<String>::from_stream("ids"))?;
    /// let calls = Calls::at_once(64).timeout(Duration::from_secs(2)).unordered();
    /// let names = ids.shuffle().call("name", 2, calls, || {
    ///     |id: String| async move { Ok([name_of(id).await?]) }
    /// })?;
    /// names.on_error(OnError::DeadLetter)?;
    /// # let failed: Stream<DeadLetter<String>> = names.dead_letters()?;
    /// # failed.sink("failed", LogSink::to_stream("failed"))?;
    /// # names.sink("names", LogSink::to_stream("names"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name, a parallelism out of range, or calls that cannot be; when no thread can
    /// be had.
    pub fn call<O, R, U, C, F>(
        self,
        name: &str,
        parallelism: u32,
        calls: Calls,
        factory: F,
    ) -> Result<Stream<O>>
    where
        O: Tuple,
        F: Fn() -> C + Send + Sync + 'static,
        C: Fn(T) -> U + Send + Sync + 'static,
        U: Future<Output = ComponentResult<R>> + Send + 'static,
        R: IntoIterator<Item = O> + 'static,
    {
        let fits = (1..=Calls::AT_ONCE_MAX).contains(&calls.at_once);
        if !fits || calls.timeout < Duration::from_millis(1) {
            return Err(BuildError::Calls { name: name.to_owned(), max: Calls::AT_ONCE_MAX }.into());
        }
        crate::batch::register::<O>();
        let outlet: Arc<Mutex<OutletOf<O>>> = Arc::default();
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Bolt,
            parallelism,
            inputs: Vec::new(),
            feeds: None,
            emits: Some(short_type::<O>()),
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail: calls.to_string(),
        };
        let (threads, outlets) = (Threads::new(name)?, OutletsOf::new(&outlet));
        let part = CallOf::<T, O, F> { factory, calls, threads, outlets };
        let draft = Rc::clone(&self.draft);
        let index = self.attach(plan, Part::Bolt(Arc::new(part)))?;
        Ok(Stream::new(draft, index, outlet))
    }
}

/// What drives a component's futures; there as long as the topology is.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(name: &str) -> Result<Threads> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name(format!("egret-{name}"));
        let runtime = builder.enable_all().build().map_err(Error::other)?;
        Ok(Threads(Some(runtime)))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // What still blocks one of them is not waited for.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

struct CallOf<I, O, F> {
    factory: F,
    calls: Calls,
    threads: Threads,
    outlets: OutletsOf<O, I>,
}

impl<I, O, C, F, U, R> BoltPart for CallOf<I, O, F>
where
    I: Tuple,
    O: Tuple,
    F: Fn() -> C + Send + Sync,
    C: Fn(I) -> U + Send + Sync + 'static,
    U: Future<Output = ComponentResult<R>> + Send + 'static,
    R: IntoIterator<Item = O> + 'static,
{
    fn letters(&self) -> Option<Letters> {
        Some(self.outlets.letters())
    }

    fn make(
        &self,
        _: &Env,
        cx: Context,
        targets: &[Target],
        _: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        let out = self.outlets.make(targets);
        let threads = self.threads.0.as_ref().expect("there until it is dropped").handle().clone();
        Box::new(Calling::new((self.factory)(), self.calls, threads, out, cx))
    }
}
