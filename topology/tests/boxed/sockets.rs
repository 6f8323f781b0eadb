//! Lines over TCP: read at most once, sent at least once.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use egret::{
    BuildError, Emitter, Error, Generator, Guarantee, LogSink, Progress, RunOptions, SocketSink,
    SocketSpout, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom};
use egret_log::{Log, LogConfig};
use rustix::net::{AddressFamily, SocketType};

fn run(log: &Log, t: TopologyBuilder) -> Result<(), Error> {
    let options = RunOptions { commit_ms: 5, epoch_ms: 1, ..RunOptions::default() };
    t.finish()?.run(log, &options, &Arc::new(Progress::default())).map(drop)
}

#[test]
fn lines_of_a_connection_are_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let says = thread::spawn(move || {
        let (mut to, _) = listener.accept().unwrap();
        for n in 0..2000 {
            writeln!(to, "line {n}").unwrap();
        }
        to.write_all(b"the last").unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let mut t = TopologyBuilder::new("read");
    t.guarantee(Guarantee::AtMostOnce);
    let lines = t.spout("in", 1, SocketSpout::lines(&address)).unwrap();
    lines.sink("out", LogSink::to_stream("lines").partitions(1)).unwrap();
    run(&log, t).unwrap();
    says.join().unwrap();
    let mut reader = log.reader_of("lines", 0, ReadFrom::Earliest, &Format::Utf8).unwrap();
    let mut read = Vec::new();
    while read.len() < 2001 {
        let batch = reader.next_wait(std::time::Duration::from_secs(60)).unwrap().unwrap();
        let text = |record: &egret_log::stream::Record| record.value.to_vec();
        read.extend(batch.records.iter().map(text));
    }
    assert_eq!((&read[0][..], &read[1999][..]), (&b"line 0"[..], &b"line 1999"[..]));
    assert_eq!(read[2000], b"the last");
    drop(reader);
    log.close().unwrap();
}

#[test]
fn a_connection_is_refused_where_more_than_at_most_once_is_promised() {
    let mut t = TopologyBuilder::new("read");
    t.guarantee(Guarantee::AtLeastOnce);
    let lines = t.spout("in", 1, SocketSpout::lines("127.0.0.1:1")).unwrap();
    lines.sink("out", LogSink::to_stream("lines")).unwrap();
    let refused = t.finish().unwrap_err();
    assert!(
        matches!(&refused, Error::Build(why) if matches!(**why, BuildError::CannotReplay { .. })),
        "{refused}"
    );
}

#[test]
fn nobody_who_listens_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    // A port that nobody else gets meanwhile, and nobody listens at.
    let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&held).unwrap()).unwrap();
    let address = address.to_string();
    let mut t = TopologyBuilder::new("read");
    t.guarantee(Guarantee::AtMostOnce);
    let lines = t.spout("in", 1, SocketSpout::lines(&address)).unwrap();
    lines.sink("out", LogSink::to_stream("lines")).unwrap();
    let why = run(&log, t).unwrap_err().to_string();
    assert!(why.contains(&address) && why.contains("have something listen there"), "{why}");
    log.close().unwrap();
}

#[test]
fn each_tuple_is_sent_at_least_once_also_when_a_bolt_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Connection after connection, up to one that says so.
    let hears = thread::spawn(move || {
        let mut heard = BTreeSet::new();
        while !heard.contains("over") {
            let (from, _) = listener.accept().unwrap();
            heard.extend(BufReader::new(from).lines().map_while(Result::ok));
        }
        heard
    });
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let mut t = TopologyBuilder::new("send");
    t.guarantee(Guarantee::AtLeastOnce);
    let armed = Arc::new(AtomicBool::new(true));
    let numbers = t.spout("numbers", 1, Generator::new(|n| n).count(3000)).unwrap();
    let numbers = numbers
        .shuffle()
        .bolt("trap", 1, move || {
            let armed = Arc::clone(&armed);
            move |n: u64, out: &mut Emitter<u64>| {
                assert!(n < 1500 || !armed.swap(false, Ordering::Relaxed), "once");
                out.emit(n);
            }
        })
        .unwrap();
    let to = address.clone();
    let sink = move || SocketSink::<u64>::lines(&to);
    numbers.shuffle().sink("out", 1, sink).unwrap();
    run(&log, t).unwrap();
    writeln!(std::net::TcpStream::connect(&address).unwrap(), "over").unwrap();
    let heard = hears.join().unwrap();
    let missing: Vec<_> = (0..3000).filter(|n: &u32| !heard.contains(&n.to_string())).collect();
    assert_eq!(missing, [0; 0]);
    log.close().unwrap();
}
