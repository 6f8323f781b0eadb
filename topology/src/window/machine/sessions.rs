//! Sessions: windows that tuples make, and join.
//!
//! A key's sessions are apart by a gap at least. Each stands under the time of its first tuple, and so does what is
//! kept of it; a tuple that is less than a gap from two makes one of them, under the earlier.

use super::{Changed, Contents, Due, Firing, Machine, NEVER, Now, Session, StateOf, Timing};
use super::{Trigger, Window, WindowState};

impl<C, G> Machine<C, G> {
    pub(super) fn in_sessions<T>(
        &self,
        gap: i64,
        state: &mut StateOf<T, C, G>,
        (at, tuple): (i64, T),
        now: Now<'_>,
        fire: &mut impl FnMut(Firing, C::Out),
    ) -> Option<T>
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let time = self.time(now, 0);
        // The sessions it joins, latest first: their tuples are less than a gap away.
        let sessions = &state.rare_mut().sessions;
        let near = sessions.range(..at + gap).rev();
        let joins: Vec<(i64, Session)> = near
            .take_while(|(_, session)| session.last + gap > at)
            .map(|(start, session)| (*start, *session))
            .collect();
        let start = joins.iter().map(|(start, _)| *start).fold(at, i64::min);
        let last = joins.iter().map(|(_, session)| session.last).fold(at, i64::max);
        let end = last.saturating_add(gap);
        if end.saturating_add(self.lateness) <= time {
            return Some(tuple);
        }
        for (from, _) in joins.iter().filter(|(from, _)| *from != start) {
            self.contents.move_to(&mut state.contents, *from, start);
            let rare = state.rare_mut();
            rare.sessions.remove(from);
            self.move_book::<T>(state, *from, start);
        }
        let told = end <= time;
        if state.rare().and_then(|rare| rare.sessions.get(&start)) != Some(&Session { last, told })
        {
            state.rare_mut().sessions.insert(start, Session { last, told });
        }
        let window = Window { start_ms: start, end_ms: end };
        let fires = !G::IS_SILENT && !told && self.ask::<T>(state, start, window, &tuple, now);
        self.contents.add(&mut state.contents, start, at, tuple);
        if told {
            state.rare_mut().changed.push(Changed { at: start, time });
        }
        if fires {
            let session = Session { last, told };
            self.tell_session::<T>(gap, state, (start, session, Timing::Early), fire);
            self.drop_empty_book(state, start);
        }
        let wakes = if told { end.saturating_add(self.lateness) } else { end };
        self.set_due::<T>(state, self.due_at(NEVER, wakes), true);
        None
    }

    /// What a trigger keeps of a session that has become part of an earlier one.
    fn move_book<T>(&self, state: &mut StateOf<T, C, G>, from: i64, to: i64)
    where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let books = &mut state.rare_mut().books;
        let Some(later) = books.remove(&from) else { return };
        let Some(book) = books.get_mut(&to) else {
            books.insert(to, later);
            return;
        };
        book.fresh |= later.fresh;
        book.event = book.event.min(later.event);
        book.processing = book.processing.min(later.processing);
        self.trigger.merge(&mut book.state, later.state);
    }

    pub(super) fn tell_session<T>(
        &self,
        gap: i64,
        state: &mut StateOf<T, C, G>,
        (start, session, timing): (i64, Session, Timing),
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let window = Window { start_ms: start, end_ms: session.last.saturating_add(gap) };
        self.tell::<T>(state, (window, timing), (start, session.last + 1), fire);
    }

    pub(super) fn advance_sessions<T>(
        &self,
        gap: i64,
        state: &mut StateOf<T, C, G>,
        time: i64,
        fire: &mut impl FnMut(Firing, C::Out),
    ) where
        C: Contents<T>,
        G: Trigger<T>,
    {
        let Some(rare) = state.rare() else { return };
        let ended = |session: &Session| session.last.saturating_add(gap) <= time;
        let all = rare.sessions.iter().filter(|(_, session)| ended(session));
        let all: Vec<(i64, Session)> = all.map(|(start, session)| (*start, *session)).collect();
        for (start, session) in all {
            if !session.told {
                self.tell_session::<T>(gap, state, (start, session, Timing::OnTime), fire);
                state.rare_mut().books.remove(&start);
                state.rare_mut().sessions.insert(start, Session { told: true, ..session });
            }
            let end = session.last.saturating_add(gap);
            if end.saturating_add(self.lateness) <= time {
                state.rare_mut().sessions.remove(&start);
                self.contents.remove(&mut state.contents, start, session.last + 1);
            }
        }
    }

    pub(super) fn due_of_sessions<Q, S>(&self, gap: i64, state: &WindowState<Q, S>) -> Due {
        let sessions = state.rare().into_iter().flat_map(|rare| &rare.sessions);
        let wakes = sessions.map(|(_, session)| {
            let end = session.last.saturating_add(gap);
            if session.told { end.saturating_add(self.lateness) } else { end }
        });
        self.due_at(NEVER, wakes.min().unwrap_or(NEVER))
    }
}
