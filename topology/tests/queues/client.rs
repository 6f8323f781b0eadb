//! Clients of the queue.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::connect::{GaveUp, Queue, Received};
use egret::{ComponentResult, Context};

/// What was asked of clients, in order.
pub(crate) type Told = Arc<Mutex<Vec<String>>>;

pub(crate) struct Client {
    address: String,
    line: Option<BufReader<TcpStream>>,
    told: Told,
    /// A defect on purpose: acknowledges what it receives at once.
    is_hasty: bool,
}

impl Client {
    pub(crate) fn of(address: &str) -> Client {
        Client { address: address.to_owned(), line: None, told: Told::default(), is_hasty: false }
    }

    pub(crate) fn hasty(self) -> Client {
        Client { is_hasty: true, ..self }
    }

    pub(crate) fn telling(self, told: &Told) -> Client {
        Client { told: Arc::clone(told), ..self }
    }

    fn order(&mut self, order: &str) -> ComponentResult<String> {
        let line = self.line.as_mut().ok_or("it is not connected")?;
        writeln!(line.get_mut(), "{order}")?;
        let mut answer = String::new();
        line.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err("the queue is gone".into());
        }
        Ok(answer.trim_end().to_owned())
    }

    fn order_of<'a>(
        &mut self,
        order: &str,
        tags: impl IntoIterator<Item = &'a u64>,
    ) -> ComponentResult {
        let tags: Vec<_> = tags.into_iter().map(u64::to_string).collect();
        self.order(&format!("{order} {}", tags.join(" "))).map(drop)
    }

    fn tell(&self, what: impl Into<String>) {
        self.told.lock().unwrap().push(what.into());
    }
}

impl Queue<u32> for Client {
    type Id = u64;

    fn open(&mut self, cx: &Context) -> ComponentResult {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        self.line = Some(BufReader::new(stream));
        self.order(&format!("hello {}", cx.id())).map(drop)
    }

    fn receive(&mut self, _: &Context) -> ComponentResult<Received<u64, u32>> {
        let answer = self.order("get")?;
        let Some(message) = answer.strip_prefix("MESSAGE ") else {
            return Ok(Received::After(Duration::from_millis(5)));
        };
        let (tag, number) = message.split_once(' ').ok_or("no number")?;
        let tag = tag.parse()?;
        if self.is_hasty {
            self.order_of("ack", [&tag])?;
        }
        self.tell("receive");
        Ok(Received::Message(tag, number.parse()?))
    }

    fn ack(&mut self, tags: Vec<u64>, _: &Context) -> ComponentResult {
        self.tell("ack");
        if self.is_hasty { Ok(()) } else { self.order_of("ack", &tags) }
    }

    fn fail(&mut self, tags: Vec<u64>, why: GaveUp, _: &Context) -> ComponentResult {
        self.tell(format!("fail {why:?}"));
        if self.is_hasty { Ok(()) } else { self.order_of("nack", &tags) }
    }

    fn hold(&mut self, tags: Vec<&u64>, _: &Context) -> ComponentResult {
        self.order_of("hold", tags)
    }

    fn deactivate(&mut self, _: &Context) -> ComponentResult {
        self.tell("deactivate");
        Ok(())
    }

    fn activate(&mut self, _: &Context) -> ComponentResult {
        self.tell("activate");
        Ok(())
    }

    fn close(&mut self, _: &Context) {
        self.tell("close");
    }
}
