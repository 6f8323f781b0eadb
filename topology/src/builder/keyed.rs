//! Streams grouped by a key, and the keyed bolts that can be attached to them.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::keyed::backing::{Backing as _, Place};
use egret_state::keyed::following::Following;
use egret_state::keyed::format::Schema;
use egret_state::keyed::{InMemory, Key, KeyedTable, Storage};

use super::parts::{BoltPart, Env, Part};
use super::settings::{Letters, OutletsOf};
use super::short_type;
use super::stream::{Grouped, Stream};
use crate::component::{Bolt, Context, KeyedBolt, OutletOf};
use crate::grouping::fields::Fields;
use crate::grouping::{Grouping, MakePartitioner, Target};
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, Keyed, StateLog, Warm, WarmTask, readable, schema};
use crate::{Either, Result, Tuple};

/// Finds the key of a tuple.
pub trait KeyFn<T>: Clone + Send + Sync + 'static {
    /// The key's type.
    type Key: Key + ?Sized + 'static;
    /// Calls `f` with the key of `tuple`.
    fn with<R>(&self, tuple: &T, f: impl FnOnce(&Self::Key) -> R) -> R;
}

/// A key inside the tuple.
pub struct KeyField<T, K: ?Sized, F>(F, PhantomData<fn(&T) -> PhantomData<K>>);

/// A key computed from the tuple.
pub struct ComputedKey<T, K, F>(F, PhantomData<fn(&T) -> K>);

impl<T, K: ?Sized, F> KeyField<T, K, F> {
    pub(crate) fn new(key: F) -> Self {
        KeyField(key, PhantomData)
    }
}

impl<T, K, F> ComputedKey<T, K, F> {
    pub(crate) fn new(key: F) -> Self {
        ComputedKey(key, PhantomData)
    }
}

impl<T, K: ?Sized, F: Clone> Clone for KeyField<T, K, F> {
    fn clone(&self) -> Self {
        KeyField(self.0.clone(), PhantomData)
    }
}

impl<T, K, F: Clone> Clone for ComputedKey<T, K, F> {
    fn clone(&self) -> Self {
        ComputedKey(self.0.clone(), PhantomData)
    }
}

impl<T, K: ?Sized, F> std::fmt::Debug for KeyField<T, K, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a field of {}", short_type::<T>())
    }
}

impl<T, K, F> std::fmt::Debug for ComputedKey<T, K, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "computed from {}", short_type::<T>())
    }
}

impl<T, K, F> KeyFn<T> for KeyField<T, K, F>
where
    T: 'static,
    K: Key + ?Sized + 'static,
    F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
{
    type Key = K;
    #[inline]
    fn with<R>(&self, tuple: &T, f: impl FnOnce(&K) -> R) -> R {
        f((self.0)(tuple))
    }
}

impl<T, K, F> KeyFn<T> for ComputedKey<T, K, F>
where
    T: 'static,
    K: Key + 'static,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
{
    type Key = K;
    #[inline]
    fn with<R>(&self, tuple: &T, f: impl FnOnce(&K) -> R) -> R {
        f(&(self.0)(tuple))
    }
}

/// The key of a tuple of one of two inputs: what that input is keyed by.
#[derive(Debug, Clone)]
pub struct EitherKey<L, R>(L, R);

impl<A, B, L, R> KeyFn<Either<A, B>> for EitherKey<L, R>
where
    A: 'static,
    B: 'static,
    L: KeyFn<A>,
    R: KeyFn<B, Key = L::Key>,
{
    type Key = L::Key;
    #[inline]
    fn with<O>(&self, tuple: &Either<A, B>, f: impl FnOnce(&L::Key) -> O) -> O {
        match tuple {
            Either::Left(left) => self.0.with(left, f),
            Either::Right(right) => self.1.with(right, f),
        }
    }
}

/// Streams grouped by key.
pub struct KeyedStream<T, F> {
    grouped: Grouped<T>,
    key: F,
}

impl<T, F: std::fmt::Debug> std::fmt::Debug for KeyedStream<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} keyed by {:?}", self.grouped, self.key)
    }
}

impl<T: Tuple, F: KeyFn<T>> KeyedStream<T, F> {
    pub(crate) fn new(stream: &Stream<T>, key: F) -> Self {
        let of = key.clone();
        let make: MakePartitioner<T> = Arc::new(move |target: &Target| {
            let key = of.clone();
            let hash_of = move |tuple: &T| key.with(tuple, |k| k.hash64());
            Box::new(Fields::new(target, hash_of))
        });
        KeyedStream { grouped: stream.grouped(Grouping::Fields, &make), key }
    }

    /// This input and another, of any type and keyed by the same type, for one bolt, which takes
    /// [`Either`]: this one's tuples are its `Left`, the other's its `Right`. Tuples of one key meet at one
    /// task, whichever input they come from, and share that key's state; tuples of the two inputs come in no
    /// order to each other. What is joined can be joined again, for three inputs:
    /// `Either<Either<A, B>, C>`.
    ///
    /// ```
    /// use egret::{ComponentResult, Context, Either, Emitter, KeyedBolt};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// /// Names the user of each click, once the name is known.
    /// struct Name;
    /// impl KeyedBolt<u64, Either<(u64, String), (u64, String)>, (String, String)> for Name {
    ///     type State = Option<String>;
    ///     fn execute(
    ///         &mut self,
    ///         _: &u64,
    ///         name: &mut Option<String>,
    ///         tuple: Either<(u64, String), (u64, String)>,
    ///         out: &mut Emitter<(String, String)>,
    ///         _: &Context,
    ///     ) -> ComponentResult {
    ///         match tuple {
    ///             Either::Left((_, page)) => {
    ///                 name.iter().for_each(|name| out.emit((name.clone(), page.clone())));
    ///             }
    ///             Either::Right((_, new)) => *name = Some(new),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let parse = || |line: String, out: &mut Emitter<(u64, String)>| out.emit((1, line));
    /// # let clicks = t.spout("c", 1, LogSpout::<String>::from_stream("c"))?.shuffle().bolt("p", 1, parse)?;
    /// # let users = t.spout("u", 1, LogSpout::<String>::from_stream("u"))?.shuffle().bolt("q", 1, parse)?;
    /// let by_user = clicks.fields(|(user, _)| user).join(users.fields(|(user, _)| user))?;
    /// let named = by_user.keyed("name", 2, || Name)?;
    /// # named.sink("o", LogSink::to_stream("o"))?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// Keys of two types are no match:
    /// ```compile_fail,E0271
    /// # use egret::{Emitter, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("c", 1, LogSpout::<String>::from_stream("c"))?;
    /// lines.fields_by(|line| line.len() as u64).join(lines.fields(|line| line.as_str()))?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::OtherBuilder`](super::BuildError::OtherBuilder) when the other one is of another
    /// topology.
    pub fn join<U, G>(
        self,
        other: KeyedStream<U, G>,
    ) -> Result<KeyedStream<Either<T, U>, EitherKey<F, G>>>
    where
        U: Tuple,
        G: KeyFn<U, Key = F::Key>,
    {
        let grouped = self.grouped.join(other.grouped)?;
        Ok(KeyedStream { grouped, key: EitherKey(self.key, other.key) })
    }

    /// Attaches a bolt with state per key, which is in memory while it runs.
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError) for a bad or taken name or a parallelism out of range.
    pub fn keyed<O, B, M>(self, name: &str, parallelism: u32, factory: M) -> Result<Stream<O>>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
    {
        self.keyed_with(name, parallelism, InMemory, factory)
    }

    /// Like [`keyed`](Self::keyed), and says where state is while the bolt runs: a component whose keys are more
    /// than memory takes is given `egret_state_large::LargerThanMemory` (or `egret::LargerThanMemory`, with the
    /// feature `large-state`). What is durable, and where from it
    /// is restored, is the same for every storage, and it may be another one at each start.
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError) for a bad or taken name or a parallelism out of range.
    pub fn keyed_with<O, B, M, G>(
        self,
        name: &str,
        parallelism: u32,
        storage: G,
        factory: M,
    ) -> Result<Stream<O>>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
        G: Storage,
    {
        let detail = storage.detail().unwrap_or_default();
        let state = format!("{} per {}", short_type::<B::State>(), short_type::<F::Key>());
        self.attach((name, parallelism), storage, (state, detail), factory)
    }

    /// Attaches what keeps windows, or the like; what it does is said in words.
    pub(crate) fn windowed<O, B, M, G>(
        self,
        component: (&str, u32),
        storage: G,
        windows: String,
        factory: M,
    ) -> Result<Stream<O>>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
        G: Storage,
    {
        let state = format!("{windows}; per {}", short_type::<F::Key>());
        let detail = storage.detail().unwrap_or_default();
        self.attach(component, storage, (state, detail), factory)
    }

    fn attach<O, B, M, G>(
        self,
        (name, parallelism): (&str, u32),
        storage: G,
        (state, detail): (String, String),
        factory: M,
    ) -> Result<Stream<O>>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
        G: Storage,
    {
        crate::batch::register::<O>();
        let outlet: Arc<Mutex<OutletOf<O>>> = Arc::default();
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::KeyedBolt,
            parallelism,
            inputs: Vec::new(),
            feeds: None,
            emits: Some(short_type::<O>()),
            outputs: Vec::new(),
            state: Some(state),
            event_time: None,
            detail,
        };
        let part = Part::Bolt(Arc::new(KeyedOf::<T, O, F, M, G> {
            key: self.key.clone(),
            factory,
            storage: Arc::new(storage),
            outlets: OutletsOf::new(&outlet),
        }));
        let draft = Rc::clone(&self.grouped.draft);
        let index = self.grouped.attach(plan, part)?;
        Ok(Stream::new(draft, index, outlet))
    }

    /// Attaches a bolt without state; equal keys still meet at one task.
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError) for a bad or taken name or a parallelism out of range.
    pub fn bolt<O, B, M>(self, name: &str, parallelism: u32, factory: M) -> Result<Stream<O>>
    where
        O: Tuple,
        B: Bolt<T, O>,
        M: Fn() -> B + Send + Sync + 'static,
    {
        self.grouped.unkeyed().bolt(name, parallelism, factory)
    }

    /// The same input for what keeps no state per key: it can be united with inputs that are grouped otherwise. Equal
    /// keys still meet at one task.
    ///
    /// ```
    /// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// # let alarms = t.spout("a", 1, LogSpout::<String>::from_stream("a"))?;
    /// let by_line = lines.fields(|line| line.as_str()).without_key();
    /// let seen = by_line.union(alarms.all())?.bolt("see", 4, copy)?;
    /// # seen.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn without_key(self) -> Grouped<T> {
        self.grouped
    }
}

struct KeyedOf<I, O, F, M, G> {
    key: F,
    factory: M,
    storage: Arc<G>,
    outlets: OutletsOf<O, I>,
}

impl<I, O, F, B, M, G> BoltPart for KeyedOf<I, O, F, M, G>
where
    I: Tuple,
    O: Tuple,
    F: KeyFn<I>,
    B: KeyedBolt<F::Key, I, O>,
    M: Fn() -> B + Send + Sync,
    G: Storage,
{
    fn letters(&self) -> Option<Letters> {
        Some(self.outlets.letters())
    }

    fn schema(&self) -> Option<Schema> {
        Some(schema::<F::Key, B::State>((self.factory)().schema_label()))
    }

    fn follow(&self, env: &Env, component: &str) -> Result<Option<Box<dyn WarmTask>>> {
        if G::Backing::HOLDS {
            return Ok(None);
        }
        let bolt = (self.factory)();
        if !bolt.conversions().is_empty() {
            // What is of an older type is converted when all is read, and it follows what is never all.
            return Ok(None);
        }
        let own = schema::<F::Key, B::State>(bolt.schema_label());
        let (readable, _) = readable(&env.log, &env.topology, &own, &bolt.accepts(), &[])?;
        let place = Place {
            directory: None,
            topology: &env.topology,
            component,
            task: 0,
            generation: env.generation.0,
        };
        let backing = self.storage.open(&place).map_err(crate::Error::other)?;
        let table = KeyedTable::<F::Key, B::State, _>::over(backing, env.key_groups);
        let following = Following::new(component, readable, table);
        Ok(Some(Box::new(Warm { following, schema: own.id() })))
    }

    fn make(
        &self,
        env: &Env,
        cx: Context,
        targets: &[Target],
        state: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        let (bolt, out) = ((self.factory)(), self.outlets.make(targets));
        let (key, storage) = (self.key.clone(), Arc::clone(&self.storage));
        Box::new(Keyed::<F, I, O, B, G>::new((key, bolt), storage, out, cx, env, state))
    }
}
