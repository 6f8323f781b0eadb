//! Peers that break the rules: each gets a closed connection, at bounded cost, and others are served.

use std::io::{Read, Write};
use std::net::TcpStream;

use egret_schemas::bookie::{
    Ask, BOOKIE_VERSION, BookieReply, BookieRequest, Hello, Reason, Refusal as RefusalHead,
    TurnedAway,
};
use proptest::prelude::*;

use super::*;
use crate::caps;
use crate::rpc::frame::{FrameHead, HEAD_BYTES, Limits, encode};

const ALL: Limits = Limits { header_bytes_max: 1 << 20, payload_bytes_max: caps::ENTRY_BYTES_MAX };

/// Speaks bytes.
struct Raw(TcpStream);

impl Raw {
    fn to(served: &Served) -> Raw {
        let stream = TcpStream::connect(served.server().address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Raw(stream)
    }

    /// Writes what the other side takes: it may have closed already.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    fn say(&mut self, correlation: u64, header: &[u8], payload: &[u8]) {
        self.write(&[&encode(correlation, header, payload)[..], header, payload].concat());
    }

    fn hear(&mut self) -> Option<(u64, BookieReply)> {
        let mut head = [0; HEAD_BYTES];
        self.0.read_exact(&mut head).ok()?;
        let head = FrameHead::decode(&head, ALL).unwrap();
        let mut header = vec![0; head.header_bytes];
        self.0.read_exact(&mut header).unwrap();
        self.0.read_exact(&mut vec![0; head.payload_bytes]).unwrap();
        Some((head.correlation, BookieReply::decode(&header).unwrap()))
    }

    /// Whether the other side closes, within the patience of a test.
    fn is_closed(&mut self) -> bool {
        let mut rest = [0; 1024];
        loop {
            match self.0.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn greeted(served: &Served) -> Raw {
        let mut raw = Raw::to(served);
        raw.say(7, &hello(), &[]);
        let heard = raw.hear();
        assert!(matches!(heard, Some((7, BookieReply::Welcome(_)))), "{heard:?}");
        raw
    }
}

fn hello() -> Vec<u8> {
    let hello = Hello {
        version: BOOKIE_VERSION,
        cluster: "blue".to_owned(),
        incarnation: None,
        role: Role::Client,
        process: 1,
        features: 0,
    };
    BookieRequest { to: Incarnation(0), wait_ms: 0, ask: Ask::Hello(hello) }.encode()
}

fn request(served: &Served, ask: Ask) -> Vec<u8> {
    BookieRequest { to: served.bookie.incarnation(), wait_ms: 60_000, ask }.encode()
}

const SOON: Duration = Duration::from_millis(50);

#[test]
fn garbage_before_and_after_hello_closes_the_connection_and_no_other() {
    let served = Served::plain();
    let client = served.writer();
    for mut raw in [Raw::to(&served), Raw::greeted(&served)] {
        raw.write(&[0x5a; 200]);
        assert!(raw.is_closed());
    }
    // A frame whose header is no request.
    let mut raw = Raw::greeted(&served);
    raw.say(1, &[0xff; 64], &[]);
    let heard = raw.hear();
    let Some((0, BookieReply::TurnedAway(TurnedAway { reason, .. }))) = heard else {
        panic!("{heard:?}")
    };
    assert_eq!(reason, Reason::BadRequest);
    assert!(raw.is_closed());
    assert!(matches!(ask(&client, add(0, b"x")), Reply::Done));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_end_in_a_closed_connection(
        bytes in proptest::collection::vec(any::<u8>(), 28..400),
        greeted: bool,
    ) {
        static SERVED: LazyLock<Served> = LazyLock::new(Served::plain);
        let mut raw = if greeted { Raw::greeted(&SERVED) } else { Raw::to(&SERVED) };
        raw.write(&bytes);
        prop_assert!(raw.is_closed());
    }
}

#[test]
fn a_stranger_may_send_sixteen_kilobytes_and_no_payload() {
    let served = Served::plain();
    let mut raw = Raw::to(&served);
    raw.say(1, &vec![0; caps::HELLO_BYTES_MAX + 8], &[]);
    assert!(raw.is_closed());
    let mut raw = Raw::to(&served);
    raw.say(1, &hello(), b"x");
    assert!(raw.is_closed());
    let mut raw = Raw::to(&served);
    raw.say(1, &request(&served, Ask::ReadLac { ledger: LEDGER }), &[]);
    let Some((1, BookieReply::TurnedAway(turned))) = raw.hear() else { panic!("it is a stranger") };
    assert_eq!(turned.message, "hello was not said yet");
    assert!(raw.is_closed());
}

#[test]
fn a_frame_over_the_limit_is_refused_before_a_byte_of_it_is_read() {
    let served = Served::plain();
    let mut raw = Raw::greeted(&served);
    let mut head = encode(1, &hello(), &[]);
    let bytes = u32::try_from(caps::ENTRY_BYTES_MAX + 1).unwrap();
    head[8..12].copy_from_slice(&bytes.to_le_bytes());
    raw.write(&head);
    assert!(raw.is_closed());
}

#[test]
fn who_says_hello_too_late_is_cut_off() {
    let limits = ServerLimits { hello_wait: SOON, ..ServerLimits::default() };
    let served = Served::with(limits, None);
    assert!(Raw::to(&served).is_closed(), "it said nothing");
    let mut raw = Raw::to(&served);
    let whole = [&encode(1, &hello(), &[])[..], &hello()].concat();
    raw.write(&whole[..whole.len() - 1]);
    assert!(raw.is_closed(), "it said not all of it");
}

#[test]
fn who_ends_no_frame_is_cut_off_and_what_was_counted_in_is_counted_out() {
    let limits = ServerLimits { frame_wait: SOON, ..ServerLimits::default() };
    let served = Served::with(limits, None);
    let mut raw = Raw::greeted(&served);
    raw.write(&encode(1, &hello(), &[])[..9]);
    assert!(raw.is_closed(), "it began a request and stopped");
    let mut raw = Raw::greeted(&served);
    let (entry, term) = (EntryId(0), TERM);
    let add = Ask::Add { ledger: LEDGER, entry, term, lac: None, crc: 0, copy: false };
    let header = request(&served, add);
    let payload = vec![0; 1 << 20];
    let frame = [&encode(1, &header, &payload)[..], &header, &payload[..1000]].concat();
    raw.write(&frame);
    assert!(raw.is_closed(), "the rest of its payload does not come");
    wait_until(|| {
        let stats = served.server().stats();
        (stats.request_bytes, stats.connections, stats.strangers) == (0, 0, 0)
    });
}

/// The moment between the end of a connection and the end of its task.
fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = crate::clock::now() + LONG;
    while !done() {
        assert!(crate::clock::now() < deadline, "it does not come to pass");
        std::thread::yield_now();
    }
}

#[test]
fn who_takes_no_answers_is_cut_off() {
    let limits = ServerLimits {
        reply_bytes_max: 1 << 20,
        slow_reader_wait: SOON,
        ..ServerLimits::default()
    };
    let served = Served::with(limits, None);
    let client = served.writer();
    assert!(matches!(ask(&client, add(0, &vec![1; 4 << 20])), Reply::Done));
    let mut raw = Raw::greeted(&served);
    let get = Ask::Read { ledger: LEDGER, entry: EntryId(0), fence: None };
    let get = request(&served, get);
    for n in 1..=20 {
        raw.say(n, &get, &[]);
    }
    wait_until(|| served.server().stats().connections == 1);
}

#[test]
fn what_is_over_a_connections_limits_is_refused_as_a_normal_reply() {
    let limits = ServerLimits { requests_max: 1, ..ServerLimits::default() };
    let served = Served::with(limits, None);
    served.writer();
    let mut raw = Raw::greeted(&served);
    // One waits for the LAC, for long; the next is one too many, and so is its payload.
    raw.say(1, &request(&served, Ask::WatchLac { ledger: LEDGER, beyond: None }), &[]);
    let crc = entry_crc(LEDGER, EntryId(0), &[1; 100_000]);
    let (entry, term) = (EntryId(0), TERM);
    let add = Ask::Add { ledger: LEDGER, entry, term, lac: None, crc, copy: false };
    raw.say(2, &request(&served, add), &[1; 100_000]);
    let heard = raw.hear();
    let Some((2, BookieReply::Refused(RefusalHead::Overloaded { retry_after_ms }))) = heard else {
        panic!("{heard:?}")
    };
    assert!(retry_after_ms > 0);
    // The connection goes on.
    let lac = Request::WriteLac { ledger: LEDGER, term: TERM, lac: EntryId(0) };
    served.bookie.call(served.bookie.incarnation(), lac);
    let heard = raw.hear();
    assert!(matches!(heard, Some((1, BookieReply::Watched))), "{heard:?}");
}

#[test]
fn a_correlation_in_use_a_second_hello_and_a_payload_without_need_end_the_conversation() {
    let served = Served::plain();
    served.writer();
    let watch = request(&served, Ask::WatchLac { ledger: LEDGER, beyond: None });
    let look = request(&served, Ask::ReadLac { ledger: LEDGER });
    let payload: &[u8] = b"x";
    let none: &[u8] = &[];
    for (correlation, header, payload) in
        [(1, &watch, none), (0, &look, none), (2, &hello(), none), (2, &look, payload)]
    {
        let mut raw = Raw::greeted(&served);
        raw.say(1, &watch, &[]);
        raw.say(correlation, header, payload);
        loop {
            match raw.hear() {
                Some((0, BookieReply::TurnedAway(turned))) => {
                    assert_eq!(turned.reason, Reason::BadRequest, "{turned}");
                    break;
                }
                Some((1, BookieReply::Watched)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(raw.is_closed());
    }
}

#[test]
fn there_are_only_so_many_places() {
    let limits = ServerLimits { connections_max: 2, strangers_max: 1, ..ServerLimits::default() };
    let served = Served::with(limits, None);
    let stranger = Raw::to(&served);
    wait_until(|| served.server().stats().strangers == 1);
    assert!(Raw::to(&served).is_closed(), "one stranger at a time");
    drop(stranger);
    wait_until(|| served.server().stats().connections == 0);
    let (_a, _b) = (Raw::greeted(&served), Raw::greeted(&served));
    assert!(Raw::to(&served).is_closed(), "two connections at a time");
    assert!(served.server().stats().refused >= 2);
}

#[test]
fn a_request_the_bookie_is_slow_with_is_answered_at_its_deadline() {
    let served = Served::plain();
    served.writer();
    let mut raw = Raw::greeted(&served);
    let to = served.bookie.incarnation();
    for n in 1..=20 {
        // Answered at once, so that the connection is idle when the slow one comes.
        raw.say(2 * n, &request(&served, Ask::ReadLac { ledger: LEDGER }), &[]);
        let heard = raw.hear();
        assert!(matches!(heard, Some((at, BookieReply::Lac { .. })) if at == 2 * n), "{heard:?}");
        let ask = Ask::WatchLac { ledger: LEDGER, beyond: None };
        raw.say(2 * n + 1, &BookieRequest { to, wait_ms: 5, ask }.encode(), &[]);
        let heard = raw.hear();
        assert!(matches!(heard, Some((at, BookieReply::Watched)) if at == 2 * n + 1), "{heard:?}");
    }
}
