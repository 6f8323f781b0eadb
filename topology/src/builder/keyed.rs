//! Streams grouped by a key, and the keyed bolts that can be attached to them.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::keyed::Key;

use super::parts::{BoltPart, Env, Part};
use super::short_type;
use super::stream::{Grouped, Stream};
use crate::component::{Bolt, Context, KeyedBolt, OutletOf};
use crate::grouping::fields::Fields;
use crate::grouping::{Grouping, MakePartitioner, Target};
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, Keyed, StateLog};
use crate::{Result, Tuple};

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

/// A stream grouped by key.
pub struct KeyedStream<T, F> {
    stream: Stream<T>,
    key: F,
}

impl<T, F: std::fmt::Debug> std::fmt::Debug for KeyedStream<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} keyed by {:?}", self.stream, self.key)
    }
}

impl<T: Tuple, F: KeyFn<T>> KeyedStream<T, F> {
    pub(crate) fn new(stream: Stream<T>, key: F) -> Self {
        KeyedStream { stream, key }
    }

    fn partitioner(&self) -> MakePartitioner<T> {
        let key = self.key.clone();
        Arc::new(move |target: &Target| {
            let key = key.clone();
            let hash_of = move |tuple: &T| key.with(tuple, |k| k.hash64());
            Box::new(Fields::new(target, hash_of))
        })
    }

    /// Attaches a bolt with state per key.
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError) for a bad or taken name or a parallelism out of range.
    pub fn keyed<O, B, M>(self, name: &str, parallelism: u32, factory: M) -> Result<Stream<O>>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
    {
        crate::batch::register::<O>();
        let outlet: Arc<Mutex<OutletOf<O>>> = Arc::default();
        let state = format!("{} per {}", short_type::<B::State>(), short_type::<F::Key>());
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::KeyedBolt,
            parallelism,
            inputs: Vec::new(),
            emits: Some(short_type::<O>()),
            state: Some(state),
            detail: String::new(),
        };
        let make = self.partitioner();
        let part = Part::Bolt(Arc::new(KeyedOf::<T, O, F, M> {
            key: self.key.clone(),
            factory,
            outlet: Arc::clone(&outlet),
            of: PhantomData,
        }));
        let index = self.stream.attach(plan, part, Grouping::Fields, make)?;
        Ok(Stream::new(Rc::clone(&self.stream.draft), index, outlet))
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
        let make = self.partitioner();
        Grouped::new(self.stream, Grouping::Fields, make).bolt(name, parallelism, factory)
    }
}

struct KeyedOf<I, O, F, M> {
    key: F,
    factory: M,
    outlet: Arc<Mutex<OutletOf<O>>>,
    of: PhantomData<fn(I)>,
}

impl<I, O, F, B, M> BoltPart for KeyedOf<I, O, F, M>
where
    I: Tuple,
    O: Tuple,
    F: KeyFn<I>,
    B: KeyedBolt<F::Key, I, O>,
    M: Fn() -> B + Send + Sync,
{
    fn make(
        &self,
        env: &Env,
        cx: Context,
        targets: &[Target],
        state: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        let emitter = self.outlet.lock().expect("no panic while held").make_slicing(targets);
        let bolt = (self.factory)();
        Box::new(Keyed::<F, I, O, B>::new(self.key.clone(), bolt, emitter, cx, env, state))
    }
}
