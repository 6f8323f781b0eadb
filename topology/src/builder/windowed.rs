//! Keyed streams cut into windows, and the bolts that can be attached to them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use egret_state::keyed::{InMemory, Storage};

use super::keyed::{ComputedKey, KeyFn, KeyedStream};
use super::stream::Stream;
use super::{BuildError, short_type};
use crate::component::{Clock, TimeToLive, WindowBolt};
use crate::window::{
    Aggregate, Assign, AtEnd, By, Contents, Count, Evictor, Firing, GoBy, Incremental, Kept,
    Machine, Reduce, Shape, Trigger, Whole, WindowError, Windowed, Windows, length_ms, reduce,
};
use crate::{Either, Result, TimeOf, Tuple};

/// What becomes of what is late: see [`WindowedStream::late_stream`].
pub trait LateMode: sealed::Sealed + 'static {
    /// What attaching a bolt gives: the stream of results, and where there is one, that of what was late.
    type Streams<O: Tuple, T: Tuple>;
    #[doc(hidden)]
    type Told<O: Tuple, T: Tuple>: Tuple;
    #[doc(hidden)]
    fn told<O: Tuple, T: Tuple>(result: O) -> Self::Told<O, T>;
    #[doc(hidden)]
    fn late<O: Tuple, T: Tuple>(late: T) -> Option<Self::Told<O, T>>;
    #[doc(hidden)]
    fn streams<O: Tuple, T: Tuple>(told: Stream<Self::Told<O, T>>) -> Self::Streams<O, T>;
}

/// What is late is counted and dropped.
#[derive(Debug, Clone, Copy)]
pub struct Dropped;

/// What is late is counted and goes to a stream of its own.
#[derive(Debug, Clone, Copy)]
pub struct ToStream;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Dropped {}
    impl Sealed for super::ToStream {}
}

impl LateMode for Dropped {
    type Streams<O: Tuple, T: Tuple> = Stream<O>;
    type Told<O: Tuple, T: Tuple> = O;
    fn told<O: Tuple, T: Tuple>(result: O) -> O {
        result
    }
    fn late<O: Tuple, T: Tuple>(_: T) -> Option<O> {
        None
    }
    fn streams<O: Tuple, T: Tuple>(told: Stream<O>) -> Stream<O> {
        told
    }
}

impl LateMode for ToStream {
    type Streams<O: Tuple, T: Tuple> = (Stream<O>, Stream<T>);
    type Told<O: Tuple, T: Tuple> = Either<O, T>;
    fn told<O: Tuple, T: Tuple>(result: O) -> Either<O, T> {
        Either::Left(result)
    }
    fn late<O: Tuple, T: Tuple>(late: T) -> Option<Either<O, T>> {
        Some(Either::Right(late))
    }
    fn streams<O: Tuple, T: Tuple>(told: Stream<Either<O, T>>) -> (Stream<O>, Stream<T>) {
        told.split()
    }
}

/// Tuples of a key, cut into windows. Say what the windows go by and when they are told of; then attach what is made
/// of them.
///
/// # Late tuples
///
/// A tuple is late when the watermark has passed the end of every window it is in, and
/// [lateness](Self::allowed_lateness) is over. Each one is counted in
/// [`Progress::late_tuples`](crate::Progress::late_tuples); [`late_stream`](Self::late_stream) gives them a stream
/// as well. A tuple for which only some of its windows are over counts in the others.
pub struct WindowedStream<T, F, G = AtEnd, L = Dropped, S = InMemory> {
    stream: KeyedStream<T, F>,
    shape: std::result::Result<Shape, WindowError>,
    clock: Clock<T>,
    lateness: Duration,
    discards: bool,
    trigger: G,
    evictor: Option<Arc<dyn Evictor<T>>>,
    storage: S,
    time_to_live: Option<TimeToLive>,
    /// All tuples have one key.
    is_one: bool,
    late: PhantomData<L>,
}

impl<T, F, G, L, S> std::fmt::Debug for WindowedStream<T, F, G, L, S>
where
    KeyedStream<T, F>: std::fmt::Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shape = self.shape.as_ref().map_or_else(ToString::to_string, |s| s.text.clone());
        write!(f, "{:?} in {shape}", self.stream)
    }
}

impl<T: Tuple, F: KeyFn<T>> KeyedStream<T, F> {
    /// Cuts the tuples of each key into windows: [`Tumbling`](crate::window::Tumbling),
    /// [`Sliding`](crate::window::Sliding), [`Sessions`](crate::window::Sessions),
    /// [`Global`](crate::window::Global), [`CountTumbling`](crate::window::CountTumbling) or
    /// [`CountSliding`](crate::window::CountSliding). What is made of them is said next; see
    /// [`window`](crate::window).
    pub fn window(self, windows: impl Windows) -> WindowedStream<T, F> {
        WindowedStream {
            stream: self,
            shape: windows.shape(),
            clock: Clock::Nothing,
            lateness: Duration::ZERO,
            discards: false,
            trigger: AtEnd,
            evictor: None,
            storage: InMemory,
            time_to_live: None,
            is_one: false,
            late: PhantomData,
        }
    }
}

/// The key of what has none.
pub type OneKey<T> = ComputedKey<T, (), fn(&T)>;

impl<T: Tuple> Stream<T> {
    /// Cuts all tuples into windows, without a key. They meet at one task, which has to keep up with all of them:
    /// where an aggregate is made, let [`KeyedStream::window`] make it for some key first, and make one of those
    /// results here, which are few; they come in time for the same windows.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::window::{Count, Tumbling, Windowed, sum};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let time = |line: &String| line.len() as i64;
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?.event_time(time)?;
    /// let minute = Tumbling::of(Duration::from_secs(60));
    /// let by_length = lines.fields_by(|line| line.len() as u64 % 16).window(minute);
    /// let some = by_length.event_time(time).aggregate("some", 4, Count)?;
    /// let all = some
    ///     .window_all(minute)
    ///     .event_time(|n: &Windowed<u64, u64>| n.firing.window.start_ms)
    ///     .aggregate_with("all", 1, sum(|n: &Windowed<u64, u64>| n.value), |_, told, lines: u64| {
    ///         [format!("{}: {lines} lines", told.window)]
    ///     })?;
    /// # all.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn window_all(&self, windows: impl Windows) -> WindowedStream<T, OneKey<T>> {
        let one: fn(&T) = |_| ();
        let windowed = self.fields_by(one).window(windows);
        WindowedStream { is_one: true, ..windowed }
    }
}

impl<T: Tuple, F, G, L, S> WindowedStream<T, F, G, L, S> {
    /// The same with another trigger, another way with what is late, and another storage.
    fn with<H, M, R>(self, other: impl FnOnce(G, S) -> (H, R)) -> WindowedStream<T, F, H, M, R> {
        let (trigger, storage) = other(self.trigger, self.storage);
        WindowedStream {
            stream: self.stream,
            shape: self.shape,
            clock: self.clock,
            lateness: self.lateness,
            discards: self.discards,
            trigger,
            evictor: self.evictor,
            storage,
            time_to_live: self.time_to_live,
            is_one: self.is_one,
            late: PhantomData,
        }
    }

    /// Windows go by the time that tuples say, in ms, and by the watermark, which a spout has to give:
    /// [`Stream::event_time`]. Of [`Global`](crate::window::Global) windows it is the order of their tuples.
    #[must_use]
    pub fn event_time<M>(self, time_of: M) -> Self
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
    {
        WindowedStream { clock: Clock::Event(Arc::new(time_of)), ..self }
    }

    /// Windows go by the time it is when a tuple comes. Nothing is late then; but after a failure a tuple may come
    /// at another time, and be in another window.
    #[must_use]
    pub fn processing_time(self) -> Self {
        WindowedStream { clock: Clock::Processing, ..self }
    }

    /// Keeps windows for so long after their end, by event time: what comes in time for that is added, and the
    /// window is told of again when the commit closes, [`Late`](crate::window::Timing::Late). Without this a window
    /// is gone when it was told of.
    #[must_use]
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        WindowedStream { lateness, ..self }
    }

    /// Tells of windows before their end, too; one such as [`EveryTuples`](crate::window::EveryTuples),
    /// [`Every`](crate::window::Every), or your own.
    #[must_use]
    pub fn trigger<H: Trigger<T>>(self, trigger: H) -> WindowedStream<T, F, H, L, S> {
        self.with(|_, storage| (trigger, storage))
    }

    /// What was told of a window is let go of: each result is of the tuples since the one before, and not of all
    /// there were.
    #[must_use]
    pub fn discarding(self) -> Self {
        WindowedStream { discards: true, ..self }
    }

    /// Leaves out some of the first tuples of a window, for [`contents`](Self::contents).
    #[must_use]
    pub fn evict(self, evictor: impl Evictor<T>) -> Self {
        WindowedStream { evictor: Some(Arc::new(evictor)), ..self }
    }

    /// Late tuples get a stream: what is attached next gives two, results and late tuples.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use egret::window::{Count, Tumbling};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let time = |line: &String| line.len() as i64;
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?.event_time(time)?;
    /// let (counts, late) = lines
    ///     .fields(|line| line.as_str())
    ///     .window(Tumbling::of(Duration::from_secs(60)))
    ///     .event_time(time)
    ///     .late_stream()
    ///     .aggregate_with("counts", 2, Count, |line, _, n| [format!("{line} {n}")])?;
    /// late.sink("late", LogSink::to_stream("late"))?;
    /// # counts.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    #[must_use]
    pub fn late_stream(self) -> WindowedStream<T, F, G, ToStream, S> {
        self.with(|trigger, storage| (trigger, storage))
    }

    /// Says where state is while the bolt runs, as [`KeyedStream::keyed_with`] does.
    #[must_use]
    pub fn stored_in<R: Storage>(self, storage: R) -> WindowedStream<T, F, G, L, R> {
        self.with(|trigger, _| (trigger, storage))
    }

    /// Forgets a key for which nothing happened for so long, open windows and all. For windows by count, and those
    /// that never end; others are gone by themselves.
    #[must_use]
    pub fn time_to_live(self, lives: TimeToLive) -> Self {
        WindowedStream { time_to_live: Some(lives), ..self }
    }
}

/// A key by itself.
type OwnedKey<T, F> = <<F as KeyFn<T>>::Key as ToOwned>::Owned;

/// What attaching gives: results with their keys and windows, and where they have a stream, late tuples.
type Results<T, F, L, R> = <L as LateMode>::Streams<Windowed<OwnedKey<T, F>, R>, T>;

/// What can be attached. Each gives a [`Stream`] of results, or with [`late_stream`](Self::late_stream) that and
/// the stream of late tuples.
impl<T, F, G, L, S> WindowedStream<T, F, G, L, S>
where
    T: Tuple,
    F: KeyFn<T>,
    G: Trigger<T>,
    L: LateMode,
    S: Storage,
{
    /// An aggregate of each window, with its key and window.
    ///
    /// # Errors
    /// [`BuildError::Window`] for windows that cannot be, and as [`KeyedStream::keyed`].
    pub fn aggregate<A>(
        self,
        name: &str,
        parallelism: u32,
        aggregate: A,
    ) -> Result<Results<T, F, L, A::Out>>
    where
        A: Aggregate<T>,
        A::Out: Tuple,
        OwnedKey<T, F>: Tuple,
    {
        self.aggregate_with(name, parallelism, aggregate, |key: &F::Key, firing, value| {
            [Windowed { key: key.to_owned(), firing, value }]
        })
    }

    /// What `say` makes of an aggregate of each window; it is told the key, and which window and when.
    ///
    /// # Errors
    /// As [`aggregate`](Self::aggregate).
    pub fn aggregate_with<A, O, I, M>(
        self,
        name: &str,
        parallelism: u32,
        aggregate: A,
        say: M,
    ) -> Result<L::Streams<O, T>>
    where
        A: Aggregate<T>,
        O: Tuple,
        I: IntoIterator<Item = O> + 'static,
        M: Fn(&F::Key, Firing, A::Out) -> I + Clone + Send + Sync + 'static,
    {
        if self.evictor.is_some() {
            return refuse(name, WindowError::EvictsAggregate);
        }
        let detail = short_type::<A>();
        self.attach((name, parallelism), Incremental(aggregate), &detail, say)
    }

    /// How many tuples each window has.
    ///
    /// # Errors
    /// As [`aggregate`](Self::aggregate).
    pub fn count(self, name: &str, parallelism: u32) -> Result<Results<T, F, L, u64>>
    where
        OwnedKey<T, F>: Tuple,
    {
        self.aggregate(name, parallelism, Count)
    }

    /// One tuple of each window's: `of` adds the second to the first, and must be associative.
    ///
    /// # Errors
    /// As [`aggregate`](Self::aggregate).
    pub fn reduce<M>(self, name: &str, parallelism: u32, of: M) -> Result<Results<T, F, L, T>>
    where
        T: Kept,
        M: Fn(&mut T, &T) + Clone + Send + Sync + 'static,
        Reduce<T, M>: Aggregate<T, Out = T>,
        OwnedKey<T, F>: Tuple,
    {
        self.aggregate(name, parallelism, reduce(of))
    }

    /// What `say` makes of all tuples of each window, by the order of their times; of the same ms, as they came. Every
    /// tuple is kept, once, however many windows it is in.
    ///
    /// # Errors
    /// As [`aggregate`](Self::aggregate).
    pub fn contents<O, I, M>(self, name: &str, parallelism: u32, say: M) -> Result<L::Streams<O, T>>
    where
        O: Tuple,
        I: IntoIterator<Item = O> + 'static,
        M: Fn(&F::Key, Firing, Vec<T>) -> I + Clone + Send + Sync + 'static,
    {
        let contents = Whole::new(self.evictor.clone());
        self.attach((name, parallelism), contents, "all tuples", say)
    }

    fn attach<C, O, I, M>(
        self,
        (name, parallelism): (&str, u32),
        contents: C,
        detail: &str,
        say: M,
    ) -> Result<L::Streams<O, T>>
    where
        C: Contents<T>,
        O: Tuple,
        I: IntoIterator<Item = O> + 'static,
        M: Fn(&F::Key, Firing, C::Out) -> I + Clone + Send + Sync + 'static,
    {
        let (shape, by) = match self.check(parallelism) {
            Ok(checked) => checked,
            Err(why) => return refuse(name, why),
        };
        let mut text = format!("{}: {detail}", shape.text);
        if self.lateness > Duration::ZERO {
            text.push_str(&format!(", {} ms late at most", length_ms(self.lateness)));
        }
        let machine = Machine {
            assign: shape.assign,
            by,
            contents,
            trigger: self.trigger,
            lateness: length_ms(self.lateness),
            discards: self.discards,
        };
        let (clock, time_to_live) = (self.clock, self.time_to_live);
        let needs_watermark = shape.by == GoBy::Time && by == By::Time(TimeOf::Event);
        let factory = move || {
            let say = say.clone();
            WindowBolt {
                machine: machine.clone(),
                clock: clock.clone(),
                say: move |key: &F::Key, firing: Firing, out: C::Out| {
                    say(key, firing, out).into_iter().map(L::told::<O, T> as fn(O) -> _)
                },
                late: L::late::<O, T>,
                time_to_live,
                of: PhantomData,
            }
        };
        let stream = self.stream;
        let told = stream.windowed((name, parallelism), self.storage, text, factory)?;
        if needs_watermark {
            told.needs_event_time();
        }
        Ok(L::streams::<O, T>(told))
    }

    /// Whether there can be such windows, and what they go by.
    fn check(&self, parallelism: u32) -> std::result::Result<(Shape, By), WindowError> {
        let shape = self.shape.clone()?;
        self.trigger.check().map_err(WindowError::Trigger)?;
        let of = match (&self.clock, shape.by) {
            (Clock::Nothing, GoBy::Time) => return Err(WindowError::NoTime),
            (Clock::Event(_) | Clock::Nothing, _) => TimeOf::Event,
            (Clock::Processing, _) => TimeOf::Processing,
        };
        if shape.by == GoBy::Nothing && G::IS_SILENT {
            return Err(WindowError::NeverTold);
        }
        let has_lateness = shape.by == GoBy::Time && of == TimeOf::Event;
        if self.lateness > Duration::ZERO && !has_lateness {
            return Err(WindowError::LatenessWithoutEventTime);
        }
        if let (Assign::Panes(panes), true) = (shape.assign, self.discards)
            && panes.overlap() > 1
        {
            return Err(WindowError::DiscardsShared);
        }
        if self.is_one && parallelism != 1 {
            return Err(WindowError::OneTask { tasks: parallelism });
        }
        let by = if shape.by == GoBy::Count { By::Count } else { By::Time(of) };
        Ok((shape, by))
    }
}

fn refuse<R>(name: &str, why: WindowError) -> Result<R> {
    Err(BuildError::Window { name: name.to_owned(), why }.into())
}
