//! A watch that survives its connection, and ends with its holder's life.
//!
//! Whoever watches asks for the next events when it has taken those before. A question goes out once and is
//! waited for as often as it takes, so that a short wait costs nothing: the answer lies in the socket for the
//! next. After a broken connection the watch is begun anew at the last revision seen, and as many events of
//! that revision are left out as were seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use egret_schemas::metadata::{MetaReply, MetaRequest};

use super::client::Holder;
use super::convert;
use super::line::Line;
use crate::metadata::{Event, MetaError, WatchError, WatchSource};
use crate::{caps, clock};

/// How long this side waits at a time before it looks whether it was closed.
const STEP: Duration = Duration::from_millis(100);

/// What a new connection may take however short the wait: a busy holder answers within it.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// Between two tries to get a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AttachedWatch {
    holder: Arc<Holder>,
    prefix: String,
    /// Where it begins.
    from: u64,
    /// Events of the revision `from` that were taken in.
    seen: usize,
    /// How many of the next events are to be left out: they were seen on a connection that broke.
    skip: usize,
    /// There may be more of the last revision, whatever `buffer` says.
    more: bool,
    line: Option<Asking>,
    buffer: VecDeque<Event>,
}

/// A connection, and until when what is asked on it must be answered.
#[derive(Debug)]
struct Asking {
    line: Line,
    until: Option<Instant>,
}

impl AttachedWatch {
    /// Watches what begins with `prefix`, from a revision on.
    pub(super) fn start(
        holder: Arc<Holder>,
        prefix: String,
        from: u64,
    ) -> Result<AttachedWatch, MetaError> {
        let (line, buffer) = (None, VecDeque::new());
        let more = false;
        let mut watch =
            AttachedWatch { holder, prefix, from, seen: 0, skip: 0, more, line, buffer };
        let wait = watch.holder.wait();
        watch.connect(wait)?;
        Ok(watch)
    }

    fn connect(&mut self, wait: Duration) -> Result<(), MetaError> {
        let until = clock::now() + wait;
        let mut line = self.holder.open(wait)?;
        let request = MetaRequest::Watch { prefix: self.prefix.clone(), from: self.from };
        match self.holder.ask(&mut line, &request, until)? {
            MetaReply::Done => {}
            other => return Err(self.holder.odd(other)),
        }
        self.skip = self.seen;
        self.line = Some(Asking { line, until: None });
        Ok(())
    }

    /// Takes in what came within `wait`; an error is the end of the connection.
    fn receive(&mut self, wait: Duration) -> Result<(), Broken> {
        let Some(asking) = &mut self.line else { return Err(Broken::Line) };
        let until = match asking.until {
            Some(until) => until,
            None => {
                let request = MetaRequest::Next { wait_ms: caps::META_POLL_MS };
                asking.line.begin(&request).map_err(|_| Broken::Line)?;
                let poll = Duration::from_millis(caps::META_POLL_MS.into());
                let until = clock::now() + poll + self.holder.wait();
                asking.until = Some(until);
                until
            }
        };
        if !asking.line.is_ready(wait) {
            return if clock::now() < until { Ok(()) } else { Err(Broken::Line) };
        }
        let reply = asking.line.receive(Some(self.holder.wait())).map_err(|_| Broken::Line)?;
        asking.until = None;
        match reply {
            MetaReply::Events { events, more } => {
                self.more = more;
                for event in events.into_iter().map(convert::event_in) {
                    self.take_in(event);
                }
                Ok(())
            }
            MetaReply::Compacted { oldest } => Err(Broken::Watch(WatchError::Compacted { oldest })),
            other => Err(Broken::Watch(self.holder.odd(other).into())),
        }
    }

    fn take_in(&mut self, event: Event) {
        if event.revision() != self.from {
            (self.from, self.seen, self.skip) = (event.revision(), 0, 0);
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.seen += 1;
        self.buffer.push_back(event);
    }
}

/// What has ended.
enum Broken {
    /// The connection.
    Line,
    /// The watch.
    Watch(WatchError),
}

impl WatchSource for AttachedWatch {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError> {
        let end = clock::now() + timeout;
        loop {
            if let Some(event) = self.buffer.pop_front() {
                return Ok(Some(event));
            }
            if self.holder.is_closed() {
                return Err(MetaError::Closed.into());
            }
            let left = end.saturating_duration_since(clock::now());
            // A transaction becomes visible whole: its rest, which is there, is waited for.
            let wait = if self.more { STEP } else { left.min(STEP) };
            match self.receive(wait) {
                Ok(()) if self.buffer.is_empty() && left.is_zero() && !self.more => {
                    return Ok(None);
                }
                Ok(()) => continue,
                Err(Broken::Watch(why)) => return Err(why),
                Err(Broken::Line) => self.line = None,
            }
            match self.connect(left.clamp(OPEN_WAIT, self.holder.wait().max(OPEN_WAIT))) {
                Ok(()) => {}
                // A holder that cannot be reached ends no watch; one that is gone does.
                Err(error) if error.may_pass() => {
                    if left.is_zero() && !self.more {
                        return Ok(None);
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
