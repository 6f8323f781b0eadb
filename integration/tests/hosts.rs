//! Worker processes on hosts of their own, killed, stopped and cut off: every word is counted once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "what the system has not is said")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use egret_integration::hosts::Hosts;
use egret_integration::words::Lines;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_placed_word_count");
const COUNT: usize = 3;
const LINES: usize = 9000;

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(120);

fn certificates(dir: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("egret://blue/worker/w".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer).unwrap().pem();
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("cert.pem"), cert).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(dir.join("ca.pem"), ca).unwrap();
}

struct World {
    dir: tempfile::TempDir,
    hosts: Hosts,
    log: Log,
    processes: Vec<Child>,
}

impl World {
    fn new() -> World {
        let mut world = World::of(&text());
        fs::write(world.dir.path().join("slow"), "").unwrap();
        for rank in [2, 0, 1] {
            let child = world.start(rank);
            world.processes.push(child);
        }
        world.processes.rotate_left(1);
        world
    }

    /// Lines, and nobody who counts them.
    fn of(lines: &[String]) -> World {
        let dir = tempfile::tempdir_in(egret_integration::scratch()).unwrap();
        let (hosts, without) = Hosts::new(u8::try_from(COUNT).unwrap());
        if let Some(why) = without {
            eprintln!("no network namespaces, so hosts are loopback addresses: {why:#}");
        }
        certificates(&dir.path().join("tls"));
        let config = LogConfig { serve: true, shared: true, ..LogConfig::default() };
        let log = Log::open(&dir.path().join("data"), config).unwrap();
        let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
        for (i, lines) in (0u32..).zip(lines.chunks(100)) {
            let records: Vec<Record> = lines.iter().map(|line| Record::of(line.clone())).collect();
            log.writer("lines", i % 4).unwrap().append_wait(&records).unwrap();
        }
        World { dir, hosts, log, processes: Vec::new() }
    }

    fn start(&self, rank: usize) -> Child {
        self.command(rank, COUNT).spawn().unwrap()
    }

    fn command(&self, rank: usize, count: usize) -> Command {
        let path = |name: &str| self.dir.path().join(name);
        let leader = SocketAddr::new(self.hosts.address(0), 7600).to_string();
        let mut command = self.hosts.command(rank, Path::new(PROGRAM));
        command.arg("--data").arg(path("data")).arg("--tls").arg(path("tls"));
        command.arg("--slow").arg(path("slow")).args(["--leader", &leader]);
        command.args(["--rank", &rank.to_string(), "--count", &count.to_string()]);
        command.args(["--listen", &self.hosts.address(rank).to_string()]);
        command.stdin(Stdio::null());
        command
    }

    fn signal(&self, rank: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.processes[rank]), signal).unwrap();
    }

    fn kill(&mut self, rank: usize) {
        self.processes[rank].kill().unwrap();
        self.processes[rank].wait().unwrap();
    }

    /// The last count of each word, how often a count did not rise, and how many records there are.
    fn counted(&self) -> (BTreeMap<Vec<u8>, u64>, usize, usize) {
        let (mut last, mut repeats, mut records) = (BTreeMap::new(), 0, 0);
        let Ok(stream) = self.log.stream("counts") else { return (last, 0, 0) };
        for partition in 0..stream.config.partitions {
            let mut reader = self.log.reader("counts", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                for record in batch.records {
                    let count = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                    let before = last.insert(record.key.unwrap().to_vec(), count);
                    repeats += usize::from(before.is_some_and(|before| before >= count));
                    records += 1;
                }
            }
        }
        (last, repeats, records)
    }

    /// Waits until it counts, from here on.
    fn goes_on(&mut self, what: &str) {
        let before = self.counted().2;
        let until = clock::now() + LONG;
        while self.counted().2 <= before {
            assert!(clock::now() < until, "nothing is counted after: {what}");
            for (rank, process) in self.processes.iter_mut().enumerate() {
                let ended = process.try_wait().unwrap();
                assert!(ended.is_none(), "{rank} ended after: {what}: {ended:?}");
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn ended(&mut self, rank: usize, until: Instant) -> ExitStatus {
        loop {
            if let Some(status) = self.processes[rank].try_wait().unwrap() {
                return status;
            }
            assert!(clock::now() < until, "{rank} does not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that ended is let be.
            process.kill().unwrap_or_default();
            drop(process.wait());
        }
    }
}

fn text() -> Vec<String> {
    (0..LINES).map(|i| format!("the {} fox {} times the {}", i % 7, i % 11, i % 3)).collect()
}

fn expected() -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in text().iter().flat_map(|line| line.split(' ')) {
        *counts.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
    }
    counts
}

#[test]
fn every_word_is_counted_once_whatever_becomes_of_the_hosts() {
    let mut world = World::new();
    world.goes_on("the start");

    world.kill(1);
    world.processes[1] = world.start(1);
    world.goes_on("a member was killed and started again");

    // The run goes on without waiting for it to say goodbye; when it wakes it joins again.
    world.signal(2, Signal::STOP);
    std::thread::park_timeout(Duration::from_secs(4));
    world.signal(2, Signal::CONT);
    world.goes_on("a member stood still");

    world.kill(0);
    world.processes[0] = world.start(0);
    world.goes_on("the first one was killed and started again, and the others found it");

    world.signal(0, Signal::STOP);
    std::thread::park_timeout(Duration::from_secs(4));
    world.signal(0, Signal::CONT);
    world.goes_on("the first one stood still");

    // What stood still is replaced, and finds its place taken when it wakes.
    world.signal(1, Signal::STOP);
    let other = world.start(1);
    let mut stopped = std::mem::replace(&mut world.processes[1], other);
    world.goes_on("one that stood still was replaced");
    kill_process(Pid::from_child(&stopped), Signal::CONT).unwrap();
    world.goes_on("the one that was replaced woke");
    stopped.kill().unwrap();
    stopped.wait().unwrap();

    if world.hosts.are_apart() {
        for host in [1, 0] {
            world.hosts.plug(host, false).unwrap();
            std::thread::park_timeout(Duration::from_secs(4));
            world.hosts.plug(host, true).unwrap();
            world.goes_on("a host was cut off");
        }
    }
    world.kill(0);
    world.kill(2);
    world.processes[0] = world.start(0);
    world.processes[2] = world.start(2);
    world.goes_on("two were killed");

    fs::remove_file(world.dir.path().join("slow")).unwrap();
    let until = clock::now() + LONG;
    for rank in 0..COUNT {
        let status = world.ended(rank, until);
        assert!(status.success(), "{rank}: {status}");
    }
    let (counts, repeats, _) = world.counted();
    assert_eq!((counts, repeats), (expected(), 0));
}

/// Ticks of processor time of this process's children that were waited for, and of theirs.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap()
}

/// `cargo test --release -p egret-integration --test hosts -- --ignored --nocapture`
#[test]
#[ignore = "it measures"]
fn what_tls_costs_two_processes_that_count_words() {
    let lines = Lines::generate(64 << 20, 100_000);
    let line = |index| lines.get(index).map(|line| String::from_utf8_lossy(line).into_owned());
    let lines: Vec<String> = (0..).map_while(line).collect();
    let mut seen: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let world = World::of(&lines);
        let before = ticks();
        let began = clock::now();
        let together = round % 2 == 0;
        let ranks = if together { 0..1 } else { 0..2 };
        let start = |rank| {
            let mut command = world.command(rank, 2);
            command.args(["--epoch-bytes", "1048576"]);
            if together {
                command.arg("--together");
            }
            command.spawn().unwrap()
        };
        for mut child in ranks.map(start).collect::<Vec<Child>>() {
            assert!(child.wait().unwrap().success());
        }
        let spent = ticks() - before;
        seen[usize::from(!together)].push(spent);
        let took = clock::now().duration_since(began);
        eprintln!("{}: {spent} ticks of CPU, {took:?}", if together { "plain" } else { "TLS" });
    }
    for seen in &mut seen {
        seen.sort_unstable();
    }
    let [plain, tls] = seen.map(|seen| seen[seen.len() / 2]);
    eprintln!(
        "CPU with TLS / without: {tls} / {plain} = {}.{:02}",
        tls / plain,
        tls * 100 / plain % 100
    );
}
