//! What is kept for a key: the contents of its windows, when something is due, and what few windows need.
//!
//! | part | what |
//! |---|---|
//! | 0 | contents: accumulators by slice, or tuples by time |
//! | 1 | when something is due; how many tuples came, of windows by count |
//! | 2 | what a trigger keeps, by window |
//! | 3 | sessions, by their first tuple |
//!
//! Parts 2 and 3 take memory only where they are used. All of them are empty when no window is open: the key is
//! forgotten then.

use egret_state::keyed::cell::Cell;
use egret_state::keyed::format::StateFormat;
use egret_state::keyed::kinds::{Kind, apply_cells};
use egret_state::keyed::state::{Extent, Form, State, StateError};
use egret_state::keyed::{MapState, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::panes::NEVER;

/// When something is due; [`NEVER`] where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    /// The end of the next window to be told of.
    pub(crate) next_end: i64,
    /// The timer of event time that is set.
    pub(crate) event: i64,
    /// The timer of the clock that is set.
    pub(crate) processing: i64,
    /// How many tuples came, of windows by count.
    pub(crate) tuples: u64,
}

impl Default for Due {
    fn default() -> Due {
        Due { next_end: NEVER, event: NEVER, processing: NEVER, tuples: 0 }
    }
}

/// What is kept of a window for its trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book<S> {
    pub(crate) state: S,
    /// Whether a tuple came since it was last told of.
    pub(crate) fresh: bool,
    /// When the trigger is asked.
    pub(crate) event: i64,
    pub(crate) processing: i64,
}

impl<S: Default> Default for Book<S> {
    fn default() -> Book<S> {
        Book { state: S::default(), fresh: false, event: NEVER, processing: NEVER }
    }
}

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The time of its last tuple.
    pub(crate) last: i64,
    /// Whether it was told of at the end it has.
    pub(crate) told: bool,
}

/// Windows that tuples came into after they were told of, in this commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    /// Where the tuple's slice begins, or its session.
    pub(crate) at: i64,
    /// How far time had come then.
    pub(crate) time: i64,
}

/// See the [module](self).
pub(crate) struct WindowState<C, S> {
    pub(crate) contents: C,
    pub(crate) due: Value<Due>,
    rare: Option<Box<Rare<S>>>,
}

/// What is set aside of a [`WindowState`] while a tuple is tried.
pub(crate) struct WindowMark<C> {
    contents: C,
    due: <Value<Due> as Kind>::Mark,
    rare: Option<RareMark>,
}

/// Of windows' triggers and sessions, both maps by the time of a window, and of those told of again.
type RareMark =
    (<MapState<i64, Session> as Kind>::Mark, <MapState<i64, Session> as Kind>::Mark, Vec<Changed>);

/// What few windows need.
pub(crate) struct Rare<S> {
    pub(crate) books: MapState<i64, Book<S>>,
    pub(crate) sessions: MapState<i64, Session>,
    /// Told of again when the commit closes; so it is empty whenever something is written.
    pub(crate) changed: Vec<Changed>,
}

impl<S> Default for Rare<S> {
    fn default() -> Rare<S> {
        Rare { books: MapState::default(), sessions: MapState::default(), changed: Vec::new() }
    }
}

impl<C: Default, S> Default for WindowState<C, S> {
    fn default() -> WindowState<C, S> {
        WindowState { contents: C::default(), due: Value::default(), rare: None }
    }
}

impl<C, S> WindowState<C, S> {
    pub(crate) fn rare(&self) -> Option<&Rare<S>> {
        self.rare.as_deref()
    }

    /// What few windows need, if this one does.
    pub(crate) fn rare_if_any(&mut self) -> Option<&mut Rare<S>> {
        self.rare.as_deref_mut()
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare<S> {
        self.rare.get_or_insert_default()
    }

    /// Sets what is due, if that is new.
    pub(crate) fn set_due(&mut self, due: Due) {
        if *self.due != due {
            *self.due = due;
        }
    }
}

impl<C: Kind, S> State for WindowState<C, S>
where
    S: Serialize + DeserializeOwned + Default + Clone + Send + 'static,
{
    const FORM: Form = Form::Cells;
    type Mark = WindowMark<C::Mark>;

    fn write(
        &mut self,
        extent: Extent,
        out: &mut Vec<u8>,
        mut undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        Kind::write(&mut self.contents, 0, extent, out, undo.as_deref_mut())?;
        Kind::write(&mut self.due, 1, extent, out, undo.as_deref_mut())?;
        if let Some(rare) = &mut self.rare {
            Kind::write(&mut rare.books, 2, extent, out, undo.as_deref_mut())?;
            Kind::write(&mut rare.sessions, 3, extent, out, undo)?;
        }
        Ok(())
    }

    fn read(body: &[u8]) -> Result<Self, StateError> {
        let mut state = Self::default();
        state.apply(body)?;
        Ok(state)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        self.rare_if_any().into_iter().for_each(|rare| rare.changed.clear());
        apply_cells(body, "windows", 4, |cell: Cell<'_>| {
            match cell.part() {
                0 => self.contents.take(cell)?,
                1 => self.due.take(cell)?,
                2 => self.rare_mut().books.take(cell)?,
                3 => self.rare_mut().sessions.take(cell)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn mark(&mut self) -> Result<Self::Mark, StateError> {
        let rare = self.rare_if_any().map(|rare| {
            (Kind::mark(&mut rare.books), Kind::mark(&mut rare.sessions), rare.changed.clone())
        });
        Ok(WindowMark {
            contents: Kind::mark(&mut self.contents),
            due: Kind::mark(&mut self.due),
            rare,
        })
    }

    fn keep(&mut self, mark: Self::Mark) {
        Kind::keep(&mut self.contents, mark.contents);
        Kind::keep(&mut self.due, mark.due);
        if let (Some((books, sessions, _)), Some(rare)) = (mark.rare, self.rare_if_any()) {
            Kind::keep(&mut rare.books, books);
            Kind::keep(&mut rare.sessions, sessions);
        }
    }

    fn take_back(&mut self, mark: Self::Mark) -> Result<(), StateError> {
        self.contents.take_back(0, mark.contents)?;
        Kind::take_back(&mut self.due, 1, mark.due)?;
        match (mark.rare, self.rare_if_any()) {
            (Some((books, sessions, changed)), Some(rare)) => {
                Kind::take_back(&mut rare.books, 2, books)?;
                Kind::take_back(&mut rare.sessions, 3, sessions)?;
                rare.changed = changed;
            }
            // It came with the attempt.
            _ => self.rare = None,
        }
        Ok(())
    }

    fn format() -> StateFormat {
        StateFormat::parts(vec![
            C::format(0, "contents"),
            <Value<Due> as Kind>::format(1, "due"),
            <MapState<i64, Book<S>> as Kind>::format(2, "triggers"),
            <MapState<i64, Session> as Kind>::format(3, "sessions"),
        ])
    }

    fn bytes(&self) -> Option<usize> {
        let rare = self.rare.as_ref();
        let rare = rare.map_or(0, |rare| Kind::bytes(&rare.books) + Kind::bytes(&rare.sessions));
        Some(self.contents.bytes() + Kind::bytes(&self.due) + rare)
    }
}
