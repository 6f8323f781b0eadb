//! State read over HTTP from a server with one core, a topology committing or not, against a Redis with the
//! same core, the same keys, values of the same bytes and the same number of requests on their way.
//!
//! ```text
//! cargo bench -p egret-integration --bench state_reads -- [--rounds 5] [--seconds 2] [--keys 100000] [--depths 1,16,64]
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use egret::replica::follow::Beside;
use egret::replica::{Follower, Replica, ReplicaOptions, schema_key};
use egret_integration::bench::host::{cpu_seconds_of, load_average};
use egret_integration::bench::latencies::{Latencies, Row};
use egret_integration::bench::rows::Rows;
use egret_integration::sim::dice::Dice;
use egret_log::{Log, LogConfig, clock};
use egret_state::keyed::Key as _;
use egret_state::keyed::format::{Format, Schema, StateFormat};
use egret_state_server::{ServerOptions, StateServer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Keys of the topology at rest.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Requests on their way, on one connection.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    depths: Vec<usize>,
    /// Serve this directory, and say where
    #[arg(long, hide = true)]
    serve: Option<std::path::PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Keys of the topology that commits: all of them change in each commit.
const RUNNING_KEYS: u64 = 1000;
/// The core of whoever is measured, and that of everybody else.
const MEASURED: &str = "0";
const OTHERS: &str = "1";

/// What `lockstep` keeps for a key.
#[derive(serde::Deserialize)]
struct Steps {
    #[serde(rename = "count")]
    _count: u64,
    #[serde(rename = "last")]
    _last: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match &options.serve {
        Some(dir) => serve(dir),
        None => measure(&options),
    }
}

fn serve(dir: &Path) -> anyhow::Result<()> {
    let replica = Replica::new("lockstep", ReplicaOptions::default());
    let follower = Follower::start(replica, Beside::new(dir))?;
    follower.wait_first(Duration::from_secs(60)).map_err(anyhow::Error::msg)?;
    let server = StateServer::start(follower, ServerOptions::new("127.0.0.1:0".parse()?))?;
    println!("{}", server.address());
    // Until whoever started it ends.
    let mut rest = String::new();
    std::io::stdin().read_to_string(&mut rest)?;
    Ok(())
}

/// A process on a core; killed when it is dropped.
struct On(Child);

impl On {
    fn core(core: &str, program: &str, args: &[&str]) -> anyhow::Result<On> {
        On::core_saying(core, program, args, Stdio::null())
    }

    fn core_saying(core: &str, program: &str, args: &[&str], out: Stdio) -> anyhow::Result<On> {
        let spawned = Command::new("taskset")
            .args(["-c", core, program])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out)
            .spawn();
        Ok(On(spawned.with_context(|| format!("taskset -c {core} {program}"))?))
    }

    fn says(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().context("it is piped")?).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for On {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

/// A directory in which `lockstep` kept something for so many keys.
fn written(dir: &Path, keys: u64) -> anyhow::Result<()> {
    let state = StateFormat::Plain(Format::of::<Steps>());
    let schema = Schema { label: String::new(), key: str::format(), state };
    let log = Log::open(dir, LogConfig::default())?;
    let key = schema_key("lockstep", schema.id());
    let op = egret_log::metadata::Op::Put(key, schema.to_string().into_bytes());
    log.metadata().txn(&[], &[op])?;
    log.close()?;
    let dir = dir.to_str().context("a path of Unicode")?;
    let ran = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["--data", dir, "5", &keys.to_string()])
        .status()?;
    ensure!(ran.success(), "lockstep ended with {ran}");
    Ok(())
}

/// Somebody who is asked for keys.
trait Asked {
    fn ask(&self, key: u64, out: &mut Vec<u8>);
    /// How long the answer in front is, if it is there as a whole.
    fn answer(&self, bytes: &[u8]) -> anyhow::Result<Option<usize>>;
}

struct Http;

impl Asked for Http {
    fn ask(&self, key: u64, out: &mut Vec<u8>) {
        let path = format!("GET /v1/state/steps/key%20{key:03} HTTP/1.1\r\nhost: x\r\n\r\n");
        out.extend_from_slice(path.as_bytes());
    }

    fn answer(&self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..end])?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "));
        let whole = end + 4 + length.context("a length")?.parse::<usize>()?;
        Ok((bytes.len() >= whole).then_some(whole))
    }
}

struct Redis;

impl Asked for Redis {
    fn ask(&self, key: u64, out: &mut Vec<u8>) {
        let key = format!("key {key:03}");
        out.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes());
    }

    fn answer(&self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&bytes[..line])?;
        let Some(length) = head.strip_prefix('$') else { bail!("redis-server answered {head}") };
        ensure!(length != "-1", "a key is not there");
        let whole = line + 2 + length.parse::<usize>()? + 2;
        Ok((bytes.len() >= whole).then_some(whole))
    }
}

/// Asks for keys at random, so many at once, on one connection.
fn load(
    asked: &impl Asked,
    address: SocketAddr,
    pid: u32,
    (keys, depth): (u64, usize),
    time: Duration,
) -> anyhow::Result<Row> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut dice = Dice::new(11, "which keys");
    let (mut latencies, mut sent): (Latencies, VecDeque<Instant>) = Default::default();
    let (mut out, mut answers, mut space) = (Vec::new(), Vec::new(), vec![0; 256 << 10]);
    let (began, cpu) = (clock::now(), cpu_seconds_of(pid));
    let mut bytes = 0;
    while began.elapsed() < time || !sent.is_empty() {
        out.clear();
        if began.elapsed() < time {
            // Half of them at a time, so that nobody waits for the other.
            let more = if sent.len() <= depth / 2 { depth - sent.len() } else { 0 };
            for _ in 0..more {
                asked.ask(dice.roll(keys), &mut out);
                sent.push_back(clock::now());
            }
        }
        stream.write_all(&out)?;
        let read = stream.read(&mut space)?;
        ensure!(read > 0, "the connection was closed");
        answers.extend_from_slice(&space[..read]);
        let (now, mut at) = (clock::now(), 0);
        while let Some(whole) = asked.answer(&answers[at..])? {
            at += whole;
            bytes += whole;
            latencies.add(now.duration_since(sent.pop_front().context("an answer to nothing")?));
        }
        answers.drain(..at);
    }
    let took = began.elapsed();
    let each = bytes / usize::try_from(latencies.count().max(1))?;
    Ok(latencies.row(took, (1, each), cpu_seconds_of(pid) - cpu))
}

/// A Redis with the same keys, and values of as many bytes as an answer's state.
fn redis(keys: u64) -> anyhow::Result<Option<(On, SocketAddr)>> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let args = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
    let Ok(mut server) = On::core(MEASURED, "redis-server", &args) else { return Ok(None) };
    let deadline = clock::now() + Duration::from_secs(10);
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if server.0.try_wait()?.is_some() => return Ok(None),
            Err(error) if clock::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    let value = "{\"count\":5,\"last\":4}";
    for key in 0..keys {
        let key = format!("key {key:03}");
        let (n, m) = (key.len(), value.len());
        let set = format!("*3\r\n$3\r\nSET\r\n${n}\r\n{key}\r\n${m}\r\n{value}\r\n");
        stream.write_all(set.as_bytes())?;
        let mut ok = [0; 5];
        stream.read_exact(&mut ok)?;
    }
    Ok(Some((server, address)))
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let own = own.to_str().context("a path of Unicode")?;
    let pin = ["-cp", OTHERS, &std::process::id().to_string()];
    let pinned = Command::new("taskset").args(pin).stdout(Stdio::null()).status();
    ensure!(pinned.is_ok_and(|status| status.success()), "taskset is needed (util-linux)");
    let scratch = egret_integration::scratch();
    let (still, running) = (tempfile::tempdir_in(&scratch)?, tempfile::tempdir_in(&scratch)?);
    written(still.path(), options.keys)?;
    written(running.path(), RUNNING_KEYS)?;
    let dir = |dir: &tempfile::TempDir| dir.path().to_str().map(str::to_owned).context("a path");
    let (still_dir, running_dir) = (dir(&still)?, dir(&running)?);
    let (forever, keys) = (u64::MAX.to_string(), RUNNING_KEYS.to_string());
    let committing = ["--data", &running_dir, "--commit-ms", "100", &forever, &keys, "100"];
    let _committing = On::core(OTHERS, env!("CARGO_BIN_EXE_lockstep"), &committing)?;
    let served = |dir: &str| -> anyhow::Result<(On, SocketAddr)> {
        let mut server = On::core_saying(MEASURED, own, &["--serve", dir], Stdio::piped())?;
        let address = server.says()?.parse()?;
        Ok((server, address))
    };
    let (at_rest, at_rest_address) = served(&still_dir)?;
    let (beside, beside_address) = served(&running_dir)?;
    let redis = redis(options.keys)?;
    if redis.is_none() {
        println!("{}", egret_integration::bench::redis::INSTALL);
    }
    println!("{} keys at rest; load average {}\n", options.keys, load_average());
    let (mut rows, time) = (Rows::new(), Duration::from_secs(options.seconds));
    for _ in 0..options.rounds {
        for &depth in &options.depths {
            let peer = format!("Redis GET: {depth} on their way");
            if let Some((server, address)) = &redis {
                let row = load(&Redis, *address, server.0.id(), (options.keys, depth), time)?;
                rows.add(&peer, row);
            }
            let name = format!("egret: {depth} on their way");
            let pid = at_rest.0.id();
            let row = load(&Http, at_rest_address, pid, (options.keys, depth), time)?;
            rows.add_against(&name, row, None, Some(&peer));
            let name = format!("egret, beside 10 commits a second: {depth} on their way");
            let pid = beside.0.id();
            let row = load(&Http, beside_address, pid, (RUNNING_KEYS, depth), time)?;
            rows.add_against(&name, row, None, Some(&peer));
        }
    }
    rows.print();
    Ok(())
}
