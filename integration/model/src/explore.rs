//! Every schedule of a scope, by `stateright`.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use egret_log::clock;
use stateright::{Checker, HasDiscoveries, Model, Property};

const SAFE: &str = "no promise is broken";
const RESTS: &str = "what is left alone comes to a good end";
const USEFUL: &str = "a schedule comes to what the scope is for";

/// A world of which every schedule is explored.
pub trait Explored: Clone + Debug + PartialEq + Hash + Send + Sync + 'static {
    /// How much of it.
    type Scope: Copy + Send + Sync + 'static;
    /// One thing that happens.
    type Action: Copy + Debug + PartialEq + Send + Sync + 'static;

    /// How it begins.
    fn new(scope: &Self::Scope) -> Self;
    /// What may happen next.
    fn actions(&self, scope: &Self::Scope) -> Vec<Self::Action>;
    /// Lets it happen.
    fn apply(&mut self, scope: &Self::Scope, action: Self::Action);
    /// The promise that is broken, in words.
    fn fault(&self) -> Option<&str>;
    /// Whether it comes to a good end where nothing more goes wrong.
    ///
    /// # Errors
    /// Why not.
    fn at_rest(&self, scope: &Self::Scope) -> Result<(), String>;
    /// Whether this is what the scope is for: one without such a world is too small.
    fn is_useful(&self) -> bool;
    /// Whether it is a fault, which a world at rest does without.
    fn is_fault(action: Self::Action) -> bool;
}

struct Explorer<W: Explored> {
    scope: W::Scope,
}

impl<W: Explored> Model for Explorer<W> {
    type State = W;
    type Action = W::Action;

    fn init_states(&self) -> Vec<W> {
        vec![W::new(&self.scope)]
    }

    fn actions(&self, world: &W, actions: &mut Vec<W::Action>) {
        actions.extend(world.actions(&self.scope));
    }

    fn next_state(&self, world: &W, action: W::Action) -> Option<W> {
        let mut next = world.clone();
        next.apply(&self.scope, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Explorer<W>>> {
        vec![
            Property::always(SAFE, |_, world: &W| world.fault().is_none()),
            Property::always(RESTS, |model: &Explorer<W>, world: &W| {
                world.fault().is_some()
                    || !world.actions(&model.scope).is_empty()
                    || world.at_rest(&model.scope).is_ok()
            }),
            Property::sometimes(USEFUL, |_, world: &W| world.is_useful()),
        ]
    }
}

/// What an exploration came to.
#[derive(Debug, Clone)]
pub struct Exploration<A> {
    /// States seen, each once.
    pub states: usize,
    /// Steps taken between them.
    pub steps: usize,
    /// Steps of the longest schedule.
    pub depth: usize,
    /// Whether every schedule was seen.
    pub exhausted: bool,
    /// The promise broken and the schedule that breaks it.
    pub broken: Option<(String, Vec<A>)>,
    /// Whether the scope is large enough to mean something.
    pub useful: bool,
}

/// Goes through every schedule of a scope, or as many as the time allows.
pub fn explore<W: Explored>(
    scope: W::Scope,
    threads: usize,
    limit: Duration,
) -> Exploration<W::Action> {
    let started = clock::now();
    let failures = HasDiscoveries::AnyFailures;
    let explorer = Explorer::<W> { scope };
    let checker = explorer.checker().threads(threads).timeout(limit).finish_when(failures);
    let checker = checker.spawn_dfs().join();
    let mut broken = None;
    for name in [SAFE, RESTS] {
        let Some(path) = checker.discovery(name) else { continue };
        let last = path.last_state();
        let why = match last.fault() {
            Some(fault) => fault.to_owned(),
            None => last.at_rest(&scope).err().unwrap_or_else(|| name.to_owned()),
        };
        broken = Some((why, path.into_actions()));
        break;
    }
    Exploration {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        exhausted: broken.is_none() && started.elapsed() < limit,
        useful: checker.discovery(USEFUL).is_some(),
        broken,
    }
}
