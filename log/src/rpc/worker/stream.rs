//! An encrypted connection that one thread reads and another writes.
//!
//! ```text
//! write ──▶ session ──▶ going out ──▶ socket      `outgoing` is held while bytes go out, so that they go
//! read  ◀── session ◀── came in  ◀── socket      in order; `session` only while bytes are turned over
//! ```
//! So a side whose peer takes nothing still reads, and two that write to each other do not stand still.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::Connection;

use crate::caps;

struct Shared {
    socket: TcpStream,
    session: Mutex<Connection>,
    /// Encrypted bytes on their way out; none between two writes.
    outgoing: Mutex<Vec<u8>>,
    incoming: Mutex<Incoming>,
}

/// Encrypted bytes that came in, and how many of them were turned over.
struct Incoming {
    bytes: Box<[u8]>,
    filled: usize,
    at: usize,
    /// The socket ended.
    ended: bool,
}

/// An encrypted connection; clones are the same one.
#[derive(Clone)]
pub struct SecureStream(Arc<Shared>);

impl fmt::Debug for SecureStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecureStream({:?})", self.0.socket)
    }
}

impl SecureStream {
    /// One whose handshake is done.
    pub(super) fn new(session: Connection, socket: TcpStream) -> SecureStream {
        let bytes = vec![0; caps::WORKER_READ_BYTES].into_boxed_slice();
        SecureStream(Arc::new(Shared {
            socket,
            session: Mutex::new(session),
            outgoing: Mutex::default(),
            incoming: Mutex::new(Incoming { bytes, filled: 0, at: 0, ended: false }),
        }))
    }

    /// This side's address.
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }

    /// How long a read waits for bytes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_read_timeout(wait)
    }

    /// How long a write waits for room. A connection on which a write ran out of it is over.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_write_timeout(wait)
    }

    /// Whether small writes go out at once.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.socket.set_nodelay(nodelay)
    }

    /// Ends it, or one direction of it. [`Shutdown::Write`] says goodbye first, and waits for room to; the
    /// others end the connection at once, whoever reads or writes.
    ///
    /// # Errors
    /// When it is over already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how == Shutdown::Write {
            let mut outgoing = self.0.outgoing.lock().expect("no panic while held");
            let mut session = self.0.session.lock().expect("no panic while held");
            session.send_close_notify();
            drop(session);
            self.0.send(&mut outgoing)?;
        }
        self.0.socket.shutdown(how)
    }
}

impl Shared {
    /// Encrypts what the session has, and sends it.
    fn send(&self, outgoing: &mut Vec<u8>) -> io::Result<()> {
        {
            let mut session = self.session.lock().expect("no panic while held");
            while session.wants_write() {
                session.write_tls(outgoing)?;
            }
        }
        let sent = (&self.socket).write_all(outgoing);
        outgoing.clear();
        if sent.is_err() {
            // Some of it may be out: whatever followed would not be understood.
            self.socket.shutdown(Shutdown::Both).unwrap_or_default();
        }
        sent
    }
}

impl Read for &SecureStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let mut incoming = shared.incoming.lock().expect("no panic while held");
        let incoming = &mut *incoming;
        loop {
            {
                let mut session = shared.session.lock().expect("no panic while held");
                match session.reader().read(out) {
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
                if incoming.at < incoming.filled || incoming.ended {
                    let mut rest = &incoming.bytes[incoming.at..incoming.filled];
                    incoming.at += session.read_tls(&mut rest)?;
                    let strange = |why| io::Error::new(io::ErrorKind::InvalidData, why);
                    session.process_new_packets().map_err(strange)?;
                    continue;
                }
            }
            incoming.filled = (&shared.socket).read(&mut incoming.bytes)?;
            incoming.at = 0;
            incoming.ended = incoming.filled == 0;
        }
    }
}

impl Write for &SecureStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = self.0.outgoing.lock().expect("no panic while held");
        let taken = {
            let mut session = self.0.session.lock().expect("no panic while held");
            session.writer().write(bytes)?
        };
        self.0.send(&mut outgoing)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for SecureStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self).read(out)
    }
}

impl Write for SecureStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
