//! Random schedules of a scope: a seed is a schedule.

use crate::dice::Dice;
use crate::explore::Explored;

/// Steps after which a schedule ends.
const STEPS_MAX: usize = 400;

/// A promise broken by a schedule.
#[derive(Debug, Clone)]
pub struct Broken<A> {
    /// Which, in words.
    pub what: String,
    /// What happened up to then.
    pub actions: Vec<A>,
}

/// Goes through the schedule of a seed; the world it comes to, or the promise it breaks.
pub fn walk<W: Explored>(scope: &W::Scope, seed: u64) -> Result<W, Broken<W::Action>> {
    let mut dice = Dice::new(seed);
    // Some schedules have few faults: those that need a long quiet time before are found too.
    let fault_percent = [100, 30, 5][dice.pick(3)];
    let mut world = W::new(scope);
    let mut done = Vec::new();
    while done.len() < STEPS_MAX {
        let mut actions = world.actions(scope);
        if !dice.percent(fault_percent) {
            actions.retain(|action| !W::is_fault(*action));
        }
        if actions.is_empty() {
            break;
        }
        let action = actions[dice.pick(actions.len())];
        world.apply(scope, action);
        done.push(action);
        if let Some(what) = world.fault() {
            return Err(Broken { what: what.to_owned(), actions: done });
        }
    }
    match world.at_rest(scope) {
        Ok(()) => Ok(world),
        Err(what) => Err(Broken { what, actions: done }),
    }
}
