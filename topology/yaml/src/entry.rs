//! What is registered under a name: types, how arguments are read, and how it is attached.

use std::any::{Any, TypeId};
use std::sync::Arc;

use egret::builder::{Grouped, KeyFn};
use egret::{Either, Stream, TopologyBuilder, Tuple};
use egret_state::keyed::Key;

use crate::any::{AnyStream, GroupBy, Of, typed};
use crate::args::ArgError;
use crate::node::Node;
use crate::registry::Registry;
use crate::spec::{By, Role};

/// Arguments, read.
pub(crate) type Args = Box<dyn Any>;

/// Reads arguments.
pub(crate) type ReadArgs = Box<dyn Fn(&Node) -> Result<Args, ArgError>>;

/// A component that can be named in a file.
pub(crate) struct Entry {
    pub(crate) role: Role,
    /// Its inputs: one, or a left and a right one.
    pub(crate) takes: Vec<Takes>,
    /// Whether it says itself how tuples find its tasks.
    pub(crate) places: bool,
    pub(crate) emits: Option<Of>,
    pub(crate) outputs: Vec<Declared>,
    pub(crate) letters: Option<Letters>,
    /// The key it goes by, unless the file names one.
    pub(crate) key: Option<String>,
    pub(crate) read: ReadArgs,
    pub(crate) attach: Attach,
    /// Says the event time of what a spout emits.
    pub(crate) say_time: Option<SayTime>,
    pub(crate) is_in_the_box: bool,
}

/// Says event time, by a registered function, of a spout's stream.
pub(crate) type SayTime = fn(&Function, &dyn AnyStream, egret::EventTime) -> egret::Result<()>;

/// An input.
#[derive(Debug, Clone)]
pub(crate) struct Takes {
    /// `left` or `right`, where there are two.
    pub(crate) side: Option<&'static str>,
    pub(crate) of: TakesOf,
    /// The type of its keys, if state is kept per key.
    pub(crate) keyed: Option<Of>,
}

/// What tuples it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TakesOf {
    One(Of),
    /// Any of which it is known how they are put out.
    Any,
}

/// Declares an output on the stream of its component.
pub(crate) type Declare = Box<dyn Fn(&dyn AnyStream) -> egret::Result<()>>;

/// Takes an output from the stream of its component.
pub(crate) type Take = Box<dyn Fn(&dyn AnyStream) -> egret::Result<Box<dyn AnyStream>>>;

/// A named output.
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) of: Of,
    pub(crate) declare: Declare,
    pub(crate) take: Take,
}

/// The dead letters of a bolt.
pub(crate) struct Letters {
    pub(crate) of: Of,
    pub(crate) take: fn(&dyn AnyStream) -> egret::Result<Box<dyn AnyStream>>,
}

/// How it is put into a topology.
pub(crate) enum Attach {
    #[expect(clippy::type_complexity, reason = "it is said once")]
    Spout(Box<dyn Fn(&mut TopologyBuilder, At<'_>, Args) -> egret::Result<Box<dyn AnyStream>>>),
    #[expect(clippy::type_complexity, reason = "it is said once")]
    Bolt(Box<dyn Fn(&Inputs<'_>, At<'_>, Args) -> egret::Result<Box<dyn AnyStream>>>),
    #[expect(clippy::type_complexity, reason = "it is said once")]
    Sink(Box<dyn Fn(&Inputs<'_>, At<'_>, Args) -> egret::Result<()>>),
}

/// What a component is called, and its tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) name: &'a str,
    pub(crate) parallelism: u32,
}

/// What a component is attached to.
pub(crate) struct Inputs<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) inputs: Vec<Wired<'a>>,
}

/// One stream, and how it is grouped.
pub(crate) struct Wired<'a> {
    pub(crate) side: Option<&'a str>,
    pub(crate) stream: Box<dyn AnyStream>,
    pub(crate) of: Of,
    pub(crate) by: By,
    pub(crate) with: Option<&'a str>,
}

/// Finds the key of a tuple; which way is not known when a bolt is compiled.
pub(crate) struct AnyKey<T, K: ?Sized>(Arc<FindKey<T, K>>);

type FindKey<T, K> = dyn Fn(&T, &mut dyn FnMut(&K)) + Send + Sync;

impl<T, K: ?Sized> Clone for AnyKey<T, K> {
    fn clone(&self) -> Self {
        AnyKey(Arc::clone(&self.0))
    }
}

impl<T: 'static, K: Key + ?Sized + 'static> KeyFn<T> for AnyKey<T, K> {
    type Key = K;

    fn with<R>(&self, tuple: &T, f: impl FnOnce(&K) -> R) -> R {
        let (mut f, mut out) = (Some(f), None);
        (self.0)(tuple, &mut |key| out = f.take().map(|f| f(key)));
        out.expect("a key is found once for each tuple")
    }
}

/// A registered key.
pub(crate) struct KeyEntry {
    pub(crate) name: String,
    pub(crate) of: Of,
    pub(crate) key: Of,
    /// An [`AnyKey`].
    find: Box<dyn Any>,
    fields: Box<dyn Any>,
    partial: Box<dyn Any>,
}

impl KeyEntry {
    pub(crate) fn borrowed<T, K, F>(name: &str, key: F) -> KeyEntry
    where
        T: Tuple,
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        let (of, partly) = (key.clone(), key.clone());
        let find = key.clone();
        let fields: GroupBy<T> = Box::new(move |s| s.fields(of.clone()).without_key());
        let partial: GroupBy<T> = Box::new(move |s| s.partial_key(partly.clone()));
        KeyEntry {
            name: name.to_owned(),
            of: Of::named::<T>(),
            key: Of::named::<K>(),
            find: Box::new(AnyKey::<T, K>(Arc::new(move |tuple, f| f(find(tuple))))),
            fields: Box::new(fields),
            partial: Box::new(partial),
        }
    }

    pub(crate) fn computed<T, K, F>(name: &str, key: F) -> KeyEntry
    where
        T: Tuple,
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        let (of, partly) = (key.clone(), key.clone());
        let find = key.clone();
        let fields: GroupBy<T> = Box::new(move |s| s.fields_by(of.clone()).without_key());
        let partial: GroupBy<T> = Box::new(move |s| s.partial_key_by(partly.clone()));
        KeyEntry {
            name: name.to_owned(),
            of: Of::named::<T>(),
            key: Of::named::<K>(),
            find: Box::new(AnyKey::<T, K>(Arc::new(move |tuple, f| f(&find(tuple))))),
            fields: Box::new(fields),
            partial: Box::new(partial),
        }
    }
}

/// A registered function of one type: the task of a tuple, its event time, or a grouping.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) of: Of,
    pub(crate) function: Box<dyn Any>,
}

/// What was checked, and is not so: a fault of this crate.
fn lost(what: &str, name: Option<&str>) -> egret::Error {
    egret::Error::Usage(format!("there is no {what} `{}`", name.unwrap_or_default()))
}

impl Inputs<'_> {
    fn of_side<'a>(&'a self, side: Option<&'a str>) -> impl Iterator<Item = &'a Wired<'a>> {
        self.inputs.iter().filter(move |wired| side.is_none() || wired.side == side)
    }

    /// All inputs of a side as one.
    pub(crate) fn grouped<T: Tuple>(&self, side: Option<&str>) -> egret::Result<Grouped<T>> {
        let mut all: Option<Grouped<T>> = None;
        for wired in self.of_side(side) {
            let one = self.grouped_one::<T>(wired)?;
            all = Some(match all {
                None => one,
                Some(all) => all.union(one)?,
            });
        }
        all.ok_or_else(|| lost("input", side))
    }

    fn grouped_one<T: Tuple>(&self, wired: &Wired<'_>) -> egret::Result<Grouped<T>> {
        let stream = typed::<T>(&*wired.stream)?;
        let key = || {
            let key = wired.with.and_then(|name| self.registry.key_of(wired.of, name));
            key.ok_or_else(|| lost("key", wired.with))
        };
        let by = |by: &Box<dyn Any>| {
            let by = by.downcast_ref::<GroupBy<T>>().map(|by| by(stream));
            by.ok_or_else(|| lost("grouping", wired.with))
        };
        let function = |all| {
            let found = wired.with.and_then(|name| Registry::function_of(all, wired.of, name));
            found.ok_or_else(|| lost("function", wired.with))
        };
        Ok(match wired.by {
            By::Shuffle => stream.shuffle(),
            By::Rebalance => stream.rebalance(),
            By::All => stream.all(),
            By::Global => stream.global(),
            By::LocalOrShuffle => stream.local_or_shuffle(),
            By::Fields => by(&key()?.fields)?,
            By::PartialKey => by(&key()?.partial)?,
            By::Direct => by(&function(&self.registry.tasks)?.function)?,
            By::Custom => by(&function(&self.registry.groupings)?.function)?,
        })
    }

    /// All inputs of a side as one stream, with no grouping yet, for what groups itself.
    pub(crate) fn stream<T: Tuple>(&self, side: Option<&str>) -> egret::Result<Stream<T>> {
        let mut all: Option<Stream<T>> = None;
        for wired in self.of_side(side) {
            let one = typed::<T>(&*wired.stream)?;
            all = Some(match all {
                None => one.clone(),
                Some(all) => all.union(one)?,
            });
        }
        all.ok_or_else(|| lost("input", side))
    }

    /// The same, with its key. All inputs of it have one.
    pub(crate) fn keyed<T, K>(&self, side: Option<&str>) -> egret::Result<(Stream<T>, AnyKey<T, K>)>
    where
        T: Tuple,
        K: Key + ?Sized + 'static,
    {
        let with = self.of_side(side).find_map(|wired| wired.with);
        let entry = with.and_then(|name| self.registry.key_of(Of::named::<T>(), name));
        let key = entry.and_then(|entry| entry.find.downcast_ref::<AnyKey<T, K>>());
        let key = key.ok_or_else(|| lost("key", with))?;
        Ok((self.stream(side)?, key.clone()))
    }

    /// Two inputs as one.
    pub(crate) fn joined<L: Tuple, R: Tuple>(&self) -> egret::Result<Grouped<Either<L, R>>> {
        self.grouped::<L>(Some(LEFT))?.join(self.grouped::<R>(Some(RIGHT))?)
    }

    /// The type and stream of the only input, where any is taken.
    pub(crate) fn any(&self) -> Option<(TypeId, Of)> {
        self.inputs.first().map(|wired| (wired.of.id, wired.of))
    }
}

/// The sides of what takes two inputs.
pub(crate) const LEFT: &str = "left";
pub(crate) const RIGHT: &str = "right";
