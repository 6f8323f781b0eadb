//! The members, from the leader's side: started, let in, told what to do, given up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use egret_log::clock;
use egret_schemas::Generation;

use super::connect::{Identity, mesh};
use super::door::{Control, Door, Keeper};
use super::hello::Hello;
use super::line::{Habits, Line};
use super::link::{Link, Trust};
use super::message::{Begin, ToLeader, ToMember};
use super::{MeshError, Placed, Seat, Secret, Started, Starter};
use crate::dataflow::{Failure, Peers, Shared};
use crate::runtime::Progress;
use crate::runtime::topology_store::TopologyStore;
use crate::task::chain;

/// How long a member may take to end its part of a generation that is given up.
const GIVE_UP_WAIT: Duration = Duration::from_secs(10);

/// How long the others may take to end their part of the last generation once this process has.
const FINISH_WAIT: Duration = Duration::from_secs(60);

/// How long a process that was told to end may take.
const END_WAIT: Duration = Duration::from_secs(5);

/// How often it is told who is waited for.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How often processes that have not joined are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts of one process that end before it joined, one after another.
const STARTS_MAX: u32 = 3;

/// Where a member is.
#[derive(Debug)]
enum Phase {
    /// It has nothing to do.
    Idle,
    /// It has its part of a generation.
    Busy,
    /// Its part ended.
    Ended(Option<Failure>),
}

/// A member's place.
struct Place {
    line: Option<Arc<Line>>,
    /// Counts who took it: what is heard of an earlier one is not of this one.
    taken: u64,
    /// Who has it.
    process: u64,
    listens: Option<SocketAddr>,
    phase: Phase,
}

/// The generation that runs.
struct Running {
    generation: Generation,
    shared: Arc<Shared>,
    store: Arc<TopologyStore>,
}

struct State {
    /// By rank; nobody is at 0.
    places: Vec<Place>,
    running: Option<Running>,
    /// Lines that ended, to be joined.
    ended: Vec<Arc<Line>>,
    closed: bool,
}

struct Members {
    state: Mutex<State>,
    changed: Condvar,
    silence: Duration,
    progress: Arc<Progress>,
}

/// A started process, by rank.
#[derive(Default)]
struct Start {
    process: Option<Box<dyn Started>>,
    /// How often it ended before it joined.
    ended: u32,
    /// Who had its place when it was started.
    taken: u64,
}

/// Where the members come from.
#[derive(Clone)]
pub(crate) enum Recruits {
    /// They are started from here.
    Started(Arc<dyn Starter>),
    /// Somebody else placed them, and this one.
    Placed(Placed),
}

/// The members of this run.
pub(crate) struct Leader {
    members: Arc<Members>,
    door: Door,
    identity: Identity,
    recruits: Recruits,
    /// How long members may take to join.
    join_wait: Duration,
    starts: Vec<Start>,
}

/// Where every process listens, once all have joined.
pub(crate) type Assembled = Vec<SocketAddr>;

impl Leader {
    /// Opens the door; nobody is started yet.
    pub(crate) fn open(
        count: u32,
        recruits: Recruits,
        plan: u64,
        (silence, join_wait): (Duration, Duration),
        progress: &Arc<Progress>,
    ) -> Result<Leader, MeshError> {
        let system = |what| move |source| MeshError::System { what, source };
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (at, trust) = match &recruits {
            Recruits::Started(_) => {
                (here, Trust::Secret(Secret::random().map_err(system("randomness"))?))
            }
            Recruits::Placed(placed) => {
                (placed.listens()?.unwrap_or(here), Trust::Certificate(placed.tls.clone()))
            }
        };
        let identity = Identity::new((0, count), plan, trust.clone())?;
        let place =
            || Place { line: None, taken: 0, process: 0, listens: None, phase: Phase::Idle };
        let members = Arc::new(Members {
            state: Mutex::new(State {
                places: (0..count).map(|_| place()).collect(),
                running: None,
                ended: Vec::new(),
                closed: false,
            }),
            changed: Condvar::new(),
            silence,
            progress: Arc::clone(progress),
        });
        let control = Some(Arc::clone(&members) as Arc<dyn Control>);
        let keeper = Keeper { expected: identity.expected(), trust, control };
        let listening = |source| MeshError::Listen { at, source };
        let door = Door::open(at, keeper).map_err(listening)?;
        let starts = (0..count).map(|_| Start::default()).collect();
        Ok(Leader { members, door, identity, recruits, join_wait, starts })
    }

    /// Waits until every member is there and has nothing to do; starts those that are not.
    pub(crate) fn assemble(&mut self) -> Result<Assembled, MeshError> {
        let until = clock::now() + self.join_wait;
        let mut tell_at = clock::now() + TELL_EVERY;
        let count = self.identity.count;
        loop {
            self.members.join_ended();
            // Rank, who has the place if somebody does, and whether that one is about to say where it listens.
            let missing: Vec<(u32, u64, bool)> = {
                let state = self.members.lock();
                let places = (0..).zip(&state.places).skip(1).filter(|(_, p)| p.listens.is_none());
                places.map(|(rank, p)| (rank, p.taken, p.line.is_some())).collect()
            };
            if missing.is_empty() {
                break;
            }
            let ranks = || missing.iter().map(|(rank, ..)| *rank).collect();
            if clock::now() >= until {
                return Err(MeshError::Missing { ranks: ranks(), count, waited: self.join_wait });
            }
            match &self.recruits {
                Recruits::Started(starter) => {
                    let starter = Arc::clone(starter);
                    for (rank, taken, _) in missing.into_iter().filter(|(.., joining)| !joining) {
                        self.look_after(rank, taken, &*starter)?;
                    }
                }
                // Those who were placed together may well be told to end together.
                Recruits::Placed(_) if self.members.progress.is_stopping() => {
                    return Err(MeshError::Asked { ranks: ranks(), count });
                }
                Recruits::Placed(placed) if clock::now() >= tell_at => {
                    tell_at = clock::now() + TELL_EVERY;
                    let ranks: Vec<u32> = ranks();
                    (placed.tell)(&format!("waiting for worker processes {ranks:?} of {count}"));
                }
                Recruits::Placed(_) => {}
            }
            self.members.wait(LOOK_EVERY);
        }
        let state = self.members.lock();
        let mut addresses = vec![self.door.at()];
        addresses.extend(state.places.iter().skip(1).filter_map(|place| place.listens));
        Ok(addresses)
    }

    /// Starts a process that is not there.
    fn look_after(
        &mut self,
        rank: u32,
        taken: u64,
        starter: &dyn Starter,
    ) -> Result<(), MeshError> {
        let count = self.identity.count;
        let start = &mut self.starts[rank as usize];
        if let Some(process) = &mut start.process {
            match process.ended() {
                // It joined, and is gone: whatever is left of it is in the way.
                _ if taken > start.taken => {
                    process.kill();
                    start.ended = 0;
                }
                Some(how) => {
                    start.ended += 1;
                    if start.ended >= STARTS_MAX {
                        return Err(MeshError::Ends { rank, how, times: start.ended });
                    }
                }
                None => return Ok(()),
            }
        }
        let (leader, secret) = (self.door.at(), self.identity.trust.secret().clone());
        let seat = Seat { rank, count, leader, secret };
        let started = starter.start(&seat);
        let process = started.map_err(|source| MeshError::Start { rank, count, source })?;
        (start.process, start.taken) = (Some(process), taken);
        Ok(())
    }

    /// Tells every member its part of a generation, and connects to them all.
    pub(crate) fn begin(
        &self,
        begins: Vec<Begin>,
        shared: &Arc<Shared>,
        store: &Arc<TopologyStore>,
    ) -> Result<Peers, Failure> {
        let generation = shared.first.generation();
        let addresses = begins.first().map(|begin| begin.mesh.clone()).unwrap_or_default();
        {
            let mut state = self.members.lock();
            let (shared, store) = (Arc::clone(shared), Arc::clone(store));
            state.running = Some(Running { generation, shared, store });
            for ((rank, place), begin) in (1..).zip(state.places.iter_mut().skip(1)).zip(begins) {
                // Who went away since it was assembled.
                let Some(line) = &place.line else { return Err(gone(rank, "it ended")) };
                place.phase = Phase::Busy;
                line.send(&ToMember::Begin(Box::new(begin)));
            }
        }
        let given_up = || shared.has_failed();
        mesh(&self.identity, &addresses, generation, &self.door, &given_up)
    }

    /// The outcome of a generation whose part here ended like this, with what the members say of theirs.
    /// When it is returned nobody works on the generation any more.
    pub(crate) fn settle(&self, own: Result<(), Failure>) -> Result<(), Failure> {
        let mut own = own.err();
        let wait = match &own {
            Some(_) => {
                self.give_up();
                GIVE_UP_WAIT
            }
            None => FINISH_WAIT,
        };
        let until = clock::now() + wait;
        let busy = |place: &Place| matches!(place.phase, Phase::Busy);
        let mut state = self.members.lock();
        while state.places.iter().any(busy) {
            let failed = state.running.as_ref().is_some_and(|running| running.shared.has_failed());
            if own.is_none() && failed {
                // One of them failed after the others were done.
                drop(state);
                return self.settle(Err(Failure::severed("another worker process failed".into())));
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            let waited = self.members.changed.wait_timeout(state, left.min(LOOK_EVERY));
            state = waited.expect("no panic while held").0;
        }
        let state = &mut *state;
        let ended = &mut state.ended;
        for (rank, place) in (0..).zip(&mut state.places) {
            match std::mem::replace(&mut place.phase, Phase::Idle) {
                Phase::Busy => {
                    // It may go on for ever: it is started again.
                    let stuck = gone(rank, "it did not end its part in time");
                    if let Some(line) = place.line.take() {
                        line.close();
                        ended.push(line);
                    }
                    place.listens = None;
                    own.get_or_insert(stuck);
                }
                Phase::Ended(Some(failure)) => match &own {
                    Some(held) if !held.severed || failure.severed => {}
                    _ => own = Some(failure),
                },
                Phase::Idle | Phase::Ended(None) => {}
            }
        }
        state.running = None;
        own.map_or(Ok(()), Err)
    }

    fn give_up(&self) {
        let state = self.members.lock();
        let Some(running) = &state.running else { return };
        let generation = running.generation;
        for line in state.places.iter().filter_map(|place| place.line.as_ref()) {
            line.send(&ToMember::GiveUp { generation });
        }
    }

    /// Tells every member that the run is over, and waits until they are gone.
    pub(crate) fn end(mut self, finished: bool) {
        let lines: Vec<Arc<Line>> = {
            let mut state = self.members.lock();
            state.closed = true;
            state.places.iter_mut().filter_map(|place| place.line.take()).collect()
        };
        for line in &lines {
            line.send(&if finished { ToMember::Finished } else { ToMember::Stop });
        }
        for process in self.starts.iter_mut().filter_map(|start| start.process.as_mut()) {
            process.settle(END_WAIT);
        }
        let until = clock::now() + END_WAIT;
        for line in lines {
            // Closed too early, what it was told may be lost.
            line.is_closed_after(until.saturating_duration_since(clock::now()));
            line.close();
            line.join();
        }
        self.members.join_ended();
    }
}

impl Control for Members {
    fn is_free(&self, hello: &Hello) -> bool {
        let state = self.lock();
        let place = state.places.get(hello.rank as usize).filter(|_| hello.rank > 0);
        place.is_some_and(|place| place.line.is_none() || place.process == hello.process)
    }

    fn take(self: Arc<Members>, hello: &Hello, link: Link) {
        self.joins((hello.rank, hello.process), link);
    }
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    fn wait(&self, at_most: Duration) {
        drop(self.changed.wait_timeout(self.lock(), at_most).expect("no panic while held"));
    }

    fn join_ended(&self) {
        let ended = std::mem::take(&mut self.lock().ended);
        for line in ended {
            line.join();
        }
    }

    /// A member said hello.
    fn joins(self: &Arc<Members>, (rank, process): (u32, u64), link: Link) {
        let mut state = self.lock();
        let state = &mut *state;
        let closed = state.closed;
        let Some(place) = state.places.get_mut(rank as usize).filter(|_| rank > 0 && !closed)
        else {
            return;
        };
        // Who comes again has given up on the line it had.
        if let Some(old) = place.line.take() {
            old.close();
            state.ended.push(old);
            lose(place, state.running.as_ref(), rank, "it came again");
        }
        (place.taken, place.process) = (place.taken + 1, process);
        let taken = place.taken;
        let (heard, left) = (Arc::clone(self), Arc::clone(self));
        let habits = Habits {
            silence: self.silence,
            beat: || ToMember::Beat,
            hear: move |line: &Arc<Line>, message| heard.hear((rank, taken), line, message),
            gone: move |why: String| left.left((rank, taken), &why),
            of: std::marker::PhantomData,
        };
        // What its threads hear waits until the state is let go.
        match Line::open(link, habits) {
            Ok(line) => place.line = Some(line),
            Err(why) => tracing::warn!(rank, %why, "a worker process cannot be listened to"),
        }
        self.changed.notify_all();
    }

    fn hear(&self, (rank, taken): (u32, u64), line: &Arc<Line>, message: ToLeader) {
        let mut state = self.lock();
        let running = |state: &State, generation| {
            let running = state.running.as_ref().filter(|r| r.generation == generation);
            running.map(|running| (Arc::clone(&running.shared), Arc::clone(&running.store)))
        };
        if state.places[rank as usize].taken != taken {
            return;
        }
        match message {
            ToLeader::Beat(done) => self.progress.did(done),
            ToLeader::Listens { at } => {
                let place = &mut state.places[rank as usize];
                (place.listens, place.phase) = (Some(at), Phase::Idle);
            }
            ToLeader::Ended { generation, failure, done } => {
                self.progress.did(done);
                let running = running(&state, generation);
                let place = &mut state.places[rank as usize];
                if let (Some((shared, _)), Phase::Busy) = (running, &place.phase) {
                    if let Some(failure) = &failure {
                        shared.fail(failure.clone());
                    }
                    place.phase = Phase::Ended(failure);
                }
            }
            ToLeader::OpenLedger { generation, request } => {
                let store = running(&state, generation).map(|(_, store)| store);
                drop(state);
                // Metadata is asked without the lock.
                return Members::open_ledger(line, request, store);
            }
        }
        self.changed.notify_all();
    }

    fn open_ledger(line: &Line, request: u64, store: Option<Arc<TopologyStore>>) {
        let listed = match store {
            Some(store) => store.list_ledger(false).map_err(|error| chain(&error)),
            None => Err("its generation is over".to_owned()),
        };
        line.send(&ToMember::Ledger { request, listed });
    }

    fn left(&self, (rank, taken): (u32, u64), why: &str) {
        let mut state = self.lock();
        let state = &mut *state;
        let place = &mut state.places[rank as usize];
        if place.taken != taken {
            return;
        }
        state.ended.extend(place.line.take());
        lose(place, state.running.as_ref(), rank, why);
        if !state.closed {
            tracing::warn!(rank, why, "a worker process is gone");
        }
        self.changed.notify_all();
    }
}

/// Whoever had the place has it no more; the generation it had a part of is given up.
fn lose(place: &mut Place, running: Option<&Running>, rank: u32, why: &str) {
    place.listens = None;
    if let Phase::Busy = place.phase {
        place.phase = Phase::Ended(Some(gone(rank, why)));
        if let Some(running) = running {
            running.shared.fail(gone(rank, why));
        }
    }
}

fn gone(rank: u32, why: &str) -> Failure {
    Failure::severed(format!("worker process {rank} is gone: {why}"))
}
