//! Answers the requests of one connection, one after the other, from a metadata store.
//!
//! What it keeps between two requests is bounded by what the client asked for: the rest of one listing, or
//! one watch, which is a place in the store's own history.

use std::iter::Peekable;
use std::time::Duration;
use std::vec;

use egret_schemas::metadata::{
    METADATA_VERSION, MetaEvent, MetaReason, MetaReply, MetaRequest, MetaTurnedAway, Page,
};

use super::convert;
use crate::metadata::{
    Event, LeaseId, Listing, MetaError, MetaStore, TxnOutcome, Versioned, Watch, WatchError,
};
use crate::{caps, clock};

/// How long a watch waits at a time before it looks whether anybody still wants it.
const STEP: Duration = Duration::from_millis(100);

/// What an entry of a list takes beside its bytes.
const ENTRY_BYTES: usize = 64;

/// See the [module](self).
pub(crate) struct Teller<'a> {
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
    /// For one connection to the metadata in `store`.
    pub(crate) fn new(store: &dyn MetaStore) -> Teller<'_> {
        Teller { store, rest: None, watching: None }
    }

    /// Carries out a request. What waits gives up when nobody wants its answer any more, as `over` says.
    pub(crate) fn answer(&mut self, request: MetaRequest, over: &dyn Fn() -> bool) -> MetaReply {
        if let Some(watching) = &mut self.watching {
            return match request {
                MetaRequest::Next { wait_ms } => watching.next(wait_ms, over),
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
    fn next(&mut self, wait_ms: u32, over: &dyn Fn() -> bool) -> MetaReply {
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

/// Whoever asks out of order is turned away.
pub(super) fn bad(message: String) -> MetaReply {
    let (reason, version) = (MetaReason::BadRequest, METADATA_VERSION);
    MetaReply::TurnedAway(MetaTurnedAway { reason, message, version })
}
