//! The arithmetic of windows of one length that begin at regular distances.
//!
//! ```text
//! windows   [──────────────)            a length of 7, one every 3
//!              [──────────────)
//!                 [──────────────)
//! slices    [─)[)[─)[)[─)[)[─)[)        cut where any window begins or ends
//! ```
//! A tuple lies in one *slice*, however many windows overlap, and a window is a run of whole slices. There are at
//! most two slices to each window that begins: one up to where an older window ends, one from there on. (Cutting by
//! the greatest common divisor of length and distance would make a thousand of them for 10,001 ms every 1,000.)
//!
//! The numbers are times in ms, or those of a key's tuples: nothing here knows which.

/// Windows of one length at regular distances; or the one window that never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panes {
    size: i64,
    /// 0: one window has everything.
    slide: i64,
    offset: i64,
    /// How far after a beginning older windows end.
    rest: i64,
}

/// The end of the window that never ends, and the edge no slice reaches.
pub(crate) const NEVER: i64 = i64::MAX;

impl Panes {
    /// Windows `[offset + k · slide, offset + k · slide + size)`, for `0 < slide ≤ size`.
    pub(crate) fn new(size: i64, slide: i64, offset: i64) -> Panes {
        assert!(0 < slide && slide <= size, "the builder refused others");
        let (offset, rest) = (offset.rem_euclid(slide), size.rem_euclid(slide));
        Panes { size, slide, offset, rest }
    }

    /// One window that has everything.
    pub(crate) const ALL: Panes = Panes { size: 0, slide: 0, offset: 0, rest: 0 };

    pub(crate) fn is_all(&self) -> bool {
        self.slide == 0
    }

    /// How many windows a tuple is in, at most.
    pub(crate) fn overlap(&self) -> i64 {
        if self.is_all() { 1 } else { self.size.div_euclid(self.slide) + i64::from(self.rest > 0) }
    }

    /// The last beginning at or before `at`.
    fn beginning(&self, at: i64) -> i64 {
        at - (at - self.offset).rem_euclid(self.slide)
    }

    /// Where the slice begins that `at` lies in.
    pub(crate) fn slice(&self, at: i64) -> i64 {
        if self.is_all() {
            return 0;
        }
        let beginning = self.beginning(at);
        let end_of_older = beginning + self.rest;
        if at >= end_of_older { end_of_older } else { beginning }
    }

    /// Where the first window ends that has `at`.
    pub(crate) fn first_end(&self, at: i64) -> i64 {
        if self.is_all() { NEVER } else { self.end_after(at) }
    }

    /// Where the last window ends that has `at`.
    pub(crate) fn last_end(&self, at: i64) -> i64 {
        if self.is_all() { NEVER } else { self.beginning(at) + self.size }
    }

    /// The first end of any window after `at`.
    pub(crate) fn end_after(&self, at: i64) -> i64 {
        if self.is_all() {
            return NEVER;
        }
        self.beginning(at - self.rest) + self.rest + self.slide
    }

    /// The end of the window after the one that ends at `end`.
    pub(crate) fn next_end(&self, end: i64) -> i64 {
        if self.is_all() { NEVER } else { end + self.slide }
    }

    /// Where the window begins that ends at `end`.
    pub(crate) fn start(&self, end: i64) -> i64 {
        if self.is_all() { i64::MIN } else { end - self.size }
    }

    /// Everything before this is in no window that ends after `at`.
    pub(crate) fn needless_before(&self, at: i64) -> i64 {
        if self.is_all() { i64::MIN } else { self.beginning(at - self.size) + self.slide }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The ends of all windows that have `at`, by trying every one.
    fn ends(size: i64, slide: i64, offset: i64, at: i64) -> Vec<i64> {
        let all = (-300..300).map(|k| offset + k * slide);
        all.filter(|start| (*start..start + size).contains(&at)).map(|start| start + size).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_arithmetic_is_that_of_trying_every_window(
            slide in 1i64..20, more in 0i64..60, offset in 0i64..20, at in -100i64..100, other in -100i64..100,
        ) {
            let size = slide + more;
            let offset = offset % slide;
            let panes = Panes::new(size, slide, offset);
            let all = ends(size, slide, offset, at);
            prop_assert_eq!(Some(panes.first_end(at)), all.first().copied());
            prop_assert_eq!(Some(panes.last_end(at)), all.last().copied());
            prop_assert!(all.len() as i64 <= panes.overlap());
            prop_assert_eq!(panes.next_end(panes.first_end(at)) - panes.first_end(at), slide);
            prop_assert_eq!(panes.start(panes.first_end(at)), panes.first_end(at) - size);
            // All of a slice is in the same windows, and what is in the same windows next to it is in it.
            let slice = panes.slice(at);
            prop_assert!(slice <= at);
            prop_assert_eq!(&ends(size, slide, offset, slice), &all);
            prop_assert_ne!(&ends(size, slide, offset, slice - 1), &all);
            // What is needless is.
            let needless = at < panes.needless_before(other);
            prop_assert_eq!(needless, panes.last_end(at) <= other);
        }
    }

    #[test]
    fn a_window_has_two_slices_at_most_to_each_beginning() {
        let panes = Panes::new(10_001, 1000, 0);
        let slices: std::collections::BTreeSet<_> = (0..10_001).map(|at| panes.slice(at)).collect();
        assert_eq!(slices.len(), 21);
        assert_eq!(Panes::new(10_000, 1000, 0).overlap(), 10);
    }

    #[test]
    fn times_at_the_ends_of_their_range_are_no_panic() {
        use super::super::span::{LENGTH_MAX_MS, TIME_MAX_MS};
        let panes = Panes::new(LENGTH_MAX_MS, LENGTH_MAX_MS, 7);
        for at in [-TIME_MAX_MS, TIME_MAX_MS] {
            let _ = (panes.slice(at), panes.first_end(at), panes.last_end(at));
            let _ = (panes.end_after(at), panes.needless_before(at - LENGTH_MAX_MS));
            assert_eq!(Panes::ALL.first_end(at), NEVER);
        }
    }
}
