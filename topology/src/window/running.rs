//! What a sliding window comes to, again and again, at a cost that does not grow with its length.
//!
//! ```text
//!              from            mid                to
//! slices    a  b  c  d  e  f  g │ h  i  j  k  l  m
//! front        bcdefg cdefg … g │                        each merged with all up to mid
//! back                          │ hijklm                 merged as the window moves on
//! ```
//! A window is the front's element at its beginning and the back. When it has moved past `mid`, the front is made
//! anew of its slices: each slice is merged into the back once and into a front once, whatever the overlap. (Two
//! stacks; see Tangwongsan et al., "General incremental sliding-window aggregation", PVLDB 8(7), 2015.)
//!
//! It is memory of what slices came to and nothing else: whoever changes a slice that it [knows](Running::knows)
//! throws it away, and it is not written.

use egret_state::keyed::MapState;
use serde::Serialize;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Running<A> {
    /// Beginnings of slices with what they and all after them up to `mid` come to; the earliest last.
    front: Vec<(i64, A)>,
    /// Asked from here last: what was before is gone.
    from: i64,
    mid: i64,
    back: Option<A>,
    back_to: i64,
}

impl<A: Clone + Serialize> Running<A> {
    /// Knows nothing.
    pub(crate) fn new(from: i64) -> Running<A> {
        Running { front: Vec::new(), from, mid: from, back: None, back_to: from }
    }

    /// What the slices from `from` on and before `to` come to, if there are any.
    pub(crate) fn of(
        &mut self,
        slices: &MapState<i64, A>,
        from: i64,
        to: i64,
        merge: impl Fn(&mut A, &A),
    ) -> Option<A> {
        if from < self.from || from > self.mid || to < self.back_to {
            *self = Running { mid: to, back_to: to, ..Running::new(from) };
            for (slice, acc) in slices.range(from..to).rev() {
                let mut acc = acc.clone();
                self.front.last().into_iter().for_each(|(_, later)| merge(&mut acc, later));
                self.front.push((*slice, acc));
            }
        }
        self.from = from;
        while self.front.pop_if(|(slice, _)| *slice < from).is_some() {}
        for (_, next) in slices.range(self.back_to..to) {
            match &mut self.back {
                Some(back) => merge(back, next),
                None => self.back = Some(next.clone()),
            }
        }
        self.back_to = to;
        match (self.front.last(), &self.back) {
            (Some((_, front)), Some(back)) => {
                let mut acc = front.clone();
                merge(&mut acc, back);
                Some(acc)
            }
            (Some((_, one)), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        }
    }

    /// Whether what is remembered would be another if this slice changed.
    pub(crate) fn knows(&self, slice: i64) -> bool {
        slice < self.back_to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    proptest! {
        /// Windows that move on, at any pace and sometimes back, while slices come, also among those that were
        /// asked for: what it says is what merging them says, in their order.
        #[test]
        fn what_is_remembered_is_what_merging_says(
            ops in proptest::collection::vec((0u8..10, 0i64..6, 0i64..12), 0..120),
        ) {
            let mut slices = MapState::<i64, String>::default();
            let mut running = Running::new(0);
            let (mut from, mut to, mut n) = (0, 5, 0);
            for (op, step, back) in ops {
                match op {
                    0..4 => {
                        let slice = if op == 0 { to - back } else { to + step };
                        if running.knows(slice) {
                            running = Running::new(from);
                        }
                        slices.or_default(slice).push_str(&format!("{n},"));
                        n += 1;
                    }
                    4 => (from, to) = (from - step, to - step),
                    _ => (from, to) = (from + step, to + step),
                }
                let merge = |acc: &mut String, later: &String| acc.push_str(later);
                let all: String = slices.range(from..to).map(|(_, acc)| acc.as_str()).collect();
                prop_assert_eq!(running.of(&slices, from, to, merge).unwrap_or_default(), all);
            }
        }
    }

    /// Merges for each step of a window over `overlap` slices.
    fn merges_of_each_step(overlap: i64) -> f64 {
        let mut slices = MapState::<i64, u64>::default();
        let (mut running, merges) = (Running::new(0), Cell::new(0u64));
        let steps = 10 * overlap;
        for step in 0..steps {
            slices.insert(step, 1);
            let merge = |acc: &mut u64, later: &u64| {
                merges.set(merges.get() + 1);
                *acc += later;
            };
            let all = running.of(&slices, step + 1 - overlap, step + 1, merge).unwrap();
            assert_eq!(all, (step + 1).min(overlap).cast_unsigned());
        }
        merges.get() as f64 / steps as f64
    }

    #[test]
    fn a_step_costs_three_merges_whatever_the_overlap() {
        for overlap in [5, 50, 1000] {
            let merges = merges_of_each_step(overlap);
            assert!(merges <= 3.0, "{merges} merges a step with {overlap} slices in a window");
        }
    }
}
