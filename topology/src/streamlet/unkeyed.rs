//! Streamlets, and the steps that need no key.

use std::fmt;
use std::marker::PhantomData;

use egret_state::keyed::Key;

use super::keyed::KeyedStreamlet;
use super::steps::{
    Filter, FilterMap, FlatMap, Inspect, Map, Then, Transformer, Transforms, TryMap,
};
use super::upstream::{Chain, Upstream, Whole};
use super::windowed::WindowedStreamlet;
use super::wiring::{Called, Wiring, Word};
use crate::builder::{ComputedKey, KeyField, OneKey, SpoutSource, Stream, TopologyBuilder};
use crate::component::{Bolt, ComponentResult, StatefulBolt};
use crate::window::Windows;
use crate::{Result, Tuple};

/// Tuples of one type, and what is to be made of them, step after step; see the [module](super).
///
/// A step is wired when something takes what it gives: by [`to_sink`](Self::to_sink) and the like, which tell what is wrong
/// with any step before. What a step is called and how many tasks it has is said right after it.
///
/// A `Streamlet<T>` can be cloned: several then take the same tuples. One with steps that are not a component yet cannot;
/// [`shared`](Self::shared) makes one that can.
#[must_use = "nothing of it runs until it ends in a sink, or is made a stream"]
pub struct Streamlet<T, U = Whole<T>> {
    pub(super) up: U,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Streamlet<T> {
    fn clone(&self) -> Self {
        Streamlet { up: self.up.clone(), of: PhantomData }
    }
}

impl<T, U: fmt::Debug> fmt::Debug for Streamlet<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streamlet<{}> of {:?}", crate::builder::short_type::<T>(), self.up)
    }
}

impl<T: Tuple> Stream<T> {
    /// The stream as a [`Streamlet`].
    pub fn streamlet(&self) -> Streamlet<T> {
        let stream = self.clone();
        Streamlet::of(Wiring::of_others(move || Ok(stream)))
    }
}

impl<T: Tuple> From<Stream<T>> for Streamlet<T> {
    fn from(stream: Stream<T>) -> Streamlet<T> {
        stream.streamlet()
    }
}

impl TopologyBuilder {
    /// Adds a spout, as [`spout`](TopologyBuilder::spout) does, and gives its stream as a [`Streamlet`]. What replays
    /// and what does not is known of every source: one that cannot is refused where the guarantee needs it to.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// let mut t = TopologyBuilder::new("copy");
    /// let lines = t.streamlet("lines", 2, LogSpout::<String>::from_stream("lines"))?;
    /// lines.to_stream("copies")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for a spout.
    pub fn streamlet<T, S>(
        &mut self,
        name: &str,
        parallelism: u32,
        source: S,
    ) -> Result<Streamlet<T>>
    where
        T: Tuple,
        S: SpoutSource<T>,
    {
        self.spout(name, parallelism, source).map(Streamlet::from)
    }
}

impl<T: Tuple> Streamlet<T> {
    pub(super) fn of(wiring: Wiring<Stream<T>>) -> Streamlet<T> {
        Streamlet::from_whole(Whole::new(wiring))
    }

    pub(super) fn from_whole(up: Whole<T>) -> Streamlet<T> {
        Streamlet { up, of: PhantomData }
    }
}

/// A streamlet with one step more.
type With<U, S> = Chain<<U as Upstream>::Base, Then<<U as Upstream>::Steps, S>>;

impl<T: 'static, U: Upstream<Out = T>> Streamlet<T, U> {
    /// Says what the component of the step before this is called. The name is its identity: what it keeps is found
    /// under it when the topology is started anew, and steps that have none of their own are named after it.
    pub fn named(mut self, name: &str) -> Self {
        self.up.say(Word::Name(name.to_owned()));
        self
    }

    /// Says how many tasks the component of the step before this has: otherwise as many as the one before. Tuples are
    /// dealt out to all of them, batch by batch.
    pub fn parallelism(mut self, tasks: u32) -> Self {
        self.up.say(Word::Tasks(tasks));
        self
    }

    pub(super) fn then<B, S>(self, step: S) -> Streamlet<B, With<U, S>>
    where
        Then<U::Steps, S>: super::steps::Steps<U::Base, Out = B>,
    {
        let Chain { up, steps, said } = self.up.chain();
        Streamlet { up: Chain { up, steps: Then(steps, step), said }, of: PhantomData }
    }

    /// One tuple of each.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let upper = lines.map(|line| line.to_uppercase()).named("upper").parallelism(2);
    /// upper.to_stream("upper")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// What is between steps of one component may be of any type; only what goes to another component has to be a
    /// [`Tuple`]. A closure may keep something, which every task has for itself and loses with it.
    pub fn map<B: 'static, F>(self, f: F) -> Streamlet<B, With<U, Map<F>>>
    where
        F: FnMut(T) -> B + Clone + Send + Sync + 'static,
    {
        self.then(Map(f))
    }

    /// One tuple of each, or an error: what becomes of the tuple then is said with
    /// [`on_error`](crate::Stream::on_error) of the [stream](Self::stream).
    ///
    /// ```
    /// use egret::{OnError, Stream, DeadLetter};
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let numbers = lines.try_map(|line| Ok(line.parse::<u64>()?)).named("parse").stream()?;
    /// let numbers = numbers.on_error(OnError::DeadLetter)?;
    /// let wrong: Stream<DeadLetter<String>> = numbers.dead_letters()?;
    /// wrong.streamlet().to_stream("wrong")?;
    /// numbers.streamlet().map(|n| (2 * n).to_string()).to_stream("doubles")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn try_map<B: 'static, F>(self, f: F) -> Streamlet<B, With<U, TryMap<F>>>
    where
        F: FnMut(T) -> ComponentResult<B> + Clone + Send + Sync + 'static,
    {
        self.then(TryMap(f))
    }

    /// Any number of tuples of each.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let words = lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    /// words.to_stream("words")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn flat_map<I, F>(self, f: F) -> Streamlet<I::Item, With<U, FlatMap<F>>>
    where
        I: IntoIterator<Item: 'static> + 'static,
        F: FnMut(T) -> I + Clone + Send + Sync + 'static,
    {
        self.then(FlatMap(f))
    }

    /// The tuples that `f` says yes to.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.filter(|line| !line.is_empty()).to_stream("full")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn filter<F>(self, f: F) -> Streamlet<T, With<U, Filter<F>>>
    where
        F: FnMut(&T) -> bool + Clone + Send + Sync + 'static,
    {
        self.then(Filter(f))
    }

    /// One tuple of each for which there is one.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let numbers = lines.filter_map(|line| line.parse::<i64>().ok());
    /// numbers.map(|n| n.to_string()).to_stream("numbers")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn filter_map<B: 'static, F>(self, f: F) -> Streamlet<B, With<U, FilterMap<F>>>
    where
        F: FnMut(T) -> Option<B> + Clone + Send + Sync + 'static,
    {
        self.then(FilterMap(f))
    }

    /// The tuples as they are, once `f` saw them: more than once, where a commit is repeated after a failure.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.inspect(|line| eprintln!("{line}")).to_stream("copies")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn inspect<F>(self, f: F) -> Streamlet<T, With<U, Inspect<F>>>
    where
        F: FnMut(&T) + Clone + Send + Sync + 'static,
    {
        self.then(Inspect(f))
    }

    /// What a [`Transformer`] makes of each: one that is set up before the first tuple and cleaned up after the last.
    /// `make` makes one for each task.
    ///
    /// ```
    /// use egret::streamlet::Transformer;
    /// use egret::{ComponentResult, Context};
    /// # use egret::{LogSpout, TopologyBuilder};
    ///
    /// #[derive(Default)]
    /// struct Tagged(String);
    /// impl Transformer<String, String> for Tagged {
    ///     fn setup(&mut self, cx: &Context) -> ComponentResult {
    ///         self.0 = cx.id().to_string();
    ///         Ok(())
    ///     }
    ///     fn transform(&mut self, line: String, out: &mut dyn FnMut(String)) -> ComponentResult {
    ///         out(format!("{}: {line}", self.0));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.transform(Tagged::default).to_stream("tagged")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn transform<B, X, M>(self, make: M) -> Streamlet<B, With<U, Transforms<M, T, B>>>
    where
        T: 'static,
        B: 'static,
        X: Transformer<T, B>,
        M: Fn() -> X + Clone + Send + Sync + 'static,
    {
        self.then(Transforms::new(make))
    }
}

/// What needs tuples that can go to another component.
impl<T: Tuple, U: Upstream<Out = T>> Streamlet<T, U> {
    /// The same, of steps that are a component of their own: what comes next is another one, and several may take what
    /// this gives.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let words = lines.filter(|line| !line.is_empty()).named("full").shared();
    /// words.clone().key_by(|word| word.clone()).count_by_key().to_stream("counts")?;
    /// words.to_stream("words")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn shared(self) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole())
    }

    /// Wires the steps so far: what they give as a [`Stream`], to which everything can be attached, and of whose
    /// component everything can be said.
    ///
    /// # Errors
    /// [`BuildError`](crate::BuildError) for whatever is wrong with any step so far.
    pub fn stream(self) -> Result<Stream<T>> {
        self.up.whole().stream()
    }

    /// By a key computed from the tuple: equal keys meet at one task.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let counts = lines.key_by(|line| line.len() as u64).count_by_key().named("counts");
    /// counts.map(|(length, n)| format!("{n} lines of {length}")).to_stream("counts")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn key_by<K, F>(self, key: F) -> KeyedStreamlet<T, ComputedKey<T, K, F>>
    where
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStreamlet::new(self.up.whole(), ComputedKey::new(key))
    }

    /// By a key inside the tuple, which is not copied for that.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let words = t.streamlet("words", 1, LogSpout::<String>::from_stream("words"))?;
    /// words.key_by_ref(|word| word.as_str()).count_by_key().to_stream("counts")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn key_by_ref<K, F>(self, key: F) -> KeyedStreamlet<T, KeyField<T, K, F>>
    where
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        KeyedStreamlet::new(self.up.whole(), KeyField::new(key))
    }

    /// Cuts all tuples into windows, without a key: they meet at one task. See
    /// [`Stream::window_all`](crate::Stream::window_all).
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::window::CountTumbling;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let longest = lines.window_all(CountTumbling(100)).reduce_by_key(|longest, line| {
    ///     if line.len() > longest.len() {
    ///         line.clone_into(longest);
    ///     }
    /// });
    /// longest.map(|told| told.value).to_stream("longest")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn window_all(self, windows: impl Windows + 'static) -> WindowedStreamlet<T, OneKey<T>> {
        WindowedStreamlet::of_all_as_one(self.up.whole(), move |stream: &Stream<T>| {
            stream.window_all(windows)
        })
    }

    /// What a bolt makes of the tuples; `factory` makes one for each task.
    ///
    /// ```
    /// use egret::{Bolt, ComponentResult, Context, Emitter};
    /// # use egret::{LogSpout, TopologyBuilder};
    ///
    /// struct Twice;
    /// impl Bolt<String, String> for Twice {
    ///     fn execute(&mut self, line: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
    ///         out.emit(line.clone());
    ///         out.emit(line);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.apply(|| Twice).named("twice").to_stream("twice")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn apply<O, B, F>(self, factory: F) -> Streamlet<O>
    where
        O: Tuple,
        B: Bolt<T, O>,
        F: Fn() -> B + Send + Sync + 'static,
    {
        let up = self.up.whole();
        Streamlet::of(Wiring::component(move |said| {
            let (place, grouped) = up.lead(said, Called::plain("apply"))?;
            grouped.bolt(&place.name, place.tasks, factory)
        }))
    }

    /// What a bolt with state per task makes of the tuples: that state is part of the commits, and
    /// [rescales](crate::Rescale) as the bolt says.
    ///
    /// ```
    /// use egret::{ComponentResult, Context, Emitter, StatefulBolt};
    /// # use egret::{LogSpout, Rescale, TopologyBuilder};
    ///
    /// /// Lets every tenth line through.
    /// struct Tenth;
    /// impl StatefulBolt<String, String> for Tenth {
    ///     type State = u64;
    ///     fn execute(
    ///         &mut self,
    ///         n: &mut u64,
    ///         line: String,
    ///         out: &mut Emitter<String>,
    ///         _: &Context,
    ///     ) -> ComponentResult {
    ///         *n += 1;
    ///         if *n % 10 == 0 {
    ///             out.emit(line);
    ///         }
    ///         Ok(())
    ///     }
    /// #   fn rescale(&self) -> Rescale<u64> {
    /// #       Rescale::Merge(|n, more| *n += more)
    /// #   }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.apply_stateful(|| Tenth).named("tenth").to_stream("some")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn apply_stateful<O, B, F>(self, factory: F) -> Streamlet<O>
    where
        O: Tuple,
        B: StatefulBolt<T, O>,
        F: Fn() -> B + Send + Sync + 'static,
    {
        let up = self.up.whole();
        Streamlet::of(Wiring::component(move |said| {
            let (place, grouped) = up.lead(said, Called::stateful("apply"))?;
            grouped.stateful(&place.name, place.tasks, factory)
        }))
    }
}
