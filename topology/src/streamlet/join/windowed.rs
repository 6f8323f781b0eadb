//! Joins in windows: windows of both sides at once, told of as any window is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::pairs::pairs;
use super::{Both, Joined, TimeFn};
use crate::builder::{Dropped, EitherKey, KeyFn, ToStream, WindowedStream};
use crate::streamlet::windowed::LateStreamlets;
use crate::streamlet::wiring::Wiring;
use crate::window::{AtEnd, Firing, Windows};
use crate::{Either, Tuple};

/// The windows of both sides.
type Cut<T, F, U, G, L> =
    Box<dyn FnOnce(Both<T, F, U, G>) -> WindowedStream<Either<T, U>, EitherKey<F, G>, AtEnd, L>>;

/// A join in windows: see [`Joined::window`]. Say what they go by, and then of which side those that met nobody are told.
///
/// A window is told of at its end, once, with everything that meets in it. What is late for every window it is in is
/// counted and dropped, or has a [streamlet](Self::late_stream).
#[must_use = "say which kind of join it is"]
pub struct WindowJoin<T, F, U, G, L = Dropped> {
    inputs: Joined<T, F, U, G>,
    cut: Cut<T, F, U, G, L>,
}

impl<T, F, U, G, L> fmt::Debug for WindowJoin<T, F, U, G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("join in windows")
    }
}

impl<T, F, U, G> WindowJoin<T, F, U, G>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
{
    pub(super) fn new<W: Windows + 'static>(inputs: Joined<T, F, U, G>, windows: W) -> Self {
        WindowJoin { inputs, cut: Box::new(move |both| both.window(windows)) }
    }
}

impl<T, F, U, G, L> WindowJoin<T, F, U, G, L>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
    L: LateStreamlets,
{
    fn with<M>(
        self,
        other: impl FnOnce(
            WindowedStream<Either<T, U>, EitherKey<F, G>, AtEnd, L>,
        ) -> WindowedStream<Either<T, U>, EitherKey<F, G>, AtEnd, M>
        + 'static,
    ) -> WindowJoin<T, F, U, G, M> {
        let WindowJoin { inputs, cut } = self;
        WindowJoin { inputs, cut: Box::new(move |both| other(cut(both))) }
    }

    /// Windows go by the times, in ms, that tuples of the left and of the right say.
    pub fn event_time<M, N>(self, time_of_left: M, time_of_right: N) -> Self
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
        N: Fn(&U) -> i64 + Send + Sync + 'static,
    {
        let (left, right): (TimeFn<T>, TimeFn<U>) =
            (Arc::new(time_of_left), Arc::new(time_of_right));
        self.with(|windows| {
            windows.event_time(move |tuple| match tuple {
                Either::Left(tuple) => left(tuple),
                Either::Right(tuple) => right(tuple),
            })
        })
    }

    /// Windows go by the time it is when a tuple comes.
    pub fn processing_time(self) -> Self {
        self.with(WindowedStream::processing_time)
    }

    /// Windows are kept for so long after their end; one in which something late came is told of again, with everything
    /// that meets in it.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        self.with(move |windows| windows.allowed_lateness(lateness))
    }

    /// Late tuples of either side get a streamlet: what is made next is two, of what meets and of what was late.
    pub fn late_stream(self) -> WindowJoin<T, F, U, G, ToStream> {
        self.with(WindowedStream::late_stream)
    }

    /// What `say` makes of each two that meet.
    pub fn inner<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, &U) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire(move |key, left, right| Some(say(key, left?, right?)))
    }

    /// The same, and of each left one in whose window is no right one.
    pub fn left<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, Option<&U>) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire(move |key, left, right| Some(say(key, left?, right)))
    }

    /// The same, and of each right one in whose window is no left one.
    pub fn right<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, &U) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire(move |key, left, right| Some(say(key, left, right?)))
    }

    /// The same, and of each one of either side in whose window is nobody of the other.
    pub fn full<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire(move |key, left, right| Some(say(key, left, right)))
    }

    fn wire<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> Option<O> + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        let WindowJoin { inputs, cut } = self;
        L::streamlets(Wiring::component(move |said| {
            let (place, both) = inputs.lead(said, "join")?;
            let told = move |key: &F::Key, _: Firing, both: Vec<Either<T, U>>| {
                let mut told = Vec::new();
                pairs(&both, |left, right| told.extend(say(key, left, right)));
                told
            };
            cut(both).contents(&place.name, place.tasks, told)
        }))
    }
}
