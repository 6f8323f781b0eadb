//! The spout that reads events from memory.

use std::collections::BTreeMap;

use egret::component::{ComponentResult, Context, Next, Positions, Replay};
use egret::{Emitter, Spout};

use super::event::Event;
use super::input::Input;

/// Emits every event once, and that nothing comes any more; task `t` of `n` those with index `t mod n`.
pub(super) struct Tape {
    input: Input,
    own: u32,
    next: usize,
    step: usize,
}

impl Tape {
    pub(super) fn of(input: Input) -> Tape {
        Tape { input, own: 0, next: 0, step: 1 }
    }
}

impl Spout<Event> for Tape {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        self.step = cx.tasks() as usize;
        self.own = cx.id().task;
        self.next = match committed.get(&self.own.to_le_bytes()[..]) {
            Some(at) => usize::try_from(u64::from_le_bytes(at[..].try_into()?))?,
            None => self.own as usize,
        };
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<Event>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        let events = self.input.events();
        while out.bytes() < until {
            if self.next >= events {
                // Once: the position is then past the end by more than a step.
                if self.next < events + self.step {
                    out.emit(self.input.end());
                    self.next += self.step;
                }
                return Ok(Next::Done);
            }
            let at = self.next;
            out.emit(self.input.get(at).ok_or_else(|| format!("line {at} is no event"))?);
            self.next += self.step;
        }
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        let at = (self.next as u64).to_le_bytes().to_vec();
        BTreeMap::from([(self.own.to_le_bytes().to_vec(), at)])
    }
}
