//! Whoever speaks another language on the socket, or breaks the order of the conversation.

use std::os::unix::net::UnixStream;

use egret_schemas::metadata::{METADATA_VERSION, MetaReason, MetaReply, MetaRequest};

use super::*;
use crate::rpc::Bell;
use crate::rpc::connection::Connection;
use crate::rpc::connection::ConnectionError;
use crate::rpc::frame::Limits;
use crate::rpc::server::{NoPlace, Speak};
use crate::rpc::socket::{META_SOCKET_NAME, connect};

const LIMITS: Limits =
    Limits { header_bytes_max: caps::META_HEADER_BYTES_MAX, payload_bytes_max: 0 };

struct Raw(Connection);

impl Raw {
    fn to(held: &Held) -> Raw {
        let stream: UnixStream = connect(held.dir.path(), META_SOCKET_NAME, PATIENCE).unwrap();
        Raw(Connection::new(stream).unwrap())
    }

    /// `None`: the holder closed.
    fn say(&mut self, header: &[u8]) -> Option<MetaReply> {
        let _ = self.0.send(1, header, &[]);
        let frame = self.0.receive(LIMITS, Some(PATIENCE)).ok().flatten()?;
        Some(MetaReply::decode(&frame.header).unwrap())
    }

    fn hello(&mut self, version: u16, life: Option<Incarnation>) -> Option<MetaReply> {
        self.say(&MetaRequest::Hello { version, life }.encode())
    }
}

fn reason(reply: Option<MetaReply>) -> (MetaReason, String) {
    match reply {
        Some(MetaReply::TurnedAway(turned)) => (turned.reason, turned.message),
        other => panic!("it was not turned away: {other:?}"),
    }
}

#[test]
fn who_breaks_the_order_is_told_why_and_the_connection_ends() {
    let held = Held::new();
    let get = MetaRequest::Get { key: "/a".to_owned() }.encode();
    let told = reason(Raw::to(&held).say(&get));
    assert_eq!(told, (MetaReason::BadRequest, "hello was not said yet".to_owned()));
    let (reason_, message) = reason(Raw::to(&held).hello(METADATA_VERSION + 1, None));
    assert_eq!(reason_, MetaReason::Version);
    assert_eq!(message, "the holder speaks version 1, you speak 2");
    let (reason_, message) = reason(Raw::to(&held).hello(1, Some(Incarnation(5))));
    assert_eq!(reason_, MetaReason::Life);
    assert!(message.contains("held by another process now"), "{message}");
    for (header, why) in [
        (MetaRequest::Hello { version: 1, life: None }.encode(), "hello was said already"),
        (MetaRequest::More.encode(), "there is no more of a list"),
        (MetaRequest::Next { wait_ms: 1 }.encode(), "there is no watch yet"),
        (vec![0xff; 16], "does not decode"),
    ] {
        let mut raw = Raw::to(&held);
        raw.hello(1, Some(LIFE)).unwrap();
        let (reason, message) = reason(raw.say(&header));
        assert_eq!(reason, MetaReason::BadRequest);
        assert!(message.contains(why), "{message}");
        assert_eq!(raw.say(&get), None, "the connection ends");
    }
    let mut raw = Raw::to(&held);
    raw.hello(1, None).unwrap();
    let watch = MetaRequest::Watch { prefix: String::new(), from: 1 };
    assert_eq!(raw.say(&watch.encode()), Some(MetaReply::Done));
    let (_, message) = reason(raw.say(&get));
    assert!(message.contains("this connection is a watch"), "{message}");
}

#[test]
fn a_header_over_the_limit_ends_the_connection() {
    let held = Held::new();
    assert_eq!(Raw::to(&held).say(&vec![0; caps::HELLO_BYTES_MAX + 8]), None);
    let mut raw = Raw::to(&held);
    raw.hello(1, None).unwrap();
    assert_eq!(raw.say(&vec![0; caps::META_HEADER_BYTES_MAX + 8]), None);
    // Nobody else is the worse for it.
    assert_eq!(held.attach().get("/a"), Ok(None));
}

/// A holder that says one thing to everybody.
struct Says(MetaReply);

impl Speak for Says {
    fn socket(&self) -> &'static str {
        META_SOCKET_NAME
    }

    fn connections_max(&self) -> usize {
        8
    }

    fn turn_away(&self, _: NoPlace) -> Vec<u8> {
        self.0.encode()
    }

    fn converse(&self, with: &mut Connection, _: &Arc<Bell>) -> Result<(), ConnectionError> {
        let Some(frame) = with.receive(LIMITS, Some(PATIENCE))? else { return Ok(()) };
        with.send(frame.correlation, &self.0.encode(), &[])
    }
}

#[test]
fn a_holder_that_answers_hello_with_something_else_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Server::speaking(dir.path(), Box::new(Says(MetaReply::Done))).unwrap();
    let why = AttachedMeta::attach(dir.path(), PATIENCE).unwrap_err();
    let NotOpened::Refused(why) = why else { panic!("{why:?}") };
    assert_eq!(why, "it did not answer hello: use the same release of egret");
}

#[test]
fn who_finds_no_place_waits_for_one_until_its_time_is_over() {
    let held = Held::new();
    let store = attach(held.dir.path(), Duration::from_millis(200));
    let mut others = Vec::new();
    for _ in 1..caps::META_CONNECTIONS_MAX {
        let mut raw = Raw::to(&held);
        assert!(matches!(raw.hello(1, None), Some(MetaReply::Welcome(_))));
        others.push(raw);
    }
    assert_eq!(store.get("/a"), Ok(None), "who has a connection keeps it");
    let late = AttachedMeta::attach(held.dir.path(), Duration::from_millis(200)).unwrap_err();
    assert!(matches!(late, NotOpened::Late { waited_ms: 200 }), "{late:?}");
    let full = reason(Raw::to(&held).hello(1, None));
    assert_eq!(full, (MetaReason::Overloaded, "512 connections are open already".to_owned()));
    others.pop();
    attach(held.dir.path(), PATIENCE);
}
