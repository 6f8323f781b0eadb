//! A Redis of one's own: `appendfsync always`, so that it answers when its file is synced, and the few
//! words of its protocol that appending takes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use egret_log::clock;

use super::host;
use super::latencies::Latencies;
use super::load::{Producer, rest_until};

/// How to get it.
pub const INSTALL: &str =
    "redis-server is not there: `apt-get install redis-server`, and its rows will be";

/// How long it may take to start.
const START_WAIT: Duration = Duration::from_secs(10);

/// A server and its directory; both end when this is dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// Starts one on a free port; `None` when Redis is not installed.
    ///
    /// # Errors
    /// When it is there and does not start.
    pub fn start() -> anyhow::Result<Option<Redis>> {
        let dir = tempfile::tempdir_in(crate::scratch())?;
        // Somebody else may take the port in between: then it does not start, and says so.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let spawned = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"])
            .args(["--port", &port.to_string()])
            .arg("--dir")
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = spawned else { return Ok(None) };
        let mut redis = Redis { child, port, _dir: dir };
        redis.wait_until_up()?;
        Ok(Some(redis))
    }

    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let begin = clock::now();
        while begin.elapsed() < START_WAIT {
            if let Ok(mut producer) = self.producer() {
                return producer.is_durable();
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("redis-server ended with {status}: run it by hand to see why");
            }
            rest_until(clock::now() + Duration::from_millis(5));
        }
        bail!("redis-server did not answer within {START_WAIT:?}")
    }

    /// A connection that appends.
    ///
    /// # Errors
    /// When it does not come about.
    pub fn producer(&self) -> anyhow::Result<RedisProducer> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        Ok(RedisProducer {
            stream,
            requests: Vec::new(),
            answers: Vec::new(),
            meant: VecDeque::new(),
            latencies: Latencies::new(),
        })
    }

    /// CPU seconds it used.
    pub fn cpu_seconds(&self) -> f64 {
        host::cpu_seconds_of(self.child.id())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Appends to one of its streams; requests go out together when the answers are waited for.
#[derive(Debug)]
pub struct RedisProducer {
    stream: TcpStream,
    requests: Vec<u8>,
    answers: Vec<u8>,
    meant: VecDeque<Instant>,
    latencies: Latencies,
}

impl RedisProducer {
    /// Makes sure that it syncs before it answers.
    fn is_durable(&mut self) -> anyhow::Result<()> {
        self.ask(&[b"CONFIG", b"GET", b"appendfsync"]);
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        let answer = "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n";
        let mut said = vec![0; answer.len()];
        self.stream.read_exact(&mut said)?;
        if said != answer.as_bytes() {
            bail!("redis-server does not sync always: {}", String::from_utf8_lossy(&said));
        }
        Ok(())
    }

    fn ask(&mut self, words: &[&[u8]]) {
        self.requests.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.requests.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.requests.extend_from_slice(word);
            self.requests.extend_from_slice(b"\r\n");
        }
    }

    fn receive(&mut self) -> anyhow::Result<()> {
        let mut space = [0; 16 << 10];
        let read = self.stream.read(&mut space)?;
        if read == 0 {
            bail!("redis-server closed the connection");
        }
        self.answers.extend_from_slice(&space[..read]);
        let now = clock::now();
        let mut at = 0;
        while let Some(bytes) = answer(&self.answers[at..])? {
            at += bytes;
            let meant = self.meant.pop_front().context("an answer to nothing")?;
            self.latencies.add(now.saturating_duration_since(meant));
        }
        self.answers.drain(..at);
        Ok(())
    }
}

/// How long the answer to an append in front of `bytes` is, if it is there as a whole.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..line])?;
    let Some(len) = head.strip_prefix('$') else { bail!("redis-server answered {head}") };
    let whole = line + 2 + len.parse::<usize>()? + 2;
    Ok((bytes.len() >= whole).then_some(whole))
}

impl Producer for RedisProducer {
    fn append_wait(&mut self, value: &Bytes) -> anyhow::Result<()> {
        self.append(value, clock::now())?;
        self.settle(0)
    }

    fn append(&mut self, value: &Bytes, meant: Instant) -> anyhow::Result<()> {
        self.ask(&[b"XADD", b"bench", b"*", b"v", value]);
        self.meant.push_back(meant);
        Ok(())
    }

    fn settle(&mut self, outstanding: usize) -> anyhow::Result<()> {
        self.stream.write_all(&self.requests)?;
        self.requests.clear();
        while self.meant.len() > outstanding {
            self.receive()?;
        }
        Ok(())
    }

    fn take_latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_all_of_it_is_there() {
        assert_eq!(answer(b"$3\r\n1-0\r\n$3").unwrap(), Some(9));
        for part in ["", "$3", "$3\r\n1-0\r"] {
            assert_eq!(answer(part.as_bytes()).unwrap(), None, "{part}");
        }
        assert!(answer(b"-OOM no room\r\n").is_err());
    }

    #[test]
    fn every_append_to_a_redis_is_answered() {
        let Some(redis) = Redis::start().unwrap() else { return println!("{INSTALL}") };
        let mut producer = redis.producer().unwrap();
        let value = Bytes::from_static(b"some value");
        for _ in 0..100 {
            producer.append(&value, clock::now()).unwrap();
        }
        producer.settle(0).unwrap();
        producer.append_wait(&value).unwrap();
        assert_eq!(producer.take_latencies().count(), 101);
        assert!(redis.cpu_seconds() >= 0.0);
    }
}
