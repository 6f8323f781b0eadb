//! Tuples whose times are so far apart, in whatever order they come: told tuples and the watermark, says which meet,
//! which met nobody, and what is kept.
//!
//! ```text
//! left at t      meets right at  t + from ..= t + to       kept until the watermark is beyond t + to
//! right at u     meets left at   u - to ..= u - from       kept until the watermark is beyond u - from
//! ```
//! * A tuple the watermark has passed is late: those it would have met may be gone.
//! * Two that meet are told once, by the one that came second: the first is kept still, for nobody who is on time could
//!   have made it go.

use std::ops::RangeInclusive;

use super::sides::{Side, Sides, span};
use super::timed::Matcher;
use crate::streamlet::StreamletError;
use crate::window::{Kept, LENGTH_MAX_MS};

/// How far apart two tuples may be that meet: the right one's time less the left one's, in ms.
///
/// ```
/// use egret::streamlet::Interval;
///
/// // The right one comes up to a minute after the left one.
/// let after = Interval::ms(0..=60_000);
/// // Within five seconds of each other.
/// let near = Interval::ms(-5_000..=5_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    from: i64,
    to: i64,
}

impl Interval {
    /// Both ends are in it.
    pub fn ms(range: RangeInclusive<i64>) -> Interval {
        let within = |ms: &i64| (*ms).clamp(-LENGTH_MAX_MS, LENGTH_MAX_MS);
        Interval { from: within(range.start()), to: within(range.end()) }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={} ms", self.from, self.to)
    }
}

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals {
    pub(super) interval: Interval,
    /// Of which side those that met nobody are told.
    pub(super) outer: (bool, bool),
}

/// How far one side reaches for the other.
#[derive(Clone, Copy)]
struct Reach {
    from: i64,
    to: i64,
    is_outer: bool,
}

impl Intervals {
    fn left(&self) -> Reach {
        let Interval { from, to } = self.interval;
        Reach { from, to, is_outer: self.outer.0 }
    }

    fn right(&self) -> Reach {
        let Interval { from, to } = self.interval;
        Reach { from: -to, to: -from, is_outer: self.outer.1 }
    }
}

/// One side takes a tuple that is on time.
fn take<A: Kept, B: Kept>(
    own: &mut Side<A>,
    other: &mut Side<B>,
    (at, tuple): (i64, A),
    reach: Reach,
    watermark: i64,
    mut pair: impl FnMut(&A, Option<&B>),
) {
    let mut is_alone = true;
    let Side { of, alone } = other;
    for (met, other) in of.range(span(at + reach.from, at + reach.to)) {
        pair(&tuple, Some(other));
        is_alone = false;
        if !alone.is_empty() {
            alone.remove(met);
        }
    }
    if at + reach.to >= watermark {
        own.keep(at, tuple, is_alone && reach.is_outer);
    } else if is_alone && reach.is_outer {
        // Everybody it could meet is here.
        pair(&tuple, None);
    }
}

/// One side lets go of what can meet nobody any more.
fn pass<A: Kept>(own: &mut Side<A>, reach: Reach, watermark: i64, mut alone: impl FnMut(&A)) {
    while let Some((_, tuple, is_alone)) = own.pop_before(watermark - reach.to) {
        if is_alone {
            alone(&tuple);
        }
    }
}

impl Matcher for Intervals {
    fn check(&self) -> Result<(), StreamletError> {
        let Interval { from, to } = self.interval;
        if from <= to { Ok(()) } else { Err(StreamletError::Interval { from, to }) }
    }

    fn on_left<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        left: (i64, A),
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<A> {
        if left.0 < watermark {
            return Some(left.1);
        }
        let Sides { left: own, right: other, .. } = sides;
        take(own, other, left, self.left(), watermark, |left, right| pair(Some(left), right));
        None
    }

    fn on_right<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        right: (i64, B),
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<B> {
        if right.0 < watermark {
            return Some(right.1);
        }
        let Sides { left: other, right: own, .. } = sides;
        take(own, other, right, self.right(), watermark, |right, left| pair(left, Some(right)));
        None
    }

    fn on_time<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) {
        pass(&mut sides.left, self.left(), watermark, |left| pair(Some(left), None));
        pass(&mut sides.right, self.right(), watermark, |right| pair(None, Some(right)));
    }

    fn next<A: Kept, B: Kept>(&self, sides: &Sides<A, B>) -> Option<i64> {
        let left = sides.left.first().map(|at| at + self.left().to + 1);
        let right = sides.right.first().map(|at| at + self.right().to + 1);
        left.into_iter().chain(right).min()
    }
}
