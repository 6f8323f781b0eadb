//! Connections to other processes, as timely wants them: it gets them established and never sees one break.
//!
//! Timely ends a process whose peer goes away: its receiving thread panics, poisons the queues of every
//! worker, and the workers panic with it. Here a connection that breaks gives the generation up instead.
//! Once the workers of this process have ended, the receiving thread is handed the rest of the message it
//! was in the middle of as zeros, which nobody will look at, and then the end of the stream in order; what
//! is still to be sent is dropped. So every thread of a generation ends by itself, and is joined.

use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use crate::runtime::Link;

/// Bytes read from a connection at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of the header before each of timely's messages: six big-endian numbers.
const HEADER: usize = 48;

/// Where the message's length stands in its header.
const LENGTH_AT: usize = 32;

/// Told which process's connection broke, and why.
pub(crate) type Lost = Box<dyn Fn(usize, io::Error) + Send + Sync>;

/// The connections of one generation in this process.
pub(crate) struct Wires {
    links: Vec<Link>,
    severed: AtomicBool,
    /// Workers of this process that have not ended.
    working: Mutex<usize>,
    ended: Condvar,
    lost: Lost,
}

impl Wires {
    /// Ends every connection; the generation is given up already.
    pub(crate) fn sever(&self) {
        self.severed.store(true, Ordering::Release);
        for link in &self.links {
            // One that is ended already stays so.
            link.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Acquire)
    }

    /// A worker of this process takes nothing from its queues any more.
    pub(crate) fn worker_ended(&self) {
        *self.working.lock().expect("no panic while held") -= 1;
        self.ended.notify_all();
    }

    fn wait_for_workers(&self) {
        let working = self.working.lock().expect("no panic while held");
        let all = self.ended.wait_while(working, |left| *left > 0);
        drop(all.expect("no panic while held"));
    }

    /// A peer sends no more notes of what it is done with: when there is work left, it is gone.
    pub(super) fn notes_ended(&self, remote: usize) {
        if *self.working.lock().expect("no panic while held") > 0 {
            self.broke(remote, io::ErrorKind::UnexpectedEof.into());
        }
    }

    fn broke(&self, remote: usize, why: io::Error) {
        if !self.is_severed() {
            (self.lost)(remote, why);
        }
        self.sever();
    }
}

/// Makes the workers' builders over established connections, `None` at this process's own place. The guard
/// is dropped when the workers are joined.
pub(crate) fn connect(
    links: Vec<Option<Link>>,
    me: usize,
    threads: usize,
    lost: Lost,
) -> io::Result<(Vec<AllocatorBuilder>, CommsGuard, Arc<Wires>)> {
    let mut handles = Vec::new();
    for link in links.iter().flatten() {
        link.set(None, None)?;
        handles.push(link.try_clone()?);
    }
    let wires = Arc::new(Wires {
        links: handles,
        severed: AtomicBool::new(false),
        working: Mutex::new(threads),
        ended: Condvar::new(),
        lost,
    });
    let wire = |(remote, link): (usize, Option<Link>)| {
        link.map(|link| Wire::new(link, remote, Arc::clone(&wires)))
    };
    let streams = links.into_iter().enumerate().map(wire).collect();
    let hooks = Hooks::default();
    // Serialising, so that a batch weighs the same wherever it goes.
    let inner = ProcessBuilder::new_bytes_vector(threads, hooks.refill.clone(), None);
    let (builders, guard) = initialize_networking_from_sockets(inner, streams, me, threads, hooks)?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), guard, wires))
}

/// One connection as timely holds it: in one thread that reads, and one that writes.
struct Wire {
    reader: BufReader<Link>,
    remote: usize,
    wires: Arc<Wires>,
    messages: Messages,
    /// What is handed out once the connection broke, and where that stands.
    rest: Option<(Vec<u8>, usize)>,
}

impl Wire {
    fn new(link: Link, remote: usize, wires: Arc<Wires>) -> Wire {
        let reader = BufReader::with_capacity(READ_BYTES, link);
        Wire { reader, remote, wires, messages: Messages::default(), rest: None }
    }

    fn link(&self) -> &Link {
        self.reader.get_ref()
    }

    /// Hands out what makes the stream end in order.
    fn go_out(&mut self, out: &mut [u8]) -> usize {
        let (rest, at) = self.rest.get_or_insert_with(|| (self.messages.ending(), 0));
        let n = out.len().min(rest.len() - *at);
        out[..n].copy_from_slice(&rest[*at..*at + n]);
        *at += n;
        n
    }
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_some() {
            return Ok(self.go_out(out));
        }
        match self.messages.read(&mut self.reader, out) {
            Ok(0) if self.messages.ended && !out.is_empty() => Ok(0),
            Ok(n) if n > 0 || out.is_empty() => Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            broken => {
                let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "it ended");
                self.wires.broke(self.remote, broken.err().unwrap_or_else(ended));
                self.wires.wait_for_workers();
                Ok(self.go_out(out))
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut link = self.link();
        match link.write(bytes) {
            Ok(n) if n > 0 || bytes.is_empty() => Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            broken => {
                let ended = || io::ErrorKind::WriteZero.into();
                self.wires.broke(self.remote, broken.err().unwrap_or_else(ended));
                // Nobody is there to read it.
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Wire {
    fn try_clone(&self) -> io::Result<Wire> {
        Ok(Wire::new(self.link().try_clone()?, self.remote, Arc::clone(&self.wires)))
    }

    fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        // Timely asks for one that blocks, which a link does.
        Ok(())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // A peer that is gone needs no goodbye.
        self.link().shutdown(how).unwrap_or_default();
        Ok(())
    }
}

/// Where one message ends and the next begins, so that a stream that breaks can be ended in order. A header
/// is handed on whole or not at all.
struct Messages {
    head: [u8; HEADER],
    /// Bytes of the header read, and of those handed on once it is whole.
    filled: usize,
    handed: usize,
    /// Bytes of the message's body still to come.
    body: usize,
    /// A message without a body was seen: nothing follows it.
    ended: bool,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages { head: [0; HEADER], filled: 0, handed: 0, body: 0, ended: false }
    }
}

impl Messages {
    fn read(&mut self, from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
        while self.body == 0 && self.filled < HEADER {
            match from.read(&mut self.head[self.filled..])? {
                0 => return Ok(0),
                n => self.filled += n,
            }
        }
        if self.handed < self.filled {
            let n = out.len().min(HEADER - self.handed);
            out[..n].copy_from_slice(&self.head[self.handed..self.handed + n]);
            self.handed += n;
            if self.handed == HEADER {
                self.body = self.length();
                self.ended = self.body == 0;
                (self.filled, self.handed) = (0, 0);
            }
            return Ok(n);
        }
        let most = out.len().min(self.body);
        let n = from.read(&mut out[..most])?;
        self.body -= n;
        Ok(n)
    }

    #[expect(clippy::big_endian_bytes, reason = "that is how timely writes its headers")]
    fn length(&self) -> usize {
        let bytes = self.head[LENGTH_AT..LENGTH_AT + 8].try_into().expect("eight bytes");
        usize::try_from(u64::from_be_bytes(bytes)).unwrap_or(usize::MAX)
    }

    /// What is missing of the message under way, and the one that ends the stream.
    fn ending(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        if self.handed > 0 {
            rest.extend_from_slice(&self.head[self.handed..]);
            rest.resize(rest.len() + self.length(), 0);
        }
        rest.resize(rest.len() + self.body, 0);
        if !self.ended {
            rest.resize(rest.len() + HEADER, 0);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use timely::communication::networking::MessageHeader;

    fn message(body: &[u8]) -> Vec<u8> {
        let header = MessageHeader {
            channel: 1,
            source: 2,
            target_lower: 0,
            target_upper: 1,
            length: body.len(),
            seqno: 3,
        };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Reads to the end in pieces of `size`, as if the sender went away after the first `cut` bytes.
    fn broken_off(sent: &[u8], cut: usize, size: usize) -> Vec<u8> {
        let mut messages = Messages::default();
        let mut from = &sent[..cut];
        let mut got = Vec::new();
        let mut piece = vec![0; size];
        loop {
            match messages.read(&mut from, &mut piece).unwrap() {
                0 => break,
                n => got.extend_from_slice(&piece[..n]),
            }
        }
        got.extend(messages.ending());
        got
    }

    /// The lengths of whole messages, the one that ends the stream last.
    fn lengths(mut bytes: &[u8]) -> Vec<usize> {
        let mut found = Vec::new();
        while let Some(header) = MessageHeader::try_read(bytes) {
            found.push(header.length);
            bytes = &bytes[header.required_bytes()..];
        }
        assert!(bytes.is_empty(), "{} bytes are no whole message", bytes.len());
        found
    }

    #[test]
    fn wherever_a_stream_breaks_off_it_ends_in_order() {
        let sent = [message(b"abc"), message(&[7; 100]), message(b"")].concat();
        for cut in 0..=sent.len() {
            for size in [1, 7, 48, 1000] {
                let got = broken_off(&sent, cut, size);
                let lengths = lengths(&got);
                let (last, before) = lengths.split_last().unwrap();
                assert_eq!(*last, 0, "cut at {cut}, pieces of {size}");
                assert!([3, 100].starts_with(before), "{before:?}: cut at {cut}, pieces of {size}");
            }
        }
    }

    #[test]
    fn a_connection_that_breaks_is_told_of_and_its_threads_end_once_the_workers_have() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mine = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let lost = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lost);
        let on_lost: Lost = Box::new(move |remote, _| told.lock().unwrap().push(remote));
        let (builders, guard, wires) =
            connect(vec![None, Some(Link::Plain(mine))], 0, 1, on_lost).unwrap();
        theirs.write_all(&message(b"half of it")[..50]).unwrap();
        drop(theirs);
        let run = {
            let wires = Arc::clone(&wires);
            move |_: &mut timely::worker::Worker| {
                while !wires.is_severed() {
                    std::thread::yield_now();
                }
                wires.worker_ended();
            }
        };
        let config = timely::WorkerConfig::default();
        let workers = timely::execute::execute_from(builders, Box::new(()), config, run).unwrap();
        assert!(workers.join().iter().all(Result::is_ok), "no worker panics");
        drop(guard);
        assert_eq!(*lost.lock().unwrap(), [1]);
    }
}
