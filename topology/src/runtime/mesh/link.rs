//! An established connection to another worker process: a socket on this machine, TLS beyond it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_log::rpc::worker::{SecureStream, WorkerTls};

use super::hello::Secret;

/// Whom a process believes that it belongs to the run.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Who knows this; on this machine only, for everybody on the way would read it.
    Secret(Secret),
    /// Who shows a worker's certificate of the same cluster.
    Certificate(WorkerTls),
}

impl Trust {
    /// What is shown in a hello; certificates were shown before it.
    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Trust::Secret(secret) => secret,
            Trust::Certificate(_) => &Secret::NONE,
        }
    }
}

/// A connection; clones are the same one.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(TcpStream),
    Secure(SecureStream),
}

macro_rules! of_either {
    ($link:expr, $stream:ident => $does:expr) => {
        match $link {
            Link::Plain($stream) => $does,
            Link::Secure($stream) => $does,
        }
    };
}

impl Link {
    pub(crate) fn try_clone(&self) -> io::Result<Link> {
        Ok(match self {
            Link::Plain(stream) => Link::Plain(stream.try_clone()?),
            Link::Secure(stream) => Link::Secure(stream.clone()),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        of_either!(self, stream => stream.local_addr())
    }

    /// Makes ready for what it is for: small messages go at once, and each direction waits so long at most.
    pub(crate) fn set(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
        of_either!(self, stream => stream.set_nodelay(true))?;
        of_either!(self, stream => stream.set_read_timeout(read))?;
        of_either!(self, stream => stream.set_write_timeout(write))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        of_either!(self, stream => stream.shutdown(how))
    }

    /// The connection with one deadline for all that is said on it.
    pub(crate) fn within(&self, until: Instant) -> Within<'_> {
        Within { link: self, until }
    }
}

impl Read for &Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        of_either!(self, stream => { stream }.read(out))
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        of_either!(self, stream => { stream }.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self).read(out)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// See [`Link::within`].
pub(crate) struct Within<'a> {
    link: &'a Link,
    until: Instant,
}

impl Within<'_> {
    fn set(&self) -> io::Result<()> {
        match self.until.saturating_duration_since(clock::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => self.link.set(Some(left), Some(left)),
        }
    }
}

impl Read for Within<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.set()?;
        { self.link }.read(out)
    }
}

impl Write for Within<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.set()?;
        { self.link }.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
