//! A queue on a socket: it hands messages out, and again unless they are acknowledged.
//!
//! A consumer says its name when it connects; what an earlier connection of that name has is handed out again, and so is
//! what any connection has that is gone. A line is an order, and is answered by a line:
//! `hello NAME`, `get` (`MESSAGE TAG NUMBER`, or `none`), `ack TAG…`, `nack TAG…`, `hold TAG…`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What the queue knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    waiting: VecDeque<u32>,
    /// Who has what, under which tag.
    handed: BTreeMap<u64, (u64, u32)>,
    names: BTreeMap<String, u64>,
    tags: u64,
    connections: u64,
    /// How often each message was handed out, and acknowledged.
    pub(crate) received: BTreeMap<u32, u32>,
    pub(crate) acked: BTreeMap<u32, u32>,
    /// Messages told to be given up, and to be worked on.
    pub(crate) nacked: u32,
    pub(crate) held: u32,
    /// The most one connection had.
    pub(crate) most: usize,
    /// How often it was asked for a message.
    pub(crate) gets: u32,
    /// Orders that made no sense.
    pub(crate) wrong: Vec<String>,
}

impl Known {
    /// What a connection has is handed out again.
    fn gone(&mut self, connection: u64) {
        let of: Vec<u64> =
            self.handed.iter().filter(|(_, (by, _))| *by == connection).map(|(t, _)| *t).collect();
        for tag in of.into_iter().rev() {
            let (_, message) = self.handed.remove(&tag).unwrap();
            self.waiting.push_front(message);
        }
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.handed.len()
    }

    /// Whether everything is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.handed.is_empty()
    }

    fn answer(&mut self, connection: u64, line: &str) -> String {
        let mut words = line.split(' ');
        let order = words.next().unwrap();
        match order {
            "hello" => {
                let name = words.next().unwrap().to_owned();
                if let Some(before) = self.names.insert(name, connection) {
                    self.gone(before);
                }
                "ok".to_owned()
            }
            "get" => {
                self.gets += 1;
                let Some(message) = self.waiting.pop_front() else { return "none".to_owned() };
                self.tags += 1;
                self.handed.insert(self.tags, (connection, message));
                *self.received.entry(message).or_default() += 1;
                let has = self.handed.values().filter(|(by, _)| *by == connection).count();
                self.most = self.most.max(has);
                format!("MESSAGE {} {message}", self.tags)
            }
            _ => {
                for tag in words.map(|tag| tag.parse::<u64>().unwrap()) {
                    match (order, self.handed.get(&tag).copied()) {
                        ("ack", Some((by, message))) if by == connection => {
                            self.handed.remove(&tag);
                            *self.acked.entry(message).or_default() += 1;
                        }
                        ("nack", Some((by, message))) if by == connection => {
                            self.handed.remove(&tag);
                            self.waiting.push_back(message);
                            self.nacked += 1;
                        }
                        ("hold", Some((by, _))) if by == connection => self.held += 1,
                        _ => self.wrong.push(format!("{order} {tag} by {connection}")),
                    }
                }
                "ok".to_owned()
            }
        }
    }
}

/// The queue; it goes with the test's process.
#[derive(Clone)]
pub(crate) struct Server {
    known: Arc<Mutex<Known>>,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn new(messages: u32) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let known = Known { waiting: (0..messages).collect(), ..Known::default() };
        let server = Server { known: Arc::new(Mutex::new(known)), address };
        let accepts = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serves = accepts.clone();
                thread::spawn(move || serves.serve(stream.unwrap()));
            }
        });
        server
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream) {
        let connection = {
            let mut known = self.known();
            known.connections += 1;
            known.connections
        };
        stream.set_nodelay(true).unwrap();
        let mut answers = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            let answer = self.known().answer(connection, &line);
            if writeln!(answers, "{answer}").is_err() {
                break;
            }
        }
        self.known().gone(connection);
    }
}
