//! An aggregate of all tuples of a key, as a keyed bolt.

use crate::Tuple;
use crate::component::{ComponentResult, Context, Emitter, KeyedBolt, TimeToLive};
use crate::window::Aggregate;

/// See the [module](self).
pub(super) struct Fold<A> {
    pub(super) aggregate: A,
    pub(super) lives: Option<TimeToLive>,
}

impl<K, T, A> KeyedBolt<K, T, (K::Owned, A::Out)> for Fold<A>
where
    K: ToOwned<Owned: Tuple> + ?Sized,
    A: Aggregate<T, Out: Tuple>,
{
    type State = Option<A::Acc>;

    fn execute(
        &mut self,
        _: &K,
        state: &mut Option<A::Acc>,
        tuple: T,
        _: &mut Emitter<(K::Owned, A::Out)>,
        _: &Context,
    ) -> ComponentResult {
        match state {
            Some(acc) => self.aggregate.add(acc, tuple),
            None => *state = Some(self.aggregate.init(tuple)),
        }
        Ok(())
    }

    fn flush(
        &mut self,
        key: &K,
        state: &mut Option<A::Acc>,
        out: &mut Emitter<(K::Owned, A::Out)>,
        _: &Context,
    ) -> ComponentResult {
        if let Some(acc) = state {
            out.emit((key.to_owned(), self.aggregate.result(acc)));
        }
        Ok(())
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        self.lives
    }
}
