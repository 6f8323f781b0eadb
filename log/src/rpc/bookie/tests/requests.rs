//! Every request over a socket, and connections that end at the wrong moment.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;

use egret_schemas::bookie::{BOOKIE_VERSION, BookieReply, Welcome};

use super::*;
use crate::message::Refusal;
use crate::rpc::frame::{HEAD_BYTES, encode};

#[test]
fn entries_in_a_row_cross_in_one_answer() {
    let served = Served::plain();
    let client = served.client();
    let create =
        Request::Create { ledger: LEDGER, term: TERM, transactional: false, replicated: true };
    assert!(matches!(ask(&client, create), Reply::Done));
    let payload = |n: u64| format!("entry {n}").repeat(usize::try_from(n % 5).unwrap());
    for n in 0..600 {
        assert!(matches!(ask(&client, add(n, payload(n).as_bytes())), Reply::Done));
    }
    let range = |from, bytes_max| Request::ReadRange {
        ledger: LEDGER,
        from: EntryId(from),
        entries_max: u32::MAX,
        bytes_max,
    };
    let Reply::Entries { entries, .. } = ask(&client, range(3, 1 << 20)) else { panic!() };
    assert_eq!(entries.len(), 512, "what a header has room for");
    for (n, entry) in (3..).zip(&entries) {
        assert_eq!((entry.entry, &entry.payload[..]), (EntryId(n), payload(n).as_bytes()));
        assert_eq!(entry.crc, entry_crc(LEDGER, entry.entry, &entry.payload));
    }
    let Reply::Entries { entries, .. } = ask(&client, range(4, 1)) else { panic!() };
    assert_eq!(entries.len(), 1, "the first whatever it weighs");
    assert!(matches!(ask(&client, range(600, 1)), Reply::NoEntry { .. }));
}

#[test]
fn every_request_gets_the_answer_of_the_bookie() {
    let served = Served::plain();
    let client = served.client();
    let done = |request| matches!(ask(&client, request), Reply::Done);
    assert!(matches!(ask(&client, read(0)), Reply::Refused(Refusal::NoLedger)));
    assert!(done(Request::Create {
        ledger: LEDGER,
        term: TERM,
        transactional: false,
        replicated: true
    }));
    let again =
        Request::Create { ledger: LEDGER, term: TERM, transactional: false, replicated: true };
    assert!(matches!(ask(&client, again), Reply::Refused(Refusal::Exists)));
    for (entry, bytes) in [(0, 0), (1, 1), (2, 100_000), (3, (5 << 20) + 3)] {
        let payload = vec![7; bytes];
        assert!(done(add(entry, &payload)), "{bytes} bytes");
        match ask(&client, read(entry)) {
            Reply::Entry { entry: found, term, crc, payload: held, .. } => {
                assert_eq!((found, term), (EntryId(entry), TERM));
                assert_eq!(crc, entry_crc(LEDGER, found, &payload));
                assert!(held == payload, "{bytes} bytes did not come back");
            }
            other => panic!("it is there: {other:?}"),
        }
    }
    assert!(matches!(ask(&client, add(3, b"other")), Reply::Refused(Refusal::Conflict)));
    let Request::Add { ledger, entry, term, lac, payload, .. } = add(4, b"x") else { panic!() };
    let damaged = Request::Add { ledger, entry, term, lac, crc: 1, copy: false, payload };
    assert!(matches!(ask(&client, damaged), Reply::Refused(Refusal::BadCrc)));
    assert!(matches!(ask(&client, read(4)), Reply::NoEntry { lac: Some(EntryId(2)) }));
    assert!(done(Request::WriteLac { ledger: LEDGER, term: TERM, lac: EntryId(3) }));
    let ends = ask(&client, Request::ReadLac { ledger: LEDGER });
    let three = Some(EntryId(3));
    assert!(matches!(ends, Reply::Lac { lac, last } if lac == three && last == three));
    let fenced = ask(&client, Request::Fence { ledger: LEDGER, term: Term(2) });
    assert!(matches!(fenced, Reply::Fenced { lac, last } if lac == three && last == three));
    let held = Term(2);
    let stale = ask(&client, add(4, b"late"));
    assert!(matches!(stale, Reply::Refused(Refusal::StaleTerm { held: h }) if h == held));
    let recovery = Request::Read { ledger: LEDGER, entry: EntryId(0), fence: Some(Term(3)) };
    assert!(matches!(ask(&client, recovery), Reply::Entry { .. }));
    assert!(done(Request::Delete { ledger: LEDGER }));
    assert!(matches!(ask(&client, read(0)), Reply::Refused(Refusal::Deleted)));
    assert_eq!((client.outstanding(), served.server().stats().request_bytes), (0, 0));
}

#[test]
fn a_request_for_another_incarnation_proves_nothing() {
    let served = Served::plain();
    let client = served.client();
    let (asked, own) = (Incarnation(9), served.bookie.incarnation());
    let reply = client.call(asked, Request::ReadLac { ledger: LEDGER });
    assert_eq!(unknown(reply), Unknown::Incarnation { asked, own });
    let stranger =
        TcpTransport::new(Arc::clone(&IO), config(served.server().address().to_string(), asked));
    assert_eq!(unknown(ask(&stranger, read(0))), Unknown::Incarnation { asked, own });
}

#[test]
fn another_cluster_and_another_role_are_told_so() {
    let served = Served::plain();
    let red = ClientConfig { cluster: "red".to_owned(), ..served.config() };
    let red = TcpTransport::new(Arc::clone(&IO), red);
    let Unknown::TurnedAway { why, .. } = unknown(ask(&red, read(0))) else { panic!() };
    assert!(why.starts_with("this is a bookie of cluster blue, you are of red"), "{why}");
    let admin = ClientConfig { role: Role::Admin, ..served.config() };
    let admin = TcpTransport::new(Arc::clone(&IO), admin);
    let refused = ask(&admin, add(0, &[1; 100_000]));
    let Reply::Refused(Refusal::NotAllowed { role: Role::Admin, .. }) = refused else {
        panic!("an admin does not write: {refused:?}")
    };
    assert!(matches!(ask(&admin, read(0)), Reply::Refused(Refusal::NoLedger)));
}

#[test]
fn who_waits_for_the_lac_is_woken_when_it_moves_and_when_the_ledger_goes() {
    let served = Served::plain();
    let client = served.writer();
    let (sender, woken) = sync_channel(64);
    let watch = |beyond| {
        let sender = sender.clone();
        client.watch_lac(LEDGER, beyond, Arc::new(move || sender.send(beyond).unwrap()));
    };
    watch(None);
    for entry in 0..3 {
        assert!(matches!(ask(&client, add(entry, b"x")), Reply::Done));
    }
    assert_eq!(woken.recv_timeout(LONG), Ok(None));
    // Readers may see entry 1: who knows less is woken at once.
    watch(Some(EntryId(0)));
    assert_eq!(woken.recv_timeout(LONG), Ok(Some(EntryId(0))));
    // Several wait, on two connections; one word wakes them all.
    let other = served.client();
    let sender_too = sender.clone();
    other.watch_lac(LEDGER, Some(EntryId(1)), Arc::new(move || sender_too.send(None).unwrap()));
    watch(Some(EntryId(1)));
    watch(Some(EntryId(1)));
    assert!(matches!(ask(&client, Request::Delete { ledger: LEDGER }), Reply::Done));
    for _ in 0..3 {
        woken.recv_timeout(LONG).unwrap();
    }
}

#[test]
fn nobody_at_the_address_is_said_at_once() {
    // A port that is taken, and on which nobody listens.
    let (address, _taken) = nobody();
    let client = TcpTransport::new(Arc::clone(&IO), config(address.to_string(), Incarnation(1)));
    let Unknown::Unreachable { to, why } = unknown(ask(&client, read(0))) else { panic!() };
    assert_eq!(to, format!("B3 at {address}"));
    assert!(why.contains("refused"), "{why}");
    // And everything that comes meanwhile is answered at once.
    let (to, replies) = answers(100);
    for n in 0..100 {
        client.send(Incarnation(1), read(n), to(n));
    }
    for _ in 0..100 {
        let (_, reply) = replies.recv_timeout(LONG).unwrap();
        assert!(matches!(reply, Reply::Unknown(Unknown::Unreachable { .. })), "{reply:?}");
    }
}

fn nobody() -> (SocketAddr, std::os::fd::OwnedFd) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
    let taken = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&taken, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = getsockname(&taken).unwrap();
    (address.try_into().expect("it is an internet address"), taken)
}

#[test]
fn a_silent_peer_is_given_up_at_the_deadline() {
    // It accepts, by the kernel, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(silent.local_addr().unwrap().to_string(), Incarnation(1));
    config.request_wait = Duration::from_millis(50);
    let client = TcpTransport::new(Arc::clone(&IO), config);
    assert_eq!(unknown(ask(&client, read(0))), Unknown::Deadline { ms: 50 });
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_bookie_that_falls_silent_is_left_and_looked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(listener.local_addr().unwrap().to_string(), Incarnation(1));
    config.request_wait = Duration::from_millis(50);
    let silent = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; HEAD_BYTES];
            stream.read_exact(&mut head).unwrap();
            let welcome = BookieReply::Welcome(welcome()).encode();
            let frame = [&encode(0, &welcome, &[])[..], &welcome].concat();
            stream.write_all(&frame).unwrap();
            // Takes whatever comes and answers nothing, until it is left.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let client = TcpTransport::new(Arc::clone(&IO), config);
    let deadline = crate::clock::now() + LONG;
    while !silent.is_finished() {
        assert!(crate::clock::now() < deadline, "it is waited for without end");
        unknown(ask(&client, read(0)));
    }
    silent.join().unwrap();
}

fn welcome() -> Welcome {
    Welcome {
        version: BOOKIE_VERSION,
        cluster: "blue".to_owned(),
        incarnation: Incarnation(1),
        bookie: BookieId(3),
        role: Role::Client,
        features: 0,
        payload_bytes_max: 1 << 20,
        requests_max: 100,
        request_bytes_max: 1 << 20,
    }
}

/// Hands bytes both ways between a client and the bookie, and can be cut.
struct Cable {
    address: SocketAddr,
    ends: Receiver<(TcpStream, TcpStream)>,
}

impl Cable {
    fn to(server: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ends) = sync_channel(16);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let far = TcpStream::connect(server).unwrap();
                pump(near.try_clone().unwrap(), far.try_clone().unwrap());
                pump(far.try_clone().unwrap(), near.try_clone().unwrap());
                if sender.send((near, far)).is_err() {
                    return;
                }
            }
        });
        Cable { address, ends }
    }

    fn cut(&self) {
        let (near, far) = self.ends.recv_timeout(LONG).expect("somebody connected");
        // It may be cut already.
        let _ = near.shutdown(std::net::Shutdown::Both);
        let _ = far.shutdown(std::net::Shutdown::Both);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(got) = from.read(&mut bytes)
            && got > 0
            && to.write_all(&bytes[..got]).is_ok()
        {}
    });
}

#[test]
fn a_connection_cut_under_a_thousand_adds_answers_each_exactly_once() {
    const ADDS: u64 = 1000;
    let served = Served::plain();
    served.writer();
    let cable = Cable::to(served.server().address());
    let own = served.bookie.incarnation();
    let client = TcpTransport::new(Arc::clone(&IO), config(cable.address.to_string(), own));
    let (to, replies) = answers(2000);
    for n in 0..ADDS {
        client.send(own, add(n, &[3; 100]), to(n));
        if n == ADDS / 2 {
            cable.cut();
        }
    }
    let mut counts = BTreeMap::new();
    let mut done = Vec::new();
    for _ in 0..ADDS {
        let (n, reply) = replies.recv_timeout(LONG).unwrap();
        *counts.entry(n).or_insert(0) += 1;
        match reply {
            Reply::Done => done.push(n),
            Reply::Unknown(_) | Reply::Refused(_) => {}
            other => panic!("an answer to an add: {other:?}"),
        }
    }
    assert_eq!(counts.len() as u64, ADDS, "each was answered once");
    assert_eq!(client.outstanding(), 0);
    // What was acknowledged is there; what was not may be. The way is found again.
    let direct = served.client();
    for n in done {
        assert!(matches!(ask(&direct, read(n)), Reply::Entry { .. }), "entry {n}");
    }
    drop(client);
    assert!(replies.try_recv().is_err(), "nothing was answered twice");
}

#[test]
fn a_lost_connection_is_made_again() {
    let served = Served::plain();
    served.writer();
    let cable = Cable::to(served.server().address());
    let own = served.bookie.incarnation();
    let client = TcpTransport::new(Arc::clone(&IO), config(cable.address.to_string(), own));
    assert!(matches!(ask(&client, add(0, b"x")), Reply::Done));
    cable.cut();
    let deadline = crate::clock::now() + LONG;
    // Answers while it is away are Unknown, without waiting; then it is there.
    while !matches!(ask(&client, read(0)), Reply::Entry { .. }) {
        assert!(crate::clock::now() < deadline, "it is not made again");
        thread::yield_now();
    }
}

#[test]
fn what_is_under_way_is_answered_before_a_bookie_goes() {
    let mut served = Served::plain();
    let client = served.writer();
    let own = client.incarnation();
    let (to, replies) = answers(300);
    for n in 0..300 {
        client.send(own, add(n, &[1; 1000]), to(n));
    }
    assert!(served.drain(), "nobody is cut off");
    let mut done = 0;
    for _ in 0..300 {
        match replies.recv_timeout(LONG).unwrap() {
            (n, Reply::Done) => {
                done += 1;
                let held = served.bookie.call(own, read(n));
                assert!(matches!(held, Reply::Entry { .. }), "entry {n}: {held:?}");
            }
            // Not read any more, and so not carried out.
            (_, Reply::Unknown(Unknown::Closing)) => {}
            (n, other) => panic!("entry {n}: {other:?}"),
        }
    }
    let there =
        (0..300).filter(|n| matches!(served.bookie.call(own, read(*n)), Reply::Entry { .. }));
    assert_eq!(there.count(), done, "no request without a reply was carried out");
}

#[test]
fn what_waits_is_answered_when_the_last_handle_goes() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let client = TcpTransport::new(Arc::clone(&IO), config(address, Incarnation(1)));
    let (to, replies) = answers(10);
    for n in 0..10 {
        client.send(Incarnation(1), read(n), to(n));
    }
    drop(client);
    for _ in 0..10 {
        let (_, reply) = replies.recv_timeout(LONG).unwrap();
        assert!(matches!(reply, Reply::Unknown(Unknown::Closing)), "{reply:?}");
    }
}

#[test]
fn too_much_at_once_is_refused_and_nothing_of_it_is_done() {
    let served = Served::plain();
    served.writer();
    let config = ClientConfig { request_bytes_max: 10_000, ..served.config() };
    let client = TcpTransport::new(Arc::clone(&IO), config);
    let (to, replies) = answers(100);
    for n in 0..100 {
        client.send(client.incarnation(), add(n, &[1; 4000]), to(n));
    }
    let mut refused = 0;
    for _ in 0..100 {
        match replies.recv_timeout(LONG).unwrap() {
            (_, Reply::Done) => {}
            (n, Reply::Refused(Refusal::Overloaded { retry_after_ms })) => {
                assert!(retry_after_ms > 0);
                refused += 1;
                let held = served.bookie.call(served.bookie.incarnation(), read(n));
                assert!(matches!(held, Reply::NoEntry { .. }), "entry {n}: {held:?}");
            }
            (n, other) => panic!("entry {n}: {other:?}"),
        }
    }
    assert!(refused > 0, "a hundred adds of 4,000 bytes do not fit 10,000");
}
