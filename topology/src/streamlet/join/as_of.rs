//! Each left tuple and the last right one at its time or before: told tuples and the watermark, says which meet, and what
//! is kept.
//!
//! ```text
//! right     a         b      c
//! left          1                 2          1 meets a, 2 meets c, each when the watermark has passed it
//! ```
//! Of the right is kept what the watermark has not passed, and the last before that: what a left one still to come
//! may meet. Of several right ones of one ms the last to come counts.

use super::sides::{Sides, span};
use super::timed::Matcher;
use crate::window::Kept;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    /// How old what is met may be, in ms; `i64::MAX` for any age.
    pub(super) age_max: i64,
}

impl AsOf {
    /// Lets go of every right one that no left one at `watermark` or later meets.
    fn let_go<A: Kept, B: Kept>(&self, sides: &mut Sides<A, B>, watermark: i64) {
        while sides.right.second().is_some_and(|second| second <= watermark) {
            sides.right.of.pop_first();
        }
        sides.right.pop_before(watermark.saturating_sub(self.age_max));
    }
}

impl Matcher for AsOf {
    fn on_left<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        (at, left): (i64, A),
        watermark: i64,
        _: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<A> {
        if at < watermark {
            return Some(left);
        }
        sides.left.keep(at, left, false);
        None
    }

    fn on_right<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        (at, right): (i64, B),
        watermark: i64,
        _: &mut impl FnMut(Option<&A>, Option<&B>),
    ) -> Option<B> {
        if at < watermark {
            return Some(right);
        }
        sides.right.of.insert((at, 0), right);
        None
    }

    fn on_time<A: Kept, B: Kept>(
        &self,
        sides: &mut Sides<A, B>,
        watermark: i64,
        pair: &mut impl FnMut(Option<&A>, Option<&B>),
    ) {
        while let Some((at, left, _)) = sides.left.pop_before(watermark) {
            let from = at.saturating_sub(self.age_max);
            let last = sides.right.of.range(span(from, at)).next_back();
            pair(Some(&left), last.map(|(_, right)| right));
        }
        self.let_go(sides, watermark);
    }

    fn next<A: Kept, B: Kept>(&self, sides: &Sides<A, B>) -> Option<i64> {
        let left = sides.left.first().map(|at| at + 1);
        let replaced = sides.right.second();
        let old = sides.right.first().filter(|_| self.age_max < i64::MAX);
        let old = old.map(|at| at.saturating_add(self.age_max).saturating_add(1));
        [left, replaced, old].into_iter().flatten().min()
    }
}
