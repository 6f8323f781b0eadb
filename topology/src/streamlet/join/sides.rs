//! What is kept of both sides of a join for a key.
//!
//! | part | what |
//! |---|---|
//! | 0, 1 | tuples of the left and of the right, by time, and by number within a ms |
//! | 2, 3 | those of them that met nobody yet, where that is to be told |
//! | 4 | the timer that is set |

use egret_state::keyed::cell::Cell;
use egret_state::keyed::format::StateFormat;
use egret_state::keyed::kinds::{Kind, apply_cells};
use egret_state::keyed::state::{Extent, Form, State, StateError};
use egret_state::keyed::{MapState, Value};

use crate::window::Kept;

/// When, and which of those of that ms.
pub(super) type At = (i64, u32);

/// Everything at `from` and up to `to`.
pub(super) fn span(from: i64, to: i64) -> std::ops::RangeInclusive<At> {
    (from, 0)..=(to, u32::MAX)
}

/// What is kept of one side.
#[derive(Debug)]
pub(super) struct Side<T> {
    pub(super) of: MapState<At, T>,
    /// Those that met nobody yet.
    pub(super) alone: MapState<At, ()>,
}

impl<T> Default for Side<T> {
    fn default() -> Self {
        Side { of: MapState::default(), alone: MapState::default() }
    }
}

impl<T: Kept> Side<T> {
    /// Keeps a tuple.
    pub(super) fn keep(&mut self, at: i64, tuple: T, is_alone: bool) {
        let last = self.of.range(span(at, at)).next_back();
        // So many of one ms that there is no number left: the last one gives way.
        let number = last.map_or(0, |((_, number), _)| number.saturating_add(1));
        self.of.insert((at, number), tuple);
        if is_alone {
            self.alone.insert((at, number), ());
        }
    }

    /// The time of the first one.
    pub(super) fn first(&self) -> Option<i64> {
        self.of.iter().next().map(|((at, _), _)| *at)
    }

    /// The time of the second one.
    pub(super) fn second(&self) -> Option<i64> {
        self.of.iter().nth(1).map(|((at, _), _)| *at)
    }

    /// Takes the first one away if it is before `time`; and whether it met nobody.
    pub(super) fn pop_before(&mut self, time: i64) -> Option<(i64, T, bool)> {
        self.first().filter(|at| *at < time)?;
        let (at, tuple) = self.of.pop_first()?;
        let is_alone = !self.alone.is_empty() && self.alone.remove(&at).is_some();
        Some((at.0, tuple, is_alone))
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sides<A, B> {
    pub(super) left: Side<A>,
    pub(super) right: Side<B>,
    /// The timer that is set, of event time.
    pub(super) due: Value<Option<i64>>,
}

impl<A, B> Default for Sides<A, B> {
    fn default() -> Self {
        Sides { left: Side::default(), right: Side::default(), due: Value::default() }
    }
}

impl<A, B> Sides<A, B> {
    pub(super) fn is_empty(&self) -> bool {
        self.left.of.is_empty() && self.right.of.is_empty()
    }
}

/// What is set aside of [`Sides`] while a tuple is tried.
type Mark<A, B> = (
    (<MapState<At, A> as Kind>::Mark, <MapState<At, B> as Kind>::Mark),
    (<MapState<At, ()> as Kind>::Mark, <MapState<At, ()> as Kind>::Mark),
    <Value<Option<i64>> as Kind>::Mark,
);

impl<A: Kept, B: Kept> State for Sides<A, B> {
    const FORM: Form = Form::Cells;
    type Mark = Mark<A, B>;

    fn write(
        &mut self,
        extent: Extent,
        out: &mut Vec<u8>,
        mut undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        Kind::write(&mut self.left.of, 0, extent, out, undo.as_deref_mut())?;
        Kind::write(&mut self.right.of, 1, extent, out, undo.as_deref_mut())?;
        Kind::write(&mut self.left.alone, 2, extent, out, undo.as_deref_mut())?;
        Kind::write(&mut self.right.alone, 3, extent, out, undo.as_deref_mut())?;
        Kind::write(&mut self.due, 4, extent, out, undo)
    }

    fn read(body: &[u8]) -> Result<Self, StateError> {
        let mut sides = Self::default();
        sides.apply(body)?;
        Ok(sides)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        apply_cells(body, "join", 5, |cell: Cell<'_>| {
            match cell.part() {
                0 => self.left.of.take(cell)?,
                1 => self.right.of.take(cell)?,
                2 => self.left.alone.take(cell)?,
                3 => self.right.alone.take(cell)?,
                4 => self.due.take(cell)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn mark(&mut self) -> Result<Self::Mark, StateError> {
        let Sides { left, right, due } = self;
        let tuples = (Kind::mark(&mut left.of), Kind::mark(&mut right.of));
        let alone = (Kind::mark(&mut left.alone), Kind::mark(&mut right.alone));
        Ok((tuples, alone, Kind::mark(due)))
    }

    fn keep(&mut self, (tuples, alone, due): Self::Mark) {
        Kind::keep(&mut self.left.of, tuples.0);
        Kind::keep(&mut self.right.of, tuples.1);
        Kind::keep(&mut self.left.alone, alone.0);
        Kind::keep(&mut self.right.alone, alone.1);
        Kind::keep(&mut self.due, due);
    }

    fn take_back(&mut self, (tuples, alone, due): Self::Mark) -> Result<(), StateError> {
        Kind::take_back(&mut self.left.of, 0, tuples.0)?;
        Kind::take_back(&mut self.right.of, 1, tuples.1)?;
        Kind::take_back(&mut self.left.alone, 2, alone.0)?;
        Kind::take_back(&mut self.right.alone, 3, alone.1)?;
        Kind::take_back(&mut self.due, 4, due)
    }

    fn format() -> StateFormat {
        StateFormat::parts(vec![
            <MapState<At, A> as Kind>::format(0, "left"),
            <MapState<At, B> as Kind>::format(1, "right"),
            <MapState<At, ()> as Kind>::format(2, "left_alone"),
            <MapState<At, ()> as Kind>::format(3, "right_alone"),
            <Value<Option<i64>> as Kind>::format(4, "due"),
        ])
    }

    fn bytes(&self) -> Option<usize> {
        let Sides { left, right, due } = self;
        let tuples = Kind::bytes(&left.of) + Kind::bytes(&right.of);
        let alone = Kind::bytes(&left.alone) + Kind::bytes(&right.alone);
        Some(tuples + alone + Kind::bytes(due))
    }
}
