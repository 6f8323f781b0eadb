//! Frames over anything that reads and writes. A frame that begins must end in time; a payload is read
//! into the one buffer it stays in.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::rpc::frame::{self, FrameError, FrameHead, HEAD_BYTES, Limits};
use crate::{caps, clock};

/// Why a frame was not sent or received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The socket says no.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The other side sent no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side went away inside a frame.
    #[error("the connection was closed inside a message")]
    Cut,
    /// The other side began a frame and did not end it.
    #[error("the other side began a message and did not end it within {ms} ms")]
    Slow {
        /// How long it had.
        ms: u128,
    },
    /// The other side takes nothing.
    #[error("the other side took nothing for {ms} ms")]
    Stuck {
        /// How long it had.
        ms: u128,
    },
}

/// The front of a frame whose payload is still to come.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) correlation: u64,
    pub(crate) header: Bytes,
    head: FrameHead,
    /// When the frame must be whole.
    until: Instant,
}

impl Front {
    /// Bytes of the payload behind it.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.head.payload_bytes
    }
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
    wait: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Over `from`; `wait` is how long a frame that began may take.
    pub(crate) fn new(from: R, wait: Duration) -> FrameReader<R> {
        FrameReader { from, buffer: BytesMut::new(), wait }
    }

    /// The next frame's front, `None` when the other side closed before it. Waits for its first byte
    /// for ever. Nothing is lost when this is dropped while it waits.
    pub(crate) async fn next(&mut self, limits: Limits) -> Result<Option<Front>, WireError> {
        if self.buffer.is_empty() && self.read_more(None).await? == 0 {
            return Ok(None);
        }
        let until = Instant::from_std(clock::now() + self.wait);
        self.fill(HEAD_BYTES, until).await?;
        let head: &[u8; HEAD_BYTES] =
            self.buffer.first_chunk().expect("it was filled to this size");
        let head = FrameHead::decode(head, limits)?;
        self.fill(HEAD_BYTES + head.header_bytes, until).await?;
        self.buffer.advance(HEAD_BYTES);
        let header = self.buffer.split_to(head.header_bytes).freeze();
        head.check_header(&header)?;
        Ok(Some(Front { correlation: head.correlation, header, head, until }))
    }

    /// The payload behind a front. Its length was checked, and the caller has counted its bytes.
    pub(crate) async fn payload(&mut self, front: &Front) -> Result<Bytes, WireError> {
        let bytes = front.head.payload_bytes;
        let payload = if bytes <= self.buffer.len() {
            self.buffer.split_to(bytes).freeze()
        } else if bytes <= caps::READ_CHUNK_BYTES / 2 {
            self.fill(bytes, front.until).await?;
            self.buffer.split_to(bytes).freeze()
        } else {
            let mut payload = BytesMut::with_capacity(bytes);
            payload.extend_from_slice(&self.buffer);
            self.buffer.clear();
            while payload.len() < bytes {
                let left = bytes - payload.len();
                let mut rest = (&mut payload).limit(left);
                let got = within(front.until, self.wait, self.from.read_buf(&mut rest)).await?;
                if got == 0 {
                    return Err(WireError::Cut);
                }
            }
            payload.freeze()
        };
        front.head.check_payload(&payload)?;
        Ok(payload)
    }

    /// Throws the payload behind a front away.
    pub(crate) async fn skip(&mut self, front: &Front) -> Result<(), WireError> {
        let mut left = front.head.payload_bytes;
        loop {
            let here = left.min(self.buffer.len());
            self.buffer.advance(here);
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.fill(1, front.until).await?;
        }
    }

    /// Reads and forgets until the other side closes.
    pub(crate) async fn discard(&mut self) -> Result<(), WireError> {
        loop {
            self.buffer.clear();
            if self.read_more(None).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads until the buffer holds `bytes`.
    async fn fill(&mut self, bytes: usize, until: Instant) -> Result<(), WireError> {
        while self.buffer.len() < bytes {
            // Headers are bounded, and larger payloads do not come here.
            self.buffer.reserve(bytes - self.buffer.len());
            if self.read_more(Some(until)).await? == 0 {
                return Err(WireError::Cut);
            }
        }
        Ok(())
    }

    async fn read_more(&mut self, until: Option<Instant>) -> Result<usize, WireError> {
        if self.buffer.capacity() - self.buffer.len() < caps::READ_CHUNK_BYTES / 16 {
            self.buffer.reserve(caps::READ_CHUNK_BYTES);
        }
        let reading = self.from.read_buf(&mut self.buffer);
        match until {
            None => Ok(reading.await?),
            Some(until) => within(until, self.wait, reading).await,
        }
    }
}

async fn within(
    until: Instant,
    whole: Duration,
    reading: impl Future<Output = io::Result<usize>>,
) -> Result<usize, WireError> {
    match timeout_at(until, reading).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(WireError::Slow { ms: whole.as_millis() }),
    }
}

/// Writes frames, many in one write.
#[derive(Debug)]
pub(crate) struct FrameWriter<W> {
    to: W,
    front: Vec<u8>,
    wait: Duration,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Over `to`; `wait` is how long the other side may take nothing.
    pub(crate) fn new(to: W, wait: Duration) -> FrameWriter<W> {
        FrameWriter { to, front: Vec::new(), wait }
    }

    /// Adds a frame; it goes out with the next [`flush`](FrameWriter::flush) at the latest.
    pub(crate) async fn add(
        &mut self,
        correlation: u64,
        header: &[u8],
        payload: &[u8],
    ) -> Result<(), WireError> {
        self.front.extend_from_slice(&frame::encode(correlation, header, payload));
        self.front.extend_from_slice(header);
        if payload.len() <= caps::COALESCED_BYTES_MAX {
            self.front.extend_from_slice(payload);
            if self.front.len() >= caps::WRITE_BATCH_BYTES {
                self.write_front().await?;
            }
            return Ok(());
        }
        self.write_front().await?;
        write_all(&mut self.to, payload, self.wait).await
    }

    /// Sends what was added.
    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        self.write_front().await?;
        let wait = self.wait;
        match timeout(wait, self.to.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(WireError::Stuck { ms: wait.as_millis() }),
        }
    }

    /// Says that nothing more comes.
    pub(crate) async fn shutdown(&mut self) -> Result<(), WireError> {
        let wait = self.wait;
        match timeout(wait, self.to.shutdown()).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(WireError::Stuck { ms: wait.as_millis() }),
        }
    }

    async fn write_front(&mut self) -> Result<(), WireError> {
        write_all(&mut self.to, &self.front, self.wait).await?;
        self.front.clear();
        // One large batch is no reason to hold its size for ever.
        self.front.shrink_to(2 * caps::WRITE_BATCH_BYTES);
        Ok(())
    }
}

/// Writes all of it; each step forward starts the wait anew.
async fn write_all(
    to: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    wait: Duration,
) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let taken = match timeout(wait, to.write(bytes)).await {
            Ok(taken) => taken?,
            Err(_) => return Err(WireError::Stuck { ms: wait.as_millis() }),
        };
        if taken == 0 {
            return Err(WireError::Io(io::ErrorKind::WriteZero.into()));
        }
        bytes = &bytes[taken..];
    }
    Ok(())
}
