//! Clients that ask for much and take nothing of it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egret::replica::{Follower, Replica, ReplicaOptions};
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    TopologyBuilder,
};
use egret_log::stream::{Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_schemas::state::{StateEntry, StateFound, StateQuestion};
use egret_state_server::rpc::client::RpcClient;
use egret_state_server::{ServerOptions, StateServer, caps};
use serde_json::Value;

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);
const KEYS: usize = 3000;
const STATE_BYTES: usize = 4 << 10;

struct Fill;

impl KeyedBolt<[u8], Blob, Blob> for Fill {
    type State = String;

    fn execute(
        &mut self,
        _: &[u8],
        state: &mut String,
        _: Blob,
        _: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        *state = "x".repeat(STATE_BYTES);
        Ok(())
    }
}

/// A topology that keeps [`STATE_BYTES`] for each of [`KEYS`] keys, and has ended.
fn filled(dir: &Path) -> Log {
    let log = Log::open(dir, LogConfig::default()).unwrap();
    log.create_stream("keys", StreamConfig::default()).unwrap();
    let keys: Vec<_> = (0..KEYS).map(|n| Record::of(format!("k{n:05}").into_bytes())).collect();
    log.writer("keys", 0).unwrap().append_wait(&keys).unwrap();
    let mut t = TopologyBuilder::new("large");
    let keys = t.spout("keys", 1, LogSpout::<Blob>::from_stream("keys").bounded()).unwrap();
    let filled = keys.fields(|key| key.as_bytes()).keyed("fill", 1, || Fill).unwrap();
    filled.sink("out", LogSink::to_stream("out")).unwrap();
    let topology = t.finish().unwrap();
    topology.run(&log, &RunOptions::default(), &Arc::new(Progress::default())).unwrap();
    log
}

/// A connection that takes little before it is read from.
fn connect(address: SocketAddr) -> std::net::TcpStream {
    use rustix::net::{AddressFamily, SocketType, sockopt};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

fn asking(address: SocketAddr, path: &str) -> std::net::TcpStream {
    let mut stream = connect(address);
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn ask(address: SocketAddr, path: &str) -> (u16, Value) {
    let mut answer = String::new();
    asking(address, path).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{path}: no JSON: {answer}")))
}

/// Each kept some 7 MB for as long as it liked, however little memory was allowed.
#[test]
fn answers_that_nobody_takes_are_bounded_together_and_keep_nobody_from_small_ones() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let follower =
        Follower::start(Replica::new("large", ReplicaOptions::default()), log.clone()).unwrap();
    assert!(follower.wait_first(WAIT).unwrap());
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    // Room for two.
    options.answers_bytes_max = 10 << 20;
    let server = StateServer::start(follower, options).unwrap();
    let address = server.address();
    let many = "/v1/state/fill?limit=10000";
    let (status, page) = ask(address, many);
    assert_eq!(status, 200);
    let entries = page["entries"].as_array().unwrap();
    assert!(page.to_string().len() <= caps::ANSWER_BYTES + caps::ANSWER_FRAME_BYTES);
    assert_eq!(page["next"], format!("k{:05}", entries.len()), "it says where it goes on");

    let mut slow: Vec<_> = (0..6).map(|_| asking(address, many)).collect();
    // An answer begins when it is made.
    slow.iter_mut().take(2).for_each(|slow| slow.read_exact(&mut [0; 12]).unwrap());
    let (status, one) = ask(address, "/v1/state/fill/k00007");
    assert_eq!((status, one["value"].as_str().unwrap().len()), (200, STATE_BYTES));
    let (status, health) = ask(address, "/v1/health");
    assert_eq!((status, &health["held"]), (200, &true.into()));
    let (status, none) = ask(address, "/v1/state/fill/nobody");
    assert_eq!((status, &none["code"]), (404, &"no-state".into()));
    let (status, busy) = ask(address, many);
    assert_eq!((status, &busy["code"]), (503, &"busy".into()));
    // All but the two were told so, too.
    for late in &mut slow[2..] {
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{}", &answer[..40.min(answer.len())]);
    }
    drop(slow);
    let (status, again) = ask(address, many);
    assert_eq!((status, again["entries"].as_array().unwrap().len()), (200, entries.len()));
    drop(server);
    log.close().unwrap();
}

/// They were answered with a line of text.
#[test]
fn what_cannot_be_asked_is_refused_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let follower =
        Follower::start(Replica::new("large", ReplicaOptions::default()), log.clone()).unwrap();
    assert!(follower.wait_first(WAIT).unwrap());
    let options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    let server = StateServer::start(follower, options).unwrap();
    for path in [
        "/v1/state/%ff",
        "/v1/state/fill/%ff",
        "/v1/state/%ff/k",
        "/v1/state/fill/%zz",
        "/v1/state/fill/k%2",
        "/v1/state/fill?from=%ff",
        "/v1/state/fill?prefix=%zz",
        "/v1/state/fill?limit=-1",
        "/v1/state/fill?limit=x",
        "/v1/state/fill?limit=0",
        "/v1/state/fill?nonsense=1",
    ] {
        let (status, said) = ask(server.address(), path);
        assert_eq!((status, &said["code"]), (400, &"bad-request".into()), "{path}: {said}");
        assert!(said["error"].as_str().is_some_and(|why| !why.is_empty()), "{path}: {said}");
    }
    drop(server);
    log.close().unwrap();
}

#[test]
fn requests_one_behind_the_other_are_answered_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path());
    let follower =
        Follower::start(Replica::new("large", ReplicaOptions::default()), log.clone()).unwrap();
    assert!(follower.wait_first(WAIT).unwrap());
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    options.rpc_listen = Some("127.0.0.1:0".parse().unwrap());
    let server = StateServer::start(follower, options).unwrap();
    // 200 answers of 4 KiB, asked for before any is read, and one that ends the connection.
    let mut stream = connect(server.address());
    for n in 0..200 {
        let end = if n == 199 { "connection: close\r\n" } else { "" };
        let request = format!("GET /v1/state/fill/k{n:05} HTTP/1.1\r\nhost: x\r\n{end}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
    }
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let asked: Vec<&str> = answers.split("\"key\":\"").skip(1).map(|rest| &rest[..6]).collect();
    let wanted: Vec<String> = (0..200).map(|n| format!("k{n:05}")).collect();
    assert_eq!(asked, wanted);

    // Over RPC an answer is smaller, and says where it goes on as well.
    let rpc = RpcClient::connect(server.rpc_address().unwrap(), WAIT).unwrap();
    let (component, limit) = ("fill".to_owned(), 10_000);
    let scan = StateQuestion::Scan { component, prefix: None, from: None, limit };
    let StateFound::Entries { entries, next } = rpc.ask(&scan).unwrap().found else {
        panic!("entries were asked for");
    };
    let size = |entry: &StateEntry| entry.key.len() + entry.value.as_ref().map_or(0, String::len);
    assert!(entries.iter().map(size).sum::<usize>() <= caps::RPC_ANSWER_BYTES);
    assert_eq!(next, Some(format!("k{:05}", entries.len())));
    drop(server);
    log.close().unwrap();
}
