//! Processes start, take over, step, stand still and die.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use egret::simulation::{Run, Stepping};

use super::process::{Actor, Known, Start};
use super::storm::Kill;
use super::world::{BYSTANDER, Event, ProcessId, World};
use crate::sim::text;

/// Processes in the middle of something, one on top of the other, at most: each needs stack.
const ACTING_MAX: usize = 4;

/// Processes that are there at once, at most.
const ALIVE_MAX: usize = 3;

/// How long until somebody starts another process when there is none.
const STARTS_US: (u64, u64) = (200, 20_000);

/// How long until whoever is in somebody's way tries again.
const BUSY_US: (u64, u64) = (50, 400);

/// How long a process stands still.
const PAUSE_US: (u64, u64) = (2_000, 150_000);

/// Processes that may fail one after the other when nothing goes wrong.
const FAILED_IN_CALM_MAX: u32 = 3;

impl World {
    /// Whether a process is dead or has ended.
    pub(super) fn is_gone(&self, process: ProcessId) -> bool {
        process != BYSTANDER
            && self.state().processes.get(&process).is_none_or(|known| !known.alive)
    }

    /// Until when a process stands still.
    pub(super) fn paused(&self, process: ProcessId) -> Option<u64> {
        let state = self.state();
        let known = state.processes.get(&process).filter(|known| known.alive)?;
        (known.paused_until > state.now).then_some(known.paused_until)
    }

    /// Whose code is on top of the stack.
    pub(super) fn acting(&self) -> Option<ProcessId> {
        self.state().acting.last().copied()
    }

    /// Runs something of a process.
    pub(super) fn acts<R>(&self, process: ProcessId, run: impl FnOnce() -> R) -> R {
        self.state().acting.push(process);
        let ran = run();
        self.state().acting.pop();
        ran
    }

    fn alive(&self) -> Vec<ProcessId> {
        let state = self.state();
        state.processes.iter().filter(|(_, known)| known.alive).map(|(id, _)| *id).collect()
    }

    /// A process that runs the topology starts.
    pub(super) fn start(&self) {
        if self.state().finished.is_some() || self.alive().len() >= ALIVE_MAX {
            return;
        }
        let process = {
            let mut state = self.state();
            let process = ProcessId(state.next_process);
            state.next_process += 1;
            let input = (state.ending, state.written);
            let start = Start::new(&mut state.dice, &self.options, &self.shape, input);
            let now = state.now;
            let (tasks, workers) = (start.tasks, start.options.workers);
            let how = if start.follows { "follows" } else { "to the end" };
            state.trace.note(
                now,
                format_args!("{process} starts: {tasks} tasks, {workers} workers, {how}"),
            );
            let known = Known {
                start,
                alive: true,
                paused_until: 0,
                life: 0,
                progress: None,
                takes_over: false,
            };
            state.processes.insert(process, known);
            process
        };
        self.actors.borrow_mut().insert(process, Actor::New);
        self.after(0, Event::Begins { process });
    }

    /// The process, unless it is busy, stands still or is gone: then the event comes later, or not at all.
    fn take(&self, process: ProcessId, again: Event) -> Option<Actor> {
        if self.is_gone(process) {
            return None;
        }
        if let Some(until) = self.paused(process) {
            let now = self.state().now;
            self.after(until - now, again);
            return None;
        }
        let mut actors = self.actors.borrow_mut();
        let acting = actors.values().filter(|actor| matches!(actor, Actor::Acts)).count();
        let actor = actors.get_mut(&process).expect("whoever is alive is there");
        if matches!(actor, Actor::Acts) || acting >= ACTING_MAX {
            drop(actors);
            let us = self.state().dice.between(BUSY_US.0, BUSY_US.1);
            self.after(us, again);
            return None;
        }
        Some(std::mem::replace(actor, Actor::Acts))
    }

    /// Puts it back, unless it died meanwhile.
    fn put_back(&self, process: ProcessId, run: Option<Box<Run>>) -> bool {
        if self.is_gone(process) {
            self.acts(process, || drop(run));
            self.actors.borrow_mut().remove(&process);
            self.forget_calls(process, false);
            return false;
        }
        let actor = run.map_or(Actor::New, Actor::Rests);
        self.actors.borrow_mut().insert(process, actor);
        true
    }

    /// Runs code of a process; a panic of one that is alive breaks a rule.
    fn try_act<R>(&self, process: ProcessId, run: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(|| self.acts(process, run))) {
            Ok(ran) => Some(ran),
            Err(panic) => {
                self.state().acting.pop();
                if !self.is_gone(process) {
                    self.broke(("no panic", format!("{process}: {}", text(&*panic))));
                }
                None
            }
        }
    }

    /// A process takes the topology over, for the first time or after a generation failed.
    pub(super) fn begin(&self, process: ProcessId) {
        let Some(actor) = self.take(process, Event::Begins { process }) else { return };
        let start = {
            let mut state = self.state();
            let known = state.processes.get_mut(&process).expect("it is alive");
            known.takes_over = true;
            (known.start.topology.clone(), known.start.options.clone())
        };
        let ran = self.try_act(process, || {
            let mut run = match actor {
                Actor::Rests(run) => run,
                _ => {
                    let (topology, options) = start;
                    let log = match self.log_of(process) {
                        Ok(log) => log,
                        Err(error) => return (None, Err(error.to_string())),
                    };
                    let run = Run::new(topology, log, options).expect("options are in range");
                    self.may_be_stopped(process, &run);
                    Box::new(run)
                }
            };
            let begun = run.begin();
            (Some(run), Ok(begun))
        });
        let (run, begun) = match ran {
            Some((run, begun)) => (run, Some(begun)),
            None => (None, None),
        };
        let generation = run.as_ref().and_then(|run| run.generation());
        if !self.put_back(process, run) {
            return;
        }
        let life = {
            let mut state = self.state();
            let known = state.processes.get_mut(&process).expect("it is alive");
            known.takes_over = false;
            known.life += 1;
            known.life
        };
        match begun {
            Some(Ok(Ok(workers))) => {
                self.state().generations += 1;
                let generation = generation.map_or(0, |generation| generation.0);
                self.note(format_args!("{process} begins generation {generation}"));
                for worker in 0..workers {
                    self.step_later((process, life, worker));
                }
            }
            Some(Ok(Err(error))) => self.ends(process, &error),
            Some(Err(why)) => {
                self.note(format_args!("{process} ends: {why}"));
                self.gone(process);
            }
            None => self.gone(process),
        }
    }

    fn step_later(&self, (process, life, worker): (ProcessId, u64, usize)) {
        let us = {
            let mut state = self.state();
            let state = &mut *state;
            state.processes[&process].start.step_us(worker, &mut state.dice)
        };
        self.after(us, Event::Steps { process, life, worker });
    }

    /// A worker does what it does at once.
    pub(super) fn step(&self, (process, life, worker): (ProcessId, u64, usize)) {
        let of_now = |known: &Known| known.life == life;
        if !self.state().processes.get(&process).is_some_and(of_now) {
            return;
        }
        let again = Event::Steps { process, life, worker };
        let Some(actor) = self.take(process, again) else { return };
        let Actor::Rests(mut run) = actor else { unreachable!("it has begun") };
        let stepped = self.try_act(process, || run.step(worker));
        if !self.put_back(process, Some(run)) {
            return;
        }
        match stepped {
            Some(Stepping::GoesOn) => self.step_later((process, life, worker)),
            Some(Stepping::Failed(why)) => {
                self.note(format_args!("{process} fails: {why}"));
                self.hit(Kill::Restarted);
                let us = self.state().dice.between(BUSY_US.0, BUSY_US.1);
                self.after(us, Event::Begins { process });
            }
            Some(Stepping::Finished) => self.finishes(process),
            Some(Stepping::Ends(error)) => self.ends(process, &error),
            None => self.gone(process),
        }
    }

    /// From now on it can be asked to stop, and is if that was missed.
    fn may_be_stopped(&self, process: ProcessId, run: &Run) {
        let mut state = self.state();
        let ending = state.ending;
        let known = state.processes.get_mut(&process).expect("it begins");
        if ending && known.start.follows {
            run.progress().stop();
        }
        known.progress = Some(Arc::clone(run.progress()));
    }

    /// Whether somebody follows the input.
    pub(super) fn is_followed(&self) -> bool {
        let state = self.state();
        state.processes.values().any(|known| known.alive && known.start.follows)
    }

    /// Asks those that follow the input to stop: there is no more.
    pub(super) fn stop_followers(&self) {
        let state = self.state();
        let following = state.processes.values().filter(|known| known.start.follows);
        following.filter_map(|known| known.progress.as_ref()).for_each(|progress| progress.stop());
    }

    /// A process is done. The topology is when there was no more to come as it started.
    fn finishes(&self, process: ProcessId) {
        if self.state().processes[&process].start.last {
            self.state().finished = Some(process);
            return;
        }
        self.note(format_args!("{process} is done for now"));
        self.hit(Kill::Stopped);
        self.gone(process);
    }

    /// A process gives up.
    fn ends(&self, process: ProcessId, error: &egret::Error) {
        let why = egret::chain(error);
        self.note(format_args!("{process} ends: {why}"));
        if egret::is_taken_over(error) {
            self.hit(Kill::TakenOver);
        } else if !self.state().storm.blows && self.bookie_is_up() {
            let failed = {
                let mut state = self.state();
                state.failed_in_calm += 1;
                state.failed_in_calm
            };
            if failed > FAILED_IN_CALM_MAX {
                self.broke(("a topology goes on after a storm", why));
            }
        }
        self.gone(process);
    }

    /// A process is no more; another one starts if it was the last.
    fn gone(&self, process: ProcessId) {
        if let Some(known) = self.state().processes.get_mut(&process) {
            known.alive = false;
        }
        let waits = matches!(self.actors.borrow().get(&process), Some(Actor::Acts));
        if !waits {
            let actor = self.actors.borrow_mut().remove(&process);
            self.acts(process, || drop(actor));
        }
        self.forget_calls(process, waits);
        if self.alive().is_empty() && self.state().finished.is_none() {
            let us = self.state().dice.between(STARTS_US.0, STARTS_US.1);
            self.after(us, Event::Starts);
        }
    }

    /// A process dies on the spot. Of what it has on its way some arrives still.
    pub(super) fn kill(&self, process: ProcessId, how: Kill) {
        if self.is_gone(process) || process == BYSTANDER {
            return;
        }
        self.note(format_args!("{process} dies"));
        self.hit(how);
        self.lose_some(process);
        self.gone(process);
    }

    /// Whoever is there leaves: the run is over.
    pub(super) fn leave_all(&self) {
        self.state().storm.blows = false;
        for process in self.alive() {
            if let Some(known) = self.state().processes.get_mut(&process) {
                known.alive = false;
            }
            let actor = self.actors.borrow_mut().remove(&process);
            self.acts(process, || drop(actor));
            self.forget_calls(process, false);
        }
    }

    /// Something goes wrong, or not.
    pub(super) fn blow(&self) {
        let us = self.state().storm.next_us();
        self.after(us, Event::Gust);
        if !self.state().storm.blows || self.state().finished.is_some() {
            return;
        }
        let kill = self.state().storm.dice.one_of(&[
            Kill::Process,
            Kill::Process,
            Kill::Process,
            Kill::Paused,
            Kill::Paused,
            Kill::Usurped,
            Kill::BookieKilled,
            Kill::PowerCut,
            Kill::Checkpoint,
        ]);
        let alive = self.alive();
        let victim = match &alive[..] {
            [] => None,
            some => Some(some[self.state().storm.dice.pick(some.len())]),
        };
        match (kill, victim) {
            (Kill::Process, Some(process)) => {
                let acts = matches!(self.actors.borrow().get(&process), Some(Actor::Acts));
                let takes_over = self.state().processes[&process].takes_over;
                self.kill(
                    process,
                    match (acts, takes_over) {
                        (true, true) => Kill::InTakeover,
                        (true, false) => Kill::InStep,
                        _ => Kill::Process,
                    },
                );
            }
            (Kill::Paused, Some(process)) => {
                self.hit(Kill::Paused);
                let us = self.state().storm.dice.between(PAUSE_US.0, PAUSE_US.1);
                let mut state = self.state();
                let until = state.now + us;
                let now = state.now;
                state.trace.note(now, format_args!("{process} stands still for {us} us"));
                if let Some(known) = state.processes.get_mut(&process) {
                    known.paused_until = until;
                }
                drop(state);
                // Whoever thinks it dead starts another, mostly.
                if self.state().storm.dice.per_mille(700) {
                    let us = self.state().storm.dice.between(100, us);
                    self.after(us, Event::Starts);
                }
            }
            (Kill::Usurped, Some(_)) => {
                self.hit(Kill::Usurped);
                self.start();
            }
            (Kill::BookieKilled, _) if self.bookie_is_up() => {
                self.hit(kill);
                self.stop_bookie();
            }
            (Kill::PowerCut, _) if self.bookie_is_up() => {
                self.hit(kill);
                self.cut_power();
            }
            (Kill::Checkpoint, _) if self.bookie_is_up() => {
                self.hit(kill);
                self.checkpoint();
            }
            _ => {}
        }
    }
}
