//! A thread that keeps a replica at the newest commit.
//!
//! It looks often while there is something new, and less often while there is not. When it cannot read, what
//! is held stays and is answered from; [`Freshness`] says since when, and why. It says so once for each new
//! reason, and tries again, each time a while later, up to ten seconds: a directory that was moved away is not
//! made anew, and when it is back it is read again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use egret_log::directory::{Attached, Directory};
use egret_log::rpc::Client;
use egret_log::{Log, clock};

use super::{Replica, ReplicaError, Shown};

/// How soon to look again after something new.
const SOON: Duration = Duration::from_millis(20);
/// How soon to look again when there has been nothing new for long.
const LATE: Duration = Duration::from_millis(160);
/// How soon to look again after an error.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// And after many.
const AFTER_ERRORS: Duration = Duration::from_secs(10);
/// How often to look at a directory that nobody holds, which takes opening it: whoever works there holds it,
/// and is seen, unless it was for a moment.
const UNHELD: Duration = Duration::from_secs(10);
/// How long to wait for the first commit to be read before looking whether to end.
const TURN: Duration = Duration::from_millis(100);

/// Where a topology's log is.
pub trait Place: Send {
    /// Does something with the log. `None`: it was not looked, for nobody seems to work there.
    fn look(
        &mut self,
        what: &mut dyn FnMut(&Log) -> Result<bool, ReplicaError>,
    ) -> Option<Result<bool, ReplicaError>>;
}

/// A log that is open.
impl Place for Log {
    fn look(
        &mut self,
        what: &mut dyn FnMut(&Log) -> Result<bool, ReplicaError>,
    ) -> Option<Result<bool, ReplicaError>> {
        Some(what(self))
    }
}

/// A data directory, beside whoever holds it. While nobody does, hardly anything can be new there, and it is let
/// go of: whoever comes finds it free. Who comes and goes between two looks is noticed some seconds later.
pub struct Beside {
    dir: PathBuf,
    attached: Option<(Arc<Attached>, Log)>,
    /// When it was looked at although nobody held it.
    looked: Option<Instant>,
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Beside({})", self.dir.display())
    }
}

impl Beside {
    /// Beside whoever holds this directory.
    pub fn new(dir: &Path) -> Beside {
        Beside { dir: dir.to_owned(), attached: None, looked: None }
    }

    fn held(&self) -> bool {
        Client::connect(&self.dir, None).is_ok_and(|client| client.pid() != std::process::id())
    }

    fn let_go(&mut self) {
        let Some((attached, log)) = self.attached.take() else { return };
        drop(log);
        if let Err(error) = attached.close() {
            tracing::warn!(dir = %self.dir.display(), %error, "the directory was not let go in order");
        }
    }
}

impl Place for Beside {
    fn look(
        &mut self,
        what: &mut dyn FnMut(&Log) -> Result<bool, ReplicaError>,
    ) -> Option<Result<bool, ReplicaError>> {
        let (held, now) = (self.held(), clock::now());
        let soon = self.looked.is_some_and(|at| now.duration_since(at) < UNHELD);
        // One that is gone is not let be, but said.
        if !held && soon && self.dir.is_dir() {
            self.let_go();
            return None;
        }
        if self.attached.is_none() {
            match Directory::open_existing(&self.dir) {
                Ok(directory) => self.attached = Some(Attached::over(directory)),
                Err(error) => {
                    self.looked = None;
                    return Some(Err(ReplicaError::Place(Box::new(error))));
                }
            }
        }
        let (_, log) = self.attached.as_ref()?;
        let looked = what(log);
        // What ends may have left something that was not seen, and what failed was not looked at.
        self.looked = (!held && looked.is_ok()).then_some(now);
        if !held || looked.is_err() {
            self.let_go();
        }
        Some(looked)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// How new what is held is.
#[derive(Clone, Debug)]
pub struct Freshness {
    /// When it was last known to be the newest commit.
    pub known_at: Option<Instant>,
    /// Why it could not be looked since; `None` when it could.
    pub error: Option<Arc<ReplicaError>>,
}

impl Freshness {
    /// For how long it has not been known to be the newest.
    pub fn age(&self) -> Option<Duration> {
        self.known_at.map(|at| clock::now().duration_since(at))
    }

    /// Why it could not be looked since, in words.
    pub fn why(&self) -> Option<String> {
        self.error.as_deref().map(|error| crate::task::chain(error))
    }
}

/// The thread; it ends, and is joined, when this is dropped.
#[derive(Debug)]
pub struct Follower {
    shown: Arc<RwLock<Shown>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ending: bool,
    /// Whether nobody waits to be told what goes wrong.
    logs: bool,
    freshness: Freshness,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, time: Duration) -> bool {
        let woken = |state: &mut State| !state.ending;
        let waited = self.changed.wait_timeout_while(self.state(), time, woken);
        waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }
}

impl Follower {
    /// Begins to follow.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(replica: Replica, place: impl Place + 'static) -> Result<Follower, ReplicaError> {
        Follower::begin(replica, place, true)
    }

    /// Begins to follow, and [waits](Follower::wait_first) for the first commit; whether it is held. What goes wrong
    /// until then is the caller's to say, and is not logged.
    ///
    /// # Errors
    /// What went wrong.
    pub fn start_and_wait(
        replica: Replica,
        place: impl Place + 'static,
        time: Duration,
    ) -> Result<(Follower, bool), Arc<ReplicaError>> {
        let follower = Follower::begin(replica, place, false).map_err(Arc::new)?;
        let held = follower.wait_first(time)?;
        follower.shared.state().logs = true;
        Ok((follower, held))
    }

    fn begin(
        mut replica: Replica,
        mut place: impl Place + 'static,
        logs: bool,
    ) -> Result<Follower, ReplicaError> {
        let freshness = Freshness { known_at: None, error: None };
        let state = Mutex::new(State { ending: false, logs, freshness });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let (shown, following) = (Arc::clone(replica.shown()), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("egret-replica".to_owned())
            .spawn(move || follow(&mut replica, &mut place, &following))
            .map_err(ReplicaError::Thread)?;
        Ok(Follower { shown, shared, thread: Some(thread) })
    }

    /// What is held.
    pub fn shown(&self) -> &Arc<RwLock<Shown>> {
        &self.shown
    }

    /// How new it is.
    pub fn freshness(&self) -> Freshness {
        self.shared.state().freshness.clone()
    }

    /// Waits until a commit is held, or something goes wrong, or `time` is over.
    ///
    /// # Errors
    /// What went wrong.
    pub fn wait_first(&self, time: Duration) -> Result<bool, Arc<ReplicaError>> {
        let until = clock::now() + time;
        let mut state = self.shared.state();
        loop {
            if state.freshness.known_at.is_some() {
                return Ok(true);
            }
            if let Some(error) = &state.freshness.error {
                return Err(Arc::clone(error));
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.shared.changed.wait_timeout(state, left.min(TURN));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.state().ending = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows a topology panicked");
        }
    }
}

/// What went wrong of late, time after time.
#[derive(Debug, Default)]
struct Trouble {
    /// What was said last.
    said: Option<String>,
    pause: Duration,
}

impl Trouble {
    /// It cannot be read. Whether that is to be said, and how long to wait before the next look.
    fn on_error(&mut self, why: &str) -> (bool, Duration) {
        let is_news = self.said.as_deref() != Some(why);
        if is_news {
            self.said = Some(why.to_owned());
        }
        self.pause = (self.pause * 2).clamp(AFTER_ERROR, AFTER_ERRORS);
        (is_news, self.pause)
    }

    /// It can be read. Whether it could not before.
    fn on_read(&mut self) -> bool {
        std::mem::take(self).said.is_some()
    }
}

fn follow(replica: &mut Replica, place: &mut dyn Place, shared: &Shared) {
    let (mut pause, mut trouble) = (SOON, Trouble::default());
    loop {
        let looked = place.look(&mut |log| replica.catch_up(log));
        let mut state = shared.state();
        match looked {
            Some(Ok(news)) => {
                state.freshness = Freshness { known_at: Some(clock::now()), error: None };
                pause = if news { SOON } else { (pause * 2).min(LATE) };
                if trouble.on_read() {
                    tracing::warn!("the newest commit can be read again");
                }
            }
            Some(Err(error)) => {
                let why = crate::task::chain(&error);
                let is_news;
                (is_news, pause) = trouble.on_error(&why);
                if is_news && state.logs {
                    tracing::warn!(error = why, "the newest commit cannot be read: looking on");
                }
                state.freshness.error = Some(Arc::new(error));
            }
            // Nothing new was seen, which is not to say that it was looked for.
            None => pause = LATE,
        }
        shared.changed.notify_all();
        drop(state);
        if shared.wait(pause) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::LogConfig;

    /// Nobody looked for ten seconds, and whoever asked heard that all is well.
    #[test]
    fn a_directory_that_went_is_noticed_at_the_next_look() {
        let root = tempfile::tempdir().unwrap();
        let (dir, away) = (root.path().join("data"), root.path().join("away"));
        Log::open(&dir, LogConfig::default()).unwrap().close().unwrap();
        let mut place = Beside::new(&dir);
        let mut look = || place.look(&mut |_| Ok(false));
        assert!(matches!(look(), Some(Ok(false))));
        std::fs::rename(&dir, &away).unwrap();
        let gone = look();
        assert!(matches!(gone, Some(Err(ReplicaError::Place(_)))), "{gone:?}");
        std::fs::rename(&away, &dir).unwrap();
        assert!(matches!(look(), Some(Ok(false))), "it is read again");
    }

    /// It was said every half second, for as long as the server ran.
    #[test]
    fn what_stays_wrong_is_said_once_and_looked_at_ever_less_often() {
        let mut trouble = Trouble::default();
        let looks: Vec<_> = (0..7).map(|_| trouble.on_error("it is gone")).collect();
        let said: Vec<_> = looks.iter().map(|(said, _)| *said).collect();
        assert_eq!(said, [true, false, false, false, false, false, false]);
        let ms: Vec<_> = looks.iter().map(|(_, pause)| pause.as_millis()).collect();
        assert_eq!(ms, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!(trouble.on_error("something else").0, "another reason is news");
        assert!(trouble.on_read(), "that it is over is news, too");
        assert!(!trouble.on_read());
        assert_eq!(trouble.on_error("it is gone"), (true, AFTER_ERROR));
    }
}
