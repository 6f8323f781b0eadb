//! Who connects to this process: hellos are heard here, and what is let in waits until it is asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_schemas::Generation;

use super::hello::{self, Expected, Hello, Kind, Verdict};
use super::link::{Link, Trust};

/// How long a hello may take.
pub(crate) const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Connections whose hello is under way at once; those beyond are dropped, and come again.
const UNDER_WAY_MAX: usize = 64;

/// Connections that wait to be asked for.
const WAITING_MAX: usize = 4096;

/// Who has control connections to take.
pub(crate) trait Control: Send + Sync {
    /// Whether the place of who said hello is free for it.
    fn is_free(&self, hello: &Hello) -> bool;

    /// Takes its connection.
    fn take(self: Arc<Self>, hello: &Hello, link: Link);
}

type Key = (Generation, Kind, u32);

#[derive(Default)]
struct Waiting {
    links: Mutex<BTreeMap<Key, Link>>,
    came: Condvar,
}

/// A listening socket and who came to it.
pub(crate) struct Door {
    at: SocketAddr,
    listener: TcpListener,
    waiting: Arc<Waiting>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the door checks hellos against.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) expected: Expected,
    pub(crate) trust: Trust,
    /// Absent where nobody has control to take.
    pub(crate) control: Option<Arc<dyn Control>>,
}

impl Door {
    /// Listens there; at a port of its own if that is 0.
    pub(crate) fn open(at: SocketAddr, keeper: Keeper) -> io::Result<Door> {
        let own = TcpListener::bind(at)?;
        let (at, listener) = (own.local_addr()?, own.try_clone()?);
        let waiting = Arc::<Waiting>::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (of_thread, until) = (Arc::clone(&waiting), Arc::clone(&closed));
        let thread = thread::Builder::new()
            .name("egret:door".into())
            .spawn(move || keep(&own, &keeper, &of_thread, &until))?;
        Ok(Door { at, listener, waiting, closed, thread: Some(thread) })
    }

    /// Where others connect.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Forgets what came for generations before this one.
    pub(crate) fn forget_before(&self, generation: Generation) {
        let mut links = self.waiting.links.lock().expect("no panic while held");
        links.retain(|(of, _, _), _| *of >= generation);
    }

    /// The connection of a rank, once it came; `None` when it did not until then, or `give_up` says that
    /// nobody waits for it any more.
    pub(crate) fn take(
        &self,
        key: Key,
        until: Instant,
        give_up: &dyn Fn() -> bool,
    ) -> Option<Link> {
        let mut links = self.waiting.links.lock().expect("no panic while held");
        loop {
            if let Some(link) = links.remove(&key) {
                return Some(link);
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() || give_up() {
                return None;
            }
            let wait = left.min(Duration::from_millis(20));
            links = self.waiting.came.wait_timeout(links, wait).expect("no panic while held").0;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        // Its thread waits for somebody to come, and is told that nobody will.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).unwrap_or_default();
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

fn let_in(stream: TcpStream, keeper: &Keeper, waiting: &Waiting) {
    match hear(stream, keeper) {
        Ok(Ok((hello, link))) if hello.kind == Kind::Control => {
            if let Some(control) = &keeper.control {
                Arc::clone(control).take(&hello, link);
            }
        }
        Ok(Ok((hello, link))) => {
            let mut links = waiting.links.lock().expect("no panic while held");
            if links.len() < WAITING_MAX {
                links.insert((hello.generation, hello.kind, hello.rank), link);
                waiting.came.notify_all();
            }
        }
        Ok(Err(refused)) => tracing::warn!(why = %refused, "a worker process was not let in"),
        Err(why) => tracing::debug!(%why, "a connection without a hello"),
    }
}

/// Who came, within one deadline.
fn hear(stream: TcpStream, keeper: &Keeper) -> io::Result<Result<(Hello, Link), hello::Refused>> {
    let until = clock::now() + HELLO_WAIT;
    let (link, is_worker) = match &keeper.trust {
        Trust::Secret(_) => (Link::Plain(stream), true),
        Trust::Certificate(tls) => {
            let (stream, named) = tls.accept(stream, until)?;
            (Link::Secure(stream), tls.admits(&named))
        }
    };
    let admit = |hello: &Hello| {
        let control = keeper.control.as_ref().filter(|_| hello.kind == Kind::Control);
        match (is_worker, control) {
            (false, _) => Err(Verdict::Certificate),
            (true, Some(control)) if !control.is_free(hello) => Err(Verdict::Taken),
            (true, None) if hello.kind == Kind::Control => Err(Verdict::Elsewhere),
            (true, _) => Ok(()),
        }
    };
    let secret = keeper.trust.secret();
    let heard = hello::hear(&mut link.within(until), keeper.expected, secret, admit)?;
    Ok(heard.map(|hello| (hello, link)))
}
