//! Who gets through a handshake, and what goes over it.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

use super::*;

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

static BLUE: LazyLock<Authority> = LazyLock::new(Authority::new);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// For whoever is named, until a year, for these uses alone; it names no host.
    fn issue(&self, uri: &str, until: i32, uses: &[ExtendedKeyUsagePurpose]) -> WorkerTls {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        (params.not_before, params.not_after) =
            (date_time_ymd(1975, 1, 1), date_time_ymd(until, 1, 1));
        params.extended_key_usages = uses.to_vec();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let pem = Pem { cert: cert.as_bytes(), key: key.as_bytes(), ca: self.pem.as_bytes() };
        WorkerTls::new(pem).unwrap()
    }

    fn worker(&self) -> WorkerTls {
        self.issue("egret://blue/worker/w1", 4096, &[])
    }
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (a, listener.accept().unwrap().0)
}

type Met = io::Result<(SecureStream, PeerName)>;

/// What each side makes of the other; the one that connects reads a byte, for it hears there whether it was let in.
fn meet(connects: &WorkerTls, accepts: &WorkerTls) -> (Met, Met) {
    let (a, b) = sockets();
    let until = clock::now() + LONG;
    thread::scope(|scope| {
        let accepted = scope.spawn(move || {
            let met = accepts.accept(b, until)?;
            (&met.0).write_all(b"!")?;
            Ok(met)
        });
        let connected = connects.connect(a, until).and_then(|met| {
            (&met.0).read_exact(&mut [0])?;
            Ok(met)
        });
        (connected, accepted.join().unwrap())
    })
}

fn joined() -> (SecureStream, SecureStream) {
    let (a, b) = meet(&BLUE.worker(), &BLUE.worker());
    (a.unwrap().0, b.unwrap().0)
}

#[test]
fn workers_of_one_authority_meet_wherever_they_are_and_know_who_the_other_is() {
    let (a, b) = meet(&BLUE.worker(), &BLUE.issue("egret://blue/worker/w2", 4096, &[]));
    let (a, b) = (a.unwrap().1, b.unwrap().1);
    assert_eq!((a.name.as_str(), b.name.as_str()), ("w2", "w1"));
    let own = BLUE.worker();
    for (uri, admitted) in [
        ("egret://blue/worker/w2", true),
        ("egret://blue/client/w2", false),
        ("egret://blue/bookie/w2", false),
        ("egret://red/worker/w2", false),
    ] {
        assert_eq!(own.admits(&PeerName::parse(uri).unwrap()), admitted, "{uri}");
    }
}

#[test]
fn a_stranger_an_expired_one_and_one_for_another_use_are_told_so_on_both_sides() {
    use ExtendedKeyUsagePurpose::ClientAuth;
    let good = BLUE.worker();
    let said = |met: Met| met.map(drop).unwrap_err().to_string();
    // Each authority has the same name here, and another key.
    let (connected, accepted) = meet(&good, &Authority::new().worker());
    let (why, told) = (said(connected), said(accepted));
    assert!(why.contains("BadSignature"), "{why}");
    assert!(told.contains("DecryptError"), "{told}");
    let old = BLUE.issue("egret://blue/worker/w1", 2019, &[]);
    let (connected, accepted) = meet(&good, &old);
    let (why, told) = (said(connected), said(accepted));
    assert!(why.contains("certificate expired"), "{why}");
    assert!(told.contains("CertificateExpired"), "{told}");
    // The one that connects is done before it is refused, and hears of it all the same.
    let (connected, accepted) = meet(&old, &good);
    let (told, why) = (said(connected), said(accepted));
    assert!(why.contains("certificate expired"), "{why}");
    assert!(told.contains("CertificateExpired"), "{told}");
    let clients = BLUE.issue("egret://blue/worker/w1", 4096, &[ClientAuth]);
    let why = said(meet(&good, &clients).0);
    assert!(why.contains("server authentication"), "{why}");
    meet(&clients, &good).0.unwrap();
}

#[test]
fn who_says_nothing_or_something_else_costs_one_deadline_and_an_error() {
    let tls = BLUE.worker();
    let (_silent, b) = sockets();
    let began = clock::now();
    let why = tls.accept(b, began + Duration::from_millis(200)).unwrap_err();
    assert!(matches!(why.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{why}");
    assert!(clock::now().duration_since(began) >= Duration::from_millis(190));
    let (mut other, b) = sockets();
    other.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let why = tls.accept(b, clock::now() + LONG).unwrap_err();
    assert_eq!(why.kind(), io::ErrorKind::InvalidData, "{why}");
}

/// A byte now and then is no reason to wait on.
#[test]
fn who_sends_a_handshake_in_drops_is_not_waited_for() {
    let (mut slow, b) = sockets();
    let dropped = thread::spawn(move || {
        // The beginning of a handshake record of some length.
        for byte in [0x16, 0x03, 0x01, 0x20, 0x00].into_iter().chain([1; 10_000]) {
            if slow.write_all(&[byte]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    let began = clock::now();
    BLUE.worker().accept(b, began + Duration::from_millis(300)).unwrap_err();
    assert!(clock::now().duration_since(began) < Duration::from_secs(20), "it lingers, too");
    dropped.join().unwrap();
}

/// Each writes far more than any buffer holds before it reads: with one lock for all they stood still.
#[test]
fn both_sides_write_much_at_once_and_all_of_it_arrives() {
    const BYTES: usize = 40 << 20;
    let (a, b) = joined();
    let byte = |i: usize| u8::try_from(i * 7 % 251).unwrap();
    thread::scope(|scope| {
        for stream in [&a, &b] {
            let mut writer = stream.clone();
            scope.spawn(move || {
                let piece: Vec<u8> = (0..251 * 100).map(byte).collect();
                let mut sent = 0;
                while sent < BYTES {
                    writer.write_all(&piece).unwrap();
                    sent += piece.len();
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let (mut got, mut buffer) = (0, vec![0; 100_000]);
                loop {
                    let n = { stream }.read(&mut buffer).unwrap();
                    if n == 0 {
                        break;
                    }
                    assert!((got..).zip(&buffer[..n]).all(|(i, b)| *b == byte(i)), "at {got}");
                    got += n;
                }
                assert!(got >= BYTES, "{got} bytes, and then the end in order");
            });
        }
    });
}

#[test]
fn a_connection_that_is_cut_off_is_no_end_in_order() {
    let (a, b) = joined();
    (&a).write_all(b"half of it").unwrap();
    a.shutdown(Shutdown::Both).unwrap();
    let mut got = [0; 10];
    (&b).read_exact(&mut got).unwrap();
    let why = (&b).read(&mut got).unwrap_err();
    assert_eq!(why.kind(), io::ErrorKind::UnexpectedEof, "{why}");
}

#[test]
fn a_write_that_nobody_takes_ends_the_connection_in_its_time() {
    let (a, b) = joined();
    a.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let piece = vec![1; 1 << 20];
    let why = (0..1000).find_map(|_| (&a).write_all(&piece).err()).unwrap();
    assert!(matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{why}");
    let mut rest = Vec::new();
    let why = (&b).read_to_end(&mut rest).unwrap_err();
    assert_eq!(why.kind(), io::ErrorKind::UnexpectedEof, "what came in pieces is no message");
}
