//! Server and client over a real socket, with an answerer that only says what it was told.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::Incarnation;
use egret_schemas::stream::{Code, Outcome, ReadHead, STREAM_VERSION, StreamReply, StreamRequest};

use super::bell::Woken;
use super::streams::Answerers;
use super::*;
use crate::{caps, clock};

const HERE: Incarnation = Incarnation(7);
const LONG: Duration = Duration::from_secs(60);

/// Sends payloads back; a read waits for the bell.
struct Echo {
    waiting: Arc<Barrier>,
}

impl Answer for Echo {
    fn answer(&mut self, request: StreamRequest, payload: Bytes, bell: &Arc<Bell>) -> Answered {
        if matches!(request, StreamRequest::Read(_)) {
            self.waiting.wait();
            let woken = bell.wait_until(clock::now() + LONG);
            assert_eq!(woken, Woken::Closed);
        }
        Answered { reply: StreamReply::Done, payload }
    }
}

fn echoes() -> (Answerers, Arc<Barrier>) {
    let waiting = Arc::new(Barrier::new(2));
    let shared = Arc::clone(&waiting);
    (Arc::new(move || Box::new(Echo { waiting: Arc::clone(&shared) })), waiting)
}

fn serve() -> (tempfile::TempDir, Server, Arc<Barrier>) {
    let dir = tempfile::tempdir().unwrap();
    let (answerers, waiting) = echoes();
    let server = Server::start(dir.path(), HERE, answerers).unwrap();
    (dir, server, waiting)
}

fn delete(name: &str) -> StreamRequest {
    StreamRequest::DeleteStream { name: name.into(), force: false }
}

#[test]
fn requests_are_answered_in_turn_and_payloads_come_back_whole() {
    let (dir, server, _) = serve();
    let mut client = Client::connect(dir.path(), Some(HERE)).unwrap();
    assert_eq!((client.incarnation(), client.pid()), (HERE, std::process::id()));
    for bytes in [0, 1, 1 << 20, (5 << 20) + 3] {
        let payload = vec![3; bytes];
        let answered = client.call(&delete("a"), &payload, LONG).unwrap();
        assert_eq!(answered.reply, StreamReply::Done);
        assert!(answered.payload == payload, "{bytes} bytes did not come back");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
    let (dir, server, _) = serve();
    let path = dir.path().join(SOCKET_NAME);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.close();
    assert!(!path.exists());
    assert!(matches!(Client::connect(dir.path(), None), Err(ConnectError::Nobody { .. })));
}

#[test]
fn a_stale_socket_is_replaced() {
    let (dir, server, _) = serve();
    // A holder that was killed leaves its socket behind.
    let path = dir.path().join(SOCKET_NAME);
    server.close();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(dir.path(), None), Err(ConnectError::Nobody { .. })));
    let _server = Server::start(dir.path(), HERE, echoes().0).unwrap();
    Client::connect(dir.path(), None).unwrap();
}

#[test]
fn a_directory_with_a_path_longer_than_an_address_is_served() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("x".repeat(120));
    std::fs::create_dir(&dir).unwrap();
    let _server = Server::start(&dir, HERE, echoes().0).unwrap();
    Client::connect(&dir, Some(HERE)).unwrap();
}

#[test]
fn another_life_of_the_directory_is_refused() {
    let (dir, _server, _) = serve();
    let refused = Client::connect(dir.path(), Some(Incarnation(8))).unwrap_err();
    let ConnectError::Refused { failure, .. } = refused else { panic!("{refused}") };
    assert_eq!(failure.code, Code::Incarnation);
}

/// What a raw client gets for these bytes, until the server closes.
fn raw(dir: &std::path::Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(dir.join(SOCKET_NAME)).unwrap();
    // The server may close before it has read everything: that is an answer too.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got
}

fn framed(request: &StreamRequest, payload: &[u8]) -> Vec<u8> {
    let header = request.encode();
    [&frame::encode(1, &header, payload), &header[..], payload].concat()
}

fn first_reply(bytes: &[u8]) -> StreamReply {
    StreamReply::decode(&bytes[frame::HEAD_BYTES..]).unwrap()
}

#[test]
fn a_stranger_gets_a_closed_connection_and_no_more() {
    let (dir, server, _) = serve();
    assert_eq!(raw(dir.path(), b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"), b"");
    // A header larger than a hello may be.
    let name = "n".repeat(caps::HELLO_BYTES_MAX);
    assert_eq!(raw(dir.path(), &framed(&delete(&name), &[])), b"");
    // A payload before hello.
    let hello = StreamRequest::Hello { version: STREAM_VERSION, incarnation: None };
    assert_eq!(raw(dir.path(), &framed(&hello, &[1])), b"");
    // No hello at all, and a hello of another version.
    for (request, code) in [
        (delete("a"), Code::BadRequest),
        (StreamRequest::Hello { version: 9, incarnation: None }, Code::Version),
    ] {
        let reply = first_reply(&raw(dir.path(), &framed(&request, &[])));
        let StreamReply::Failed(failure) = reply else { panic!("{reply:?}") };
        assert_eq!(failure.code, code);
    }
    let mut good = Client::connect(dir.path(), None).unwrap();
    good.call(&delete("a"), &[], LONG).unwrap();
    drop(server);
}

#[test]
fn one_connection_too_many_is_told_so() {
    let (dir, _server, _) = serve();
    let open: Vec<Client> =
        (0..caps::CONNECTIONS_MAX).map(|_| Client::connect(dir.path(), None).unwrap()).collect();
    let refused = Client::connect(dir.path(), None).unwrap_err();
    let ConnectError::Refused { failure, .. } = refused else { panic!("{refused}") };
    assert_eq!(failure.code, Code::Overloaded);
    drop(open);
}

#[test]
fn closing_answers_the_request_under_way_and_joins_its_thread() {
    let (dir, server, waiting) = serve();
    let mut client = Client::connect(dir.path(), None).unwrap();
    let asking = std::thread::spawn(move || {
        let read = StreamRequest::Read(ReadHead {
            stream: "a".into(),
            from: Vec::new(),
            bytes_max: 1,
            wait_ms: 60_000,
        });
        (client.call(&read, b"still here", LONG), client.call(&read, b"", LONG))
    });
    waiting.wait();
    server.close();
    let (first, second) = asking.join().unwrap();
    assert_eq!(&first.unwrap().payload[..], b"still here");
    // Nobody answers it, and it is known not to have been carried out.
    let StreamReply::Failed(goodbye) = second.unwrap().reply else { panic!("it was answered") };
    assert_eq!((goodbye.code, goodbye.outcome), (Code::Closing, Outcome::Definite));
}

#[test]
fn each_connection_has_an_answerer_of_its_own() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let answerers: Answerers = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Box::new(Echo { waiting: Arc::new(Barrier::new(1)) })
    });
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::start(dir.path(), HERE, answerers).unwrap();
    for _ in 0..3 {
        let mut client = Client::connect(dir.path(), None).unwrap();
        client.call(&delete("a"), &[], LONG).unwrap();
    }
    assert_eq!(made.load(Ordering::Relaxed), 3);
}
