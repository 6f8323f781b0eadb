//! Where a data directory's socket is, and who may connect.
//!
//! It is a Unix socket inside the directory: nothing beyond this host reaches it, and of this host only
//! the owner of the directory (and root). The file is made by whoever holds the directory's lock, who
//! therefore may remove a stale one.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "egret.sock";

/// How many may wait to be accepted.
const BACKLOG: i32 = 64;

/// Makes the socket and listens. The caller holds the directory's lock.
pub(super) fn listen(dir: &Path) -> io::Result<UnixListener> {
    remove(dir)?;
    let place = Place::of(dir)?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    let only_me = Mode::RUSR | Mode::WUSR;
    // On Linux the file gets the mode its socket has when it is bound. Elsewhere it gets it a moment
    // later; until `listen` nobody can connect either way.
    rustix::fs::fchmod(&socket, only_me)?;
    rustix::net::bind(&socket, &place.address)?;
    rustix::fs::chmod(dir.join(SOCKET_NAME), only_me)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Connects to whoever holds the directory.
pub(super) fn connect(dir: &Path) -> io::Result<UnixStream> {
    let place = Place::of(dir)?;
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::net::connect(&socket, &place.address)?;
    Ok(UnixStream::from(socket))
}

/// Removes the socket's file, if there is one.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match rustix::fs::unlink(dir.join(SOCKET_NAME)) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process at the other end may speak: the mode of the file says so already, and this
/// holds where a file system ignores modes.
pub(super) fn may_speak(stream: &UnixStream) -> bool {
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

/// An address for the socket of a directory, however long the directory's path is.
struct Place {
    address: SocketAddrUnix,
    /// Keeps the short way to a long path open.
    _dir: Option<OwnedFd>,
}

impl Place {
    fn of(dir: &Path) -> io::Result<Place> {
        let path = dir.join(SOCKET_NAME);
        if let Ok(address) = SocketAddrUnix::new(&path) {
            return Ok(Place { address, _dir: None });
        }
        // An address holds about a hundred bytes. Through an open directory it is short.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(dir, flags, Mode::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        let short = PathBuf::from(format!("/proc/self/fd/{number}/{SOCKET_NAME}"));
        Ok(Place { address: SocketAddrUnix::new(short)?, _dir: Some(open) })
    }
}
