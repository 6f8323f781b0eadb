//! Streamlets cut into windows.

use std::fmt;
use std::time::Duration;

use super::unkeyed::Streamlet;
use super::upstream::Whole;
use super::wiring::{Called, One, Place, Wiring};
use crate::builder::{Dropped, KeyFn, LateMode, OneKey, Stream, ToStream, WindowedStream};
use crate::window::{
    Aggregate, AtEnd, Count, Evictor, Firing, Kept, Reduce, Trigger, Windowed, reduce,
};
use crate::{Result, Tuple};

/// What becomes of what is late, of streamlets; see [`WindowedStreamlet::late_stream`].
pub trait LateStreamlets: LateMode {
    /// What a step gives: the streamlet of results, and where there is one, that of what was late.
    type Streamlets<O: Tuple, T: Tuple>;
    #[doc(hidden)]
    fn streamlets<O: Tuple, T: Tuple>(
        wiring: Wiring<Self::Streams<O, T>>,
    ) -> Self::Streamlets<O, T>;
}

impl LateStreamlets for Dropped {
    type Streamlets<O: Tuple, T: Tuple> = Streamlet<O>;
    fn streamlets<O: Tuple, T: Tuple>(wiring: Wiring<Stream<O>>) -> Streamlet<O> {
        Streamlet::of(wiring)
    }
}

impl LateStreamlets for ToStream {
    type Streamlets<O: Tuple, T: Tuple> = (Streamlet<O>, Streamlet<T>);
    fn streamlets<O: Tuple, T: Tuple>(
        wiring: Wiring<(Stream<O>, Stream<T>)>,
    ) -> (Streamlet<O>, Streamlet<T>) {
        let late = One(wiring.clone(), |streams: &(Stream<O>, Stream<T>)| streams.1.clone());
        let told = One(wiring, |streams: &(Stream<O>, Stream<T>)| streams.0.clone());
        (Streamlet::from_whole(Whole::new(told)), Streamlet::from_whole(Whole::new(late)))
    }
}

/// Makes the windows, once the stream is there.
type Cut<T, F, G, L> = Box<dyn FnOnce(&Stream<T>) -> WindowedStream<T, F, G, L>>;

/// Tuples of a key, cut into windows: all that [`WindowedStream`] has. Say what they go by, by
/// [event time](Self::event_time) or [the clock](Self::processing_time), and then what is made of them.
///
/// ```
/// use std::time::Duration;
/// use egret::window::{Sliding, Tumbling};
/// # use egret::{LogSpout, TopologyBuilder};
/// # let mut t = TopologyBuilder::new("t");
/// # fn ms(line: &str) -> i64 { line.len() as i64 }
/// let clicks = t.spout("clicks", 1, LogSpout::<String>::from_stream("clicks"))?;
/// let clicks = clicks.event_time(|click| ms(click))?.streamlet();
/// let minute = Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(10));
/// let (counts, late) = clicks
///     .key_by(|click| click.clone())
///     .window(minute)
///     .event_time(|click| ms(click))
///     .late_stream()
///     .count_by_key();
/// let counts = counts.named("counts").parallelism(2);
/// counts.map(|n| format!("{} {}: {}", n.key, n.firing.window, n.value)).to_stream("counts")?;
/// late.to_stream("late")?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
#[must_use = "say what is made of the windows"]
pub struct WindowedStreamlet<T, F, G = AtEnd, L = Dropped> {
    up: Whole<T>,
    cut: Cut<T, F, G, L>,
    /// All tuples meet at one task, however many are before it.
    is_one: bool,
}

impl<T, F, G, L> fmt::Debug for WindowedStreamlet<T, F, G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "windows of {:?}", self.up)
    }
}

impl<T: Tuple> WindowedStreamlet<T, OneKey<T>> {
    /// Of all tuples, whatever their key.
    pub(super) fn of_all_as_one(
        up: Whole<T>,
        cut: impl FnOnce(&Stream<T>) -> WindowedStream<T, OneKey<T>> + 'static,
    ) -> Self {
        WindowedStreamlet { up, cut: Box::new(cut), is_one: true }
    }
}

impl<T: Tuple, F: 'static> WindowedStreamlet<T, F> {
    pub(super) fn of_all(
        up: Whole<T>,
        cut: impl FnOnce(&Stream<T>) -> WindowedStream<T, F> + 'static,
    ) -> Self {
        WindowedStreamlet { up, cut: Box::new(cut), is_one: false }
    }
}

impl<T: Tuple, F: 'static, G: 'static, L: 'static> WindowedStreamlet<T, F, G, L> {
    fn with<H, M>(
        self,
        other: impl FnOnce(WindowedStream<T, F, G, L>) -> WindowedStream<T, F, H, M> + 'static,
    ) -> WindowedStreamlet<T, F, H, M> {
        let WindowedStreamlet { up, cut, is_one } = self;
        WindowedStreamlet { up, cut: Box::new(move |stream| other(cut(stream))), is_one }
    }

    /// They go by the time that tuples say, in ms: see [`WindowedStream::event_time`].
    pub fn event_time<M>(self, time_of: M) -> Self
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
    {
        self.with(|windows| windows.event_time(time_of))
    }

    /// They go by the time it is when a tuple comes: see [`WindowedStream::processing_time`].
    pub fn processing_time(self) -> Self {
        self.with(WindowedStream::processing_time)
    }

    /// Windows are kept for so long after their end: see [`WindowedStream::allowed_lateness`].
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        self.with(move |windows| windows.allowed_lateness(lateness))
    }

    /// Tells of windows before their end, too: see [`WindowedStream::trigger`].
    pub fn trigger<H: Trigger<T>>(self, trigger: H) -> WindowedStreamlet<T, F, H, L> {
        self.with(|windows| windows.trigger(trigger))
    }

    /// Each result is of the tuples since the one before: see [`WindowedStream::discarding`].
    pub fn discarding(self) -> Self {
        self.with(WindowedStream::discarding)
    }

    /// Leaves out some of the first tuples of a window: see [`WindowedStream::evict`].
    pub fn evict(self, evictor: impl Evictor<T>) -> Self {
        self.with(|windows| windows.evict(evictor))
    }

    /// Late tuples get a streamlet: what is made next is two, results and late tuples. See
    /// [`WindowedStream::late_stream`].
    pub fn late_stream(self) -> WindowedStreamlet<T, F, G, ToStream> {
        self.with(WindowedStream::late_stream)
    }
}

/// A key by itself.
type OwnedKey<T, F> = <<F as KeyFn<T>>::Key as ToOwned>::Owned;

/// What a step gives: results with their keys and windows, and where they have a streamlet, late tuples.
type Results<T, F, L, R> = <L as LateStreamlets>::Streamlets<Windowed<OwnedKey<T, F>, R>, T>;

impl<T, F, G, L> WindowedStreamlet<T, F, G, L>
where
    T: Tuple,
    F: KeyFn<T>,
    G: Trigger<T>,
    L: LateStreamlets,
{
    fn step<O, A>(self, attach: A) -> L::Streamlets<O, T>
    where
        O: Tuple,
        L::Streams<O, T>: Clone,
        A: FnOnce(WindowedStream<T, F, G, L>, &Place) -> Result<L::Streams<O, T>> + 'static,
    {
        let WindowedStreamlet { up, cut, is_one } = self;
        L::streamlets(Wiring::component(move |said| {
            let stream = if is_one { up.stream()? } else { up.stream_by_key()? };
            let tasks = if is_one { said.tasks.or(Some(1)) } else { up.tasks() };
            let place = said.place(&stream, Called::stateful("window"), tasks)?;
            attach(cut(&stream), &place)
        }))
    }

    /// An aggregate of each window, with its key and window: see [`WindowedStream::aggregate`].
    pub fn aggregate_by_key<A>(self, aggregate: A) -> Results<T, F, L, A::Out>
    where
        A: Aggregate<T>,
        A::Out: Tuple,
        OwnedKey<T, F>: Tuple,
        L::Streams<Windowed<OwnedKey<T, F>, A::Out>, T>: Clone,
    {
        self.step(|windows, place| windows.aggregate(&place.name, place.tasks, aggregate))
    }

    /// What `say` makes of an aggregate of each window; it is told the key, and which window and when.
    ///
    /// ```
    /// use egret::window::{CountTumbling, sum};
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let sums = lines
    ///     .key_by(|line| line.len() as u64)
    ///     .window(CountTumbling(50))
    ///     .aggregate_with(sum(|line: &String| line.len() as u64), |key, _, sum| {
    ///         [format!("{key} {sum}")]
    ///     });
    /// sums.named("sums").to_stream("sums")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn aggregate_with<A, O, I, M>(self, aggregate: A, say: M) -> L::Streamlets<O, T>
    where
        A: Aggregate<T>,
        O: Tuple,
        I: IntoIterator<Item = O> + 'static,
        M: Fn(&F::Key, Firing, A::Out) -> I + Clone + Send + Sync + 'static,
        L::Streams<O, T>: Clone,
    {
        self.step(|windows, place| windows.aggregate_with(&place.name, place.tasks, aggregate, say))
    }

    /// How many tuples each window has.
    pub fn count_by_key(self) -> Results<T, F, L, u64>
    where
        OwnedKey<T, F>: Tuple,
        L::Streams<Windowed<OwnedKey<T, F>, u64>, T>: Clone,
    {
        self.aggregate_by_key(Count)
    }

    /// One tuple of each window's: `of` adds the second to the first, and must be associative.
    pub fn reduce_by_key<M>(self, of: M) -> Results<T, F, L, T>
    where
        T: Kept,
        M: Fn(&mut T, &T) + Clone + Send + Sync + 'static,
        Reduce<T, M>: Aggregate<T, Out = T>,
        OwnedKey<T, F>: Tuple,
        L::Streams<Windowed<OwnedKey<T, F>, T>, T>: Clone,
    {
        self.aggregate_by_key(reduce(of))
    }

    /// What `say` makes of all tuples of each window, by the order of their times: see [`WindowedStream::contents`].
    pub fn contents<O, I, M>(self, say: M) -> L::Streamlets<O, T>
    where
        O: Tuple,
        I: IntoIterator<Item = O> + 'static,
        M: Fn(&F::Key, Firing, Vec<T>) -> I + Clone + Send + Sync + 'static,
        L::Streams<O, T>: Clone,
    {
        self.step(|windows, place| windows.contents(&place.name, place.tasks, say))
    }
}
