//! A spout that reads lines from a TCP connection.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use egret_log::message::Wake;

use super::frame::trim_end;
use crate::builder::SpoutSource;
use crate::component::{
    ComponentError, ComponentResult, Context, Emitter, Next, Positions, Replay, Spout,
};

/// The largest line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of lines that are handed over at once, and how often that may be before the connection waits.
const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 16;

/// How long whoever is connected to may take to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// Reads lines of text from whoever listens at an address; each task has a connection of its own. When the other
/// side ends it, the spout is at its end.
///
/// ```
/// use egret::{Guarantee, SocketSpout, StdoutSink, TopologyBuilder};
///
/// # let mut t = TopologyBuilder::new("words");
/// t.guarantee(Guarantee::AtMostOnce);
/// let lines = t.spout("lines", 1, SocketSpout::lines("localhost:9999"))?;
/// lines.global().sink("print", 1, StdoutSink::<String>::lines)?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// # What it keeps
///
/// A connection says nothing twice: it [cannot replay](Replay::None), so it is fit for at-most-once only. For more,
/// have something write the lines to a stream, and read that with a [`LogSpout`](crate::LogSpout). A line is
/// at most 1 MiB of UTF-8.
pub struct SocketSpout {
    address: String,
    link: Option<Link>,
    lines: VecDeque<String>,
}

impl std::fmt::Debug for SocketSpout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SocketSpout({})", self.address)
    }
}

impl SocketSpout {
    /// Of whoever listens at `address`: a host and a port.
    pub fn lines(address: &str) -> SocketSpout {
        let address = address.to_owned();
        SocketSpout { address, link: None, lines: VecDeque::new() }
    }
}

/// Connects to the first of the addresses of a name that answers.
pub(super) fn connect(address: &str) -> Result<TcpStream, ComponentError> {
    let mut last = None;
    for resolved in address.to_socket_addrs().map_err(|why| format!("{address}: {why}"))? {
        match TcpStream::connect_timeout(&resolved, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(why) => last = Some(why),
        }
    }
    let why = last.map_or_else(|| "it has no address".to_owned(), |why| why.to_string());
    Err(format!("{address}: {why}: have something listen there first").into())
}

/// What the connection's thread tells.
enum Told {
    Lines(Vec<String>),
    Failed(ComponentError),
}

/// A connection and the thread that reads it, which goes when this does.
struct Link {
    stream: TcpStream,
    /// Locked by nobody; a spout that is made may be sent elsewhere.
    told: Option<Mutex<Receiver<Told>>>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    fn open(address: &str, wake: Wake) -> Result<Link, ComponentError> {
        let stream = connect(address)?;
        let (tell, told) = sync_channel(PIECES);
        let reads = stream.try_clone()?;
        let thread =
            std::thread::Builder::new().name("egret-socket".to_owned()).spawn(move || {
                if let Err(why) = read(BufReader::new(reads), &tell, &wake) {
                    // Nobody listens when the spout is gone.
                    let _ = tell.send(Told::Failed(why));
                }
                drop(tell);
                wake();
            })?;
        Ok(Link { stream, told: Some(Mutex::new(told)), thread: Some(thread) })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Whatever the thread waits for ends: room, or bytes.
        self.told = None;
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads a connection panicked");
        }
    }
}

/// Reads lines to the end of the connection, or until nobody takes them.
fn read(
    mut from: BufReader<TcpStream>,
    tell: &SyncSender<Told>,
    wake: &Wake,
) -> Result<(), ComponentError> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        from.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.len() > LINE_BYTES_MAX {
            return Err(format!("a line is over {LINE_BYTES_MAX} bytes").into());
        }
        let is_over = line.is_empty();
        if !is_over {
            let text = std::str::from_utf8(trim_end(&line)).map(str::to_owned);
            lines.push(text.map_err(|why| format!("a line is not UTF-8: {why}"))?);
            bytes += line.len();
        }
        // What is there is handed over before more is waited for.
        if !lines.is_empty() && (is_over || bytes >= PIECE_BYTES || !from.buffer().contains(&b'\n'))
        {
            bytes = 0;
            if tell.send(Told::Lines(std::mem::take(&mut lines))).is_err() {
                return Ok(());
            }
            wake();
        }
        if is_over {
            return Ok(());
        }
    }
}

impl Spout<String> for SocketSpout {
    fn replay(&self) -> Replay {
        Replay::None
    }

    fn open(&mut self, cx: &Context, _: &Positions) -> ComponentResult {
        self.link = Some(Link::open(&self.address, cx.waker())?);
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        while out.bytes() < until {
            if let Some(line) = self.lines.pop_front() {
                out.emit(line);
                continue;
            }
            let told = self.link.as_mut().and_then(|link| link.told.as_mut());
            let told = told.and_then(|told| told.get_mut().ok());
            match told.map(|told| told.try_recv()) {
                Some(Ok(Told::Lines(lines))) => self.lines = lines.into(),
                Some(Ok(Told::Failed(why))) => {
                    return Err(format!("{}: {why}", self.address).into());
                }
                Some(Err(TryRecvError::Empty)) => return Ok(Next::Idle),
                Some(Err(TryRecvError::Disconnected)) | None => return Ok(Next::Done),
            }
        }
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }
}

impl SpoutSource<String> for SocketSpout {
    type Spout = SocketSpout;

    fn make(&self) -> SocketSpout {
        SocketSpout::lines(&self.address)
    }

    fn detail(&self) -> String {
        format!("reads lines from {}", self.address)
    }
}
