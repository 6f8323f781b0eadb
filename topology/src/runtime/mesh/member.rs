//! A member: it joins the leader, does its part of one generation after another, and ends when told to or
//! when the leader is gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use egret_log::client::{LedgerWriter, Ledgers};
use egret_log::clock;
use egret_log::ledger::LedgerKind;
use egret_schemas::{Generation, LedgerId};
use egret_state::commit::term_of;

use super::connect::{self, Identity, mesh};
use super::door::{Door, Keeper};
use super::hello::{Expected, Kind};
use super::line::{Habits, Line};
use super::message::{Begin, Done, ToLeader, ToMember};
use super::{MeshError, Seat};
use crate::dataflow::{Failure, Peers, Shared};
use crate::runtime::Progress;
use crate::task::{OpenStateLedger, chain};

/// How long a task waits for another state ledger.
const LEDGER_WAIT: Duration = Duration::from_secs(60);

/// What a member is told to do next.
pub(crate) enum Told {
    /// Its part of a generation.
    Begin(Box<Begin>),
    /// The topology finished.
    Finished,
}

#[derive(Default)]
struct State {
    begin: Option<Box<Begin>>,
    /// The generation that runs here.
    running: Option<(Generation, Arc<Shared>)>,
    /// The last generation that was given up.
    given_up: Generation,
    finished: bool,
    stopped: bool,
    gone: Option<String>,
    /// Answers of the leader by request.
    ledgers: BTreeMap<u64, Result<LedgerId, String>>,
    requests: u64,
}

struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

/// A member of a run.
pub(crate) struct Member {
    rank: u32,
    line: Arc<Line>,
    door: Door,
    identity: Identity,
    inbox: Arc<Inbox>,
    progress: Arc<Progress>,
    /// What the leader was told of the progress.
    told: Arc<Mutex<Done>>,
}

impl Member {
    /// Joins the leader of a seat.
    pub(crate) fn join(
        seat: &Seat,
        plan: u64,
        silence: Duration,
        progress: &Arc<Progress>,
    ) -> Result<Member, MeshError> {
        let Seat { rank, leader, ref secret, .. } = *seat;
        let refused = |why: String| MeshError::Join { rank, at: leader, why };
        if !leader.ip().is_loopback() {
            return Err(refused("only processes of one machine can be joined yet".into()));
        }
        let system = |what| move |source| MeshError::System { what, source };
        let build = connect::build().map_err(system("reading the running binary"))?;
        let identity = Identity { rank, build, plan, secret: secret.clone() };
        let stream = match identity.greet(leader, 0, (Kind::Control, Generation(0))) {
            Ok(Ok(stream)) => stream,
            Ok(Err(verdict)) => return Err(refused(verdict.reason().to_owned())),
            Err(why) => return Err(refused(why.to_string())),
        };
        let here: IpAddr = stream.local_addr().map_err(system("its own address"))?.ip();
        let expected = Expected { rank, build, plan };
        let keeper = Keeper { expected, secret: secret.clone(), control: None };
        let door = Door::open(here, keeper).map_err(system("listening"))?;
        let inbox = Arc::new(Inbox { state: Mutex::default(), changed: Condvar::new() });
        let (heard, left) = (Arc::clone(&inbox), Arc::clone(&inbox));
        let told = Arc::<Mutex<Done>>::default();
        let (of_beat, done) = (Arc::clone(&told), Arc::clone(progress));
        let habits = Habits {
            silence,
            beat: move || {
                let mut told = of_beat.lock().expect("no panic while held");
                ToLeader::Beat(done.since(&mut told))
            },
            hear: move |_: &Arc<Line>, message| heard.hear(message),
            gone: move |why| left.left(why),
            of: std::marker::PhantomData,
        };
        let line = Line::open(stream, habits).map_err(system("a control connection"))?;
        line.send(&ToLeader::Listens { at: door.at() });
        let progress = Arc::clone(progress);
        Ok(Member { rank, line, door, identity, inbox, progress, told })
    }

    /// Its place among the processes.
    pub(crate) fn rank(&self) -> u32 {
        self.rank
    }

    /// Waits until there is something to do.
    pub(crate) fn next(&self) -> Result<Told, MeshError> {
        let mut state = self.inbox.lock();
        loop {
            if state.finished {
                return Ok(Told::Finished);
            }
            if state.stopped {
                return Err(MeshError::Stopped { rank: self.rank });
            }
            if let Some(why) = &state.gone {
                return Err(MeshError::LeaderGone { rank: self.rank, why: why.clone() });
            }
            if let Some(begin) = state.begin.take() {
                return Ok(Told::Begin(begin));
            }
            state = self.inbox.changed.wait(state).expect("no panic while held");
        }
    }

    /// Connects to the others of a generation, which `shared` belongs to.
    pub(crate) fn connect(&self, begin: &Begin, shared: &Arc<Shared>) -> Result<Peers, Failure> {
        {
            let mut state = self.inbox.lock();
            state.running = Some((begin.generation, Arc::clone(shared)));
            if state.given_up >= begin.generation {
                shared.fail(given_up());
            }
            if let Some(why) = &state.gone {
                shared.fail(leader_gone(why));
            }
        }
        let has_failed = || shared.has_failed();
        mesh(&self.identity, &begin.mesh, begin.generation, &self.door, &has_failed)
    }

    /// Tells the leader how its part of a generation ended.
    pub(crate) fn ended(&self, generation: Generation, failure: Option<Failure>) {
        self.inbox.lock().running = None;
        // One after the other, so that nothing is told twice or not at all.
        let mut told = self.told.lock().expect("no panic while held");
        let done = self.progress.since(&mut told);
        self.line.send(&ToLeader::Ended { generation, failure, done });
    }

    /// Where its tasks get state ledgers from.
    pub(crate) fn opener(&self, generation: Generation, ledgers: &Ledgers) -> OpenAtLeader {
        let (line, inbox) = (Arc::clone(&self.line), Arc::clone(&self.inbox));
        OpenAtLeader { line, inbox, generation, ledgers: ledgers.clone() }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.line.close();
        self.line.join();
    }
}

fn given_up() -> Failure {
    Failure::severed("the first worker process gave the generation up".into())
}

fn leader_gone(why: &str) -> Failure {
    Failure::severed(format!("the first worker process is gone: {why}"))
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    fn hear(&self, message: ToMember) {
        let mut state = self.lock();
        match message {
            ToMember::Beat => return,
            ToMember::Begin(begin) => state.begin = Some(begin),
            ToMember::GiveUp { generation } => {
                state.given_up = state.given_up.max(generation);
                if let Some((running, shared)) = &state.running
                    && *running <= generation
                {
                    shared.fail(given_up());
                }
            }
            ToMember::Ledger { request, listed } => {
                state.ledgers.insert(request, listed);
            }
            ToMember::Finished => state.finished = true,
            ToMember::Stop => state.stopped = true,
        }
        self.changed.notify_all();
    }

    fn left(&self, why: String) {
        let mut state = self.lock();
        if let Some((_, shared)) = &state.running {
            shared.fail(leader_gone(&why));
        }
        state.gone = Some(why);
        self.changed.notify_all();
    }
}

/// State ledgers of a member's tasks: the leader lists them in the topology's record, which is its alone to
/// change, and they are created here.
pub(crate) struct OpenAtLeader {
    line: Arc<Line>,
    inbox: Arc<Inbox>,
    generation: Generation,
    ledgers: Ledgers,
}

impl OpenAtLeader {
    /// Creates a ledger that the leader listed.
    pub(crate) fn create(&self, ledger: LedgerId) -> Result<LedgerWriter, String> {
        let term = term_of(self.generation);
        self.ledgers.create(ledger, LedgerKind::Plain, term).map_err(|error| chain(&error))
    }
}

impl OpenStateLedger for OpenAtLeader {
    fn open(&self) -> Result<LedgerWriter, String> {
        let mut state = self.inbox.lock();
        state.requests += 1;
        let request = state.requests;
        drop(state);
        self.line.send(&ToLeader::OpenLedger { generation: self.generation, request });
        let until = clock::now() + LEDGER_WAIT;
        let mut state = self.inbox.lock();
        loop {
            if let Some(listed) = state.ledgers.remove(&request) {
                drop(state);
                return self.create(listed?);
            }
            if let Some(why) = &state.gone {
                return Err(leader_gone(why).why);
            }
            if state.given_up >= self.generation {
                return Err(given_up().why);
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(
                    "the first worker process did not list another state ledger in time".into()
                );
            }
            let waited = self.inbox.changed.wait_timeout(state, left);
            state = waited.expect("no panic while held").0;
        }
    }
}

/// Joins, says where it listens, and nothing more until the leader gives it up.
#[cfg(test)]
pub(crate) fn stand_still(seat: &Seat, plan: u64) {
    use std::io::Read as _;
    let build = connect::build().unwrap();
    let identity = Identity { rank: seat.rank, build, plan, secret: seat.secret.clone() };
    let greeted = identity.greet(seat.leader, 0, (Kind::Control, Generation(0)));
    let mut stream = greeted.unwrap().unwrap();
    let at = stream.local_addr().unwrap();
    super::message::write(&mut stream, &ToLeader::Listens { at }).unwrap();
    stream.set_read_timeout(None).unwrap();
    while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
}
