//! The joins by event time against nested loops over everything that was on time: tuples in any order, commits anywhere,
//! state written and read back between them.

use std::collections::BTreeMap;

use egret_state::keyed::state::{Extent, State};
use proptest::prelude::*;

use super::as_of::AsOf;
use super::interval::{Interval, Intervals};
use super::sides::Sides;
use super::timed::Matcher;

/// A tuple of the left or right side, and its number, so that none is like another.
type Tuple = (i64, u32);
type Told = (Option<Tuple>, Option<Tuple>);

#[derive(Debug, Clone, Copy)]
enum Deed {
    Left(i64),
    Right(i64),
    /// A commit closes, and event time has come so much further.
    Commit(i64),
    /// It goes on from what was written.
    Restart,
    /// A tuple is tried, and taken back.
    Fails(i64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (-30i64..60).prop_map(Deed::Left),
        4 => (-30i64..60).prop_map(Deed::Right),
        2 => (0i64..25).prop_map(Deed::Commit),
        1 => Just(Deed::Restart),
        1 => (-30i64..60).prop_map(Deed::Fails),
    ];
    proptest::collection::vec(deed, 0..80)
}

/// A key's join, as its bolt drives it.
struct Driven<M> {
    matcher: M,
    sides: Sides<Tuple, Tuple>,
    written: Sides<Tuple, Tuple>,
    watermark: i64,
    lateness: i64,
    told: Vec<(Told, i64)>,
    /// Those that were on time, and those that were not.
    left: Vec<Tuple>,
    right: Vec<Tuple>,
    late: Vec<Tuple>,
    n: u32,
}

impl<M: Matcher> Driven<M> {
    fn new(matcher: M, lateness: i64) -> Driven<M> {
        Driven {
            matcher,
            sides: Sides::default(),
            written: Sides::default(),
            watermark: -1000,
            lateness,
            told: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            late: Vec::new(),
            n: 0,
        }
    }

    fn put(&mut self, at: i64, is_left: bool) {
        let tuple = (at, self.n);
        self.n += 1;
        let passed = self.watermark - self.lateness;
        let (told, watermark) = (&mut self.told, self.watermark);
        let mut pair = |left: Option<&Tuple>, right: Option<&Tuple>| {
            told.push(((left.copied(), right.copied()), watermark));
        };
        let (late, on_time) = match is_left {
            true => (
                self.matcher.on_left(&mut self.sides, (at, tuple), passed, &mut pair),
                &mut self.left,
            ),
            false => (
                self.matcher.on_right(&mut self.sides, (at, tuple), passed, &mut pair),
                &mut self.right,
            ),
        };
        match late {
            Some(late) => self.late.push(late),
            None => on_time.push(tuple),
        }
    }

    fn commit(&mut self, watermark: i64) {
        self.watermark = watermark;
        let passed = watermark - self.lateness;
        if self.matcher.next(&self.sides).is_some_and(|ms| ms <= passed) {
            let told = &mut self.told;
            let mut pair = |left: Option<&Tuple>, right: Option<&Tuple>| {
                told.push(((left.copied(), right.copied()), watermark));
            };
            self.matcher.on_time(&mut self.sides, passed, &mut pair);
        }
        let next = self.matcher.next(&self.sides);
        assert!(next.is_none_or(|ms| ms > passed), "what was due is done");
        let mut changes = Vec::new();
        self.sides.write(Extent::Changes, &mut changes, None).unwrap();
        self.written.apply(&changes).unwrap();
        assert_eq!(whole(&mut self.written), whole(&mut self.sides), "what changed was written");
    }

    fn run(&mut self, deeds: &[Deed]) {
        deeds.iter().for_each(|deed| self.run_one(*deed));
        self.commit(self.watermark + 10_000);
    }

    fn run_one(&mut self, deed: Deed) {
        match deed {
            Deed::Left(at) => self.put(at, true),
            Deed::Right(at) => self.put(at, false),
            Deed::Commit(further) => self.commit(self.watermark.max(-30) + further),
            Deed::Restart => {
                self.commit(self.watermark);
                self.sides = Sides::read(&whole(&mut self.written)).unwrap();
            }
            Deed::Fails(at) => {
                let (left, right, late) = (self.left.len(), self.right.len(), self.late.len());
                let (before, told) = (whole_of(&self.sides), self.told.len());
                let mark = self.sides.mark().unwrap();
                self.put(at, at % 2 == 0);
                self.sides.take_back(mark).unwrap();
                self.left.truncate(left);
                self.right.truncate(right);
                self.late.truncate(late);
                self.told.truncate(told);
                assert_eq!(whole_of(&self.sides), before, "nothing is left of it");
            }
        }
    }

    fn told(&self) -> Vec<Told> {
        let mut told: Vec<Told> = self.told.iter().map(|(told, _)| *told).collect();
        told.sort_unstable();
        told
    }
}

fn whole(sides: &mut Sides<Tuple, Tuple>) -> Vec<u8> {
    let mut whole = Vec::new();
    sides.write(Extent::Whole, &mut whole, None).unwrap();
    whole
}

/// What is kept, without anything counting as written.
fn whole_of(sides: &Sides<Tuple, Tuple>) -> String {
    format!("{:?} {:?}", sides.left, sides.right)
}

/// Everything with everything.
fn nested_loop(
    left: &[Tuple],
    right: &[Tuple],
    meets: impl Fn(Tuple, Tuple) -> bool,
    outer: (bool, bool),
) -> Vec<Told> {
    let mut told = Vec::new();
    for l in left {
        let met: Vec<_> = right.iter().filter(|r| meets(*l, **r)).collect();
        told.extend(met.iter().map(|r| (Some(*l), Some(**r))));
        if met.is_empty() && outer.0 {
            told.push((Some(*l), None));
        }
    }
    for r in right {
        if outer.1 && !left.iter().any(|l| meets(*l, *r)) {
            told.push((None, Some(*r)));
        }
    }
    told.sort_unstable();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_interval_join_is_a_nested_loop_over_what_was_on_time(
        deeds in deeds(),
        from in -20i64..20,
        length in 0i64..25,
        outer in any::<(bool, bool)>(),
        lateness in prop_oneof![Just(0i64), 0i64..15],
    ) {
        let (from, to) = (from, from + length);
        let matcher = Intervals { interval: Interval::ms(from..=to), outer };
        let mut driven = Driven::new(matcher, lateness);
        driven.run(&deeds);
        let meets = |left: Tuple, right: Tuple| (from..=to).contains(&(right.0 - left.0));
        prop_assert_eq!(driven.told(), nested_loop(&driven.left, &driven.right, meets, outer));
        prop_assert!(driven.sides.is_empty() && driven.sides.left.alone.is_empty());
        prop_assert!(driven.sides.right.alone.is_empty());
        // Nobody is told of as alone before everything it could have met would be late.
        for ((left, right), watermark) in &driven.told {
            match (left, right) {
                (Some((at, _)), None) => prop_assert!(watermark - lateness > at + to),
                (None, Some((at, _))) => prop_assert!(watermark - lateness > at - from),
                _ => {}
            }
        }
    }

    #[test]
    fn a_join_as_of_finds_the_last_that_was_on_time(
        deeds in deeds(),
        age in prop_oneof![Just(None), (0i64..40).prop_map(Some)],
        lateness in prop_oneof![Just(0i64), 0i64..15],
    ) {
        let matcher = AsOf { age_max: age.unwrap_or(i64::MAX) };
        let mut driven = Driven::new(matcher, lateness);
        driven.run(&deeds);
        // The last to come of each ms.
        let table: BTreeMap<i64, Tuple> = driven.right.iter().map(|right| (right.0, *right)).collect();
        let found = |left: &Tuple| {
            let last = table.range(..=left.0).next_back().map(|(_, right)| *right);
            (Some(*left), last.filter(|right| age.is_none_or(|age| left.0 - right.0 <= age)))
        };
        let mut wanted: Vec<Told> = driven.left.iter().map(found).collect();
        wanted.sort_unstable();
        prop_assert_eq!(driven.told(), wanted);
        prop_assert!(driven.sides.left.of.is_empty());
        prop_assert!(driven.sides.right.of.len() <= usize::from(age.is_none()));
        for ((left, _), watermark) in &driven.told {
            prop_assert!(left.is_some_and(|(at, _)| watermark - lateness > at));
        }
    }

    /// However much comes, what is kept is what may meet somebody yet.
    #[test]
    fn what_is_kept_is_within_reach_of_the_watermark(
        deeds in deeds(),
        from in -20i64..20,
        length in 0i64..25,
    ) {
        let (from, to) = (from, from + length);
        let matcher = Intervals { interval: Interval::ms(from..=to), outer: (true, true) };
        let mut driven = Driven::new(matcher, 0);
        for deed in deeds {
            driven.run_one(deed);
            let watermark = driven.watermark;
            if let Deed::Commit(_) = deed {
                prop_assert!(driven.sides.left.of.iter().all(|((at, _), _)| at + to >= watermark));
                prop_assert!(driven.sides.right.of.iter().all(|((at, _), _)| at - from >= watermark));
            }
        }
    }
}

/// Times at the ends of their range, which are those that windows have.
#[test]
fn times_at_the_ends_of_their_range_are_no_panic() {
    let ends = [i64::MIN, i64::MAX, 0].map(crate::window::in_range);
    for interval in [i64::MIN..=i64::MAX, i64::MIN..=i64::MIN, i64::MAX..=i64::MAX] {
        let outer = (true, true);
        let mut driven = Driven::new(Intervals { interval: Interval::ms(interval), outer }, 0);
        let mut as_of = Driven::new(AsOf { age_max: 1 }, 0);
        driven.watermark = ends[0];
        as_of.watermark = ends[0];
        for at in ends {
            driven.put(at, true);
            driven.put(at, false);
            as_of.put(at, true);
            as_of.put(at, false);
        }
        driven.commit(ends[1]);
        as_of.commit(ends[1]);
    }
}

#[test]
fn an_interval_join_by_hand() {
    let outer = (true, false);
    let mut driven = Driven::new(Intervals { interval: Interval::ms(0..=10), outer }, 0);
    driven.put(100, true);
    driven.put(105, false);
    driven.put(111, false);
    driven.put(120, true);
    driven.commit(130);
    assert_eq!(driven.told(), [(Some((100, 0)), Some((105, 1)))], "130 may come yet");
    driven.commit(131);
    assert_eq!(driven.told()[1], (Some((120, 3)), None));
    assert!(driven.sides.is_empty());
    driven.put(130, false);
    assert_eq!(driven.late, [(130, 4)]);
}
