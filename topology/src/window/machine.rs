//! What happens to the windows of a key: a tuple comes, a time comes, a commit closes.
//!
//! ```text
//! tuple ──▶ late? ──▶ the slice or session it lies in ──▶ the trigger of each window it is in
//!                                                     └─▶ when is something due?
//! time  ──▶ late firings, firings at their end, the trigger's, what nobody needs goes ──▶ when is something due?
//! ```
//! Facts come in, results go to `fire`, and [`Due`](super::state::Due) says when to come again. *Time* is the
//! watermark, the clock, or the number of tuples, by what the windows go by. What always holds:
//! * a window is told of on time once, when time passes its end; all tuples of it that come before are in that;
//! * a tuple is late when time has passed the end of every window it is in, and lateness is over: it is handed back;
//! * nothing is kept of a window when time has passed its end and lateness is over.

mod sessions;

use super::contents::Contents;
use super::panes::{NEVER, Panes};
use super::span::{Firing, Timing, Window};
use super::state::{Book, Changed, Due, Rare, Session, WindowState};
use super::trigger::{Now, Trigger, Verdict};
use crate::TimeOf;

/// What windows go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The watermark, or the clock.
    Time(TimeOf),
    /// The number of tuples.
    Count,
}

/// Which windows a tuple is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assign {
    /// Those of one length.
    Panes(Panes),
    /// Those without a gap of so many ms.
    Sessions(i64),
}

/// Windows, what they keep, and when they are told of.
#[derive(Debug, Clone)]
pub(crate) struct Machine<C, G> {
    pub(crate) assign: Assign,
    pub(crate) by: By,
    pub(crate) contents: C,
    pub(crate) trigger: G,
    pub(crate) lateness: i64,
    /// Whether what was told of is let go of.
    pub(crate) discards: bool,
}

/// The state of a machine.
pub(crate) type StateOf<T, C, G> = WindowState<<C as Contents<T>>::Store, <G as Trigger<T>>::State>;

impl<C, G> Machine<C, G> {
    /// How far time has come.
    fn time(&self, now: Now<'_>, tuples: u64) -> i64 {
        match self.by {
            By::Time(of) => now.of(of),
            By::Count => i64::try_from(tuples).unwrap_or(NEVER),
        }
    }

    /// Takes a tuple of time `at`; gives it back if it is late.
    pub(crate) fn on_tuple<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        (at, tuple): (i64, T),
        now: Now<'_>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) -> Option<T>
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        match self.assign {
            Assign::Panes(panes) if self.by == By::Count => {
                self.on_counted(panes, state, tuple, now, fire);
                None
            }
            Assign::Panes(panes) => {
                let time = self.time(now, 0);
                self.in_panes(panes, state, (at, tuple), (now, time), fire)
            }
            Assign::Sessions(gap) => self.in_sessions(gap, state, (at, tuple), now, fire),
        }
    }

    /// Something is due by `of`, or a commit closes.
    pub(crate) fn on_time<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        now: Now<'_>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let time = self.time(now, state.due.tuples);
        self.fire_changed::<T>(state, fire);
        match self.assign {
            Assign::Panes(panes) => self.advance_panes::<T>(panes, state, time, fire),
            Assign::Sessions(gap) => self.advance_sessions::<T>(gap, state, time, fire),
        }
        self.ask_triggers::<T>(state, now, fire);
        let due = match self.assign {
            Assign::Panes(panes) => self.due_of_panes::<T>(panes, state),
            Assign::Sessions(gap) => self.due_of_sessions(gap, state),
        };
        self.set_due::<T>(state, due, false);
    }

    /// A commit closes, and nothing may have been due.
    pub(crate) fn on_commit<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        self.fire_changed::<T>(state, fire);
    }

    /// Whether nothing is kept for the key: no window is open.
    pub(crate) fn is_over<T>(&self, state: &StateOf<T, C, G>) -> bool
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let rare = |rare: &Rare<G::State>| rare.books.is_empty() && rare.sessions.is_empty();
        let rare = state.rare().is_none_or(rare);
        rare && *state.due == Due::default()
            && self.contents.first_from(&state.contents, i64::MIN).is_none()
    }

    /// Tells of a window, if there is something in it.
    fn tell<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        (window, timing): (Window, Timing),
        (from, to): (i64, i64),
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let slides = matches!(self.assign, Assign::Panes(panes) if panes.overlap() > 1);
        if let Some(out) = self.contents.out(&mut state.contents, window, (from, to), slides) {
            fire(Firing { window, timing }, out);
            if self.discards {
                self.contents.remove(&mut state.contents, from, to);
            }
        }
    }

    /// Windows that were told of and changed, told of again, in the order of their ends, each once.
    fn fire_changed<T>(&self, state: &mut StateOf<T, C, G>, fire: &mut impl FnMut(Firing, C::Out))
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let Some(rare) = state.rare_if_any().filter(|rare| !rare.changed.is_empty()) else {
            return;
        };
        let mut changed = std::mem::take(&mut rare.changed);
        changed.sort_unstable();
        match self.assign {
            Assign::Panes(panes) => {
                let mut told = i64::MIN;
                for Changed { at, time } in changed {
                    let open = panes.end_after(time.saturating_sub(self.lateness));
                    let mut end = panes.first_end(at).max(open);
                    while end <= panes.last_end(at).min(time) {
                        if end > told {
                            self.tell_pane::<T>(panes, state, (end, Timing::Late), fire);
                            told = end;
                        }
                        end = panes.next_end(end);
                    }
                }
            }
            Assign::Sessions(gap) => {
                changed.dedup_by_key(|changed| changed.at);
                for Changed { at, .. } in changed {
                    // It may have become part of another, which changed as well, or have gone on.
                    let sessions = state.rare().map(|rare| &rare.sessions);
                    let session = sessions.and_then(|sessions| sessions.get(&at)).copied();
                    if let Some(session) = session.filter(|session| session.told) {
                        self.tell_session::<T>(gap, state, (at, session, Timing::Late), fire);
                    }
                }
            }
        }
    }

    /// Asks the triggers whose time has come.
    fn ask_triggers<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        now: Now<'_>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        if G::IS_SILENT {
            return;
        }
        let due = *state.due;
        let waits = [due.event, due.processing].iter().any(|at| *at != NEVER);
        let Some(rare) = state.rare().filter(|_| waits) else { return };
        // The clock is read only where somebody waits for it.
        let by_clock = rare.books.iter().any(|(_, book)| book.processing != NEVER);
        let clock = if by_clock { now.processing_ms() } else { i64::MIN };
        let is_due = |book: &Book<G::State>| {
            book.event <= now.watermark_ms() || (book.processing <= clock && by_clock)
        };
        let keys: Vec<i64> =
            rare.books.iter().filter(|(_, book)| is_due(book)).map(|(key, _)| *key).collect();
        for key in keys {
            let window = self.window_of::<T>(state, key);
            let Some(book) = state.rare_mut().books.get_mut(&key) else { continue };
            if book.event <= now.watermark_ms() {
                book.event = NEVER;
            }
            if book.processing <= clock {
                book.processing = NEVER;
            }
            let verdict = self.trigger.on_time(window, &mut book.state, now);
            let fires = note(book, verdict);
            if fires {
                self.tell_book::<T>(state, key, fire);
            }
            self.drop_empty_book(state, key);
        }
    }

    /// The window of a book.
    fn window_of<T>(&self, state: &StateOf<T, C, G>, key: i64) -> Window
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        match self.assign {
            Assign::Panes(panes) => Window { start_ms: panes.start(key), end_ms: key },
            Assign::Sessions(gap) => {
                let sessions = state.rare().map(|rare| &rare.sessions);
                let session = sessions.and_then(|sessions| sessions.get(&key));
                let last = session.map_or(key, |session| session.last);
                Window { start_ms: key, end_ms: last.saturating_add(gap) }
            }
        }
    }

    /// Tells of a book's window before its end.
    fn tell_book<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        key: i64,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        match self.assign {
            Assign::Panes(panes) => {
                self.tell_pane::<T>(panes, state, (key, Timing::Early), fire);
            }
            Assign::Sessions(gap) => {
                let sessions = state.rare().map(|rare| &rare.sessions);
                let session = sessions.and_then(|sessions| sessions.get(&key)).copied();
                if let Some(session) = session {
                    self.tell_session::<T>(gap, state, (key, session, Timing::Early), fire);
                }
            }
        }
    }

    /// A book that says nothing is none.
    fn drop_empty_book<Q, S>(&self, state: &mut WindowState<Q, S>, key: i64)
    where
        S: serde::Serialize + Default + PartialEq,
    {
        let Some(rare) = state.rare_if_any() else { return };
        let empty = Book { fresh: false, ..Book::default() };
        // Whether something is new is asked only where something is waited for.
        let says = |book: &Book<S>| {
            (&book.state, book.event, book.processing)
                != (&empty.state, empty.event, empty.processing)
        };
        if rare.books.get(&key).is_some_and(|book| !says(book)) {
            rare.books.remove(&key);
        }
    }

    /// Says when something is due. After a tuple a timer is only ever set earlier: one that comes too early costs
    /// less than to move it with each tuple.
    fn set_due<T>(&self, state: &mut StateOf<T, C, G>, due: Due, only_earlier: bool)
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let mut due = Due { tuples: state.due.tuples, ..due };
        if let Some(rare) = state.rare() {
            for (_, book) in &rare.books {
                due.event = due.event.min(book.event);
                due.processing = due.processing.min(book.processing);
            }
        }
        if only_earlier {
            due.event = due.event.min(state.due.event);
            due.processing = due.processing.min(state.due.processing);
        }
        state.set_due(due);
    }

    /// What is due when the end of a window is reached, or lateness is over.
    fn due_at(&self, next_end: i64, at: i64) -> Due {
        let due = Due { next_end, ..Due::default() };
        match self.by {
            By::Time(TimeOf::Event) => Due { event: at, ..due },
            By::Time(TimeOf::Processing) => Due { processing: at, ..due },
            By::Count => due,
        }
    }
}

/// Windows of one length.
impl<C, G> Machine<C, G> {
    fn in_panes<T>(
        &self,
        panes: Panes,
        state: &mut StateOf<T, C, G>,
        (at, tuple): (i64, T),
        (now, time): (Now<'_>, i64),
        fire: &mut impl FnMut(Firing, C::Out),
    ) -> Option<T>
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let last_end = panes.last_end(at);
        if last_end.saturating_add(self.lateness) <= time {
            return Some(tuple);
        }
        let slice = panes.slice(at);
        let first_end = panes.first_end(at);
        let open = if first_end > time { first_end } else { panes.end_after(time) };
        let mut early = Vec::new();
        if !G::IS_SILENT {
            let mut end = open;
            while end <= last_end {
                let window = Window { start_ms: panes.start(end), end_ms: end };
                if self.ask::<T>(state, end, window, &tuple, now) {
                    early.push(end);
                }
                if end == NEVER {
                    break;
                }
                end = panes.next_end(end);
            }
        }
        self.contents.add(&mut state.contents, slice, at, tuple);
        if first_end <= time && self.lateness > 0 {
            let changed = &mut state.rare_mut().changed;
            if changed.last() != Some(&Changed { at: slice, time }) {
                changed.push(Changed { at: slice, time });
            }
        }
        for end in early {
            self.tell_pane::<T>(panes, state, (end, Timing::Early), fire);
            self.drop_empty_book(state, end);
        }
        let due = *state.due;
        let next_end = if open <= last_end { due.next_end.min(open) } else { due.next_end };
        // What was told of goes when lateness is over.
        let goes = last_end.saturating_add(self.lateness);
        let wake = self.due_at(next_end, next_end.min(goes));
        let is_earlier = wake.event < due.event || wake.processing < due.processing;
        if !G::IS_SILENT || next_end != due.next_end || is_earlier {
            self.set_due::<T>(state, wake, true);
        }
        None
    }

    /// Windows by count: a tuple's number is its time, and time has come as far as there are tuples.
    fn on_counted<T>(
        &self,
        panes: Panes,
        state: &mut StateOf<T, C, G>,
        tuple: T,
        now: Now<'_>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let number = state.due.tuples;
        let at = i64::try_from(number).unwrap_or(NEVER - 1);
        let late = self.in_panes(panes, state, (at, tuple), (now, at), fire);
        debug_assert!(late.is_none(), "a tuple's number is not before itself");
        let time = at.saturating_add(1);
        state.set_due(Due { tuples: number + 1, ..*state.due });
        if time >= state.due.next_end {
            self.advance_panes::<T>(panes, state, time, fire);
            // Windows that do not overlap begin anew.
            if self.contents.first_from(&state.contents, i64::MIN).is_none() {
                state.rare_if_any().into_iter().for_each(|rare| rare.books.clear());
                state.set_due(Due::default());
            } else {
                let due = self.due_of_panes::<T>(panes, state);
                self.set_due::<T>(state, due, false);
            }
        }
    }

    /// Whether a trigger says that the window is told of.
    fn ask<T>(
        &self,
        state: &mut StateOf<T, C, G>,
        key: i64,
        window: Window,
        tuple: &T,
        now: Now<'_>,
    ) -> bool
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let books = &mut state.rare_mut().books;
        if books.get(&key).is_none() {
            books.insert(key, Book::default());
        }
        let Some(book) = books.get_mut(&key) else { return false };
        book.fresh = true;
        let verdict = self.trigger.on_tuple(tuple, window, &mut book.state, now);
        note(book, verdict)
    }

    fn tell_pane<T>(
        &self,
        panes: Panes,
        state: &mut StateOf<T, C, G>,
        (end, timing): (i64, Timing),
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let mut window = Window { start_ms: panes.start(end), end_ms: end };
        let range = (window.start_ms, window.end_ms);
        if self.by == By::Count {
            window.start_ms = window.start_ms.max(0);
        }
        self.tell::<T>(state, (window, timing), range, fire);
    }

    /// Time has come as far as `time`.
    fn advance_panes<T>(
        &self,
        panes: Panes,
        state: &mut StateOf<T, C, G>,
        time: i64,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let mut end = state.due.next_end;
        while end <= time && end != NEVER {
            self.tell_pane::<T>(panes, state, (end, Timing::OnTime), fire);
            let next = panes.next_end(end);
            // Windows that nothing is in are passed over.
            let first = self.contents.first_from(&state.contents, panes.start(next));
            end = first.map_or(NEVER, |first| panes.first_end(first).max(next));
        }
        if end != state.due.next_end {
            let due = Due { next_end: end, ..*state.due };
            state.set_due(due);
        }
        let over = panes.needless_before(time.saturating_sub(self.lateness));
        self.contents.remove(&mut state.contents, i64::MIN, over);
        if let Some(rare) = state.rare_if_any() {
            while rare.books.iter().next().is_some_and(|(end, _)| *end <= time) {
                rare.books.pop_first();
            }
        }
    }

    fn due_of_panes<T>(&self, panes: Panes, state: &StateOf<T, C, G>) -> Due
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let next_end = state.due.next_end;
        let first = self.contents.first_from(&state.contents, i64::MIN);
        let goes = first.map_or(NEVER, |first| panes.last_end(first).saturating_add(self.lateness));
        self.due_at(next_end, next_end.min(goes))
    }
}

/// Takes up what a trigger said; whether the window is told of.
fn note<S>(book: &mut Book<S>, verdict: Verdict) -> bool {
    match verdict.wake {
        Some((TimeOf::Event, ms)) => book.event = ms,
        Some((TimeOf::Processing, ms)) => book.processing = ms,
        None => {}
    }
    let fires = verdict.fires && book.fresh;
    book.fresh &= !fires;
    fires
}
