//! A process's numbers over HTTP, from the process itself: `/metrics` as Prometheus reads them, `/v1/metrics` as JSON.
//!
//! It is no web server: it takes a request's first line, answers, and closes. Whoever asks costs the topology nothing but
//! that: one thread of its own answers everybody, so many connections at once, each with one deadline for all of it, and
//! numbers that were just read are told again instead of being read again. Who comes when all places are taken is told by the
//! end of the connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_log::clock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::{Error, Progress, Result};

/// Connections at once. Each may hold one answer, none of them of another time than `FRESH` apart.
const CONNECTIONS_MAX: usize = 8;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// How long one connection may take, from its first byte to its last.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// How long numbers are told again that were read once: who asks more often learns nothing and costs little.
const FRESH: Duration = Duration::from_millis(100);

/// How long to wait when the system gives no more files.
const NO_FILES_WAIT: Duration = Duration::from_millis(100);

/// Where a process's numbers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsAddress {
    /// Where to listen; port 0 takes any. Another process of the same host that was started by the first one listens as
    /// many ports further as its rank is.
    pub listen: SocketAddr,
    /// Tell everybody although the address can be reached from other hosts.
    pub in_the_open: bool,
}

impl MetricsAddress {
    /// On this host.
    pub fn new(listen: SocketAddr) -> MetricsAddress {
        MetricsAddress { listen, in_the_open: false }
    }

    /// That of the process of this rank, on the same host.
    pub(crate) fn of_rank(self, rank: u32) -> Result<MetricsAddress> {
        let MetricsAddress { mut listen, in_the_open } = self;
        if listen.port() != 0 {
            let port = u32::from(listen.port()).saturating_add(rank);
            let port = u16::try_from(port).map_err(|_| {
                Error::usage(format!(
                    "there is no port {port}, {rank} behind that of {listen}: give a lower one"
                ))
            })?;
            listen.set_port(port);
        }
        Ok(MetricsAddress { listen, in_the_open })
    }
}

/// Tells until it is dropped, which joins its thread.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Begins to tell what `progress` has, as that of this topology.
    ///
    /// # Errors
    /// When everybody could read it and that was not asked for; when the address cannot be listened on.
    pub fn start(
        at: MetricsAddress,
        topology: &str,
        progress: &Arc<Progress>,
    ) -> Result<MetricsServer> {
        MetricsServer::start_with(at, topology, progress, CONNECTION_WAIT)
    }

    /// The same where connections take so long at most.
    fn start_with(
        at: MetricsAddress,
        topology: &str,
        progress: &Arc<Progress>,
        wait: Duration,
    ) -> Result<MetricsServer> {
        let MetricsAddress { listen, in_the_open } = at;
        if !in_the_open && !listen.ip().is_loopback() {
            return Err(Error::usage(format!(
                "{listen} can be reached from other hosts, and everybody there could read the metrics: listen on \
                 127.0.0.1, or say --metrics-in-the-open"
            )));
        }
        let failed = |why| Error::Metrics { listen, why };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (ending, ended) = watch::channel(false);
        let teller = Arc::new(Teller {
            topology: topology.to_owned(),
            progress: Arc::clone(progress),
            told: Mutex::default(),
        });
        let thread = thread::Builder::new().name("egret-metrics".to_owned());
        let thread = thread.spawn(move || serve(&runtime, listener, (&teller, wait), ended));
        Ok(MetricsServer { address, ending, thread: Some(thread.map_err(failed)?) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that tells the metrics panicked");
        }
    }
}

/// Accepts until it is told to end, which cuts off who is being told.
fn serve(
    runtime: &Runtime,
    listener: TcpListener,
    (teller, wait): (&Arc<Teller>, Duration),
    mut ended: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    runtime.block_on(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ended.wait_for(|ended| *ended) => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for metrics cannot be accepted");
                    tokio::time::sleep(NO_FILES_WAIT).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let teller = Arc::clone(teller);
            tokio::spawn(async move {
                // Who is slow, or gone, is let go of.
                let _ = timeout(wait, converse(stream, &teller)).await;
                drop(place);
            });
        }
    });
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    teller: &Teller,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let answer = loop {
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break teller.answer(&head);
        }
        if head.len() >= HEAD_BYTES_MAX {
            break Answer::wrong(
                "431 Request Header Fields Too Large",
                "a request here is one line",
            );
        }
        let mut piece = [0; 1 << 10];
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            n => head.extend_from_slice(&piece[..n]),
        }
    };
    let Answer { status, kind, body, bodiless } = answer;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !bodiless {
        stream.write_all(&body).await?;
    }
    stream.shutdown().await
}

/// What is said to one request.
struct Answer {
    status: &'static str,
    kind: &'static str,
    body: Bytes,
    /// Only its length is asked for.
    bodiless: bool,
}

impl Answer {
    fn wrong(status: &'static str, why: &'static str) -> Answer {
        let body = Bytes::from_static(why.as_bytes());
        Answer { status, kind: "text/plain; charset=utf-8", body, bodiless: false }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Prometheus,
    Json,
}

/// What was read last, in a form, and when.
type Told = Option<(Instant, Bytes)>;

struct Teller {
    topology: String,
    progress: Arc<Progress>,
    told: Mutex<[Told; 2]>,
}

impl Teller {
    fn answer(&self, head: &[u8]) -> Answer {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !words.next().is_some_and(|version| version.starts_with(b"HTTP/1.")) {
            return Answer::wrong("400 Bad Request", "this is no HTTP/1 request\n");
        }
        if !matches!(method, b"GET" | b"HEAD") {
            return Answer::wrong("405 Method Not Allowed", "everything is GET\n");
        }
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let (form, kind) = match path {
            b"/metrics" => (Form::Prometheus, "text/plain; version=0.0.4; charset=utf-8"),
            b"/v1/metrics" => (Form::Json, "application/json"),
            _ => {
                let why = "there is /metrics, for Prometheus, and /v1/metrics, as JSON\n";
                return Answer::wrong("404 Not Found", why);
            }
        };
        Answer { status: "200 OK", kind, body: self.read(form), bodiless: method == b"HEAD" }
    }

    fn read(&self, form: Form) -> Bytes {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let last = &mut told[form as usize];
        if let Some((then, body)) = last
            && now.duration_since(*then) < FRESH
        {
            return body.clone();
        }
        let snapshot = self.progress.snapshot();
        let body = Bytes::from(match form {
            Form::Prometheus => snapshot.prometheus(&self.topology),
            Form::Json => snapshot.json(&self.topology),
        });
        *last = Some((now, body.clone()));
        body
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
