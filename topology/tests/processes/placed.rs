//! Processes that were placed by rank, with certificates: each a thread here, at 127.0.0.1.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret::runtime::Placed;
use egret::{
    Blob, Error, Guarantee, LogSink, LogSpout, Processes, Progress, RunOptions, Summary,
    TopologyBuilder,
};
use egret_log::Log;
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::worker::WorkerTls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};

use crate::words::{calm, counted, expected, open, options, text, topology, write_lines};

/// An authority, in memory.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, uri: &str, until: i32) -> WorkerTls {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        (params.not_before, params.not_after) =
            (date_time_ymd(1975, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let (cert, key, ca) = (cert.as_bytes(), key.as_bytes(), self.pem.as_bytes());
        WorkerTls::new(Pem { cert, key, ca }).unwrap()
    }

    fn worker(&self) -> WorkerTls {
        self.issue("egret://blue/worker/w", 4096)
    }
}

/// A port that nobody has.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

type Outcome = JoinHandle<Result<Summary, Error>>;

/// What the processes of one run have in common.
struct Run {
    log: Log,
    leader: String,
    count: u32,
    tls: WorkerTls,
    options: RunOptions,
}

impl Run {
    fn new(log: &Log, count: u32) -> Run {
        Run {
            log: log.clone(),
            leader: free_port(),
            count,
            tls: Authority::new().worker(),
            options: RunOptions { join_wait_ms: 60_000, ..options(1) },
        }
    }

    fn placed(&self, rank: u32) -> Placed {
        let (leader, tls) = (self.leader.clone(), self.tls.clone());
        Placed { rank, count: self.count, leader, listen: None, tls, tell: |_| () }
    }

    fn start(&self, placed: Placed) -> (Outcome, Arc<Progress>) {
        let progress = Arc::<Progress>::default();
        let (log, options, of_run) =
            (self.log.clone(), self.options.clone(), Arc::clone(&progress));
        let topology = topology(5, Guarantee::EffectivelyOnce, &calm());
        let run = move || topology.run_among(&log, &options, &of_run, &Processes::Placed(placed));
        (thread::spawn(run), progress)
    }

    fn rank(&self, rank: u32) -> Outcome {
        self.start(self.placed(rank)).0
    }
}

fn why_not(outcome: Outcome) -> String {
    outcome.join().unwrap().unwrap_err().to_string()
}

#[test]
fn words_are_counted_exactly_whoever_comes_first() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let (_dir, log) = open();
        let lines = text(2000);
        write_lines(&log, &lines);
        let run = Run::new(&log, 3);
        let ended = order.map(|rank| {
            let outcome = run.rank(rank);
            thread::park_timeout(Duration::from_millis(300));
            (rank, outcome)
        });
        for (rank, outcome) in ended {
            let summary = outcome.join().unwrap().unwrap();
            assert!(rank > 0 || summary.tuples == 2000, "the first one is told what all read");
        }
        assert_eq!(counted(&log), (expected(&lines), 0), "{order:?}");
        log.close().unwrap();
    }
}

#[test]
fn who_is_missing_is_named_and_a_first_one_that_is_not_there_too() {
    let (_dir, log) = open();
    write_lines(&log, &text(10));
    let mut run = Run::new(&log, 4);
    run.options.join_wait_ms = 1500;
    let alone = run.rank(0);
    // One of the three comes, and the others do not.
    let came = run.rank(2);
    assert_eq!(
        why_not(alone),
        "worker processes [1, 3] of 4 did not join within 1.5s: see what they are doing, or run fewer"
    );
    assert!(why_not(came).contains("the run was given up"));
    let why = why_not(run.rank(1));
    assert!(why.contains(&format!("cannot join the first one at {}", run.leader)), "{why}");
    assert!(why.contains("it was tried for 1.5s"), "{why}");
    log.close().unwrap();
}

#[test]
fn who_may_not_join_is_told_why_and_the_run_goes_on_without_it() {
    let (_dir, log) = open();
    let lines = text(2000);
    write_lines(&log, &lines);
    let authority = Authority::new();
    let run = Run { tls: authority.worker(), ..Run::new(&log, 2) };
    let first = run.rank(0);
    let with = |tls| Placed { tls, ..run.placed(1) };
    let other = Authority::new();
    for (placed, wanted) in [
        (with(other.worker()), "BadSignature"),
        (with(authority.issue("egret://blue/worker/old", 2019)), "CertificateExpired"),
        (with(authority.issue("egret://blue/client/c", 4096)), "not of role `worker`"),
        (with(authority.issue("egret://blue/bookie/b", 4096)), "not of role `worker`"),
        (with(authority.issue("egret://red/worker/w", 4096)), "egret://blue/worker/w"),
        (Placed { count: 3, ..run.placed(2) }, "was told of 3 processes"),
    ] {
        let why = why_not(run.start(placed).0);
        assert!(why.contains("cannot join the first one"), "{why}");
        assert!(why.contains(wanted), "{wanted}: {why}");
    }
    let mut another = TopologyBuilder::new("words");
    let lines_again = another.spout("lines", 5, LogSpout::<Blob>::from_stream("lines").bounded());
    lines_again.unwrap().sink("out", LogSink::to_stream("counts")).unwrap();
    let another = another.finish().unwrap();
    let (placed, progress) = (Processes::Placed(run.placed(1)), Arc::<Progress>::default());
    let why = another.run_among(&log, &run.options, &progress, &placed).unwrap_err().to_string();
    assert!(why.contains("runs plan") && why.contains("the same arguments"), "{why}");
    run.rank(1).join().unwrap().unwrap();
    first.join().unwrap().unwrap();
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

/// They once spoke at the port of a run, and each cost it a thread for as long as it liked.
#[test]
fn strangers_at_the_port_cost_nothing_and_break_nothing() {
    use std::io::{Read as _, Write as _};
    let (_dir, log) = open();
    let lines = text(500);
    write_lines(&log, &lines);
    let run = Run::new(&log, 2);
    let first = run.rank(0);
    let connect = || loop {
        match TcpStream::connect(&run.leader) {
            Ok(stream) => return stream,
            Err(_) => thread::park_timeout(Duration::from_millis(10)),
        }
    };
    // Some that say nothing, as many as are heard at once.
    let silent: Vec<TcpStream> = (0..64).map(|_| connect()).collect();
    for garbage in [&b"EGMH"[..], &[0; 100], &[0xff; 100_000], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect();
        stream.write_all(garbage).unwrap_or_default();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        // Closed on them, at once or by the system.
        let read = stream.read_to_end(&mut answer);
        let waits = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!read.as_ref().is_err_and(waits), "it is never closed");
        assert!(answer.len() < 100, "an alert is all they get");
    }
    run.rank(1).join().unwrap().unwrap();
    first.join().unwrap().unwrap();
    drop(silent);
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

#[test]
fn a_rank_that_another_process_has_is_not_given_twice() {
    let (_dir, log) = open();
    let lines = text(500);
    write_lines(&log, &lines);
    let mut run = Run::new(&log, 3);
    run.options.join_wait_ms = 20_000;
    let first = run.rank(0);
    let one = run.rank(1);
    // Which of the two is let in is the same to everybody.
    run.options.join_wait_ms = 2000;
    thread::park_timeout(Duration::from_millis(500));
    let why = why_not(run.rank(1));
    assert!(why.contains("another process is rank 1, and is well"), "{why}");
    run.rank(2).join().unwrap().unwrap();
    one.join().unwrap().unwrap();
    first.join().unwrap().unwrap();
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

#[test]
fn an_address_that_is_none_is_said_with_what_to_write() {
    let (_dir, log) = open();
    write_lines(&log, &text(10));
    let run = Run::new(&log, 2);
    let why = why_not(run.start(Placed { leader: "127.0.0.1".into(), ..run.placed(0) }).0);
    assert!(why.contains("`127.0.0.1` is nowhere to listen at: it says no port"), "{why}");
    let why = why_not(run.start(Placed { leader: "192.0.2.1:7600".into(), ..run.placed(0) }).0);
    assert!(why.contains("192.0.2.1:7600") && why.contains("--listen"), "{why}");
    let why = why_not(run.start(Placed { rank: 2, ..run.placed(0) }).0);
    assert!(why.contains("rank"), "{why}");
    log.close().unwrap();
}
