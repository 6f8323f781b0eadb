//! Every schedule of a scope, by `stateright`.

use std::time::Duration;

use egret_log::clock;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::action::Action;
use crate::scope::Scope;
use crate::world::World;

const SAFE: &str = "no promise is broken";
const CLOSABLE: &str = "a ledger left alone can be closed";
const USEFUL: &str = "an acknowledged entry is in a ledger that recovery closed";

struct Explorer {
    scope: Scope,
}

impl Model for Explorer {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scope)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.actions(&self.scope));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.apply(&self.scope, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Explorer>> {
        vec![
            Property::always(SAFE, |_, world: &World| world.fault().is_none()),
            Property::always(CLOSABLE, |model: &Explorer, world: &World| {
                world.fault().is_some()
                    || !world.actions(&model.scope).is_empty()
                    || world.can_be_closed(&model.scope).is_ok()
            }),
            Property::sometimes(USEFUL, |_, world: &World| {
                world.acked().is_some() && world.closed().is_some()
            }),
        ]
    }
}

/// What an exploration came to.
#[derive(Debug, Clone)]
pub struct Explored {
    /// States seen, each once.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// Steps of the longest schedule.
    pub depth: usize,
    /// Whether every schedule was seen.
    pub exhausted: bool,
    /// The promise broken and the schedule that breaks it.
    pub broken: Option<(String, Vec<Action>)>,
    /// Whether the scope is large enough to mean something.
    pub useful: bool,
}

/// Goes through every schedule of a scope, or as many as the time allows.
pub fn explore(scope: Scope, threads: usize, limit: Duration) -> Explored {
    let started = clock::now();
    let failures = HasDiscoveries::AnyFailures;
    let checker =
        Explorer { scope }.checker().threads(threads).timeout(limit).finish_when(failures);
    let checker = checker.spawn_dfs().join();
    let mut broken = None;
    for name in [SAFE, CLOSABLE] {
        let Some(path) = checker.discovery(name) else { continue };
        let last = path.last_state();
        let why = match last.fault() {
            Some(fault) => fault.to_owned(),
            None => last.can_be_closed(&scope).err().unwrap_or_else(|| name.to_owned()),
        };
        broken = Some((why, path.into_actions()));
        break;
    }
    Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        exhausted: broken.is_none() && started.elapsed() < limit,
        useful: checker.discovery(USEFUL).is_some(),
        broken,
    }
}
