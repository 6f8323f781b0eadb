//! Joins by event time: the bolt that drives a pure matcher, and what is said of such a join.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::as_of::AsOf;
use super::interval::{Interval, Intervals};
use super::sides::Sides;
use super::{Joined, TimeFn};
use crate::builder::{BuildError, Dropped, KeyFn, LateMode, ToStream};
use crate::component::{ComponentResult, Context, Emitter, KeyedBolt, Timer};
use crate::streamlet::StreamletError;
use crate::streamlet::windowed::LateStreamlets;
use crate::streamlet::wiring::{Said, Wiring};
use crate::window::{Kept, in_range, length_ms};
use crate::{Either, Result, Tuple};
use egret_state::keyed::InMemory;

/// Says what meets. Told tuples, and how far time has come; what it keeps is in [`Sides`].
pub(super) trait Matcher: Copy + Send + Sync + 'static {
    /// Whether there can be such a join.
    fn check(&self) -> Result<(), StreamletError> {
        Ok(())
    }

    /// Takes a tuple of the left; gives it back where it is late.
    fn on_left<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        left: (i64, A),
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<A>;

    /// Takes a tuple of the right; gives it back where it is late.
    fn on_right<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        right: (i64, B),
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<B>;

    /// Time has come so far.
    fn on_time<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    );

    /// How far time has to come until there is something to do.
    fn next<A: Kept, B: Kept>(&self, sides: &Sides<A, B>) -> Option<i64>;
}

/// The bolt of a join: `say` makes tuples of what meets.
struct JoinBolt<M, T, U, S, L> {
    matcher: M,
    times: (TimeFn<T>, TimeFn<U>),
    lateness: i64,
    outer: (bool, bool),
    say: S,
    late: PhantomData<fn() -> L>,
}

impl<M, T, U, S, L> JoinBolt<M, T, U, S, L> {
    /// How far event time has come; before that is known, no further than any tuple.
    fn watermark(&self, cx: &Context) -> i64 {
        in_range(cx.watermark().unwrap_or(i64::MIN)) - self.lateness
    }

    /// Sets the timer for what is to be done next, unless one that is set comes before that.
    fn set_timer<A: Kept, B: Kept>(&self, sides: &mut Sides<A, B>, cx: &Context) -> ComponentResult
    where
        M: Matcher,
    {
        let next = self.matcher.next(sides).map(|ms| ms + self.lateness);
        let Some(ms) = next.filter(|ms| sides.due.is_none_or(|due| *ms < due)) else {
            return Ok(());
        };
        if let Some(due) = *sides.due {
            cx.timers().cancel(Timer::event(due))?;
        }
        cx.timers().set(Timer::event(ms))?;
        *sides.due = Some(ms);
        Ok(())
    }
}

impl<K, M, T, U, O, S, L> KeyedBolt<K, Either<T, U>, L::Told<O, Either<T, U>>>
    for JoinBolt<M, T, U, S, L>
where
    K: ?Sized + 'static,
    M: Matcher,
    T: Tuple,
    U: Tuple,
    O: Tuple,
    S: Fn(&K, Option<&T>, Option<&U>) -> Option<O> + 'static,
    L: LateMode,
{
    type State = Sides<T, U>;

    /// What is told of who met nobody is kept from when it came on: one of another kind did not keep it.
    fn schema_label(&self) -> String {
        match self.outer {
            (false, false) => String::new(),
            (true, false) => "left".to_owned(),
            (false, true) => "right".to_owned(),
            (true, true) => "full".to_owned(),
        }
    }

    fn execute(
        &mut self,
        key: &K,
        sides: &mut Sides<T, U>,
        tuple: Either<T, U>,
        out: &mut Emitter<L::Told<O, Either<T, U>>>,
        cx: &Context,
    ) -> ComponentResult {
        let watermark = self.watermark(cx);
        let mut pair = |left: Option<&T>, right: Option<&U>| {
            (self.say)(key, left, right).into_iter().for_each(|told| out.emit(L::told(told)));
        };
        let late = match tuple {
            Either::Left(left) => {
                let at = in_range((self.times.0)(&left));
                let late = self.matcher.on_left(sides, (at, left), watermark, &mut pair);
                late.map(Either::Left)
            }
            Either::Right(right) => {
                let at = in_range((self.times.1)(&right));
                let late = self.matcher.on_right(sides, (at, right), watermark, &mut pair);
                late.map(Either::Right)
            }
        };
        if let Some(late) = late {
            cx.count_late();
            L::late(late).into_iter().for_each(|late| out.emit(late));
        }
        self.set_timer(sides, cx)
    }

    fn on_timer(
        &mut self,
        key: &K,
        sides: &mut Sides<T, U>,
        _: Timer,
        out: &mut Emitter<L::Told<O, Either<T, U>>>,
        cx: &Context,
    ) -> ComponentResult {
        let mut pair = |left: Option<&T>, right: Option<&U>| {
            (self.say)(key, left, right).into_iter().for_each(|told| out.emit(L::told(told)));
        };
        self.matcher.on_time(sides, self.watermark(cx), &mut pair);
        *sides.due = None;
        self.set_timer(sides, cx)
    }

    fn flush(
        &mut self,
        _: &K,
        sides: &mut Sides<T, U>,
        _: &mut Emitter<L::Told<O, Either<T, U>>>,
        cx: &Context,
    ) -> ComponentResult {
        // Nothing is kept of a key for which nothing can come that it would meet.
        if sides.is_empty() {
            cx.forget_key()?;
        }
        Ok(())
    }
}

/// A join by event time: what its parts are.
struct Timed<T, F, U, G> {
    inputs: Joined<T, F, U, G>,
    times: (TimeFn<T>, TimeFn<U>),
    lateness: Duration,
}

impl<T, F, U, G> Timed<T, F, U, G>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
{
    fn wire<M, O, S, L>(
        self,
        (matcher, outer): (M, (bool, bool)),
        text: String,
        say: S,
    ) -> L::Streamlets<O, Either<T, U>>
    where
        M: Matcher,
        O: Tuple,
        L: LateStreamlets,
        L::Streams<O, Either<T, U>>: Clone,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> Option<O> + Clone + Send + Sync + 'static,
    {
        let Timed { inputs, times, lateness } = self;
        L::streamlets(Wiring::component(move |said: Said| {
            let (place, both) = inputs.lead(said, "join")?;
            if let Err(why) = matcher.check() {
                return Err(BuildError::Streamlet { name: place.name, why }.into());
            }
            let factory = move || JoinBolt {
                matcher,
                times: times.clone(),
                lateness: length_ms(lateness),
                outer,
                say: say.clone(),
                late: PhantomData::<fn() -> L>,
            };
            let told = both.windowed(place.of(), InMemory, text, factory)?;
            told.goes_by_event_time();
            Ok(L::streams::<O, Either<T, U>>(told))
        }))
    }
}

/// A join of tuples that are so far apart: see [`Joined::interval`]. Say of which side those that met nobody are told.
///
/// What is late, below the watermark when it comes, is counted and dropped, or has a [streamlet](Self::late_stream).
#[must_use = "say which kind of join it is"]
pub struct IntervalJoin<T, F, U, G, L = Dropped> {
    of: Timed<T, F, U, G>,
    interval: Interval,
    late: PhantomData<fn() -> L>,
}

impl<T, F, U, G, L> fmt::Debug for IntervalJoin<T, F, U, G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join within {}", self.interval)
    }
}

impl<T, F, U, G> IntervalJoin<T, F, U, G> {
    pub(super) fn new(
        inputs: Joined<T, F, U, G>,
        interval: Interval,
        times: (TimeFn<T>, TimeFn<U>),
    ) -> Self {
        let of = Timed { inputs, times, lateness: Duration::ZERO };
        IntervalJoin { of, interval, late: PhantomData }
    }
}

impl<T, F, U, G, L> IntervalJoin<T, F, U, G, L> {
    /// Everything is kept so much longer, and counts as on time if it is no further behind the watermark.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        IntervalJoin { of: Timed { lateness, ..self.of }, ..self }
    }

    /// Late tuples of either side get a streamlet: what is made next is two, of what meets and of what was late.
    pub fn late_stream(self) -> IntervalJoin<T, F, U, G, ToStream> {
        IntervalJoin { of: self.of, interval: self.interval, late: PhantomData }
    }
}

impl<T, F, U, G, L> IntervalJoin<T, F, U, G, L>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
    L: LateStreamlets,
{
    /// What `say` makes of each two that meet.
    pub fn inner<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, &U) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire((false, false), move |key, left, right| Some(say(key, left?, right?)))
    }

    /// The same, and of each left one that met nobody.
    pub fn left<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, Option<&U>) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire((true, false), move |key, left, right| Some(say(key, left?, right)))
    }

    /// The same, and of each right one that met nobody.
    pub fn right<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, &U) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire((false, true), move |key, left, right| Some(say(key, left, right?)))
    }

    /// The same, and of each one of either side that met nobody.
    pub fn full<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire((true, true), move |key, left, right| Some(say(key, left, right)))
    }

    fn wire<O, S>(self, outer: (bool, bool), say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> Option<O> + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        let IntervalJoin { of, interval, .. } = self;
        let text = format!("{} join within {interval}", in_words(outer));
        of.wire::<_, O, S, L>((Intervals { interval, outer }, outer), text, say)
    }
}

/// A join of each left one with the last right one there was at its time: see [`Joined::as_of`].
///
/// What is late, below the watermark when it comes, is counted and dropped, or has a [streamlet](Self::late_stream). Of
/// each key the last right one is kept, for ever unless it is said [how old](Self::no_older_than) it may be.
#[must_use = "say which kind of join it is"]
pub struct AsOfJoin<T, F, U, G, L = Dropped> {
    of: Timed<T, F, U, G>,
    age_max: Option<Duration>,
    late: PhantomData<fn() -> L>,
}

impl<T, F, U, G, L> fmt::Debug for AsOfJoin<T, F, U, G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("join as of the left one's time")
    }
}

impl<T, F, U, G> AsOfJoin<T, F, U, G> {
    pub(super) fn new(inputs: Joined<T, F, U, G>, times: (TimeFn<T>, TimeFn<U>)) -> Self {
        let of = Timed { inputs, times, lateness: Duration::ZERO };
        AsOfJoin { of, age_max: None, late: PhantomData }
    }
}

impl<T, F, U, G, L> AsOfJoin<T, F, U, G, L> {
    /// A right one that is older than this, by the left one's time, is met no more, and is let go of.
    pub fn no_older_than(self, age: Duration) -> Self {
        AsOfJoin { age_max: Some(age), ..self }
    }

    /// Everything is kept so much longer, and counts as on time if it is no further behind the watermark; what meets is
    /// told so much later.
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        AsOfJoin { of: Timed { lateness, ..self.of }, ..self }
    }

    /// Late tuples of either side get a streamlet: what is made next is two, of what meets and of what was late.
    pub fn late_stream(self) -> AsOfJoin<T, F, U, G, ToStream> {
        AsOfJoin { of: self.of, age_max: self.age_max, late: PhantomData }
    }
}

impl<T, F, U, G, L> AsOfJoin<T, F, U, G, L>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
    L: LateStreamlets,
{
    /// What `say` makes of each left one for which there was a right one.
    pub fn inner<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, &U) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire("inner", move |key, left, right| Some(say(key, left?, right?)))
    }

    /// The same, and of each left one for which there was none.
    pub fn left<O, S>(self, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, Option<&U>) -> O + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        self.wire("left", move |key, left, right| Some(say(key, left?, right)))
    }

    fn wire<O, S>(self, kind: &str, say: S) -> L::Streamlets<O, Either<T, U>>
    where
        O: Tuple,
        S: Fn(&F::Key, Option<&T>, Option<&U>) -> Option<O> + Clone + Send + Sync + 'static,
        L::Streams<O, Either<T, U>>: Clone,
    {
        let matcher = AsOf { age_max: self.age_max.map_or(i64::MAX, length_ms) };
        let text = match self.age_max {
            Some(age) => format!("{kind} join as of, {} ms old at most", length_ms(age)),
            None => format!("{kind} join as of"),
        };
        self.of.wire::<_, O, S, L>((matcher, (false, false)), text, say)
    }
}

/// What a join is called.
pub(super) fn in_words(outer: (bool, bool)) -> &'static str {
    match outer {
        (false, false) => "inner",
        (true, false) => "left",
        (false, true) => "right",
        (true, true) => "full",
    }
}
