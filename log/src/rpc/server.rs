//! Serves a data directory to the other processes of its owner, on one of its sockets.
//!
//! One thread accepts; each connection has a thread of its own, and there is a bound to their number. What
//! is said on a connection is another's business (`Speak`). [`Server::close`] lets requests that are under
//! way finish and be answered, and joins every thread.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use egret_schemas::Incarnation;
use rustix::event::{PollFd, PollFlags, poll};

use super::connection::{Connection, ConnectionError};
use super::streams::{Answerers, Streams};
use super::{Bell, socket};

/// What is said on the connections of a socket.
pub(super) trait Speak: Send + Sync {
    /// The socket's name in the directory.
    fn socket(&self) -> &'static str;

    /// Connections at once.
    fn connections_max(&self) -> usize;

    /// The header that says why a connection has no place.
    fn turn_away(&self, why: NoPlace) -> Vec<u8>;

    /// Serves one connection until either side is done. When the bell is closed, what is under way is
    /// answered, and then it is over.
    fn converse(
        &self,
        connection: &mut Connection,
        bell: &Arc<Bell>,
    ) -> Result<(), ConnectionError>;
}

/// Why a connection has no place.
#[derive(Debug)]
pub(super) enum NoPlace {
    /// The server is closing.
    Closing,
    /// So many are open already.
    Full(usize),
    /// The system gives no more files.
    Files(io::Error),
}

/// Why a data directory is not served.
#[derive(Debug, thiserror::Error)]
#[error("{path}: the socket cannot be made: {source}", path = .path.display())]
pub struct ServeError {
    /// The socket.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A data directory being served. Closes when dropped.
#[derive(Debug)]
pub struct Server {
    dir: PathBuf,
    shared: Arc<Shared>,
    /// Closing it wakes the acceptor.
    stop: Option<UnixStream>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    speaks: Box<dyn Speak>,
    open: Mutex<Open>,
}

/// The connections there are, and whether there may be more.
#[derive(Debug, Default)]
struct Open {
    closing: bool,
    next: u64,
    connections: BTreeMap<u64, Line>,
}

/// How to end a connection from outside.
#[derive(Debug)]
struct Line {
    stream: UnixStream,
    bell: Arc<Bell>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("socket", &self.speaks.socket())
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Makes the socket for streams in `dir`, replacing a stale one, and serves it. The caller holds the
    /// directory's lock.
    pub fn start(
        dir: &Path,
        incarnation: Incarnation,
        answerers: Answerers,
    ) -> Result<Server, ServeError> {
        Server::speaking(dir, Box::new(Streams::new(incarnation, answerers)))
    }

    /// The same for any conversation.
    pub(super) fn speaking(dir: &Path, speaks: Box<dyn Speak>) -> Result<Server, ServeError> {
        let name = speaks.socket();
        let make = || {
            let listener = socket::listen(dir, name)?;
            listener.set_nonblocking(true)?;
            let (stop, stopped) = UnixStream::pair()?;
            let shared = Arc::new(Shared { speaks, open: Mutex::default() });
            let accepting = Arc::clone(&shared);
            let acceptor = thread::Builder::new()
                .name("egret-accept".to_owned())
                .spawn(move || accept(&listener, &stopped, &accepting))?;
            Ok((shared, stop, acceptor))
        };
        let told = |source| ServeError { path: dir.join(name), source };
        let (shared, stop, acceptor) = make().map_err(told)?;
        Ok(Server { dir: dir.to_owned(), shared, stop: Some(stop), acceptor: Some(acceptor) })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.shared.open().connections.len()
    }

    /// Takes no more connections and no more requests, lets those under way be answered, and joins
    /// every thread.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        // First the name, so that who comes now sees nobody rather than a closed door.
        if let Err(error) = socket::remove(&self.dir, self.shared.speaks.socket()) {
            tracing::warn!(dir = %self.dir.display(), %error, "the socket stays behind");
        }
        self.shared.hang_up_all();
        drop(self.stop.take());
        if acceptor.join().is_err() {
            tracing::error!("the thread that accepts connections panicked");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked left the table whole: each change to it is one step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection, unless there are too many or none may come.
    fn enter(&self, stream: &UnixStream) -> Result<(u64, Arc<Bell>), NoPlace> {
        let mut open = self.open();
        if open.closing {
            return Err(NoPlace::Closing);
        }
        if open.connections.len() >= self.speaks.connections_max() {
            return Err(NoPlace::Full(open.connections.len()));
        }
        let stream = stream.try_clone().map_err(NoPlace::Files)?;
        let bell = Arc::new(Bell::default());
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Line { stream, bell: Arc::clone(&bell) });
        Ok((id, bell))
    }

    fn leave(&self, id: u64) {
        self.open().connections.remove(&id);
    }

    /// Ends every connection after the request it is at.
    fn hang_up_all(&self) {
        let mut open = self.open();
        open.closing = true;
        for line in open.connections.values() {
            line.bell.close();
            // Only the way in: the answer to what is under way still goes out.
            let _ = line.stream.shutdown(Shutdown::Read);
        }
    }
}

/// Accepts until `stopped` is closed, then joins every connection's thread.
fn accept(listener: &UnixListener, stopped: &UnixStream, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let polled = poll(&mut ready, None);
        if !ready[1].revents().is_empty() {
            break;
        }
        if polled.is_err() {
            continue;
        }
        threads = join_finished(threads);
        match listener.accept() {
            Ok((stream, _)) => threads.extend(admit(stream, shared)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Out of files, mostly: wait for a connection to end, or for the close.
                tracing::warn!(%error, "a connection was not accepted");
                let mut only = [PollFd::new(stopped, PollFlags::IN)];
                let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                let _ = poll(&mut only, Some(&moment));
            }
        }
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a connection's thread panicked");
        }
    }
}

fn join_finished(threads: Vec<JoinHandle<()>>) -> Vec<JoinHandle<()>> {
    let (finished, going): (Vec<_>, Vec<_>) =
        threads.into_iter().partition(JoinHandle::is_finished);
    for thread in finished {
        if thread.join().is_err() {
            tracing::error!("a connection's thread panicked");
        }
    }
    going
}

/// Starts a connection's thread, or says why not.
fn admit(stream: UnixStream, shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    if !socket::may_speak(&stream) {
        tracing::warn!("a process of another user was refused");
        return None;
    }
    let mut connection = Connection::new(stream.try_clone().ok()?).ok()?;
    let (id, bell) = match shared.enter(&stream) {
        Ok(entered) => entered,
        Err(why) => {
            // Small enough for the socket's own buffer: this does not wait for the other side.
            let _ = connection.send(0, &shared.speaks.turn_away(why), &[]);
            return None;
        }
    };
    let serving = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("egret-rpc-{id}")).spawn(move || {
        let _leave = Leave { shared: &serving, id };
        if let Err(error) = serving.speaks.converse(&mut connection, &bell) {
            tracing::debug!(%error, "a connection ended");
        }
        connection.hang_up();
    });
    thread
        .inspect_err(|error| {
            tracing::warn!(%error, "no thread for a connection");
            shared.leave(id);
        })
        .ok()
}

/// Leaves the table however the thread ends.
struct Leave<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}
