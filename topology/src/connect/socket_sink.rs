//! A sink that writes lines to a TCP connection.

use std::fmt::Display;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde::Serialize;

use super::put::{Put, display, json};
use super::socket_spout::connect;
use crate::component::{ComponentResult, Context, Sink};

/// Bytes that are sent at once.
const SEND_BYTES: usize = 64 << 10;

/// How long the other side may take nothing before the connection counts as broken.
const STALLED: Duration = Duration::from_secs(30);

/// Sends a line a tuple to whoever listens at an address; each task has a connection of its own.
///
/// ```
/// use egret::{Generator, Guarantee, SocketSink, TopologyBuilder};
///
/// # let mut t = TopologyBuilder::new("numbers");
/// t.guarantee(Guarantee::AtLeastOnce);
/// let numbers = t.spout("numbers", 1, Generator::new(|n| n * n).count(10))?;
/// numbers.shuffle().sink("send", 1, || SocketSink::<u64>::json_lines("localhost:9999"))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// What it keeps: everything is sent before its commit, and again after a restart from the commit before: at least
/// once, and a topology that promises more refuses it. *Sent* is not *taken*: what the other side had not read when
/// it went is lost. Where that matters, write a stream, and let who reads it keep its position.
pub struct SocketSink<T> {
    address: String,
    put: Put<T>,
    stream: Option<TcpStream>,
    lines: Vec<u8>,
}

impl<T> std::fmt::Debug for SocketSink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SocketSink({})", self.address)
    }
}

impl<T: Display> SocketSink<T> {
    /// Each tuple as the text it is displayed as, to whoever listens at `address`: a host and a port.
    pub fn lines(address: &str) -> SocketSink<T> {
        SocketSink::new(address, display)
    }
}

impl<T: Serialize> SocketSink<T> {
    /// Each tuple as JSON.
    pub fn json_lines(address: &str) -> SocketSink<T> {
        SocketSink::new(address, json)
    }
}

impl<T> SocketSink<T> {
    fn new(address: &str, put: Put<T>) -> SocketSink<T> {
        SocketSink { address: address.to_owned(), put, stream: None, lines: Vec::new() }
    }

    fn send(&mut self) -> ComponentResult {
        let stream = self.stream.as_mut().ok_or("it is not connected")?;
        stream.write_all(&self.lines).map_err(|why| format!("{}: {why}", self.address))?;
        self.lines.clear();
        Ok(())
    }
}

impl<T: 'static> Sink<T> for SocketSink<T> {
    fn open(&mut self, _: &Context) -> ComponentResult {
        let stream = connect(&self.address)?;
        stream.set_write_timeout(Some(STALLED))?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn write(&mut self, tuple: T, _: &Context) -> ComponentResult {
        (self.put)(&tuple, &mut self.lines)?;
        if self.lines.len() >= SEND_BYTES { self.send() } else { Ok(()) }
    }

    fn flush(&mut self, _: &Context) -> ComponentResult {
        self.send()
    }
}
