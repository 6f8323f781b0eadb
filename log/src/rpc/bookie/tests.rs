//! A real bookie behind a real socket, and clients that behave and that do not.

mod hostile;
mod pace;
mod requests;
mod secure;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::*;
use crate::bookie::{Bookie, BookieConfig};
use crate::disk::RealDisk;
use crate::message::{Reply, ReplyTo, Request, Transport, Unknown, entry_crc};

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

const LEDGER: LedgerId = LedgerId(1);
const TERM: Term = Term(1);

/// One thread for the clients of every test, as a process has it.
static IO: LazyLock<Arc<IoThread>> =
    LazyLock::new(|| Arc::new(IoThread::start("test-io").expect("there are threads")));

/// A bookie that is served, in a directory of its own.
struct Served {
    server: Option<BookieServer>,
    bookie: Bookie,
    _dir: tempfile::TempDir,
}

impl Served {
    fn plain() -> Served {
        Served::with(ServerLimits::default(), None)
    }

    fn with(limits: ServerLimits, tls: Option<ServerTls>) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let config = BookieConfig { journal_file_bytes: 1 << 20, ..BookieConfig::default() };
        let bookie = Bookie::open(Arc::new(RealDisk), dir.path(), config).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (cluster, id) = ("blue".to_owned(), BookieId(3));
        let config = ServerConfig { listen, cluster, bookie: id, tls, limits };
        let server = BookieServer::start(bookie.clone(), config).unwrap();
        Served { server: Some(server), bookie, _dir: dir }
    }

    fn server(&self) -> &BookieServer {
        self.server.as_ref().expect("it was not drained yet")
    }

    fn config(&self) -> ClientConfig {
        config(self.server().address().to_string(), self.bookie.incarnation())
    }

    fn client(&self) -> TcpTransport {
        TcpTransport::new(Arc::clone(&IO), self.config())
    }

    /// A client, and a ledger that it may write.
    fn writer(&self) -> TcpTransport {
        let client = self.client();
        let create =
            Request::Create { ledger: LEDGER, term: TERM, transactional: false, replicated: true };
        assert!(matches!(ask(&client, create), Reply::Done));
        client
    }

    fn drain(&mut self) -> bool {
        self.server.take().expect("it is drained once").drain(LONG)
    }
}

fn config(address: String, incarnation: Incarnation) -> ClientConfig {
    let mut config =
        ClientConfig::new(address, BookieId(3), incarnation, "blue".to_owned(), Role::Client, None);
    config.request_wait = LONG;
    config
}

fn ask(client: &TcpTransport, request: Request) -> Reply {
    client.call(client.incarnation(), request)
}

fn unknown(reply: Reply) -> Unknown {
    match reply {
        Reply::Unknown(why) => why,
        other => panic!("it is known: {other:?}"),
    }
}

fn add(entry: u64, payload: &[u8]) -> Request {
    let entry = EntryId(entry);
    let crc = entry_crc(LEDGER, entry, payload);
    let lac = entry.0.checked_sub(1).map(EntryId);
    let payload = Bytes::copy_from_slice(payload);
    Request::Add { ledger: LEDGER, entry, term: TERM, lac, crc, copy: false, payload }
}

fn read(entry: u64) -> Request {
    Request::Read { ledger: LEDGER, entry: EntryId(entry), fence: None }
}

/// Where the answer to `n` goes, and the answers.
fn answers(bound: usize) -> (impl Fn(u64) -> ReplyTo, Receiver<(u64, Reply)>) {
    let (sender, receiver) = sync_channel(bound);
    let to = move |n| {
        let sender = sender.clone();
        Box::new(move |reply| sender.send((n, reply)).expect("the test reads its answers"))
            as ReplyTo
    };
    (to, receiver)
}
