//! What a bookie answers.

use super::request::Role;
use super::why::{Refusal, Unknown};
use crate::generated::bookie_capnp::{
    Reason as WireReason, ends, entries, entry, no_entry, reply, turned_away, welcome,
};
use crate::ids::{BookieId, EntryId, Incarnation, Term};
use crate::mirrored::mirrored;
use crate::segment::{self, HeaderError, halves, text, whole};

/// A reply; the bytes of an `Entry` travel in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookieReply {
    /// The conversation is over.
    TurnedAway(TurnedAway),
    /// The answer to a good hello.
    Welcome(Welcome),
    /// Done and durable.
    Done,
    /// The entry asked for is in the payload.
    Entry {
        /// Its number.
        entry: EntryId,
        /// The term it was written under.
        term: Term,
        /// Its checksum, as stored.
        crc: u32,
        /// What readers may see.
        lac: Option<EntryId>,
    },
    /// Entries in a row are in the payload, one behind the other.
    Entries {
        /// The number of the first.
        first: EntryId,
        /// What readers may see.
        lac: Option<EntryId>,
        /// The others, in order.
        entries: Vec<EntryHead>,
    },
    /// Proof that the entry is not there.
    NoEntry {
        /// What readers may see.
        lac: Option<EntryId>,
    },
    /// The fence is durable.
    Fenced {
        /// What readers may see.
        lac: Option<EntryId>,
        /// The highest entry stored.
        last: Option<EntryId>,
    },
    /// What readers may see.
    Lac {
        /// The last entry readers may see.
        lac: Option<EntryId>,
        /// The highest entry stored.
        last: Option<EntryId>,
    },
    /// There may be something new, or the time is over.
    Watched,
    /// Definitely not done.
    Refused(Refusal),
    /// It may or may not have been done, or be there.
    Unknown(Unknown),
}

/// One entry of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// The term it was written under.
    pub term: Term,
    /// Its checksum, as stored.
    pub crc: u32,
    /// Its bytes in the payload.
    pub length: u32,
}

/// Who answers, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// What the bookie speaks.
    pub version: u16,
    /// Its cluster.
    pub cluster: String,
    /// This life of its directory.
    pub incarnation: Incarnation,
    /// Its name in ensembles.
    pub bookie: BookieId,
    /// What the client is to it.
    pub role: Role,
    /// A bit for each optional thing it understands.
    pub features: u64,
    /// The largest entry it takes and sends.
    pub payload_bytes_max: u32,
    /// Requests of this connection without a reply.
    pub requests_max: u32,
    /// Bytes of such requests.
    pub request_bytes_max: u64,
}

/// Why a conversation is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TurnedAway {
    /// What kind of reason, for programs.
    pub reason: Reason,
    /// What was wrong and what to do.
    pub message: String,
    /// Who says so, when that is the client's business.
    pub incarnation: Option<Incarnation>,
}

mirrored! {
    /// The kind of reason for which a conversation is over.
    Reason = WireReason {
        /// It does not decode, or is out of order.
        BadRequest,
        /// The two sides speak different versions.
        Version,
        /// It is a bookie of another cluster.
        Cluster,
        /// It is another incarnation than was meant.
        Incarnation,
        /// The certificate says another role or cluster than the hello.
        Role,
        /// Too many connections.
        Overloaded,
        /// The bookie is going away.
        Closing,
    }
}

impl BookieReply {
    /// One segment of Cap'n Proto.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<reply::Owned>(|root| self.fill(root))
    }

    /// From one segment of Cap'n Proto.
    pub fn decode(bytes: &[u8]) -> Result<BookieReply, HeaderError> {
        segment::decode::<reply::Owned, _>(bytes, BookieReply::take)
    }

    fn fill(&self, mut root: reply::Builder<'_>) {
        match self {
            BookieReply::TurnedAway(turned) => fill_turned_away(turned, root.init_turned_away()),
            BookieReply::Welcome(welcome) => fill_welcome(welcome, root.init_welcome()),
            BookieReply::Done => root.set_done(()),
            BookieReply::Entry { entry, term, crc, lac } => {
                let mut to = root.init_entry();
                to.set_entry(entry.0);
                to.set_term(term.0);
                to.set_crc(*crc);
                to.set_lac(lac.unwrap_or_default().0);
                to.set_has_lac(lac.is_some());
            }
            BookieReply::Entries { first, lac, entries } => {
                fill_entries(*first, *lac, entries, root.init_entries());
            }
            BookieReply::NoEntry { lac } => {
                let mut to = root.init_no_entry();
                to.set_lac(lac.unwrap_or_default().0);
                to.set_has_lac(lac.is_some());
            }
            BookieReply::Fenced { lac, last } => fill_ends(*lac, *last, root.init_fenced()),
            BookieReply::Lac { lac, last } => fill_ends(*lac, *last, root.init_lac()),
            BookieReply::Watched => root.set_watched(()),
            BookieReply::Refused(why) => why.fill(root.init_refused()),
            BookieReply::Unknown(why) => why.fill(root.init_unknown()),
        }
    }

    fn take(root: reply::Reader<'_>) -> Result<BookieReply, HeaderError> {
        Ok(match root.which()? {
            reply::TurnedAway(from) => BookieReply::TurnedAway(take_turned_away(from?)?),
            reply::Welcome(from) => BookieReply::Welcome(take_welcome(from?)?),
            reply::Done(()) => BookieReply::Done,
            reply::Entry(from) => take_entry(from?),
            reply::Entries(from) => take_entries(from?)?,
            reply::NoEntry(from) => take_no_entry(from?),
            reply::Fenced(from) => {
                let (lac, last) = take_ends(from?);
                BookieReply::Fenced { lac, last }
            }
            reply::Lac(from) => {
                let (lac, last) = take_ends(from?);
                BookieReply::Lac { lac, last }
            }
            reply::Watched(()) => BookieReply::Watched,
            reply::Refused(why) => BookieReply::Refused(Refusal::take(why?)?),
            reply::Unknown(why) => BookieReply::Unknown(Unknown::take(why?)?),
        })
    }
}

fn fill_turned_away(from: &TurnedAway, mut to: turned_away::Builder<'_>) {
    let (low, high) = halves(from.incarnation.unwrap_or_default());
    to.set_reason(from.reason.into());
    to.set_message(&from.message);
    to.set_incarnation_low(low);
    to.set_incarnation_high(high);
}

fn take_turned_away(from: turned_away::Reader<'_>) -> Result<TurnedAway, HeaderError> {
    let incarnation = whole(from.get_incarnation_low(), from.get_incarnation_high());
    Ok(TurnedAway {
        // A reason of a later version is told by its message alone.
        reason: from.get_reason().map_or(Reason::BadRequest, Reason::from),
        message: text(from.get_message()?)?,
        incarnation: (incarnation != Incarnation::default()).then_some(incarnation),
    })
}

fn fill_welcome(from: &Welcome, mut to: welcome::Builder<'_>) {
    let (low, high) = halves(from.incarnation);
    to.set_version(from.version);
    to.set_cluster(&from.cluster);
    to.set_incarnation_low(low);
    to.set_incarnation_high(high);
    to.set_bookie(from.bookie.0);
    to.set_role(from.role.into());
    to.set_features(from.features);
    to.set_payload_bytes_max(from.payload_bytes_max);
    to.set_requests_max(from.requests_max);
    to.set_request_bytes_max(from.request_bytes_max);
}

fn take_welcome(from: welcome::Reader<'_>) -> Result<Welcome, HeaderError> {
    Ok(Welcome {
        version: from.get_version(),
        cluster: text(from.get_cluster()?)?,
        incarnation: whole(from.get_incarnation_low(), from.get_incarnation_high()),
        bookie: BookieId(from.get_bookie()),
        role: from.get_role()?.into(),
        features: from.get_features(),
        payload_bytes_max: from.get_payload_bytes_max(),
        requests_max: from.get_requests_max(),
        request_bytes_max: from.get_request_bytes_max(),
    })
}

fn take_entry(from: entry::Reader<'_>) -> BookieReply {
    BookieReply::Entry {
        entry: EntryId(from.get_entry()),
        term: Term(from.get_term()),
        crc: from.get_crc(),
        lac: from.get_has_lac().then(|| EntryId(from.get_lac())),
    }
}

fn fill_entries(
    first: EntryId,
    lac: Option<EntryId>,
    all: &[EntryHead],
    mut to: entries::Builder<'_>,
) {
    to.set_first(first.0);
    to.set_lac(lac.unwrap_or_default().0);
    to.set_has_lac(lac.is_some());
    let count = u32::try_from(all.len()).expect("who makes a reply bounds its entries");
    let mut terms = to.reborrow().init_terms(count);
    (0..).zip(all).for_each(|(at, entry)| terms.set(at, entry.term.0));
    let mut crcs = to.reborrow().init_crcs(count);
    (0..).zip(all).for_each(|(at, entry)| crcs.set(at, entry.crc));
    let mut lengths = to.reborrow().init_lengths(count);
    (0..).zip(all).for_each(|(at, entry)| lengths.set(at, entry.length));
}

fn take_entries(from: entries::Reader<'_>) -> Result<BookieReply, HeaderError> {
    let (terms, crcs, lengths) = (from.get_terms()?, from.get_crcs()?, from.get_lengths()?);
    // Lists of different lengths stop at the shortest: the payload then has bytes of nobody, which is
    // where it is found out.
    let entries = terms.iter().zip(crcs.iter()).zip(lengths.iter());
    let entries = entries.map(|((term, crc), length)| EntryHead { term: Term(term), crc, length });
    Ok(BookieReply::Entries {
        first: EntryId(from.get_first()),
        lac: from.get_has_lac().then(|| EntryId(from.get_lac())),
        entries: entries.collect(),
    })
}

fn take_no_entry(from: no_entry::Reader<'_>) -> BookieReply {
    BookieReply::NoEntry { lac: from.get_has_lac().then(|| EntryId(from.get_lac())) }
}

fn fill_ends(lac: Option<EntryId>, last: Option<EntryId>, mut to: ends::Builder<'_>) {
    to.set_lac(lac.unwrap_or_default().0);
    to.set_has_lac(lac.is_some());
    to.set_last(last.unwrap_or_default().0);
    to.set_has_last(last.is_some());
}

fn take_ends(from: ends::Reader<'_>) -> (Option<EntryId>, Option<EntryId>) {
    let lac = from.get_has_lac().then(|| EntryId(from.get_lac()));
    (lac, from.get_has_last().then(|| EntryId(from.get_last())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option::of;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn refusal() -> impl Strategy<Value = Refusal> {
        let roles = select(Role::ALL.to_vec());
        prop_oneof![
            any::<u64>().prop_map(|held| Refusal::StaleTerm { held: Term(held) }),
            Just(Refusal::NoLedger),
            Just(Refusal::Deleted),
            Just(Refusal::Exists),
            Just(Refusal::Conflict),
            Just(Refusal::BadCrc),
            any::<(u64, u64)>().prop_map(|(bytes, max)| Refusal::TooLarge { bytes, max }),
            (".{0,80}", any::<u64>())
                .prop_map(|(directory, free)| Refusal::DiskFull { directory, free }),
            Just(Refusal::ReadOnly),
            any::<u32>().prop_map(|retry_after_ms| Refusal::Overloaded { retry_after_ms }),
            (roles, ".{0,20}").prop_map(|(role, method)| Refusal::NotAllowed { role, method }),
        ]
    }

    fn unknown() -> impl Strategy<Value = Unknown> {
        prop_oneof![
            ".{0,80}".prop_map(|why| Unknown::Poisoned { why }),
            (".{0,80}", any::<u64>(), ".{0,80}")
                .prop_map(|(file, offset, what)| Unknown::Damaged { file, offset, what }),
            any::<(u128, u128)>().prop_map(|(asked, own)| Unknown::Incarnation {
                asked: Incarnation(asked),
                own: Incarnation(own),
            }),
            Just(Unknown::Limbo),
            (".{0,80}", ".{0,80}").prop_map(|(to, why)| Unknown::Unreachable { to, why }),
            Just(Unknown::Closing),
            any::<u64>().prop_map(|ms| Unknown::Deadline { ms }),
        ]
    }

    fn reply() -> impl Strategy<Value = BookieReply> {
        let entry = || any::<u64>().prop_map(EntryId);
        let maybe = || of(entry());
        let (roles, reasons) = (select(Role::ALL.to_vec()), select(Reason::ALL.to_vec()));
        prop_oneof![
            (reasons, ".{0,80}", 0u128..).prop_map(|(reason, message, id)| {
                let incarnation = (id != 0).then_some(Incarnation(id));
                BookieReply::TurnedAway(TurnedAway { reason, message, incarnation })
            }),
            (any::<(u16, u128, u64, u64, u32, u32, u64)>(), ".{0,80}", roles).prop_map(
                |(n, cluster, role)| BookieReply::Welcome(Welcome {
                    version: n.0,
                    cluster,
                    incarnation: Incarnation(n.1),
                    bookie: BookieId(n.2),
                    role,
                    features: n.3,
                    payload_bytes_max: n.4,
                    requests_max: n.5,
                    request_bytes_max: n.6,
                })
            ),
            Just(BookieReply::Done),
            (entry(), any::<u64>(), any::<u32>(), maybe()).prop_map(|(entry, term, crc, lac)| {
                BookieReply::Entry { entry, term: Term(term), crc, lac }
            }),
            (entry(), maybe(), prop::collection::vec(any::<(u64, u32, u32)>(), 0..20)).prop_map(
                |(first, lac, all)| {
                    let entry = |&(term, crc, length): &(u64, u32, u32)| EntryHead {
                        term: Term(term),
                        crc,
                        length,
                    };
                    let entries = all.iter().map(entry).collect();
                    BookieReply::Entries { first, lac, entries }
                }
            ),
            maybe().prop_map(|lac| BookieReply::NoEntry { lac }),
            (maybe(), maybe()).prop_map(|(lac, last)| BookieReply::Fenced { lac, last }),
            (maybe(), maybe()).prop_map(|(lac, last)| BookieReply::Lac { lac, last }),
            Just(BookieReply::Watched),
            refusal().prop_map(BookieReply::Refused),
            unknown().prop_map(BookieReply::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn a_reply_comes_back(reply in reply()) {
            prop_assert_eq!(BookieReply::decode(&reply.encode()), Ok(reply));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = BookieReply::decode(&bytes);
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
            let _ = BookieReply::decode(&bytes);
            let _ = BookieReply::decode(&bytes[..at / 8 * 8]);
        }
    }
}
