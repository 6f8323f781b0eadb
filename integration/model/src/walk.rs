//! Random schedules of a scope: a seed is a schedule.

use crate::action::Action;
use crate::dice::Dice;
use crate::scope::Scope;
use crate::world::World;

/// Steps after which a schedule ends.
const STEPS_MAX: usize = 400;

/// A promise broken by a schedule.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which, in words.
    pub what: String,
    /// What happened up to then.
    pub actions: Vec<Action>,
}

/// Goes through the schedule of a seed; the entries it acknowledged, or the promise it breaks.
pub fn walk(scope: &Scope, seed: u64) -> Result<u64, Broken> {
    let mut dice = Dice::new(seed);
    // Some schedules have few faults: those that need a long quiet time before are found too.
    let fault_percent = [100, 30, 5][dice.pick(3)];
    let mut world = World::new(scope);
    let mut done = Vec::new();
    while done.len() < STEPS_MAX {
        let mut actions = world.actions(scope);
        if !dice.percent(fault_percent) {
            actions.retain(|action| !action.is_fault());
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
    match world.can_be_closed(scope) {
        Ok(()) => Ok(world.acked().map_or(0, |last| last.0 + 1)),
        Err(what) => Err(Broken { what, actions: done }),
    }
}
