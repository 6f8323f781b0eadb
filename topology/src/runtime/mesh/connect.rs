//! The connections of one generation: each process connects to those before it and waits for those after.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use egret_log::clock;
use egret_schemas::Generation;
use xxhash_rust::xxh3::Xxh3;

use super::door::{Door, HELLO_WAIT};
use super::hello::{self, Hello, Kind, Secret, Verdict};
use crate::dataflow::{Failure, Peers};

/// How long the processes of a generation wait for each other's connections: each of them first opens what
/// its tasks need.
const MESH_WAIT: Duration = Duration::from_secs(60);

/// Who this process is to the others.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) rank: u32,
    pub(crate) build: u64,
    pub(crate) plan: u64,
    pub(crate) secret: Secret,
}

impl Identity {
    /// Connects to `rank` at `at` and says hello.
    pub(crate) fn greet(
        &self,
        at: SocketAddr,
        to: u32,
        (kind, generation): (Kind, Generation),
    ) -> io::Result<Result<TcpStream, Verdict>> {
        let mut stream = TcpStream::connect_timeout(&at, HELLO_WAIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HELLO_WAIT))?;
        stream.set_write_timeout(Some(HELLO_WAIT))?;
        let Identity { rank, build, plan, .. } = *self;
        let hello = Hello { kind, rank, to, generation, build, plan };
        Ok(hello::say(&mut stream, hello, &self.secret)?.map(|()| stream))
    }
}

/// Connects this process to all others of a generation.
pub(crate) fn mesh(
    identity: &Identity,
    addresses: &[SocketAddr],
    generation: Generation,
    door: &Door,
    given_up: &dyn Fn() -> bool,
) -> Result<Peers, Failure> {
    let me = identity.rank;
    let until = clock::now() + MESH_WAIT;
    door.forget_before(generation);
    let connection =
        |kind: Kind, rank: u32, at: SocketAddr| -> Result<Option<TcpStream>, Failure> {
            let lost = |why: &dyn std::fmt::Display| {
                Failure::severed(format!("worker process {rank} could not be reached: {why}"))
            };
            if rank == me {
                return Ok(None);
            }
            if rank > me {
                let came = door.take((generation, kind, rank), until, given_up);
                return came.map(Some).ok_or_else(|| lost(&"it did not come"));
            }
            match identity.greet(at, rank, (kind, generation)) {
                Ok(Ok(stream)) => Ok(Some(stream)),
                Ok(Err(verdict)) => Err(lost(&verdict.reason())),
                Err(why) => Err(lost(&why)),
            }
        };
    let all = |kind| -> Result<Vec<Option<TcpStream>>, Failure> {
        (0..).zip(addresses).map(|(rank, at)| connection(kind, rank, *at)).collect()
    };
    Ok(Peers { me: me as usize, data: all(Kind::Data)?, credit: all(Kind::Credit)? })
}

/// A number of this very binary.
pub(crate) fn build() -> io::Result<u64> {
    static BUILD: OnceLock<u64> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(*build);
    }
    // Not by its path: that may lead to another one meanwhile.
    let mut file = File::open("/proc/self/exe")?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(*BUILD.get_or_init(|| hasher.digest()))
}
