//! Frames over one socket. A frame that begins must end in time; nothing read sizes an allocation
//! before it arrived.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::frame::{FrameError, FrameHead, HEAD_BYTES, Limits, encode};
use crate::{caps, clock};

/// How much a buffer grows at a time while a payload arrives.
const GROWTH_BYTES: usize = 1 << 20;

/// Why a frame was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket says no.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side sent no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side went away inside a frame.
    #[error("the connection was closed inside a message")]
    Cut,
    /// The other side is too slow.
    #[error("the other side sent nothing for {ms} ms")]
    Deadline {
        /// How long it had.
        ms: u128,
    },
}

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) correlation: u64,
    pub(super) header: Vec<u8>,
    pub(super) payload: Bytes,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// What the socket's read timeout is set to.
    timeout: Option<Duration>,
}

impl Connection {
    /// Over a connected socket.
    pub(super) fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(Duration::from_millis(caps::FRAME_WAIT_MS)))?;
        stream.set_read_timeout(None)?;
        Ok(Connection { stream, timeout: None })
    }

    /// Sends one frame.
    pub(super) fn send(
        &mut self,
        correlation: u64,
        header: &[u8],
        payload: &[u8],
    ) -> Result<(), ConnectionError> {
        let mut front = Vec::with_capacity(HEAD_BYTES + header.len());
        front.extend_from_slice(&encode(correlation, header, payload));
        front.extend_from_slice(header);
        self.stream.write_all(&front)?;
        self.stream.write_all(payload)?;
        Ok(())
    }

    /// Receives one frame, `None` when the other side closed before it. Waits for its first byte
    /// until `first`, or for ever.
    pub(super) fn receive(
        &mut self,
        limits: Limits,
        first: Option<Duration>,
    ) -> Result<Option<Frame>, ConnectionError> {
        let mut head = [0; HEAD_BYTES];
        let got = self.read_some(&mut head, first.map(Deadline::after))?;
        if got == 0 {
            return Ok(None);
        }
        let rest = Deadline::after(Duration::from_millis(caps::FRAME_WAIT_MS));
        self.read_all(&mut head[got..], rest)?;
        let head = FrameHead::decode(&head, limits)?;
        let header = self.read_vec(head.header_bytes, rest)?;
        head.check_header(&header)?;
        let payload = self.read_vec(head.payload_bytes, rest)?;
        head.check_payload(&payload)?;
        Ok(Some(Frame { correlation: head.correlation, header, payload: payload.into() }))
    }

    /// Waits until something can be received, or the other side has closed: whether it is so within `wait`.
    pub(super) fn is_ready(&self, wait: Duration) -> io::Result<bool> {
        let mut ready = [PollFd::new(&self.stream, PollFlags::IN)];
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut ready, Some(&wait)) {
            Ok(count) => Ok(count > 0),
            // Woken for nothing: whoever waits looks at the clock.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How long the other side may take none of what is sent.
    pub(super) fn sends_within(&self, wait: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(wait))
    }

    /// Closes it at once: for errors, where nothing more is worth saying.
    pub(super) fn hang_up(&self) {
        // It may be closed already, which is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn read_vec(&mut self, bytes: usize, deadline: Deadline) -> Result<Vec<u8>, ConnectionError> {
        let mut buffer = Vec::new();
        while buffer.len() < bytes {
            let from = buffer.len();
            buffer.resize(bytes.min(from + GROWTH_BYTES), 0);
            self.read_all(&mut buffer[from..], deadline)?;
        }
        Ok(buffer)
    }

    fn read_all(&mut self, mut to: &mut [u8], deadline: Deadline) -> Result<(), ConnectionError> {
        while !to.is_empty() {
            let got = self.read_some(to, Some(deadline))?;
            if got == 0 {
                return Err(ConnectionError::Cut);
            }
            to = &mut to[got..];
        }
        Ok(())
    }

    fn read_some(
        &mut self,
        to: &mut [u8],
        deadline: Option<Deadline>,
    ) -> Result<usize, ConnectionError> {
        loop {
            let timeout = deadline.map(Deadline::left).transpose()?;
            if timeout != self.timeout {
                self.stream.set_read_timeout(timeout)?;
                self.timeout = timeout;
            }
            match self.stream.read(to) {
                Ok(got) => return Ok(got),
                // Woken for nothing or too early: the deadline decides.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// When what is under way must be over.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    whole: Duration,
}

impl Deadline {
    fn after(whole: Duration) -> Deadline {
        Deadline { at: clock::now() + whole, whole }
    }

    /// What is left, never zero: a zero timeout would mean none.
    fn left(self) -> Result<Duration, ConnectionError> {
        let left = self.at.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(ConnectionError::Deadline { ms: self.whole.as_millis() });
        }
        // The kernel counts coarsely; below a millisecond it might round to none.
        Ok(left.max(Duration::from_millis(1)))
    }
}
