//! The world of one run: a bookie, a metadata store, and processes that come and go, under one clock and one
//! queue.
//!
//! Nothing here draws from the machine: the next event is the least (time, number), what it does follows
//! from the seed, and the shipping code it calls runs on this thread. No cell stays borrowed while shipping
//! code runs: it calls back.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_log::message::{Reply, ReplyTo, Request, Wake};
use egret_log::metadata::MemoryMeta;
use egret_log::simulation::{self, Deed, Simulator};
use egret_log::stream::error::TruncateError;
use egret_log::{Log, clock};
use egret_schemas::{Incarnation, LedgerId};

use super::input::{self, Input};
use super::network::{DEADLINE_US, Line};
use super::oracle::Oracle;
use super::process::{Actor, Known, Shape};
use super::storm::{Hits, Kill, Storm};
use super::watcher::{News, Output, Watcher, check_kept, check_output};
use super::way::Way;
use super::{Options, Report, Violation};
use crate::sim::dice::Dice;
use crate::sim::node::Node;
use crate::sim::trace::Trace;
use crate::sim::words::Answered;

/// A broken rule: which, and how.
pub(super) type Broken = (&'static str, String);

/// Between two looks of the watcher.
const LOOK_US: (u64, u64) = (500, 6_000);

/// How long until it is looked again whether followers are gone.
const WAITS_US: u64 = 300;

/// How long all that is on its way takes to arrive.
const SETTLES_US: u64 = 200_000;

/// Events of a run: more than that is no progress.
const EVENTS_MAX: u64 = 400_000;

/// Of whoever writes the input and reads the output: it neither dies nor stands still.
pub(super) const BYSTANDER: ProcessId = ProcessId(0);

/// A process, numbered in the order in which they start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId(pub(super) u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

/// What is going to happen.
pub(super) enum Event {
    Arrives {
        call: u64,
        process: ProcessId,
        request: Request,
    },
    Answered {
        call: u64,
        process: ProcessId,
        reply: Reply,
    },
    Wakes {
        process: ProcessId,
        wake: Wake,
    },
    Deed {
        process: ProcessId,
        deed: Deed,
    },
    /// Somebody waited until now.
    Nap {
        number: u64,
    },
    /// A process that runs the topology.
    Starts,
    Begins {
        process: ProcessId,
    },
    Steps {
        process: ProcessId,
        life: u64,
        worker: usize,
    },
    Looks,
    Writes,
    Gust,
    BookieStarts {
        boot: u64,
    },
}

/// What changes.
pub(super) struct State {
    pub(super) now: u64,
    next_event: u64,
    pub(super) queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(super) trace: Trace,
    pub(super) hits: Hits,
    pub(super) storm: Storm,
    pub(super) dice: Dice,
    pub(super) processes: BTreeMap<ProcessId, Known>,
    pub(super) next_process: u32,
    pub(super) next_call: u64,
    pub(super) calls: BTreeMap<u64, (ProcessId, ReplyTo)>,
    /// When the last message of a process about a ledger arrives, there and back: they stay in order.
    pub(super) lines: BTreeMap<(ProcessId, Option<LedgerId>, bool), Line>,
    naps: BTreeSet<u64>,
    pub(super) watches: Vec<(ProcessId, Wake)>,
    pub(super) oracle: Oracle,
    pub(super) input: Input,
    /// Whether there is no more to follow: all lines are written, but for those behind every window.
    pub(super) ending: bool,
    /// Whether all of it is written and its end is known.
    pub(super) written: bool,
    /// Between two writes, in microseconds.
    write_us: (u64, u64),
    pub(super) broken: Option<Broken>,
    pub(super) generations: u64,
    /// Whose code runs, the last one on top of the others.
    pub(super) acting: Vec<ProcessId>,
    /// The process that finished the topology.
    pub(super) finished: Option<ProcessId>,
    /// Processes that failed one after the other when nothing went wrong any more.
    pub(super) failed_in_calm: u32,
}

/// See the [module](self).
pub(super) struct World {
    pub(super) options: Options,
    pub(super) shape: Shape,
    began: Instant,
    state: RefCell<State>,
    pub(super) node: RefCell<Node>,
    meta: MemoryMeta,
    pub(super) actors: RefCell<BTreeMap<ProcessId, Actor>>,
    watcher: RefCell<Option<Watcher>>,
    /// Whoever writes the input, unless it does.
    writer: RefCell<Option<Log>>,
}

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread.
pub(super) fn here() -> Rc<World> {
    WORLD.with_borrow(Option::clone).expect("it is there while anything of it runs")
}

/// What the simulated code meets in place of other threads.
struct Others;

impl Simulator for Others {
    fn idle(&self) {
        here().pump();
    }

    fn later(&self, wait: Duration, deed: Deed) {
        let world = here();
        let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).min(DEADLINE_US);
        // Whoever acts has asked for it; bystanders' deeds may be done by anyone.
        let process = world.acting().unwrap_or(BYSTANDER);
        world.after(us, Event::Deed { process, deed });
    }

    fn draw(&self) -> u64 {
        here().state().dice.draw()
    }
}

impl World {
    /// Runs one seed on this thread.
    pub(super) fn run(seed: u64, options: &Options) -> Result<Report, Box<Violation>> {
        let began = clock::now();
        let world = Rc::new(World::new(seed, options, began));
        WORLD.set(Some(Rc::clone(&world)));
        let entered = simulation::enter(Rc::new(Others), began);
        let outcome = world.live();
        world.end();
        drop(entered);
        WORLD.set(None);
        let state = world.state.borrow();
        let trace = state.trace.last();
        match outcome {
            Ok((records, repeated)) => Ok(Report {
                seed,
                hash: state.trace.hash(),
                events: state.events,
                generations: state.generations,
                commits: state.oracle.commits,
                records,
                repeated,
                hits: state.hits.clone(),
                lines: state.trace.events(),
                trace,
            }),
            Err((rule, what)) => Err(Box::new(Violation { seed, rule, what, trace })),
        }
    }

    fn new(seed: u64, options: &Options, began: Instant) -> World {
        let state = State {
            now: 0,
            next_event: 0,
            queue: BTreeMap::new(),
            events: 0,
            trace: Trace::new(options.lines.max(1)),
            hits: Hits::default(),
            storm: Storm::new(seed, options.storm),
            dice: Dice::new(seed, "world"),
            processes: BTreeMap::new(),
            next_process: 1,
            next_call: 1,
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            naps: BTreeSet::new(),
            watches: Vec::new(),
            oracle: Oracle::default(),
            input: Input::new(seed),
            ending: false,
            written: false,
            write_us: Dice::new(seed, "writer").one_of(&[(0, 1), (50, 500), (200, 6_000)]),
            broken: None,
            generations: 0,
            acting: Vec::new(),
            finished: None,
            failed_in_calm: 0,
        };
        World {
            options: options.clone(),
            shape: Shape::new(&mut Dice::new(seed, "shape")),
            began,
            state: RefCell::new(state),
            node: RefCell::new(Node::new(seed, 1, false)),
            meta: MemoryMeta::new(),
            actors: RefCell::default(),
            watcher: RefCell::new(None),
            writer: RefCell::new(None),
        }
    }

    /// The whole run; how many records there are in the end, and how many of them are repeated.
    fn live(&self) -> Result<(u64, u64), Broken> {
        let started = self.node.borrow_mut().start();
        started.map_err(|error| ("bookie starts", error.to_string()))?;
        let log = self.log_of_bystander()?;
        Input::begin(&log);
        *self.writer.borrow_mut() = Some(log);
        *self.watcher.borrow_mut() = Some(Watcher::new(self.log_of_bystander()?));
        let gust = self.state().storm.next_us();
        self.after(0, Event::Starts);
        self.after(0, Event::Looks);
        self.after(0, Event::Writes);
        self.after(gust, Event::Gust);
        self.until_finished()?;
        // Whatever readers can see by now stays; another run finds nothing to do, and shows the rest.
        self.settle()?;
        let seen = self.output()?;
        self.note(format_args!("once more"));
        self.state().finished = None;
        self.after(0, Event::Starts);
        self.until_finished()?;
        self.settle()?;
        let there = self.output()?;
        check_kept(&seen, &there)?;
        let watched = self.watcher.borrow().as_ref().map(|watcher| watcher.seen.clone());
        check_kept(&watched.expect("put there above"), &there)?;
        let commits = self.options.guarantee.commits();
        let once = self.options.guarantee == egret::Guarantee::EffectivelyOnce;
        let repeated = if commits {
            check_output(&self.state().input, &there, (!once, !self.options.storm))?
        } else {
            0
        };
        Ok((there.values().map(|seen| seen.len() as u64).sum(), repeated))
    }

    fn until_finished(&self) -> Result<(), Broken> {
        while self.state().finished.is_none() {
            self.pump();
            self.check()?;
        }
        self.state().storm.blows = false;
        self.note(format_args!("finished"));
        self.leave_all();
        Ok(())
    }

    /// Lets arrive what is on its way.
    fn settle(&self) -> Result<(), Broken> {
        let until = self.state().now + SETTLES_US;
        while self.state().now < until {
            self.pump();
            self.check()?;
        }
        Ok(())
    }

    /// What a reader sees now, from the beginning.
    fn output(&self) -> Result<Output, Broken> {
        let mut watcher = Watcher::new(self.log_of_bystander()?);
        let (news, failed) = watcher.look()?;
        self.seen(news)?;
        if let Some(why) = failed {
            return Err(("output can be read", why));
        }
        Ok(watcher.seen)
    }

    fn check(&self) -> Result<(), Broken> {
        let mut state = self.state();
        if let Some(broken) = state.broken.take() {
            return Err(broken);
        }
        if state.events > EVENTS_MAX {
            let what = format!("not finished after {EVENTS_MAX} events");
            return Err(("a topology comes to its end", what));
        }
        Ok(())
    }

    /// Everything goes.
    fn end(&self) {
        self.leave_all();
        drop(self.watcher.borrow_mut().take());
        drop(self.writer.borrow_mut().take());
        let (calls, queue, watches) = {
            let mut state = self.state();
            let state = &mut *state;
            (
                std::mem::take(&mut state.calls),
                std::mem::take(&mut state.queue),
                std::mem::take(&mut state.watches),
            )
        };
        drop((calls, queue, watches));
        self.node.borrow_mut().stop();
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    pub(super) fn node(&self) -> Ref<'_, Node> {
        self.node.borrow()
    }

    pub(super) fn meta(&self) -> &MemoryMeta {
        &self.meta
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.node().incarnation
    }

    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        let mut state = self.state();
        let now = state.now;
        state.trace.note(now, what);
    }

    pub(super) fn hit(&self, kill: Kill) {
        let mut state = self.state();
        let now = state.now;
        state.trace.note(now, format_args!("* {}", kill.text()));
        state.hits.hit(kill);
        if kill.is_death() {
            state.storm.died();
        }
    }

    pub(super) fn broke(&self, broken: Broken) {
        self.state().broken.get_or_insert(broken);
    }

    pub(super) fn after(&self, us: u64, event: Event) {
        let at = self.state().now + us;
        self.at(at, event);
    }

    pub(super) fn at(&self, at: u64, event: Event) {
        let mut state = self.state();
        state.next_event += 1;
        let key = (at, state.next_event);
        state.queue.insert(key, event);
    }

    /// The log as a process has it.
    pub(super) fn log_of(&self, process: ProcessId) -> Result<Log, TruncateError> {
        Log::over(Arc::new(Way(process)), Arc::new(Way(process)))
    }

    fn log_of_bystander(&self) -> Result<Log, Broken> {
        self.log_of(BYSTANDER).map_err(|error| ("a log opens", error.to_string()))
    }

    /// The next event.
    ///
    /// # Panics
    /// When nothing is going to happen: whoever waits would for ever.
    pub(super) fn pump(&self) {
        let event = {
            let mut state = self.state();
            let first = state.queue.pop_first();
            let ((at, _), event) = first.expect("there is always another gust");
            state.now = at;
            state.events += 1;
            event
        };
        let now = Duration::from_micros(self.state().now);
        simulation::set_now(self.began + now);
        self.happen(event);
    }

    pub(super) fn nap(&self, us: u64) {
        let number = {
            let mut state = self.state();
            state.next_call += 1;
            state.next_call
        };
        self.after(us, Event::Nap { number });
        while !self.state().naps.remove(&number) {
            self.pump();
        }
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Arrives { call, process, request } => self.arrive((call, process), request),
            Event::Answered { call, process, reply } => {
                if let Some(until) = self.paused(process) {
                    return self.at(until, Event::Answered { call, process, reply });
                }
                let held = self.state().calls.remove(&call);
                let Some((_, to)) = held else { return };
                self.note(format_args!("{process} hears of {call}: {}", Answered(&reply)));
                self.acts(process, || to(reply));
            }
            Event::Wakes { process, wake } => match self.paused(process) {
                Some(until) => self.at(until, Event::Wakes { process, wake }),
                None if self.is_gone(process) => {}
                None => self.acts(process, || wake()),
            },
            Event::Deed { process, deed } => match self.paused(process) {
                Some(until) => self.at(until, Event::Deed { process, deed }),
                None if self.is_gone(process) => {}
                None => self.acts(process, deed),
            },
            Event::Nap { number } => {
                self.state().naps.insert(number);
            }
            Event::Starts => self.start(),
            Event::Begins { process } => self.begin(process),
            Event::Steps { process, life, worker } => self.step((process, life, worker)),
            Event::Looks => self.look(),
            Event::Writes => self.write(),
            Event::Gust => self.blow(),
            Event::BookieStarts { boot } => self.start_bookie(boot),
        }
    }

    /// Writes a few lines, or those again that may not be there.
    fn write(&self) {
        let taken = self.writer.borrow_mut().take();
        // What was closed and could not be is opened again: that closes it, too.
        let Some(log) = taken.or_else(|| self.log_of_bystander().ok()) else { return };
        let next = {
            let mut state = self.state();
            let State { input, dice, .. } = &mut *state;
            input.next(dice)
        };
        let ending = self.state().ending;
        let wrote = match next {
            Some((partition, first, records)) => {
                let wrote = input::append(&log, partition, &records);
                if wrote.is_ok() {
                    self.note(format_args!("{} lines written", records.len()));
                    self.state().input.wrote(partition, first + records.len());
                }
                *self.writer.borrow_mut() = Some(log);
                wrote
            }
            None if !ending || self.is_followed() => {
                self.state().ending = true;
                self.stop_followers();
                *self.writer.borrow_mut() = Some(log);
                Ok(())
            }
            None if !self.state().input.is_ended() => {
                self.state().input.end();
                *self.writer.borrow_mut() = Some(log);
                Ok(())
            }
            // Where it ends is known then, whatever becomes of the bookie.
            None => input::close(log).map(|()| {
                self.note(format_args!("all lines are written"));
                self.state().written = true;
            }),
        };
        if let Err(why) = wrote {
            self.note(format_args!("lines not written: {why}"));
            self.hit(Kill::WriterFailed);
        }
        if self.state().written {
            return;
        }
        let us = {
            let mut state = self.state();
            let (least, most) = state.write_us;
            // Whoever is waited for has time to go by.
            let least = if state.ending { WAITS_US } else { least };
            state.dice.between(least, most.max(least))
        };
        self.after(us, Event::Writes);
    }

    fn look(&self) {
        let us = self.state().dice.between(LOOK_US.0, LOOK_US.1);
        self.after(us, Event::Looks);
        // It may be looking further down the stack.
        let taken = self.watcher.try_borrow_mut().ok().and_then(|mut watcher| watcher.take());
        let Some(mut watcher) = taken else { return };
        // What cannot be read is read later.
        let looked = watcher.look().and_then(|(news, _)| self.seen(news));
        *self.watcher.borrow_mut() = Some(watcher);
        if let Err(broken) = looked {
            self.broke(broken);
        }
    }

    fn seen(&self, news: Vec<News>) -> Result<(), Broken> {
        let mut state = self.state();
        let now = state.now;
        for News { stream, partition, at, records } in news {
            let what = format_args!("seen {stream}/{partition}: {records} records from {at}");
            state.trace.note(now, what);
            if self.options.guarantee == egret::Guarantee::EffectivelyOnce {
                state.oracle.on_seen(stream, partition, at)?;
            }
        }
        Ok(())
    }
}
