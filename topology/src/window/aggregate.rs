//! What is kept of a window's tuples where not all of them are, tuple by tuple: an accumulator.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Makes one value of the tuples of a window, a tuple at a time.
///
/// Windows that overlap share their tuples: each tuple is added to one accumulator, and those of a window are
/// merged. So [`merge`](Aggregate::merge) has to be associative. It is called with what came before, by the order
/// of time, and what came after; tuples within a few ms of each other are added in the order they come.
pub trait Aggregate<T>: Clone + Send + Sync + 'static {
    /// What is kept; it is written with every commit in which it changed.
    type Acc: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// What it comes to.
    type Out;

    /// Of one tuple: a window without any has no result.
    fn init(&self, tuple: T) -> Self::Acc;

    /// Adds another.
    fn add(&self, acc: &mut Self::Acc, tuple: T);

    /// Adds what was kept of later tuples.
    fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc);

    /// What it comes to.
    fn result(&self, acc: &Self::Acc) -> Self::Out;
}

/// How many tuples there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

impl<T> Aggregate<T> for Count {
    type Acc = u64;
    type Out = u64;
    fn init(&self, _: T) -> u64 {
        1
    }
    fn add(&self, acc: &mut u64, _: T) {
        *acc += 1;
    }
    fn merge(&self, acc: &mut u64, later: &u64) {
        *acc += later;
    }
    fn result(&self, acc: &u64) -> u64 {
        *acc
    }
}

/// Something of each tuple, and which tuples it is of.
pub struct Of<T, V, F> {
    of: F,
    types: PhantomData<fn(&T) -> V>,
}

impl<T, V, F> Of<T, V, F> {
    fn new(of: F) -> Of<T, V, F> {
        Of { of, types: PhantomData }
    }
}

impl<T, V, F: Clone> Clone for Of<T, V, F> {
    fn clone(&self) -> Self {
        Of::new(self.of.clone())
    }
}

impl<T, V, F> std::fmt::Debug for Of<T, V, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<V>())
    }
}

macro_rules! cloned {
    ($($name:ident [$($param:tt)*] [$($arg:tt)*],)*) => {$(
        impl<$($param)*, F: Clone> Clone for $name<$($arg)*> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }
    )*};
}
cloned! {
    Sum [T, V] [T, V, F],
    Distinct [T, V] [T, V, F],
    Reduce [T] [T, F],
}

impl<T, V, F: Clone, const LARGEST: bool> Clone for Extreme<T, V, F, LARGEST> {
    fn clone(&self) -> Self {
        Extreme(self.0.clone())
    }
}

impl<T, V, F: Clone> Clone for Top<T, V, F> {
    fn clone(&self) -> Self {
        Top { n: self.n, of: self.of.clone() }
    }
}

/// What can be kept of a tuple.
pub trait Kept: Serialize + DeserializeOwned + Clone + Send + 'static {}
impl<V: Serialize + DeserializeOwned + Clone + Send + 'static> Kept for V {}

/// What a number or the like can be summed up in without an overflow that matters.
pub trait Summed: Kept {
    /// Adds another.
    fn plus(&mut self, other: &Self);
}

macro_rules! whole {
    ($($type:ty),*) => {$(impl Summed for $type {
        fn plus(&mut self, other: &$type) {
            *self = self.saturating_add(*other);
        }
    })*};
}
whole!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Summed for f64 {
    fn plus(&mut self, other: &f64) {
        *self += other;
    }
}

/// Two sums at once: of two inputs, or a sum and a count.
impl<A: Summed, B: Summed> Summed for (A, B) {
    fn plus(&mut self, other: &(A, B)) {
        self.0.plus(&other.0);
        self.1.plus(&other.1);
    }
}

/// The sum of a number in each tuple: `sum(|order: &Order| order.cents)`. Whole numbers stop at their ends
/// instead of beginning anew.
pub fn sum<T, V: Summed, F>(of: F) -> Sum<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    Sum(Of::new(of))
}

/// See [`sum`].
#[derive(Debug)]
pub struct Sum<T, V, F>(Of<T, V, F>);

impl<T: 'static, V: Summed, F> Aggregate<T> for Sum<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    type Acc = V;
    type Out = V;
    fn init(&self, tuple: T) -> V {
        (self.0.of)(&tuple)
    }
    fn add(&self, acc: &mut V, tuple: T) {
        acc.plus(&(self.0.of)(&tuple));
    }
    fn merge(&self, acc: &mut V, later: &V) {
        acc.plus(later);
    }
    fn result(&self, acc: &V) -> V {
        acc.clone()
    }
}

/// The smallest of something in each tuple, the earliest of equal ones: `min(|bid: &Bid| bid.cents)`.
pub fn min<T, V: Kept + Ord, F>(of: F) -> Extreme<T, V, F, false>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    Extreme(Of::new(of))
}

/// The largest of something in each tuple, the earliest of equal ones: `max(|bid: &Bid| bid.cents)`.
pub fn max<T, V: Kept + Ord, F>(of: F) -> Extreme<T, V, F, true>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    Extreme(Of::new(of))
}

/// See [`min`] and [`max`].
#[derive(Debug)]
pub struct Extreme<T, V, F, const LARGEST: bool>(Of<T, V, F>);

impl<T, V: Ord, F, const LARGEST: bool> Extreme<T, V, F, LARGEST> {
    fn is_better(one: &V, than: &V) -> bool {
        if LARGEST { one > than } else { one < than }
    }
}

impl<T: 'static, V: Kept + Ord, F, const LARGEST: bool> Aggregate<T> for Extreme<T, V, F, LARGEST>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    type Acc = V;
    type Out = V;
    fn init(&self, tuple: T) -> V {
        (self.0.of)(&tuple)
    }
    fn add(&self, acc: &mut V, tuple: T) {
        let new = (self.0.of)(&tuple);
        if Self::is_better(&new, acc) {
            *acc = new;
        }
    }
    fn merge(&self, acc: &mut V, later: &V) {
        if Self::is_better(later, acc) {
            *acc = later.clone();
        }
    }
    fn result(&self, acc: &V) -> V {
        acc.clone()
    }
}

/// The `n` largest of something in each tuple, largest first; equal ones are one.
pub fn top<T, V: Kept + Ord, F>(n: usize, of: F) -> Top<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    Top { n, of: Of::new(of) }
}

/// See [`top`].
#[derive(Debug)]
pub struct Top<T, V, F> {
    n: usize,
    of: Of<T, V, F>,
}

/// The largest so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Largest<V: Ord>(BTreeSet<Reverse<V>>);

impl<T, V: Ord, F> Top<T, V, F> {
    fn put(&self, acc: &mut Largest<V>, new: V) {
        if acc.0.len() >= self.n && acc.0.last().is_none_or(|least| new <= least.0) {
            return;
        }
        acc.0.insert(Reverse(new));
        if acc.0.len() > self.n {
            acc.0.pop_last();
        }
    }
}

impl<T: 'static, V: Kept + Ord, F> Aggregate<T> for Top<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    type Acc = Largest<V>;
    type Out = Vec<V>;
    fn init(&self, tuple: T) -> Largest<V> {
        let mut largest = Largest(BTreeSet::new());
        self.add(&mut largest, tuple);
        largest
    }
    fn add(&self, acc: &mut Largest<V>, tuple: T) {
        self.put(acc, (self.of.of)(&tuple));
    }
    fn merge(&self, acc: &mut Largest<V>, later: &Largest<V>) {
        later.0.iter().for_each(|new| self.put(acc, new.0.clone()));
    }
    fn result(&self, acc: &Largest<V>) -> Vec<V> {
        acc.0.iter().map(|value| value.0.clone()).collect()
    }
}

/// How many different ones there are of something in each tuple. All of them are kept: exact, and as large as
/// they are many.
pub fn distinct<T, V: Kept + Ord, F>(of: F) -> Distinct<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    Distinct(Of::new(of))
}

/// See [`distinct`].
#[derive(Debug)]
pub struct Distinct<T, V, F>(Of<T, V, F>);

impl<T: 'static, V: Kept + Ord, F> Aggregate<T> for Distinct<T, V, F>
where
    F: Fn(&T) -> V + Clone + Send + Sync + 'static,
{
    type Acc = BTreeSet<V>;
    type Out = u64;
    fn init(&self, tuple: T) -> BTreeSet<V> {
        BTreeSet::from([(self.0.of)(&tuple)])
    }
    fn add(&self, acc: &mut BTreeSet<V>, tuple: T) {
        acc.insert((self.0.of)(&tuple));
    }
    fn merge(&self, acc: &mut BTreeSet<V>, later: &BTreeSet<V>) {
        acc.extend(later.iter().cloned());
    }
    fn result(&self, acc: &BTreeSet<V>) -> u64 {
        acc.len() as u64
    }
}

/// One tuple of all: what `of` makes of two, and then of that and the next. `of` has to be associative.
pub fn reduce<T, F>(of: F) -> Reduce<T, F>
where
    F: Fn(&mut T, &T) + Clone + Send + Sync + 'static,
{
    Reduce(Of::new(of))
}

/// See [`reduce`].
#[derive(Debug)]
pub struct Reduce<T, F>(Of<T, (), F>);

impl<T: Kept, F> Aggregate<T> for Reduce<T, F>
where
    F: Fn(&mut T, &T) + Clone + Send + Sync + 'static,
{
    type Acc = T;
    type Out = T;
    fn init(&self, tuple: T) -> T {
        tuple
    }
    fn add(&self, acc: &mut T, tuple: T) {
        (self.0.of)(acc, &tuple);
    }
    fn merge(&self, acc: &mut T, later: &T) {
        (self.0.of)(acc, later);
    }
    fn result(&self, acc: &T) -> T {
        acc.clone()
    }
}

/// Two at once, over the same tuples: `(Count, max(..))`.
impl<T: Clone, A: Aggregate<T>, B: Aggregate<T>> Aggregate<T> for (A, B) {
    type Acc = (A::Acc, B::Acc);
    type Out = (A::Out, B::Out);
    fn init(&self, tuple: T) -> Self::Acc {
        (self.0.init(tuple.clone()), self.1.init(tuple))
    }
    fn add(&self, acc: &mut Self::Acc, tuple: T) {
        self.0.add(&mut acc.0, tuple.clone());
        self.1.add(&mut acc.1, tuple);
    }
    fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc) {
        self.0.merge(&mut acc.0, &later.0);
        self.1.merge(&mut acc.1, &later.1);
    }
    fn result(&self, acc: &Self::Acc) -> Self::Out {
        (self.0.result(&acc.0), self.1.result(&acc.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an aggregate comes to over the tuples cut anywhere and merged.
    fn merged<T: Clone, A: Aggregate<T>>(of: &A, tuples: &[T], cuts: &[usize]) -> Option<A::Out> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (tuples.len() + 1)).collect();
        cuts.extend([0, tuples.len()]);
        cuts.sort_unstable();
        let mut all: Option<A::Acc> = None;
        for slice in cuts.windows(2).map(|cut| &tuples[cut[0]..cut[1]]) {
            let mut slice = slice.iter().cloned();
            let Some(first) = slice.next() else { continue };
            let mut acc = of.init(first);
            slice.for_each(|tuple| of.add(&mut acc, tuple));
            match &mut all {
                Some(all) => of.merge(all, &acc),
                None => all = Some(acc),
            }
        }
        all.map(|acc| of.result(&acc))
    }

    proptest! {
        #[test]
        fn what_is_made_of_slices_is_what_is_made_of_all(
            tuples in proptest::collection::vec(0u8..30, 1..40),
            cuts in proptest::collection::vec(any::<usize>(), 0..6),
            n in 1usize..5,
        ) {
            let sorted: BTreeSet<u8> = tuples.iter().copied().collect();
            let number = |tuple: &u8| u64::from(*tuple);
            prop_assert_eq!(merged(&Count, &tuples, &cuts), Some(tuples.len() as u64));
            prop_assert_eq!(merged(&sum(number), &tuples, &cuts), Some(tuples.iter().map(number).sum()));
            prop_assert_eq!(merged(&min(|t: &u8| *t), &tuples, &cuts), sorted.first().copied());
            prop_assert_eq!(merged(&max(|t: &u8| *t), &tuples, &cuts), sorted.last().copied());
            prop_assert_eq!(merged(&distinct(|t: &u8| *t), &tuples, &cuts), Some(sorted.len() as u64));
            let largest: Vec<u8> = sorted.iter().rev().take(n).copied().collect();
            prop_assert_eq!(merged(&top(n, |t: &u8| *t), &tuples, &cuts), Some(largest));
            // Not commutative: what came first stands first.
            let texts: Vec<String> = tuples.iter().map(u8::to_string).collect();
            let joined = reduce(|all: &mut String, next: &String| all.push_str(next));
            prop_assert_eq!(merged(&joined, &texts, &cuts), Some(texts.concat()));
            let both = (Count, max(|t: &u8| *t));
            let expected = (tuples.len() as u64, *sorted.last().unwrap());
            prop_assert_eq!(merged(&both, &tuples, &cuts), Some(expected));
        }
    }

    #[test]
    fn a_sum_stops_at_its_end_and_the_top_none_is_none() {
        assert_eq!(merged(&sum(|t: &u8| *t), &[200, 100], &[1]), Some(255));
        assert_eq!(merged(&top(0, |t: &u8| *t), &[2, 1], &[1]), Some(vec![]));
    }
}
