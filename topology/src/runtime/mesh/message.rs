//! What leader and members tell each other, and how it is framed.
//!
//! `{length u32, message}`, the message as `postcard` writes it: both ends are the same binary, which the
//! [`hello`](super::hello) made sure of.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;

use egret_schemas::{Generation, LedgerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataflow::Failure;

/// Bytes of one message. The largest is a `Begin`, with the commit record in it.
const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// From the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMember {
    /// It is there.
    Beat,
    /// A generation begins.
    Begin(Box<Begin>),
    /// It is given up.
    GiveUp { generation: Generation },
    /// The answer to `OpenLedger`: a ledger listed in the topology's record, or why there is none.
    Ledger { request: u64, listed: Result<LedgerId, String> },
    /// The topology finished.
    Finished,
    /// It failed, or was refused: the leader says so to the user.
    Stop,
}

/// From a member.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLeader {
    /// It is there, and has done so much since it last said.
    Beat(Done),
    /// Where other processes connect to it; said once, first.
    Listens { at: SocketAddr },
    /// Its part of a generation ended, in order or not.
    Ended { generation: Generation, failure: Option<Failure>, done: Done },
    /// A task needs another state ledger.
    OpenLedger { generation: Generation, request: u64 },
}

/// What a process emitted since it last said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) tuples: u64,
    pub(crate) bytes: u64,
    /// The most bytes that were between components at once, ever.
    pub(crate) peak_bytes: u64,
}

/// What a member needs to run its part of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) generation: Generation,
    /// The generation's first commit record, encoded.
    pub(crate) record: Vec<u8>,
    /// Tasks of each component, with what streams dictate.
    pub(crate) parallelism: Vec<u32>,
    /// Worker threads of each process.
    pub(crate) threads: u32,
    /// The new changelogs of the member's own tasks: component, task, ledger.
    pub(crate) state: Vec<(u32, u32, LedgerId)>,
    /// Ledgers of others that the record may name: a fork's.
    pub(crate) of_others: BTreeSet<LedgerId>,
    /// Whether a generation of this run failed before.
    pub(crate) restarted: bool,
    pub(crate) in_flight_bytes_max: u64,
    pub(crate) epoch_bytes: u64,
    /// Where each process listens; the leader at its control address.
    pub(crate) mesh: Vec<SocketAddr>,
}

pub(crate) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(message, bytes).map_err(io::Error::other)?;
    let length = bytes.len() - 4;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {length} bytes"),
        ));
    }
    let prefix = u32::try_from(length).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&prefix.to_le_bytes());
    to.write_all(&bytes)
}

pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix)?;
    let length = u32::from_le_bytes(prefix) as usize;
    let strange = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if length > MESSAGE_BYTES_MAX {
        return Err(strange(format!("a message of {length} bytes")));
    }
    // As it comes, so that a length alone takes no memory.
    let mut bytes = Vec::new();
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&bytes)
        .map_err(|why| strange(format!("a message that does not decode: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_and_a_torn_or_oversized_one_is_an_error() {
        let begin = Begin {
            generation: Generation(4),
            record: vec![1, 2],
            parallelism: vec![1, 4],
            threads: 2,
            state: vec![(1, 3, LedgerId(17))],
            of_others: [LedgerId(2)].into(),
            restarted: true,
            in_flight_bytes_max: 5,
            epoch_bytes: 6,
            mesh: vec!["127.0.0.1:4000".parse().unwrap()],
        };
        let mut bytes = Vec::new();
        write(&mut bytes, &ToMember::Begin(Box::new(begin.clone()))).unwrap();
        let ToMember::Begin(back) = read(&mut &bytes[..]).unwrap() else {
            panic!("another message")
        };
        assert_eq!(*back, begin);
        for cut in 0..bytes.len() {
            assert!(read::<ToMember>(&mut &bytes[..cut]).is_err(), "{cut} bytes of it");
        }
        let huge = [0xff; 8];
        let why = read::<ToMember>(&mut &huge[..]).unwrap_err();
        assert_eq!(why.to_string(), "a message of 4294967295 bytes");
    }
}
