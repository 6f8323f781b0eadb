//! A member: it joins the leader, does its part of one generation after another, and ends when told to or
//! when the leader is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use std::{io, thread};

use egret_log::client::{LedgerWriter, Ledgers};
use egret_log::clock;
use egret_log::ledger::LedgerKind;
use egret_log::rpc::worker::WorkerTls;
use egret_schemas::{Generation, LedgerId};
use egret_state::commit::term_of;

use super::connect::{Identity, mesh};
use super::door::{Door, Keeper};
use super::hello::{Kind, Refused, Verdict};
use super::line::{Habits, Line};
use super::link::Trust;
use super::message::{Begin, Done, ToLeader, ToMember};
use super::{MeshError, Placed, Seat};
use crate::dataflow::{Failure, Peers, Shared};
use crate::runtime::Progress;
use crate::task::{OpenStateLedger, chain};

/// How long a task waits for another state ledger.
const LEDGER_WAIT: Duration = Duration::from_secs(60);

/// How long a leader is waited for before that is told, and how often then.
const TELL_AFTER: Duration = Duration::from_secs(2);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How long after an attempt to join the next one is made.
const JOIN_AGAIN: Duration = Duration::from_millis(200);

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
    /// Where the first process was reached.
    leader: SocketAddr,
    line: Arc<Line>,
    door: Door,
    identity: Identity,
    inbox: Arc<Inbox>,
    progress: Arc<Progress>,
    /// What the leader was told of the progress.
    told: Arc<Mutex<Done>>,
}

/// Why an attempt to join came to nothing.
enum NotJoined {
    /// It may be let in later.
    Yet(String),
    /// The answer will be the same.
    Refused(String),
    /// This process cannot.
    System(MeshError),
}

impl From<Refused> for NotJoined {
    fn from(refused: Refused) -> NotJoined {
        match refused.verdict {
            // Whoever has the place may be gone, and not be missed yet.
            Verdict::Taken => NotJoined::Yet(refused.to_string()),
            _ => NotJoined::Refused(refused.to_string()),
        }
    }
}

impl From<io::Error> for NotJoined {
    fn from(why: io::Error) -> NotJoined {
        match why.kind() {
            // What TLS refuses, or what is no worker process.
            io::ErrorKind::InvalidData => NotJoined::Refused(why.to_string()),
            _ => NotJoined::Yet(why.to_string()),
        }
    }
}

impl Member {
    /// Joins the leader of a seat.
    pub(crate) fn join(
        seat: &Seat,
        plan: u64,
        silence: Duration,
        progress: &Arc<Progress>,
    ) -> Result<Member, MeshError> {
        let Seat { rank, count, leader, ref secret } = *seat;
        let refused = |why: String| MeshError::Join { rank, at: leader.to_string(), why };
        if WorkerTls::is_needed_at(leader.ip()) {
            return Err(refused(
                "beyond this machine worker processes know each other by certificates: place them on a cluster, \
                 with --rank, --leader and `tls` in its file"
                    .to_owned(),
            ));
        }
        let identity = Identity::new((rank, count), plan, Trust::Secret(secret.clone()))?;
        let joined = Member::join_at(&identity, (leader, None), silence, progress);
        joined.map_err(|not| match not {
            NotJoined::Yet(why) | NotJoined::Refused(why) => refused(why),
            NotJoined::System(error) => error,
        })
    }

    /// Joins the leader of those who were placed, once it is there and lets this one in; gives up after `wait`.
    pub(crate) fn join_placed(
        placed: &Placed,
        identity: &Identity,
        (silence, wait): (Duration, Duration),
        progress: &Arc<Progress>,
    ) -> Result<Member, MeshError> {
        let listen = placed.listens()?;
        let rank = placed.rank;
        let until = clock::now() + wait;
        let mut tell_at = clock::now() + TELL_AFTER;
        let refused = |why: String| MeshError::Join { rank, at: placed.leader.clone(), why };
        loop {
            let found = placed.find_leader().map_err(NotJoined::Yet);
            let joined =
                found.and_then(|at| Member::join_at(identity, (at, listen), silence, progress));
            let why = match joined {
                Ok(member) => return Ok(member),
                Err(NotJoined::System(error)) => return Err(error),
                Err(NotJoined::Refused(why)) => return Err(refused(why)),
                Err(NotJoined::Yet(why)) => why,
            };
            if clock::now() >= until {
                return Err(refused(format!("{why}; it was tried for {wait:?}")));
            }
            if clock::now() >= tell_at {
                tell_at = clock::now() + TELL_EVERY;
                let at = &placed.leader;
                (placed.tell)(&format!(
                    "worker process {rank} waits for the first one, at {at}: {why}"
                ));
            }
            thread::park_timeout(JOIN_AGAIN);
        }
    }

    fn join_at(
        identity: &Identity,
        (leader, listen): (SocketAddr, Option<SocketAddr>),
        silence: Duration,
        progress: &Arc<Progress>,
    ) -> Result<Member, NotJoined> {
        let system = |what| move |source| NotJoined::System(MeshError::System { what, source });
        let rank = identity.rank;
        let link = identity.greet(leader, 0, (Kind::Control, Generation(0)))??;
        let here = link.local_addr().map_err(system("its own address"))?.ip();
        let (expected, trust) = (identity.expected(), identity.trust.clone());
        let keeper = Keeper { expected, trust, control: None };
        let at = listen.unwrap_or_else(|| SocketAddr::new(here, 0));
        let listening = |source| NotJoined::System(MeshError::Listen { at, source });
        let door = Door::open(at, keeper).map_err(listening)?;
        // Whoever listens everywhere is reached where it came from.
        let mut at = door.at();
        if at.ip().is_unspecified() {
            at.set_ip(here);
        }
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
        let line = Line::open(link, habits).map_err(system("a control connection"))?;
        line.send(&ToLeader::Listens { at });
        let (progress, identity) = (Arc::clone(progress), identity.clone());
        Ok(Member { rank, leader, line, door, identity, inbox, progress, told })
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
        // The first process is where it was found: it may not know its own address there.
        let mut addresses = begin.mesh.clone();
        if let Some(first) = addresses.first_mut() {
            *first = self.leader;
        }
        mesh(&self.identity, &addresses, begin.generation, &self.door, &has_failed)
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
    let trust = Trust::Secret(seat.secret.clone());
    let identity = Identity::new((seat.rank, seat.count), plan, trust).unwrap();
    let greeted = identity.greet(seat.leader, 0, (Kind::Control, Generation(0)));
    let mut stream = greeted.unwrap().unwrap();
    let at = stream.local_addr().unwrap();
    super::message::write(&mut stream, &ToLeader::Listens { at }).unwrap();
    stream.set(None, None).unwrap();
    while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
}
