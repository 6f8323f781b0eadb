//! The connections of one generation: each process connects to those before it and waits for those after.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use egret_log::clock;
use egret_schemas::Generation;
use xxhash_rust::xxh3::Xxh3;

use super::MeshError;
use super::door::{Door, HELLO_WAIT};
use super::hello::{self, Expected, Hello, Kind, Refused};
use super::link::{Link, Trust};
use crate::dataflow::{Failure, Peers};

/// How long the processes of a generation wait for each other's connections: each of them first opens what
/// its tasks need.
const MESH_WAIT: Duration = Duration::from_secs(60);

/// Who this process is to the others.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) rank: u32,
    pub(crate) count: u32,
    /// A number of this process alone.
    pub(crate) process: u64,
    pub(crate) build: u64,
    pub(crate) plan: u64,
    pub(crate) trust: Trust,
}

impl Identity {
    /// This process's, at a rank of so many.
    pub(crate) fn new(
        (rank, count): (u32, u32),
        plan: u64,
        trust: Trust,
    ) -> Result<Identity, MeshError> {
        let system = |what| move |source| MeshError::System { what, source };
        let mut process = [0; 8];
        rustix::rand::getrandom(&mut process, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| system("randomness")(why.into()))?;
        let build = build().map_err(system("reading the running binary"))?;
        Ok(Identity { rank, count, process: u64::from_le_bytes(process), build, plan, trust })
    }

    /// What others are held to who come here.
    pub(crate) fn expected(&self) -> Expected {
        let Identity { rank, count, build, plan, .. } = *self;
        Expected { rank, count, build, plan }
    }

    /// Connects to `rank` at `at` and says hello.
    pub(crate) fn greet(
        &self,
        at: SocketAddr,
        to: u32,
        (kind, generation): (Kind, Generation),
    ) -> io::Result<Result<Link, Refused>> {
        let until = clock::now() + HELLO_WAIT;
        let stream = TcpStream::connect_timeout(&at, HELLO_WAIT)?;
        let Identity { rank, count, process, build, plan, ref trust } = *self;
        let hello = Hello { kind, rank, to, count, generation, process, build, plan };
        let link = match trust {
            Trust::Secret(_) => Link::Plain(stream),
            Trust::Certificate(tls) => {
                let (stream, named) = tls.connect(stream, until)?;
                if !tls.admits(&named) {
                    let why = format!(
                        "the certificate shown there names {named}, and a worker process of {} was looked for",
                        tls.own().cluster
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Link::Secure(stream)
            }
        };
        let said = hello::say(&mut link.within(until), hello, trust.secret())?;
        Ok(said.map(|()| link))
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
    let connection = |kind: Kind, rank: u32, at: SocketAddr| -> Result<Option<Link>, Failure> {
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
            Ok(Ok(link)) => Ok(Some(link)),
            Ok(Err(refused)) => Err(lost(&refused)),
            Err(why) => Err(lost(&why)),
        }
    };
    let all = |kind| -> Result<Vec<Option<Link>>, Failure> {
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
