//! A stream joined with a table: the last row of the key that came.

use std::fmt;
use std::marker::PhantomData;

use super::Joined;
use crate::builder::KeyFn;
use crate::component::{ComponentResult, Context, Emitter, KeyedBolt, TimeToLive};
use crate::streamlet::unkeyed::Streamlet;
use crate::streamlet::wiring::Wiring;
use crate::{Either, Tuple};
use egret_state::keyed::InMemory;

/// Whether a row takes the key's row away instead of taking its place.
type Removes<U> = fn(&U) -> bool;

/// A join with a table: see [`Joined::table`]. The last row of each key is kept for ever, unless it is said when it goes.
#[must_use = "say which kind of join it is"]
pub struct TableJoin<T, F, U, G> {
    inputs: Joined<T, F, U, G>,
    removes: Removes<U>,
    lives: Option<TimeToLive>,
}

impl<T, F, U, G> fmt::Debug for TableJoin<T, F, U, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("join with a table")
    }
}

impl<T, F, U, G> TableJoin<T, F, U, G>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
{
    pub(super) fn new(inputs: Joined<T, F, U, G>) -> Self {
        TableJoin { inputs, removes: |_| false, lives: None }
    }

    /// Rows that take the row of their key away: there is none then until the next.
    pub fn removed_by(self, removes: fn(&U) -> bool) -> Self {
        TableJoin { removes, ..self }
    }

    /// How long a row is kept that is not replaced.
    pub fn time_to_live(self, lives: TimeToLive) -> Self {
        TableJoin { lives: Some(lives), ..self }
    }

    /// What `say` makes of each left one and the row of its key, if there is one.
    pub fn inner<O, S>(self, say: S) -> Streamlet<O>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, &U) -> O + Clone + Send + Sync + 'static,
    {
        self.wire("inner", move |key, left, right| Some(say(key, left, right?)))
    }

    /// The same, and of each left one without a row.
    pub fn left<O, S>(self, say: S) -> Streamlet<O>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, Option<&U>) -> O + Clone + Send + Sync + 'static,
    {
        self.wire("left", move |key, left, right| Some(say(key, left, right)))
    }

    fn wire<O, S>(self, kind: &'static str, say: S) -> Streamlet<O>
    where
        O: Tuple,
        S: Fn(&F::Key, &T, Option<&U>) -> Option<O> + Clone + Send + Sync + 'static,
    {
        let TableJoin { inputs, removes, lives } = self;
        Streamlet::of(Wiring::component(move |said| {
            let (place, both) = inputs.lead(said, "join")?;
            let text = format!("{kind} join with a table");
            both.windowed(place.of(), InMemory, text, move || TableBolt {
                say: say.clone(),
                removes,
                lives,
                of: PhantomData::<fn(T)>,
            })
        }))
    }
}

struct TableBolt<S, T, U> {
    say: S,
    removes: Removes<U>,
    lives: Option<TimeToLive>,
    of: PhantomData<fn(T)>,
}

impl<K, T, U, O, S> KeyedBolt<K, Either<T, U>, O> for TableBolt<S, T, U>
where
    K: ?Sized,
    T: Tuple,
    U: Tuple,
    O: Tuple,
    S: Fn(&K, &T, Option<&U>) -> Option<O> + 'static,
{
    type State = Option<U>;

    fn execute(
        &mut self,
        key: &K,
        row: &mut Option<U>,
        tuple: Either<T, U>,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        match tuple {
            Either::Left(left) => {
                (self.say)(key, &left, row.as_ref()).into_iter().for_each(|told| out.emit(told));
                // A key that is no row is none that is kept.
                if row.is_none() {
                    cx.forget_key()?;
                }
            }
            Either::Right(new) if (self.removes)(&new) => {
                *row = None;
                cx.forget_key()?;
            }
            Either::Right(new) => *row = Some(new),
        }
        Ok(())
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        self.lives
    }
}
