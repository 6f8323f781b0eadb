//! Serves a data directory to the other processes of its owner.
//!
//! One thread accepts; each connection has a thread of its own, and there are at most
//! [`caps::CONNECTIONS_MAX`]. A connection says hello first, within a deadline and within 16 KiB, and
//! then asks one thing after the other. [`Server::close`] lets requests that are under way finish and
//! be answered, and joins every thread.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret_schemas::Incarnation;
use egret_schemas::stream::{Code, Failure, Outcome, STREAM_VERSION, StreamReply, StreamRequest};
use rustix::event::{PollFd, PollFlags, poll};

use super::connection::{Connection, ConnectionError};
use super::frame::Limits;
use super::{Answer, Answered, Bell, socket};
use crate::caps;

const BEFORE_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };
const AFTER_HELLO: Limits =
    Limits { header_bytes_max: caps::HEADER_BYTES_MAX, payload_bytes_max: caps::PAYLOAD_BYTES_MAX };

/// Makes an [`Answer`] for each connection.
pub type Answerers = Arc<dyn Fn() -> Box<dyn Answer> + Send + Sync>;

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
    incarnation: Incarnation,
    answerers: Answerers,
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
            .field("incarnation", &self.incarnation)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Makes the socket in `dir`, replacing a stale one, and serves it. The caller holds the
    /// directory's lock.
    pub fn start(
        dir: &Path,
        incarnation: Incarnation,
        answerers: Answerers,
    ) -> Result<Server, ServeError> {
        let make = || {
            let listener = socket::listen(dir)?;
            listener.set_nonblocking(true)?;
            let (stop, stopped) = UnixStream::pair()?;
            let shared = Arc::new(Shared { incarnation, answerers, open: Mutex::default() });
            let accepting = Arc::clone(&shared);
            let acceptor = thread::Builder::new()
                .name("egret-accept".to_owned())
                .spawn(move || accept(&listener, &stopped, &accepting))?;
            Ok((shared, stop, acceptor))
        };
        let told = |source| ServeError { path: dir.join(socket::SOCKET_NAME), source };
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
        if let Err(error) = socket::remove(&self.dir) {
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
    fn enter(&self, stream: &UnixStream) -> Result<(u64, Arc<Bell>), Failure> {
        let mut open = self.open();
        if open.closing {
            return Err(going_away());
        }
        if open.connections.len() >= caps::CONNECTIONS_MAX {
            let message = format!("{} connections are open already", caps::CONNECTIONS_MAX);
            return Err(failure(Code::Overloaded, &message, "close one, then try again"));
        }
        let stream = stream.try_clone().map_err(|e| {
            failure(Code::Overloaded, &format!("the holder is short of files: {e}"), "")
        })?;
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
        Err(failure) => {
            // Small enough for the socket's own buffer: this does not wait for the other side.
            let _ = connection.send(0, &StreamReply::Failed(failure).encode(), &[]);
            return None;
        }
    };
    let serving = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("egret-rpc-{id}")).spawn(move || {
        let _leave = Leave { shared: &serving, id };
        if let Err(error) = converse(&mut connection, &serving, &bell) {
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

/// Hello, then one request after the other.
fn converse(
    connection: &mut Connection,
    shared: &Shared,
    bell: &Arc<Bell>,
) -> Result<(), ConnectionError> {
    let wait = Duration::from_millis(caps::FRAME_WAIT_MS);
    let Some(frame) = connection.receive(BEFORE_HELLO, Some(wait))? else { return Ok(()) };
    let answer = greet(&frame.header, shared);
    connection.send(frame.correlation, &answer.encode(), &[])?;
    if matches!(answer, StreamReply::Failed(_)) {
        return Ok(());
    }
    let mut answerer = (shared.answerers)();
    while let Some(frame) = connection.receive(AFTER_HELLO, None)? {
        let answered = match StreamRequest::decode(&frame.header) {
            Ok(StreamRequest::Hello { .. }) => {
                refused(Code::BadRequest, "hello was said already", "")
            }
            Ok(request) => answerer.answer(request, frame.payload, bell),
            Err(error) => refused(Code::BadRequest, &error.to_string(), ""),
        };
        connection.send(frame.correlation, &answered.reply.encode(), &answered.payload)?;
        if bell.is_closed() {
            break;
        }
    }
    if bell.is_closed() {
        // Said after every answer: whatever else was asked was not carried out.
        let goodbye = StreamReply::Failed(going_away());
        connection.send(0, &goodbye.encode(), &[])?;
    }
    Ok(())
}

fn going_away() -> Failure {
    failure(Code::Closing, "the holder of this directory is going away", "")
}

fn greet(header: &[u8], shared: &Shared) -> StreamReply {
    let failed =
        |code, message: &str, hint: &str| StreamReply::Failed(failure(code, message, hint));
    match StreamRequest::decode(header) {
        Ok(StreamRequest::Hello { version, .. }) if version != STREAM_VERSION => failed(
            Code::Version,
            &format!("the holder speaks version {STREAM_VERSION}, you speak {version}"),
            "use the same release of egret",
        ),
        Ok(StreamRequest::Hello { incarnation: Some(asked), .. })
            if asked != shared.incarnation =>
        {
            failed(
                Code::Incarnation,
                &format!("this is directory {}, not {asked}", shared.incarnation),
                "somebody formatted it anew: begin anew",
            )
        }
        Ok(StreamRequest::Hello { .. }) => StreamReply::Hello {
            version: STREAM_VERSION,
            incarnation: shared.incarnation,
            pid: std::process::id(),
            payload_bytes_max: u32::try_from(caps::PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX),
        },
        Ok(_) => failed(Code::BadRequest, "hello was not said yet", ""),
        Err(error) => failed(Code::BadRequest, &error.to_string(), ""),
    }
}

fn refused(code: Code, message: &str, hint: &str) -> Answered {
    StreamReply::Failed(failure(code, message, hint)).into()
}

fn failure(code: Code, message: &str, hint: &str) -> Failure {
    Failure {
        code,
        message: message.to_owned(),
        hint: hint.to_owned(),
        outcome: Outcome::Definite,
        position: None,
        retry_after_ms: 0,
    }
}
