//! What is kept of windows, and what it comes to: an accumulator for each slice, or every tuple.
//!
//! Whoever decides when a window is told of sees numbers only: where something is kept, from where on, up to where.

use std::marker::PhantomData;
use std::sync::Arc;

use egret_state::keyed::MapState;
use egret_state::keyed::cell::Cell;
use egret_state::keyed::format::Part;
use egret_state::keyed::kinds::Kind;
use egret_state::keyed::state::{Extent, StateError};

use super::aggregate::Aggregate;
use super::evict::Evictor;
use super::running::Running;
use super::span::Window;
use crate::Tuple;

/// What is kept of the tuples of windows.
pub(crate) trait Contents<T>: Clone + Send + Sync + 'static {
    /// Where.
    type Store: Kind;
    /// What a window comes to.
    type Out;

    /// Adds a tuple of time `at`, of the slice that begins at `slice`.
    fn add(&self, store: &mut Self::Store, slice: i64, at: i64, tuple: T);

    /// What `window` comes to, of everything kept under the numbers of `range`, its end left out; nothing, if
    /// there is nothing. Of a window that slides, what was asked before helps.
    fn out(
        &self,
        store: &mut Self::Store,
        window: Window,
        range: (i64, i64),
        slides: bool,
    ) -> Option<Self::Out>;

    /// The first number at or after `from` under which something is kept.
    fn first_from(&self, store: &Self::Store, from: i64) -> Option<i64>;

    /// Lets go of everything from `from` on and before `to`.
    fn remove(&self, store: &mut Self::Store, from: i64, to: i64);

    /// What is kept under `from` belongs to what is under `to`, which is no later.
    fn move_to(&self, store: &mut Self::Store, from: i64, to: i64);
}

/// An accumulator for each slice.
#[derive(Debug, Clone)]
pub(crate) struct Incremental<A>(pub(crate) A);

/// Accumulators by slice, and, in memory only, what windows lately came to.
pub(crate) struct Slices<A> {
    of: MapState<i64, A>,
    running: Option<Box<Running<A>>>,
}

impl<A> Default for Slices<A> {
    fn default() -> Slices<A> {
        Slices { of: MapState::default(), running: None }
    }
}

impl<A: Clone + serde::Serialize> Slices<A> {
    /// What is kept under `slice` changes.
    fn touch(&mut self, slice: i64) {
        if self.running.as_ref().is_some_and(|running| running.knows(slice)) {
            self.running = None;
        }
    }
}

impl<A> Kind for Slices<A>
where
    MapState<i64, A>: Kind,
    A: Send + 'static,
{
    type Mark = <MapState<i64, A> as Kind>::Mark;

    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        Kind::write(&mut self.of, part, extent, out, undo)
    }

    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError> {
        self.running = None;
        self.of.take(cell)
    }

    fn mark(&mut self) -> Self::Mark {
        Kind::mark(&mut self.of)
    }

    fn keep(&mut self, mark: Self::Mark) {
        Kind::keep(&mut self.of, mark);
    }

    fn format(part: u32, name: &str) -> Part {
        <MapState<i64, A> as Kind>::format(part, name)
    }

    fn bytes(&self) -> usize {
        Kind::bytes(&self.of)
    }
}

/// Slices of one window that are merged as they are; to remember more would cost more.
const SLICES_MERGED_MAX: usize = 4;

impl<T, A: Aggregate<T>> Contents<T> for Incremental<A> {
    type Store = Slices<A::Acc>;
    type Out = A::Out;

    fn add(&self, store: &mut Self::Store, slice: i64, _: i64, tuple: T) {
        store.touch(slice);
        match store.of.get_mut(&slice) {
            Some(acc) => self.0.add(acc, tuple),
            None => drop(store.of.insert(slice, self.0.init(tuple))),
        }
    }

    fn out(
        &self,
        store: &mut Self::Store,
        _: Window,
        (from, to): (i64, i64),
        slides: bool,
    ) -> Option<A::Out> {
        let Slices { of, running } = store;
        let few = !slides || of.range(from..to).nth(SLICES_MERGED_MAX).is_none();
        if few {
            let mut slices = of.range(from..to).map(|(_, acc)| acc);
            let first = slices.next()?;
            let Some(second) = slices.next() else { return Some(self.0.result(first)) };
            let mut acc = first.clone();
            self.0.merge(&mut acc, second);
            slices.for_each(|next| self.0.merge(&mut acc, next));
            return Some(self.0.result(&acc));
        }
        let merge = |acc: &mut A::Acc, later: &A::Acc| self.0.merge(acc, later);
        let running = running.get_or_insert_with(|| Box::new(Running::new(from)));
        let acc = running.of(of, from, to, merge)?;
        Some(self.0.result(&acc))
    }

    fn first_from(&self, store: &Self::Store, from: i64) -> Option<i64> {
        store.of.range(from..).next().map(|(slice, _)| *slice)
    }

    fn remove(&self, store: &mut Self::Store, from: i64, to: i64) {
        // What slides out of reach is no change of what is asked for next.
        if store.of.range(..from).next().is_some() {
            store.running = None;
        }
        while let Some(slice) = self.first_from(store, from).filter(|slice| *slice < to) {
            store.of.remove(&slice);
        }
    }

    fn move_to(&self, store: &mut Self::Store, from: i64, to: i64) {
        store.running = None;
        let Some(acc) = store.of.remove(&from) else { return };
        match store.of.get_mut(&to) {
            Some(earlier) => self.0.merge(earlier, &acc),
            None => drop(store.of.insert(to, acc)),
        }
    }
}

/// Every tuple, under its time and a number.
pub(crate) struct Whole<T> {
    evictor: Option<Arc<dyn Evictor<T>>>,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Whole<T> {
    fn clone(&self) -> Whole<T> {
        Whole { evictor: self.evictor.clone(), of: PhantomData }
    }
}

impl<T> Whole<T> {
    pub(crate) fn new(evictor: Option<Arc<dyn Evictor<T>>>) -> Whole<T> {
        Whole { evictor, of: PhantomData }
    }
}

impl<T: Tuple> Contents<T> for Whole<T> {
    type Store = MapState<(i64, u32), T>;
    type Out = Vec<T>;

    fn add(&self, store: &mut Self::Store, _: i64, at: i64, tuple: T) {
        let last = store.range((at, 0)..=(at, u32::MAX)).next_back();
        // So many of one ms that there is no number left: the last one gives way.
        let number = last.map_or(0, |((_, number), _)| number.saturating_add(1));
        store.insert((at, number), tuple);
    }

    fn out(
        &self,
        store: &mut Self::Store,
        window: Window,
        (from, to): (i64, i64),
        _: bool,
    ) -> Option<Vec<T>> {
        let range = || store.range((from, 0)..(to, 0));
        range().next()?;
        let mut tuples: Vec<T> = range().map(|(_, tuple)| tuple.clone()).collect();
        if let Some(evictor) = &self.evictor {
            let times: Vec<i64> = range().map(|((at, _), _)| *at).collect();
            let n = evictor.evict(window, &times, &tuples).min(tuples.len());
            tuples.drain(..n);
            if window == Window::ALL {
                (0..n).for_each(|_| drop(store.pop_first()));
            }
        }
        Some(tuples)
    }

    fn first_from(&self, store: &Self::Store, from: i64) -> Option<i64> {
        store.range((from, 0)..).next().map(|((at, _), _)| *at)
    }

    fn remove(&self, store: &mut Self::Store, from: i64, to: i64) {
        let first =
            |store: &Self::Store| store.range((from, 0)..(to, 0)).next().map(|(key, _)| *key);
        while let Some(key) = first(store) {
            store.remove(&key);
        }
    }

    fn move_to(&self, _: &mut Self::Store, _: i64, _: i64) {
        // Tuples have their own times.
    }
}
