//! Who connects to this process: hellos are heard here, and what is let in waits until it is asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_schemas::Generation;

use super::hello::{self, Expected, Kind, Secret};

/// How long a hello may take.
pub(crate) const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Connections whose hello is under way at once; those beyond are dropped, and come again.
const UNDER_WAY_MAX: usize = 64;

/// Connections that wait to be asked for.
const WAITING_MAX: usize = 4096;

/// Takes a control connection, with the rank that said hello.
pub(crate) type TakeControl = Arc<dyn Fn(u32, TcpStream) + Send + Sync>;

type Key = (Generation, Kind, u32);

#[derive(Default)]
struct Waiting {
    streams: Mutex<BTreeMap<Key, TcpStream>>,
    came: Condvar,
}

/// A listening socket and who came to it.
pub(crate) struct Door {
    at: SocketAddr,
    waiting: Arc<Waiting>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the door checks hellos against.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) expected: Expected,
    pub(crate) secret: Secret,
    /// Absent where nobody has control to take.
    pub(crate) control: Option<TakeControl>,
}

impl Door {
    /// Listens at a port of its own.
    pub(crate) fn open(ip: IpAddr, keeper: Keeper) -> io::Result<Door> {
        let listener = TcpListener::bind((ip, 0))?;
        let at = listener.local_addr()?;
        let waiting = Arc::<Waiting>::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (of_thread, until) = (Arc::clone(&waiting), Arc::clone(&closed));
        let thread = thread::Builder::new()
            .name("egret:door".into())
            .spawn(move || keep(&listener, &keeper, &of_thread, &until))?;
        Ok(Door { at, waiting, closed, thread: Some(thread) })
    }

    /// Where others connect.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Forgets what came for generations before this one.
    pub(crate) fn forget_before(&self, generation: Generation) {
        let mut streams = self.waiting.streams.lock().expect("no panic while held");
        streams.retain(|(of, _, _), _| *of >= generation);
    }

    /// The connection of a rank, once it came; `None` when it did not until then, or `give_up` says that
    /// nobody waits for it any more.
    pub(crate) fn take(
        &self,
        key: Key,
        until: Instant,
        give_up: &dyn Fn() -> bool,
    ) -> Option<TcpStream> {
        let mut streams = self.waiting.streams.lock().expect("no panic while held");
        loop {
            if let Some(stream) = streams.remove(&key) {
                return Some(stream);
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() || give_up() {
                return None;
            }
            let wait = left.min(Duration::from_millis(20));
            streams = self.waiting.came.wait_timeout(streams, wait).expect("no panic while held").0;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // Its thread waits for somebody to come.
        drop(TcpStream::connect_timeout(&self.at, HELLO_WAIT));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn keep(listener: &TcpListener, keeper: &Keeper, waiting: &Arc<Waiting>, closed: &AtomicBool) {
    let mut hearing: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = listener.accept();
        hearing.retain(|thread| !thread.is_finished());
        if closed.load(Ordering::Acquire) {
            break;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(why) => {
                // Descriptors ran out, most likely; some come back.
                tracing::warn!(%why, "a worker process cannot be let in");
                thread::park_timeout(Duration::from_millis(100));
                continue;
            }
        };
        if hearing.len() >= UNDER_WAY_MAX {
            continue;
        }
        let (keeper, waiting) = (keeper.clone(), Arc::clone(waiting));
        let hears = thread::Builder::new().name("egret:hello".into());
        // Without a thread the connection is dropped, and comes again.
        hearing.extend(hears.spawn(move || let_in(stream, &keeper, &waiting)).ok());
    }
    for thread in hearing {
        drop(thread.join());
    }
}

fn let_in(mut stream: TcpStream, keeper: &Keeper, waiting: &Waiting) {
    let hear = |stream: &mut TcpStream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO_WAIT))?;
        stream.set_write_timeout(Some(HELLO_WAIT))?;
        hello::hear(stream, keeper.expected, &keeper.secret)
    };
    match hear(&mut stream) {
        Ok(Ok(hello)) if hello.kind == Kind::Control => {
            if let Some(take) = &keeper.control {
                take(hello.rank, stream);
            }
        }
        Ok(Ok(hello)) => {
            let mut streams = waiting.streams.lock().expect("no panic while held");
            if streams.len() < WAITING_MAX {
                streams.insert((hello.generation, hello.kind, hello.rank), stream);
                waiting.came.notify_all();
            }
        }
        Ok(Err(verdict)) => {
            tracing::warn!(why = verdict.reason(), "a worker process was not let in");
        }
        Err(why) => tracing::debug!(%why, "a connection without a hello"),
    }
}
