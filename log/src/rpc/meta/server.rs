//! The holder's side: requests about the metadata, carried out one after the other on each connection.

use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use egret_schemas::Incarnation;
use egret_schemas::metadata::{
    METADATA_VERSION, MetaEvent, MetaReason, MetaReply, MetaRequest, MetaTurnedAway, MetaWelcome,
    Page,
};

use super::convert;
use crate::metadata::{
    Event, LeaseId, Listing, MetaError, MetaStore, TxnOutcome, Versioned, Watch, WatchError,
};
use crate::rpc::connection::{Connection, ConnectionError};
use crate::rpc::frame::Limits;
use crate::rpc::server::{NoPlace, Speak};
use crate::rpc::socket::META_SOCKET_NAME;
use crate::rpc::{Bell, ServeError, Server};
use crate::{caps, clock};

const BEFORE_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };
const AFTER_HELLO: Limits =
    Limits { header_bytes_max: caps::META_HEADER_BYTES_MAX, payload_bytes_max: 0 };

/// How long a watch waits at a time before it looks whether anybody still wants it.
const STEP: Duration = Duration::from_millis(100);

/// What an entry of a list takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// Serves a metadata store on its socket in `dir`, replacing a stale one. The caller holds the directory's
/// lock; `life` is this holding of it, `incarnation` its bookie.
pub(crate) fn serve(
    dir: &Path,
    store: Arc<dyn MetaStore>,
    life: Incarnation,
    incarnation: Incarnation,
) -> Result<Server, ServeError> {
    Server::speaking(dir, Box::new(Shared { store, life, incarnation }))
}

/// A metadata store, and the life of its holder.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn MetaStore>,
    life: Incarnation,
    incarnation: Incarnation,
}

impl Speak for Shared {
    fn socket(&self) -> &'static str {
        META_SOCKET_NAME
    }

    fn connections_max(&self) -> usize {
        caps::META_CONNECTIONS_MAX
    }

    fn turn_away(&self, why: NoPlace) -> Vec<u8> {
        let turned = match why {
            NoPlace::Closing => going_away(),
            NoPlace::Full(open) => {
                turned(MetaReason::Overloaded, format!("{open} connections are open already"))
            }
            NoPlace::Files(error) => {
                turned(MetaReason::Overloaded, format!("the holder is short of files: {error}"))
            }
        };
        MetaReply::TurnedAway(turned).encode()
    }

    fn converse(
        &self,
        connection: &mut Connection,
        bell: &Arc<Bell>,
    ) -> Result<(), ConnectionError> {
        let wait = Duration::from_millis(caps::FRAME_WAIT_MS);
        let Some(frame) = connection.receive(BEFORE_HELLO, Some(wait))? else { return Ok(()) };
        let answer = self.greet(&frame.header);
        connection.send(frame.correlation, &answer.encode(), &[])?;
        if matches!(answer, MetaReply::TurnedAway(_)) {
            return Ok(());
        }
        let mut teller = Teller { store: &*self.store, rest: None, watching: None };
        while let Some(frame) = connection.receive(AFTER_HELLO, None)? {
            let answer = match MetaRequest::decode(&frame.header) {
                Ok(request) => teller.answer(request, connection, bell),
                Err(error) => bad(error.to_string()),
            };
            connection.send(frame.correlation, &answer.encode(), &[])?;
            if matches!(answer, MetaReply::TurnedAway(_)) {
                return Ok(());
            }
            if bell.is_closed() {
                break;
            }
        }
        if bell.is_closed() {
            // Said after every answer: whatever else was asked was not carried out.
            connection.send(0, &MetaReply::TurnedAway(going_away()).encode(), &[])?;
        }
        Ok(())
    }
}

impl Shared {
    fn greet(&self, header: &[u8]) -> MetaReply {
        match MetaRequest::decode(header) {
            Ok(MetaRequest::Hello { version, .. }) if version != METADATA_VERSION => {
                let message =
                    format!("the holder speaks version {METADATA_VERSION}, you speak {version}");
                MetaReply::TurnedAway(turned(MetaReason::Version, message))
            }
            Ok(MetaRequest::Hello { life: Some(meant), .. }) if meant != self.life => {
                let message = "the directory is held by another process now".to_owned();
                MetaReply::TurnedAway(turned(MetaReason::Life, message))
            }
            Ok(MetaRequest::Hello { .. }) => MetaReply::Welcome(MetaWelcome {
                version: METADATA_VERSION,
                life: self.life,
                incarnation: self.incarnation,
                pid: std::process::id(),
            }),
            Ok(_) => bad("hello was not said yet".to_owned()),
            Err(error) => bad(error.to_string()),
        }
    }
}

fn turned(reason: MetaReason, message: String) -> MetaTurnedAway {
    MetaTurnedAway { reason, message, version: METADATA_VERSION }
}

fn going_away() -> MetaTurnedAway {
    turned(MetaReason::Closing, "the holder of this directory is going away".to_owned())
}

fn bad(message: String) -> MetaReply {
    MetaReply::TurnedAway(turned(MetaReason::BadRequest, message))
}

/// Answers the requests of one connection.
struct Teller<'a> {
    store: &'a dyn MetaStore,
    /// What was not sent yet of the last listing.
    rest: Option<Rest>,
    /// Set when the connection is a watch.
    watching: Option<Watching>,
}

/// The rest of a listing.
struct Rest {
    entries: Peekable<vec::IntoIter<(String, Versioned)>>,
    revision: u64,
}

struct Watching {
    watch: Watch,
    /// The last answer was cut: the next is not waited for.
    cut: bool,
}

impl Teller<'_> {
    fn answer(
        &mut self,
        request: MetaRequest,
        connection: &Connection,
        bell: &Arc<Bell>,
    ) -> MetaReply {
        if let Some(watching) = &mut self.watching {
            return match request {
                MetaRequest::Next { wait_ms } => watching.next(wait_ms, connection, bell),
                _ => bad("this connection is a watch: open another".to_owned()),
            };
        }
        let rest = self.rest.take();
        self.carry_out(request, rest)
            .unwrap_or_else(|error| MetaReply::Failed(convert::error_out(error)))
    }

    fn carry_out(
        &mut self,
        request: MetaRequest,
        rest: Option<Rest>,
    ) -> Result<MetaReply, MetaError> {
        Ok(match request {
            MetaRequest::Hello { .. } => bad("hello was said already".to_owned()),
            MetaRequest::Next { .. } => bad("there is no watch yet".to_owned()),
            MetaRequest::Get { key } => match self.store.get(&key)? {
                Some(Versioned { value, revision }) => MetaReply::Value { value, revision },
                None => MetaReply::NoValue,
            },
            MetaRequest::List { prefix } => {
                let Listing { entries, revision } = self.store.list(&prefix)?;
                let entries = entries.into_iter().peekable();
                self.page(Rest { entries, revision })
            }
            MetaRequest::More => match rest {
                Some(rest) => self.page(rest),
                None => bad("there is no more of a list".to_owned()),
            },
            MetaRequest::Txn { compare, ops } => {
                let compare: Vec<_> = compare.into_iter().map(convert::compare_in).collect();
                let ops: Vec<_> = ops.into_iter().map(convert::op_in).collect();
                match self.store.txn(&compare, &ops)? {
                    TxnOutcome::Committed { revision } => MetaReply::Committed { revision },
                    TxnOutcome::Conflict => MetaReply::Conflict,
                }
            }
            MetaRequest::Grant { ttl_ms } => {
                MetaReply::Lease { lease: self.store.grant(ttl_ms)?.0 }
            }
            MetaRequest::KeepAlive { lease } => {
                MetaReply::Alive { ttl_ms: self.store.keep_alive(LeaseId(lease))? }
            }
            MetaRequest::Revoke { lease } => {
                self.store.revoke(LeaseId(lease))?;
                MetaReply::Done
            }
            MetaRequest::Watch { prefix, from } => {
                let watch = self.store.watch(&prefix, from)?;
                self.watching = Some(Watching { watch, cut: false });
                MetaReply::Done
            }
        })
    }

    /// As many entries as make a page; the rest is kept for the next.
    fn page(&mut self, mut rest: Rest) -> MetaReply {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < caps::META_PAGE_BYTES
            && let Some((key, held)) = rest.entries.next()
        {
            bytes += key.len() + held.value.len() + ENTRY_BYTES;
            entries.push(convert::entry_out((key, held)));
        }
        let (revision, more) = (rest.revision, rest.entries.peek().is_some());
        self.rest = more.then_some(rest);
        MetaReply::Page(Page { entries, revision, more })
    }
}

impl Watching {
    /// The next events: waited for until there is one, the time is over, nobody wants it any more, or the
    /// holder goes away.
    fn next(&mut self, wait_ms: u32, connection: &Connection, bell: &Arc<Bell>) -> MetaReply {
        let wait_ms = if self.cut { 0 } else { wait_ms.min(caps::META_POLL_MS) };
        let until = clock::now() + Duration::from_millis(wait_ms.into());
        loop {
            let left = until.saturating_duration_since(clock::now());
            let events = match self.look(left.min(STEP)) {
                Ok(events) => events,
                Err(WatchError::Compacted { oldest }) => return MetaReply::Compacted { oldest },
                Err(WatchError::Store(error)) => {
                    return MetaReply::Failed(convert::error_out(error));
                }
                // Only a watch that was told how long to trust silence says this, and ours was not.
                Err(WatchError::Quiet { .. }) => Vec::new(),
            };
            // Nothing is sent before the answer: what can be received is the other side's end.
            let over = || bell.is_closed() || connection.is_ready(Duration::ZERO).unwrap_or(true);
            if !events.is_empty() || left.is_zero() || over() {
                return MetaReply::Events { events, more: self.cut };
            }
        }
    }

    /// The events there are within `wait`, as many as one answer takes.
    fn look(&mut self, wait: Duration) -> Result<Vec<MetaEvent>, WatchError> {
        self.cut = false;
        let mut next = self.watch.next(wait)?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(event) = next {
            bytes += bytes_of(&event);
            events.push(convert::event_out(event));
            if bytes >= caps::META_PAGE_BYTES {
                self.cut = true;
                break;
            }
            // A watch that has ended says so again when it is asked for what comes next.
            next = self.watch.next(Duration::ZERO).unwrap_or(None);
        }
        Ok(events)
    }
}

fn bytes_of(event: &Event) -> usize {
    let value = match event {
        Event::Put { value, .. } => value.len(),
        Event::Delete { .. } => 0,
    };
    event.key().len() + value + ENTRY_BYTES
}
