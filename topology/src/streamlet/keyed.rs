//! Streamlets by a key, and the steps that need one.

use std::fmt;

use super::dedup::{Dedup, Within};
use super::fold::Fold;
use super::join::Joined;
use super::unkeyed::Streamlet;
use super::upstream::Whole;
use super::windowed::WindowedStreamlet;
use super::wiring::{Called, Place, Wiring};
use crate::builder::{KeyFn, KeyedStream, Stream, short_type};
use crate::component::{KeyedBolt, TimeToLive};
use crate::window::{Aggregate, Count, Kept, Windows, length_ms, reduce};
use crate::{Result, Tuple};
use egret_state::keyed::InMemory;

/// A key by itself.
pub(super) type OwnedKey<T, F> = <<F as KeyFn<T>>::Key as ToOwned>::Owned;

/// Tuples of one type by a key: those of one key meet at one task, which keeps state for it. See the [module](super).
///
/// What is kept is part of the commits, is there after any failure, and goes with its key when tasks become more or
/// fewer.
#[must_use = "nothing of it runs until it ends in a sink, or is made a stream"]
pub struct KeyedStreamlet<T, F> {
    up: Whole<T>,
    pub(super) key: F,
    lives: Option<TimeToLive>,
}

impl<T, F: Clone> Clone for KeyedStreamlet<T, F> {
    fn clone(&self) -> Self {
        KeyedStreamlet { up: self.up.clone(), key: self.key.clone(), lives: self.lives }
    }
}

impl<T, F: fmt::Debug> fmt::Debug for KeyedStreamlet<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} keyed by {:?}", self.up, self.key)
    }
}

impl<T: Tuple, F: KeyFn<T>> KeyedStreamlet<T, F> {
    pub(super) fn new(up: Whole<T>, key: F) -> KeyedStreamlet<T, F> {
        KeyedStreamlet { up, key, lives: None }
    }

    /// The stream of it, by the key.
    pub(super) fn keyed(&self, stream: &Stream<T>) -> KeyedStream<T, F> {
        KeyedStream::new(stream, self.key.clone())
    }

    pub(super) fn stream(&self) -> Result<Stream<T>> {
        self.up.stream_by_key()
    }

    pub(super) fn tasks(&self) -> Option<u32> {
        self.up.tasks()
    }

    /// A component that takes it.
    fn step<O: Tuple>(
        self,
        word: &'static str,
        attach: impl FnOnce(KeyedStream<T, F>, &Place) -> Result<Stream<O>> + 'static,
    ) -> Streamlet<O> {
        Streamlet::of(Wiring::component(move |said| {
            let stream = self.stream()?;
            let place = said.place(&stream, Called::stateful(word), self.tasks())?;
            attach(self.keyed(&stream), &place)
        }))
    }

    /// How long a key is kept for which nothing happens, in what comes next of
    /// [`aggregate_by_key`](Self::aggregate_by_key) and its like, and of [`dedup`](Self::dedup). For ever, if not said. What
    /// comes after that begins anew.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::TimeToLive;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let day = TimeToLive::processing(Duration::from_secs(24 * 3600));
    /// lines.key_by(|line| line.clone()).time_to_live(day).count_by_key().to_stream("counts")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn time_to_live(self, lives: TimeToLive) -> Self {
        KeyedStreamlet { lives: Some(lives), ..self }
    }

    /// How many tuples came of each key: told for every key that got one, once a commit, with all there were so far.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let words = t.streamlet("words", 1, LogSpout::<String>::from_stream("words"))?;
    /// words.key_by(|word| word.clone()).count_by_key().named("count").to_stream("counts")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn count_by_key(self) -> Streamlet<(OwnedKey<T, F>, u64)>
    where
        OwnedKey<T, F>: Tuple,
    {
        self.fold("count", Count)
    }

    /// One tuple of all of a key: `of` adds the second to the first. Told for every key that got one, once a commit.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let sums = lines
    ///     .map(|line| (line.len() as u64, 1u64))
    ///     .key_by(|(length, _)| *length)
    ///     .reduce_by_key(|sum, one| sum.1 += one.1)
    ///     .named("sums");
    /// sums.map(|(length, (_, n))| format!("{n} of {length}")).to_stream("sums")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn reduce_by_key<M>(self, of: M) -> Streamlet<(OwnedKey<T, F>, T)>
    where
        T: Kept,
        M: Fn(&mut T, &T) + Clone + Send + Sync + 'static,
        OwnedKey<T, F>: Tuple,
    {
        self.fold("reduce", reduce(of))
    }

    /// An [`Aggregate`] of all tuples of a key: [`sum`](crate::window::sum), [`max`](crate::window::max), two at once, your
    /// own. Told for every key that got one, once a commit.
    ///
    /// ```
    /// use egret::window::{Count, max};
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let stats = lines
    ///     .key_by(|line| line.split(' ').next().unwrap_or_default().to_owned())
    ///     .aggregate_by_key((Count, max(|line: &String| line.len() as u64)));
    /// stats.map(|(who, (n, longest))| format!("{who}: {n}, {longest}")).to_stream("stats")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn aggregate_by_key<A>(self, aggregate: A) -> Streamlet<(OwnedKey<T, F>, A::Out)>
    where
        A: Aggregate<T>,
        A::Out: Tuple,
        OwnedKey<T, F>: Tuple,
    {
        self.fold("aggregate", aggregate)
    }

    fn fold<A>(self, word: &'static str, aggregate: A) -> Streamlet<(OwnedKey<T, F>, A::Out)>
    where
        A: Aggregate<T>,
        A::Out: Tuple,
        OwnedKey<T, F>: Tuple,
    {
        let lives = self.lives;
        self.step(word, move |stream, place| {
            let text = short_type::<A>();
            stream.windowed(place.of(), InMemory, text, move || Fold {
                aggregate: aggregate.clone(),
                lives,
            })
        })
    }

    /// Cuts the tuples of each key into windows; see [`WindowedStreamlet`].
    pub fn window(self, windows: impl Windows + 'static) -> WindowedStreamlet<T, F> {
        let KeyedStreamlet { up, key, lives } = self;
        WindowedStreamlet::of_all(up, move |stream: &Stream<T>| {
            let windowed = KeyedStream::new(stream, key).window(windows);
            match lives {
                Some(lives) => windowed.time_to_live(lives),
                None => windowed,
            }
        })
    }

    /// The first tuple of each key. A key that came is remembered for ever, or [as long as
    /// said](Self::time_to_live).
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let orders = t.streamlet("orders", 1, LogSpout::<String>::from_stream("orders"))?;
    /// orders.key_by(|order| order.clone()).dedup().named("once").to_stream("once")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn dedup(self) -> Streamlet<T> {
        self.deduped(Within::Ever)
    }

    /// The tuples of each key of which none went through before that is less than `within` away, by the time that
    /// `time_of` says. What the watermark has passed is late: it is counted and dropped. A key is remembered until
    /// nothing can come any more that it would keep back.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # fn ms(line: &str) -> i64 { line.len() as i64 }
    /// # let orders = t.spout("orders", 1, LogSpout::<String>::from_stream("orders"))?;
    /// let orders = orders.event_time(|order| ms(order))?.streamlet();
    /// let hour = Duration::from_secs(3600);
    /// let once = orders.key_by(|order| order.clone()).dedup_within(hour, |order| ms(order));
    /// once.to_stream("once")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn dedup_within<M>(self, within: std::time::Duration, time_of: M) -> Streamlet<T>
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
    {
        self.deduped(Within::EventTime(length_ms(within), std::sync::Arc::new(time_of)))
    }

    /// The same by the clock: after one that went through, others of its key are dropped for so long. A commit that is
    /// repeated after a failure has another time.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let alarms = t.streamlet("alarms", 1, LogSpout::<String>::from_stream("alarms"))?;
    /// let once = alarms.key_by(|alarm| alarm.clone()).dedup_for(Duration::from_secs(60));
    /// once.named("once-a-minute").to_stream("told")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn dedup_for(self, within: std::time::Duration) -> Streamlet<T> {
        self.deduped(Within::Clock(length_ms(within)))
    }

    fn deduped(self, within: Within<T>) -> Streamlet<T> {
        let lives = self.lives;
        self.step("dedup", move |stream, place| {
            within.check(&place.name)?;
            let (text, by_event_time) = (within.text(), within.is_by_event_time());
            let deduped = stream
                .windowed(place.of(), InMemory, text, move || Dedup::new(within.clone(), lives))?;
            if by_event_time {
                deduped.goes_by_event_time();
            }
            Ok(deduped)
        })
    }

    /// What a [`KeyedBolt`] makes of the tuples: with state for each key, timers, and the time it is. `factory` makes
    /// one for each task.
    ///
    /// ```
    /// use egret::{ComponentResult, Context, Emitter, KeyedBolt, Timer};
    /// # use egret::{LogSpout, TopologyBuilder};
    ///
    /// /// Tells who said nothing for a minute.
    /// struct Silent;
    /// impl KeyedBolt<String, String, String> for Silent {
    ///     type State = i64;
    ///     fn execute(
    ///         &mut self,
    ///         _: &String,
    ///         due: &mut i64,
    ///         _: String,
    ///         _: &mut Emitter<String>,
    ///         cx: &Context,
    ///     ) -> ComponentResult {
    ///         cx.timers().cancel(Timer::processing(*due))?;
    ///         *due = cx.processing_time() + 60_000;
    ///         Ok(cx.timers().set(Timer::processing(*due))?)
    ///     }
    ///     fn on_timer(
    ///         &mut self,
    ///         who: &String,
    ///         _: &mut i64,
    ///         _: Timer,
    ///         out: &mut Emitter<String>,
    ///         cx: &Context,
    ///     ) -> ComponentResult {
    ///         out.emit(who.clone());
    ///         Ok(cx.forget_key()?)
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let names = t.streamlet("names", 1, LogSpout::<String>::from_stream("names"))?;
    /// names.key_by(|name| name.clone()).process(|| Silent).named("silent").to_stream("silent")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn process<O, B, M>(self, factory: M) -> Streamlet<O>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, T, O>,
        M: Fn() -> B + Send + Sync + 'static,
    {
        self.step("process", move |stream, place| stream.keyed(&place.name, place.tasks, factory))
    }

    /// This and another, of any type and with keys of the same type: what meets is said next. See [`Joined`].
    pub fn join<U, G>(self, other: KeyedStreamlet<U, G>) -> Joined<T, F, U, G>
    where
        U: Tuple,
        G: KeyFn<U, Key = F::Key>,
    {
        Joined::new(self, other)
    }
}
