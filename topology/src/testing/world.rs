//! The world of one test: a log in memory, a clock, and the messages on their way between it and whoever
//! uses it.
//!
//! Nothing here draws from the machine: the next event is the least (time, number), and what it does follows
//! from the seed. No cell stays borrowed while other code runs: it calls back.

mod death;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use egret_log::bookie::identity::Identity;
use egret_log::bookie::{Bookie, BookieConfig};
use egret_log::disk::{Disk, FaultyDisk};
use egret_log::message::{Reply, ReplyTo, Request, Transport as _, Unknown, Wake};
use egret_log::metadata::MemoryMeta;
use egret_log::simulation::{self, Deed};
use egret_log::{Log, clock};
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId};

use super::chance::Chance;
use super::way::{Others, Way, set_here};
use death::Death;

/// A message takes so long, in microseconds.
const HOP_US: (u64, u64) = (5, 80);

/// Requests after which the bookie moves what it has out of its journal.
const CHECKPOINT_EVERY: u64 = 4096;

/// Whose code it is: the test's own, or one life of the process that runs the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Life {
    Bystander,
    Of(u32),
}

/// What is going to happen.
enum Event {
    Arrives { call: u64, life: Life, request: Request },
    Answered { call: u64, reply: Reply },
    Wakes { life: Life, wake: Wake },
    Deed { life: Life, deed: Deed },
}

struct State {
    now_us: u64,
    next_event: u64,
    queue: BTreeMap<(u64, u64), Event>,
    chance: Chance,
    next_call: u64,
    calls: BTreeMap<u64, (Life, ReplyTo)>,
    /// When the last message of somebody about a ledger arrives, there and back: they stay in order.
    lines: BTreeMap<(Life, Option<LedgerId>, bool), u64>,
    alive: Option<u32>,
    lives: u32,
    acting: Life,
    failpoints: u64,
    death: Option<Death>,
    acts: u64,
    requests: u64,
}

/// See the [module](self).
pub(super) struct World {
    began: Instant,
    bookie: Bookie,
    meta: MemoryMeta,
    state: RefCell<State>,
}

impl World {
    pub(super) fn new(seed: u64) -> Rc<World> {
        let disk = FaultyDisk::new();
        let dir = Path::new("/bookie");
        let incarnation = Incarnation(1 << 64 | 1);
        let (bookie, cluster) = (BookieId(1), String::new());
        let identity = Identity { bookie, cluster, incarnation, created_ms: 0, shards: 1 };
        disk.create_dir(dir).expect("a disk in memory takes a directory");
        identity.store(&disk, dir).expect("a disk in memory takes a file");
        let config = BookieConfig {
            journal_file_bytes: 4 << 20,
            journal_files_max: 4,
            write_cache_bytes: 4 << 20,
            tail_cache_bytes: 1 << 20,
            background: false,
            ..BookieConfig::default()
        };
        let bookie = Bookie::open(Arc::new(disk), dir, config);
        let state = State {
            now_us: 0,
            next_event: 0,
            queue: BTreeMap::new(),
            chance: Chance::new(seed),
            next_call: 1,
            calls: BTreeMap::new(),
            lines: BTreeMap::new(),
            alive: None,
            lives: 0,
            acting: Life::Bystander,
            failpoints: 0,
            death: None,
            acts: 0,
            requests: 0,
        };
        Rc::new(World {
            began: clock::now(),
            bookie: bookie.expect("a bookie opens on an empty disk in memory"),
            meta: MemoryMeta::new(),
            state: RefCell::new(state),
        })
    }

    /// Runs code in this world, as `life`: its time is this one's, and where it waits this goes on.
    pub(super) fn run<R>(self: &Rc<World>, life: Life, what: impl FnOnce() -> R) -> R {
        /// Also when `what` panics.
        struct Leaves;
        impl Drop for Leaves {
            fn drop(&mut self) {
                set_here(None);
                crate::simulation::set_failpoint(None);
            }
        }
        set_here(Some(Rc::clone(self)));
        let _leaves = Leaves;
        let _entered = simulation::enter(Rc::new(Others), self.began);
        crate::simulation::set_failpoint(Some(|| {
            let world = super::way::here();
            let life = world.state().acting;
            world.failpoint(life)
        }));
        self.turn_clock();
        self.state().acting = life;
        what()
    }

    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    fn turn_clock(&self) {
        let now = Duration::from_micros(self.state().now_us);
        simulation::set_now(self.began + now);
    }

    pub(super) fn meta(&self) -> &MemoryMeta {
        &self.meta
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.bookie.incarnation()
    }

    pub(super) fn draw(&self) -> u64 {
        self.state().chance.draw()
    }

    pub(super) fn now_us(&self) -> u64 {
        self.state().now_us
    }

    /// How often anything was asked, done or told: it stands still while everybody rests.
    pub(super) fn acts(&self) -> u64 {
        self.state().acts
    }

    pub(super) fn acted(&self) {
        self.state().acts += 1;
    }

    /// A log as somebody has it.
    pub(super) fn log_of(&self, life: Life) -> crate::Result<Log> {
        Log::over(Arc::new(Way(life)), Arc::new(Way(life))).map_err(crate::Error::other)
    }

    /// The order in which so many workers step, and how long each takes.
    pub(super) fn round(&self, workers: usize) -> Vec<(usize, u64)> {
        let mut state = self.state();
        let mut order: Vec<usize> = (0..workers).collect();
        state.chance.shuffle(&mut order);
        order.into_iter().map(|worker| (worker, state.chance.between(20, 200))).collect()
    }

    fn after(&self, us: u64, event: Event) {
        let mut state = self.state();
        let at = state.now_us + us;
        state.insert(at, event);
    }

    pub(super) fn later(&self, wait: Duration, deed: Deed) {
        let life = self.state().acting;
        let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 2);
        self.after(us, Event::Deed { life, deed });
    }

    /// Sends a request on its way.
    pub(super) fn send(&self, life: Life, request: Request, reply: ReplyTo) {
        if self.is_dead(life) {
            return reply(Reply::Unknown(Unknown::Closing));
        }
        let mut state = self.state();
        state.acts += 1;
        let at = state.in_line((life, request.ledger(), true));
        state.next_call += 1;
        let call = state.next_call;
        state.calls.insert(call, (life, reply));
        state.insert(at, Event::Arrives { call, life, request });
    }

    pub(super) fn watch_lac(
        &self,
        life: Life,
        ledger: LedgerId,
        beyond: Option<EntryId>,
        wake: Wake,
    ) {
        let told: Wake = Arc::new(move || {
            let wake = Arc::clone(&wake);
            // A bookie tells everybody when it stops, and stops with its world.
            if let Some(world) = super::way::there() {
                world.after(HOP_US.0, Event::Wakes { life, wake });
            }
        });
        self.bookie.watch_lac(ledger, beyond, told);
    }

    /// A request is at the bookie.
    fn arrive(&self, call: u64, life: Life, request: Request) {
        // What a dead process sent arrives as if it lived.
        let dead = self.is_dead(life);
        if !dead && self.failpoint(life) {
            return;
        }
        let ledger = request.ledger();
        let slot = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&slot);
        let tell =
            move |reply| *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        self.bookie.send(self.bookie.incarnation(), request, Box::new(tell));
        let reply = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reply = reply.expect("without threads of its own a bookie answers at once");
        let checkpoint = {
            let mut state = self.state();
            state.requests += 1;
            state.requests.is_multiple_of(CHECKPOINT_EVERY)
        };
        if checkpoint {
            // What cannot be moved is safe in the journal.
            drop(self.bookie.checkpoint());
        }
        if dead || self.failpoint(life) {
            return;
        }
        let mut state = self.state();
        let at = state.in_line((life, ledger, false));
        state.insert(at, Event::Answered { call, reply });
    }

    /// Lets the next event happen, whenever that is.
    ///
    /// # Panics
    /// When nothing is going to happen: whoever waits would for ever.
    pub(super) fn pump(&self) {
        let next = self.state().queue.pop_first();
        let ((at, _), event) = next.expect("code under test waits for something that never comes");
        {
            let mut state = self.state();
            state.now_us = state.now_us.max(at);
        }
        self.turn_clock();
        self.happen(event);
    }

    /// Lets so much time pass, and happen what is due by then.
    pub(super) fn pass(&self, us: u64) {
        let until = self.state().now_us.saturating_add(us);
        loop {
            let due = self.state().queue.first_key_value().is_some_and(|((at, _), _)| *at <= until);
            if !due {
                break;
            }
            self.pump();
        }
        self.state().now_us = until;
        self.turn_clock();
    }

    /// Whether messages are on their way.
    pub(super) fn is_busy(&self) -> bool {
        self.state().queue.values().any(|event| !matches!(event, Event::Deed { .. }))
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Arrives { call, life, request } => self.arrive(call, life, request),
            Event::Answered { call, reply } => {
                let held = self.state().calls.remove(&call);
                if let Some((life, to)) = held {
                    self.acts_as(life, || to(reply));
                }
            }
            Event::Wakes { life, wake } if !self.is_dead(life) => self.acts_as(life, || wake()),
            Event::Deed { life, deed } if !self.is_dead(life) => self.acts_as(life, deed),
            Event::Wakes { .. } | Event::Deed { .. } => {}
        }
    }

    fn acts_as(&self, life: Life, what: impl FnOnce()) {
        let before = {
            let mut state = self.state();
            state.acts += 1;
            std::mem::replace(&mut state.acting, life)
        };
        what();
        self.state().acting = before;
    }
}

impl State {
    fn insert(&mut self, at: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((at, self.next_event), event);
    }

    /// When something that is sent now is there, behind what was sent before it.
    fn in_line(&mut self, line: (Life, Option<LedgerId>, bool)) -> u64 {
        let at = self.now_us + self.chance.between(HOP_US.0, HOP_US.1);
        let last = self.lines.entry(line).or_insert(0);
        *last = at.max(*last + 1);
        *last
    }
}
