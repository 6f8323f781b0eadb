//! Where a data directory's sockets are, and who may connect.
//!
//! They are Unix sockets inside the directory: nothing beyond this host reaches them, and of this host only
//! the owner of the directory (and root). The files are made by whoever holds the directory's lock, who
//! therefore may remove stale ones.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::clock;

/// The socket for requests about streams, in the data directory.
pub const SOCKET_NAME: &str = "egret.sock";

/// The socket for the metadata, where a directory is shared whole.
pub const META_SOCKET_NAME: &str = "meta.sock";

/// The socket for the bookie, where a directory is shared whole.
pub const BOOKIE_SOCKET_NAME: &str = "bookie.sock";

/// How many may wait to be accepted.
const BACKLOG: i32 = 64;

/// Between two looks for a place among them.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes a socket of this name and listens. The caller holds the directory's lock.
pub(crate) fn listen(dir: &Path, name: &str) -> io::Result<UnixListener> {
    remove(dir, name)?;
    let place = Place::of(dir, name)?;
    let socket = new_socket()?;
    let only_me = Mode::RUSR | Mode::WUSR;
    // On Linux the file gets the mode its socket has when it is bound. Elsewhere it gets it a moment
    // later; until `listen` nobody can connect either way.
    rustix::fs::fchmod(&socket, only_me)?;
    rustix::net::bind(&socket, &place.address)?;
    rustix::fs::chmod(dir.join(name), only_me)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Connects to whoever holds the directory. When so many wait to be accepted that there is no place among
/// them, one is waited for, but not for ever: the holder may be stopped.
pub(super) fn connect(dir: &Path, name: &str, wait: Duration) -> io::Result<UnixStream> {
    let until = clock::now() + wait;
    loop {
        match connect_now(dir, name) {
            Err(full) if full.kind() == io::ErrorKind::WouldBlock => {
                if clock::now() >= until {
                    let ms = wait.as_millis();
                    let why = format!("it took no connection within {ms} ms: is it stopped?");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

/// The same without waiting: `WouldBlock` when there is no place. The socket does not block afterwards
/// either.
pub(crate) fn connect_now(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let place = Place::of(dir, name)?;
    let socket = new_socket()?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::connect(&socket, &place.address)?;
    Ok(UnixStream::from(socket))
}

/// A socket that no child of this process inherits: one that outlived the holder with its listening socket
/// would take connections that nobody ever answers.
fn new_socket() -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        Ok(socket)
    }
}

/// Whether a connection that was not made has nobody at its other end, rather than one who is busy.
pub(super) fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        // What is no directory has no holder either.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
    )
}

/// Removes a socket's file, if there is one. The caller holds the directory's lock, or made it.
pub(crate) fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match rustix::fs::unlink(dir.join(name)) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process at the other end may speak: the mode of the file says so already, and this
/// holds where a file system ignores modes.
pub(crate) fn may_speak(stream: impl AsFd) -> bool {
    #[cfg(target_os = "linux")]
    {
        let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return false };
        peer.uid == rustix::process::geteuid() || peer.uid.is_root()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = stream;
        true
    }
}

/// An address for a socket of a directory, however long the directory's path is.
struct Place {
    address: SocketAddrUnix,
    /// Keeps the short way to a long path open.
    _dir: Option<OwnedFd>,
}

impl Place {
    fn of(dir: &Path, name: &str) -> io::Result<Place> {
        let path = dir.join(name);
        if let Ok(address) = SocketAddrUnix::new(&path) {
            return Ok(Place { address, _dir: None });
        }
        // An address holds about a hundred bytes. Through an open directory it is short.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(dir, flags, Mode::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        let short = PathBuf::from(format!("/proc/self/fd/{number}/{name}"));
        Ok(Place { address: SocketAddrUnix::new(short)?, _dir: Some(open) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child of the holder kept the listening socket open after the holder had died, and whoever connected
    /// waited for a hello in vain instead of being told that nobody is there.
    #[test]
    fn no_child_inherits_a_socket() {
        let dir = tempfile::tempdir().unwrap();
        let listener = listen(dir.path(), SOCKET_NAME).unwrap();
        let waits = connect(dir.path(), SOCKET_NAME, PAUSE).unwrap();
        let now = connect_now(dir.path(), SOCKET_NAME).unwrap();
        for fd in [listener.as_fd(), waits.as_fd(), now.as_fd()] {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{fd:?}");
        }
    }

    /// A command waited for ever for a holder that was stopped, when others waited already.
    #[test]
    fn nobody_waits_for_ever_for_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let nobody = connect_now(dir.path(), SOCKET_NAME).unwrap_err();
        assert!(is_nobody(&nobody), "{nobody}");
        let _listener = listen(dir.path(), SOCKET_NAME).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            match connect_now(dir.path(), SOCKET_NAME) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(!is_nobody(&full), "after {} places", waiting.len());
        let late = connect(dir.path(), SOCKET_NAME, Duration::from_millis(30)).unwrap_err();
        assert_eq!(late.to_string(), "it took no connection within 30 ms: is it stopped?");
    }
}
