//! What a bolt's task puts out: what the bolt emits, to named outputs too, and the tuples at which it failed.

use super::emitter::{Emitter, Outlet};
use super::on_error::DeadLetter;
use crate::Tuple;
use crate::batch::Routed;
use crate::task::TaskError;

/// Both, seen by the dataflow as one [`Outlet`].
pub(crate) struct Outlets<O, I> {
    pub(crate) main: Emitter<O>,
    /// There where something takes them.
    letters: Option<Box<Emitter<DeadLetter<I>>>>,
}

impl<O: Tuple, I: Tuple> Outlets<O, I> {
    pub(crate) fn new(main: Emitter<O>, letters: Option<Emitter<DeadLetter<I>>>) -> Outlets<O, I> {
        Outlets { main, letters: letters.map(Box::new) }
    }

    /// Whether the task should rest until the dataflow took what is ready.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.main.is_full() || self.letters.as_ref().is_some_and(|letters| letters.is_full())
    }

    /// Sends a tuple to the dead letters.
    ///
    /// # Errors
    /// When a grouping's own code panics there, or it cannot be handed on.
    ///
    /// # Panics
    /// When nothing takes them: a component that has some is refused then.
    pub(crate) fn bury(&mut self, letter: DeadLetter<I>) -> Result<(), TaskError> {
        let letters = self.letters.as_mut().expect("dead letters are taken by something");
        letters.guarded(|letters| {
            letters.emit(letter);
            Ok(())
        })
    }
}

impl<O: Tuple, I: Tuple> Outlet for Outlets<O, I> {
    fn finish(&mut self) -> Result<(), TaskError> {
        self.main.finish()?;
        self.letters.iter_mut().try_for_each(|letters| letters.finish())
    }

    fn has(&self, edge: usize) -> bool {
        self.main.has(edge) || self.letters.as_ref().is_some_and(|letters| letters.has(edge))
    }

    fn take(&mut self, edge: usize) -> std::vec::Drain<'_, Routed> {
        match &mut self.letters {
            Some(letters) if letters.has(edge) => letters.take(edge),
            _ => self.main.take(edge),
        }
    }

    fn taken(&mut self) -> bool {
        let of_letters = self.letters.as_mut().is_some_and(|letters| letters.taken());
        self.main.taken() || of_letters
    }

    fn refill(&mut self) -> Result<(), TaskError> {
        self.main.refill()?;
        self.letters.iter_mut().try_for_each(|letters| letters.refill())
    }

    fn has_room(&self) -> bool {
        self.main.has_room() && self.letters.as_ref().is_none_or(|letters| letters.has_room())
    }

    fn is_ready(&self) -> bool {
        self.main.is_ready() || self.letters.as_ref().is_some_and(|letters| letters.is_ready())
    }

    fn totals(&self) -> (u64, usize) {
        self.main.totals()
    }

    fn emitted(&self) -> u64 {
        self.main.emitted()
    }
}
