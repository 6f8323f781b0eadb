//! The lives of the process under test, and where they end.

use std::collections::BTreeSet;
use std::sync::Arc;

use egret_log::message::{Reply, Unknown};

use super::{Event, Life, State, World};

/// A process that may die anywhere does so within two to the power of one of these failpoints: as likely soon as
/// late, whether the run is short or long.
const ANYWHERE: (u64, u64) = (3, 13);

/// Where the process dies next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    /// The number of the failpoint.
    at: u64,
    /// Or when it rests before.
    anywhere: bool,
}

impl World {
    /// Another life of the process begins.
    pub(in crate::testing) fn is_born(&self) -> Life {
        let mut state = self.state();
        state.lives += 1;
        state.alive = Some(state.lives);
        Life::Of(state.lives)
    }

    /// Failpoints passed.
    pub(in crate::testing) fn failpoints(&self) -> u64 {
        self.state().failpoints
    }

    /// Has the process die at the failpoint of this number.
    pub(in crate::testing) fn dies_at(&self, at: u64) {
        self.state().death = Some(Death { at, anywhere: false });
    }

    /// Has the process die at some failpoint from here on.
    pub(in crate::testing) fn dies_anywhere(&self) {
        let mut state = self.state();
        let within = 1 << state.chance.between(ANYWHERE.0, ANYWHERE.1);
        let at = state.failpoints + state.chance.between(0, within);
        state.death = Some(Death { at, anywhere: true });
    }

    /// Whether a death at a place of chance is still to come.
    pub(in crate::testing) fn is_doomed_anywhere(&self) -> bool {
        self.state().death.is_some_and(|death| death.anywhere)
    }

    pub(in crate::testing) fn is_dead(&self, life: Life) -> bool {
        match life {
            Life::Bystander => false,
            Life::Of(number) => self.state().alive != Some(number),
        }
    }

    /// A place where a process may die. Whether it is dead, now or before.
    pub(in crate::testing) fn failpoint(&self, life: Life) -> bool {
        if life == Life::Bystander {
            return false;
        }
        if self.is_dead(life) {
            return true;
        }
        let strikes = {
            let mut state = self.state();
            let number = state.failpoints;
            state.failpoints += 1;
            state.death.is_some_and(|death| number >= death.at)
        };
        if strikes {
            self.kill();
        }
        strikes
    }

    /// The process dies on the spot. Of what it has on its way some arrives still; what it waits for, it is
    /// told that it is gone.
    pub(in crate::testing) fn kill(&self) {
        let mut state = self.state();
        let State { queue, chance, alive, death, calls, .. } = &mut *state;
        let Some(number) = alive.take() else { return };
        *death = None;
        let gone = Life::Of(number);
        let mut dropped = Vec::new();
        queue.retain(|_, event| match event {
            Event::Arrives { life, .. } if *life == gone => chance.once_in(2),
            Event::Answered { call, .. } => calls.get(call).is_none_or(|(life, _)| *life != gone),
            Event::Wakes { life, wake } if *life == gone => {
                dropped.push(Arc::clone(wake));
                false
            }
            _ => true,
        });
        let waits: Vec<u64> =
            calls.iter().filter(|(_, (by, _))| *by == gone).map(|(c, _)| *c).collect();
        drop(state);
        for call in waits {
            self.after(0, Event::Answered { call, reply: Reply::Unknown(Unknown::Closing) });
        }
    }

    /// Forgets what a life that is over still waits for.
    pub(in crate::testing) fn forget(&self, life: Life) {
        let (calls, deeds) = {
            let mut state = self.state();
            let of: BTreeSet<u64> =
                state.calls.iter().filter(|(_, (by, _))| *by == life).map(|(c, _)| *c).collect();
            let calls: Vec<_> = of.iter().filter_map(|call| state.calls.remove(call)).collect();
            let is_of =
                |event: &Event| matches!(event, Event::Deed { life: by, .. } if *by == life);
            let keys: Vec<_> =
                state.queue.iter().filter(|(_, e)| is_of(e)).map(|(key, _)| *key).collect();
            let deeds: Vec<_> = keys.iter().filter_map(|key| state.queue.remove(key)).collect();
            (calls, deeds)
        };
        drop((calls, deeds));
    }
}
