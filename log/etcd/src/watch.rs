//! A watch that survives its connection.
//!
//! A task reads etcd's answers into a bounded buffer; while that is full it reads no further, and etcd
//! waits. When the connection breaks it asks again from the revision after the last it took in. etcd
//! answers with whole revisions, so none is cut in two.
//!
//! It asks from one revision earlier than it needs, and leaves that one out. etcd before 3.4.34 and
//! 3.5.15 loses a delete that happened at the very revision it was compacted at, and says nothing; from
//! one earlier it says that history is gone.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egret_log::clock;
use egret_log::metadata::{Event, MetaError, Watch, WatchError, WatchSource};
use etcd_client::{Error, EventType, WatchClient, WatchOptions, WatchResponse};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::answer::Answer;
use crate::keys::Keys;
use crate::store::unsigned;

/// Events read ahead of whoever watches; one answer more may lie above it.
const AHEAD_MAX: usize = 1024;

/// The first and the longest wait before a broken connection is tried again.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

#[derive(Debug, Default)]
struct Buffer {
    filled: Mutex<Filled>,
    /// Something was put in.
    some: Condvar,
    /// Something was taken out.
    room: Notify,
}

#[derive(Debug, Default)]
struct Filled {
    events: VecDeque<Event>,
    end: Option<WatchError>,
}

impl Buffer {
    fn filled(&self) -> MutexGuard<'_, Filled> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if self.filled().events.len() < AHEAD_MAX {
                return;
            }
            room.await;
        }
    }

    fn put(&self, events: Vec<Event>) {
        self.filled().events.extend(events);
        self.some.notify_all();
    }

    fn end(&self, why: WatchError) {
        self.filled().end.get_or_insert(why);
        self.some.notify_all();
    }
}

/// Whoever fills the buffer; when it is gone without a word, the store was closed.
#[derive(Debug)]
struct Filler(Arc<Buffer>);

impl Drop for Filler {
    fn drop(&mut self) {
        self.0.end(WatchError::Store(MetaError::Closed));
    }
}

#[derive(Debug)]
struct EtcdWatch {
    buffer: Arc<Buffer>,
    task: JoinHandle<()>,
}

impl Drop for EtcdWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WatchSource for EtcdWatch {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError> {
        let start = clock::now();
        let mut filled = self.buffer.filled();
        loop {
            if let Some(event) = filled.events.pop_front() {
                self.buffer.room.notify_one();
                return Ok(Some(event));
            }
            if let Some(why) = &filled.end {
                return Err(why.clone());
            }
            let left = timeout.saturating_sub(clock::now().saturating_duration_since(start));
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.buffer.some.wait_timeout(filled, left);
            filled = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Watches what begins with `prefix`, as etcd has it, from a revision on.
pub(crate) fn start(
    handle: &Handle,
    client: WatchClient,
    keys: Keys,
    prefix: String,
    from: u64,
) -> Watch {
    let buffer = Arc::new(Buffer::default());
    let filler = Filler(Arc::clone(&buffer));
    let follow = async move {
        let mut follower = Follower { client, keys, prefix, next: from };
        let end = follower.follow(&filler.0).await;
        filler.0.end(end);
    };
    let task = handle.spawn(follow);
    Watch::new(Box::new(EtcdWatch { buffer, task }))
}

struct Follower {
    client: WatchClient,
    keys: Keys,
    prefix: String,
    /// The revision after the last one taken in.
    next: u64,
}

impl Follower {
    async fn follow(&mut self, buffer: &Buffer) -> WatchError {
        let mut pause = RETRY_AFTER.0;
        loop {
            let before = self.next;
            let broken = match self.follow_once(buffer).await {
                Ok(end) => return end,
                Err(broken) => broken,
            };
            match Answer::of(&broken) {
                Answer::No(why) => return WatchError::Store(why),
                other => tracing::debug!(prefix = %self.prefix, ?other, "watching again"),
            }
            pause = if self.next > before { RETRY_AFTER.0 } else { (pause * 2).min(RETRY_AFTER.1) };
            sleep(pause).await;
        }
    }

    /// One connection, until the watch ends or the connection does.
    async fn follow_once(&mut self, buffer: &Buffer) -> Result<WatchError, Error> {
        let start = i64::try_from(self.next.saturating_sub(1).max(1)).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(start);
        let mut stream = self.client.watch(self.prefix.clone(), Some(options)).await?;
        loop {
            buffer.wait_for_room().await;
            let Some(answer) = stream.message().await? else {
                return Err(Error::WatchError("the stream ended".to_owned()));
            };
            if answer.compact_revision() > 0 {
                let oldest = unsigned(answer.compact_revision()) + 1;
                return Ok(WatchError::Compacted { oldest });
            }
            if answer.canceled() && answer.cancel_reason().contains("permission") {
                let why = format!("{}: grant the user its keys", answer.cancel_reason());
                return Ok(WatchError::Store(MetaError::Refused { why }));
            }
            if answer.canceled() {
                return Err(Error::WatchError(answer.cancel_reason().to_owned()));
            }
            match self.events(&answer) {
                Ok(events) => buffer.put(events),
                Err(why) => return Ok(WatchError::Store(why)),
            }
        }
    }

    fn events(&mut self, answer: &WatchResponse) -> Result<Vec<Event>, MetaError> {
        let mut events = Vec::with_capacity(answer.events().len());
        let mut last = None;
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = unsigned(kv.mod_revision());
            if revision < self.next {
                continue;
            }
            last = Some(revision);
            let key = self.keys.inner(kv.key())?;
            events.push(match event.event_type() {
                EventType::Put => Event::Put { key, value: kv.value().to_vec(), revision },
                EventType::Delete => Event::Delete { key, revision },
            });
        }
        if let Some(last) = last {
            self.next = last + 1;
        }
        Ok(events)
    }
}
