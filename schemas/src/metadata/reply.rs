//! What the holder of the metadata answers.

use super::failure::MetaFailure;
use crate::generated::metadata_capnp::{
    Reason as WireReason, entry, event, page, reply, turned_away, welcome,
};
use crate::ids::Incarnation;
use crate::mirrored::mirrored;
use crate::segment::{self, HeaderError, collect, count, halves, text, whole};

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaReply {
    /// The conversation is over.
    TurnedAway(MetaTurnedAway),
    /// The answer to a good hello.
    Welcome(MetaWelcome),
    /// The value of a key, and when it was written.
    Value {
        /// The bytes.
        value: Vec<u8>,
        /// The revision that wrote them.
        revision: u64,
    },
    /// There is no such key.
    NoValue,
    /// A page of a listing.
    Page(Page),
    /// The transaction is durable.
    Committed {
        /// Its revision.
        revision: u64,
    },
    /// What the transaction required does not hold.
    Conflict,
    /// A lease was granted.
    Lease {
        /// Its number.
        lease: u64,
    },
    /// The lease lives on.
    Alive {
        /// For so long.
        ttl_ms: u64,
    },
    /// Done.
    Done,
    /// Events of a watch; none when the time is over.
    Events {
        /// In the order of their revisions.
        events: Vec<MetaEvent>,
        /// Whether there may be more of the last revision.
        more: bool,
    },
    /// The watch has ended: what it should give is no longer kept.
    Compacted {
        /// The oldest revision from which one may begin.
        oldest: u64,
    },
    /// What the store said instead of an answer.
    Failed(MetaFailure),
}

/// Why the conversation is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaTurnedAway {
    /// The kind of reason.
    pub reason: MetaReason,
    /// What was wrong and what to do.
    pub message: String,
    /// What the holder speaks.
    pub version: u16,
}

mirrored! {
    /// Kinds of reasons to be turned away.
    MetaReason = WireReason {
        /// It does not decode, or is out of order.
        BadRequest,
        /// The two speak different versions.
        Version,
        /// The life that was meant is over.
        Life,
        /// Too many connections.
        Overloaded,
        /// The holder is going away.
        Closing,
    }
}

/// Whom the client is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaWelcome {
    /// What the holder speaks.
    pub version: u16,
    /// This holding of the directory.
    pub life: Incarnation,
    /// The directory's bookie.
    pub incarnation: Incarnation,
    /// The holder's process.
    pub pid: u32,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Keys and values, in the order of the keys.
    pub entries: Vec<PageEntry>,
    /// The revision of the whole listing.
    pub revision: u64,
    /// Whether another page follows.
    pub more: bool,
}

/// A key, its value, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEntry {
    /// The key.
    pub key: String,
    /// The bytes.
    pub value: Vec<u8>,
    /// The revision that wrote them.
    pub revision: u64,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaEvent {
    /// The key.
    pub key: String,
    /// When.
    pub revision: u64,
    /// What was written; `None`: it was removed.
    pub value: Option<Vec<u8>>,
}

impl MetaReply {
    /// The header of a frame.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<reply::Owned>(|root| self.fill(root))
    }

    /// Reads the header of a frame.
    pub fn decode(bytes: &[u8]) -> Result<MetaReply, HeaderError> {
        segment::decode::<reply::Owned, _>(bytes, MetaReply::take)
    }

    fn fill(&self, mut root: reply::Builder<'_>) {
        match self {
            MetaReply::TurnedAway(turned) => {
                let mut to = root.init_turned_away();
                to.set_reason(turned.reason.into());
                to.set_message(&turned.message);
                to.set_version(turned.version);
            }
            MetaReply::Welcome(welcome) => fill_welcome(welcome, root.init_welcome()),
            MetaReply::Value { value, revision } => {
                let mut to = root.init_value();
                to.set_value(value);
                to.set_revision(*revision);
            }
            MetaReply::NoValue => root.set_no_value(()),
            MetaReply::Page(page) => fill_page(page, root.init_page()),
            MetaReply::Committed { revision } => root.set_committed(*revision),
            MetaReply::Conflict => root.set_conflict(()),
            MetaReply::Lease { lease } => root.set_lease(*lease),
            MetaReply::Alive { ttl_ms } => root.set_alive(*ttl_ms),
            MetaReply::Done => root.set_done(()),
            MetaReply::Events { events, more } => {
                let mut to = root.init_events();
                to.set_more(*more);
                let mut all = to.init_events(count(events));
                for (at, event) in (0..).zip(events) {
                    let mut to = all.reborrow().get(at);
                    to.set_key(&event.key);
                    to.set_revision(event.revision);
                    match &event.value {
                        Some(value) => to.set_put(value),
                        None => to.set_delete(()),
                    }
                }
            }
            MetaReply::Compacted { oldest } => root.set_compacted(*oldest),
            MetaReply::Failed(failure) => failure.fill(root.init_failed()),
        }
    }

    fn take(root: reply::Reader<'_>) -> Result<MetaReply, HeaderError> {
        Ok(match root.which()? {
            reply::TurnedAway(from) => MetaReply::TurnedAway(take_turned_away(from?)?),
            reply::Welcome(from) => MetaReply::Welcome(take_welcome(from?)),
            reply::Value(from) => {
                let from = from?;
                let value = from.get_value()?.to_vec();
                MetaReply::Value { value, revision: from.get_revision() }
            }
            reply::NoValue(()) => MetaReply::NoValue,
            reply::Page(from) => MetaReply::Page(take_page(from?)?),
            reply::Committed(revision) => MetaReply::Committed { revision },
            reply::Conflict(()) => MetaReply::Conflict,
            reply::Lease(lease) => MetaReply::Lease { lease },
            reply::Alive(ttl_ms) => MetaReply::Alive { ttl_ms },
            reply::Done(()) => MetaReply::Done,
            reply::Events(from) => {
                let from = from?;
                let events = collect(from.get_events()?.iter().map(take_event))?;
                MetaReply::Events { events, more: from.get_more() }
            }
            reply::Compacted(oldest) => MetaReply::Compacted { oldest },
            reply::Failed(from) => MetaReply::Failed(MetaFailure::take(from?)?),
        })
    }
}

fn take_turned_away(from: turned_away::Reader<'_>) -> Result<MetaTurnedAway, HeaderError> {
    Ok(MetaTurnedAway {
        // A reason of a later version is told by its message alone.
        reason: from.get_reason().map_or(MetaReason::BadRequest, MetaReason::from),
        message: text(from.get_message()?)?,
        version: from.get_version(),
    })
}

fn fill_welcome(welcome: &MetaWelcome, mut to: welcome::Builder<'_>) {
    let (low, high) = halves(welcome.life);
    to.set_version(welcome.version);
    to.set_life_low(low);
    to.set_life_high(high);
    let (low, high) = halves(welcome.incarnation);
    to.set_incarnation_low(low);
    to.set_incarnation_high(high);
    to.set_pid(welcome.pid);
}

fn take_welcome(from: welcome::Reader<'_>) -> MetaWelcome {
    MetaWelcome {
        version: from.get_version(),
        life: whole(from.get_life_low(), from.get_life_high()),
        incarnation: whole(from.get_incarnation_low(), from.get_incarnation_high()),
        pid: from.get_pid(),
    }
}

fn fill_page(page: &Page, mut to: page::Builder<'_>) {
    to.set_revision(page.revision);
    to.set_more(page.more);
    let mut all = to.init_entries(count(&page.entries));
    for (at, entry) in (0..).zip(&page.entries) {
        let mut to = all.reborrow().get(at);
        to.set_key(&entry.key);
        to.set_value(&entry.value);
        to.set_revision(entry.revision);
    }
}

fn take_page(from: page::Reader<'_>) -> Result<Page, HeaderError> {
    let one = |from: entry::Reader<'_>| {
        let (key, value) = (text(from.get_key()?)?, from.get_value()?.to_vec());
        Ok(PageEntry { key, value, revision: from.get_revision() })
    };
    let entries = collect(from.get_entries()?.iter().map(one))?;
    Ok(Page { entries, revision: from.get_revision(), more: from.get_more() })
}

fn take_event(from: event::Reader<'_>) -> Result<MetaEvent, HeaderError> {
    let value = match from.which()? {
        event::Put(value) => Some(value?.to_vec()),
        event::Delete(()) => None,
    };
    Ok(MetaEvent { key: text(from.get_key()?)?, revision: from.get_revision(), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..60)
    }

    fn failure() -> impl Strategy<Value = MetaFailure> {
        let words = ".{0,40}";
        prop_oneof![
            (words, any::<u64>(), words).prop_map(|(file, offset, what)| MetaFailure::Damaged {
                file,
                offset,
                what
            }),
            (words, words, words).prop_map(|(file, record, what)| MetaFailure::Record {
                file,
                record,
                what
            }),
            (words, any::<u16>(), any::<u16>())
                .prop_map(|(file, found, known)| MetaFailure::Version { file, found, known }),
            (words, words).prop_map(|(file, why)| MetaFailure::Io { file, why }),
            (words, words).prop_map(|(file, why)| MetaFailure::Poisoned { file, why }),
            Just(MetaFailure::Closed),
            words.prop_map(|key| MetaFailure::TwiceInTxn { key }),
            (words, any::<u64>()).prop_map(|(what, max)| MetaFailure::TooLarge { what, max }),
            any::<u64>().prop_map(|lease| MetaFailure::NoLease { lease }),
            words.prop_map(|why| MetaFailure::Refused { why }),
            (words, words).prop_map(|(at, why)| MetaFailure::Unreachable { at, why }),
            (words, any::<u64>())
                .prop_map(|(at, waited_ms)| MetaFailure::Timeout { at, waited_ms }),
            words.prop_map(|at| MetaFailure::Gone { at }),
        ]
    }

    fn reply() -> impl Strategy<Value = MetaReply> {
        let entry = (".{0,40}", bytes(), any::<u64>())
            .prop_map(|(key, value, revision)| PageEntry { key, value, revision });
        let event = (".{0,40}", any::<u64>(), of(bytes()))
            .prop_map(|(key, revision, value)| MetaEvent { key, revision, value });
        let page = (vec(entry, 0..9), any::<u64>(), any::<bool>())
            .prop_map(|(entries, revision, more)| Page { entries, revision, more });
        let welcome = any::<(u16, u128, u128, u32)>().prop_map(|(version, life, own, pid)| {
            let (life, incarnation) = (Incarnation(life), Incarnation(own));
            MetaReply::Welcome(MetaWelcome { version, life, incarnation, pid })
        });
        prop_oneof![
            (select(MetaReason::ALL.to_vec()), ".{0,40}", any::<u16>()).prop_map(
                |(reason, message, version)| {
                    MetaReply::TurnedAway(MetaTurnedAway { reason, message, version })
                }
            ),
            welcome,
            (bytes(), any::<u64>())
                .prop_map(|(value, revision)| MetaReply::Value { value, revision }),
            Just(MetaReply::NoValue),
            page.prop_map(MetaReply::Page),
            any::<u64>().prop_map(|revision| MetaReply::Committed { revision }),
            Just(MetaReply::Conflict),
            any::<u64>().prop_map(|lease| MetaReply::Lease { lease }),
            any::<u64>().prop_map(|ttl_ms| MetaReply::Alive { ttl_ms }),
            Just(MetaReply::Done),
            (vec(event, 0..9), any::<bool>())
                .prop_map(|(events, more)| MetaReply::Events { events, more }),
            any::<u64>().prop_map(|oldest| MetaReply::Compacted { oldest }),
            failure().prop_map(MetaReply::Failed),
        ]
    }

    proptest! {
        #[test]
        fn a_reply_comes_back(reply in reply()) {
            prop_assert_eq!(MetaReply::decode(&reply.encode()), Ok(reply));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = MetaReply::decode(&bytes);
        }

        #[test]
        fn a_damaged_reply_decodes_or_fails_without_panic(
            reply in reply(),
            at: proptest::sample::Index,
            with: u8,
        ) {
            let mut bytes = reply.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            let _ = MetaReply::decode(&bytes);
            let _ = MetaReply::decode(&bytes[..at / 8 * 8]);
        }
    }
}
