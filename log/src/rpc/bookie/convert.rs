//! Messages as headers with a payload, and back.

use bytes::{Bytes, BytesMut};
use egret_schemas::EntryId;
use egret_schemas::bookie::{
    Ask, BookieReply, EntryHead, Refusal as RefusalHead, Unknown as UnknownHead,
};

use crate::caps;
use crate::message::{RangeEntry, Refusal, Reply, Request, Unknown};

/// A request's header and payload.
pub(crate) fn ask(request: Request) -> (Ask, Bytes) {
    let ask = match request {
        Request::Create { ledger, term, transactional, replicated } => {
            Ask::Create { ledger, term, transactional, replicated }
        }
        Request::Add { ledger, entry, term, lac, crc, copy, payload } => {
            return (Ask::Add { ledger, entry, term, lac, crc, copy }, payload);
        }
        Request::ReadRange { ledger, from, entries_max, bytes_max } => {
            // The reply's header holds a few words for each.
            let entries_max = entries_max.min(caps::WIRE_ENTRIES_MAX);
            Ask::ReadRange { ledger, from, entries_max, bytes_max }
        }
        Request::ClearLimbo { ledger, term } => Ask::ClearLimbo { ledger, term },
        Request::LimboBound { below } => Ask::LimboBound { below },
        Request::Read { ledger, entry, fence } => Ask::Read { ledger, entry, fence },
        Request::Fence { ledger, term } => Ask::Fence { ledger, term },
        Request::WriteLac { ledger, term, lac } => Ask::WriteLac { ledger, term, lac },
        Request::ReadLac { ledger } => Ask::ReadLac { ledger },
        Request::Delete { ledger } => Ask::Delete { ledger },
    };
    (ask, Bytes::new())
}

/// What a bookie is asked; `None` for what only the server answers.
pub(crate) fn request(ask: Ask, payload: Bytes) -> Option<Request> {
    Some(match ask {
        Ask::Hello(_) | Ask::WatchLac { .. } => return None,
        Ask::Create { ledger, term, transactional, replicated } => {
            Request::Create { ledger, term, transactional, replicated }
        }
        Ask::Add { ledger, entry, term, lac, crc, copy } => {
            Request::Add { ledger, entry, term, lac, crc, copy, payload }
        }
        Ask::ReadRange { ledger, from, entries_max, bytes_max } => {
            let entries_max = entries_max.min(caps::WIRE_ENTRIES_MAX);
            Request::ReadRange { ledger, from, entries_max, bytes_max }
        }
        Ask::ClearLimbo { ledger, term } => Request::ClearLimbo { ledger, term },
        Ask::LimboBound { below } => Request::LimboBound { below },
        Ask::Read { ledger, entry, fence } => Request::Read { ledger, entry, fence },
        Ask::Fence { ledger, term } => Request::Fence { ledger, term },
        Ask::WriteLac { ledger, term, lac } => Request::WriteLac { ledger, term, lac },
        Ask::ReadLac { ledger } => Request::ReadLac { ledger },
        Ask::Delete { ledger } => Request::Delete { ledger },
    })
}

/// A reply's header and payload.
pub(crate) fn head(reply: Reply) -> (BookieReply, Bytes) {
    let head = match reply {
        Reply::Done => BookieReply::Done,
        Reply::Entry { entry, term, crc, lac, payload } => {
            return (BookieReply::Entry { entry, term, crc, lac }, payload);
        }
        Reply::Entries { lac, entries } => return entries_head(lac, &entries),
        Reply::NoEntry { lac } => BookieReply::NoEntry { lac },
        Reply::Fenced { lac, last } => BookieReply::Fenced { lac, last },
        Reply::Lac { lac, last } => BookieReply::Lac { lac, last },
        Reply::Refused(why) => BookieReply::Refused(refusal_head(why)),
        Reply::Unknown(why) => BookieReply::Unknown(unknown_head(why)),
    };
    (head, Bytes::new())
}

/// What a bookie answered; `None` for what is about the connection or a watch.
pub(crate) fn reply(head: BookieReply, payload: Bytes) -> Option<Reply> {
    Some(match head {
        BookieReply::TurnedAway(_) | BookieReply::Welcome(_) | BookieReply::Watched => return None,
        BookieReply::Done => Reply::Done,
        BookieReply::Entry { entry, term, crc, lac } => {
            Reply::Entry { entry, term, crc, lac, payload }
        }
        BookieReply::Entries { first, lac, entries } => {
            return entries_of(first, lac, &entries, payload);
        }
        BookieReply::NoEntry { lac } => Reply::NoEntry { lac },
        BookieReply::Fenced { lac, last } => Reply::Fenced { lac, last },
        BookieReply::Lac { lac, last } => Reply::Lac { lac, last },
        BookieReply::Refused(why) => Reply::Refused(refusal(why)),
        BookieReply::Unknown(why) => Reply::Unknown(unknown(why)),
    })
}

fn entries_head(lac: Option<EntryId>, entries: &[RangeEntry]) -> (BookieReply, Bytes) {
    let mut payload = BytesMut::with_capacity(entries.iter().map(|e| e.payload.len()).sum());
    let mut heads = Vec::with_capacity(entries.len());
    for entry in entries {
        let length = u32::try_from(entry.payload.len()).expect("entries are bounded below 4 GiB");
        heads.push(EntryHead { term: entry.term, crc: entry.crc, length });
        payload.extend_from_slice(&entry.payload);
    }
    let first = entries.first().map(|entry| entry.entry).unwrap_or_default();
    (BookieReply::Entries { first, lac, entries: heads }, payload.freeze())
}

/// `None` when the payload is not the entries that are announced.
fn entries_of(
    first: EntryId,
    lac: Option<EntryId>,
    heads: &[EntryHead],
    mut payload: Bytes,
) -> Option<Reply> {
    let mut entries = Vec::with_capacity(heads.len());
    let mut entry = first;
    for head in heads {
        let length = usize::try_from(head.length).ok()?;
        if length > payload.len() {
            return None;
        }
        let payload = payload.split_to(length);
        entries.push(RangeEntry { entry, term: head.term, crc: head.crc, payload });
        entry = EntryId(entry.0.checked_add(1)?);
    }
    (payload.is_empty() && !entries.is_empty()).then_some(Reply::Entries { lac, entries })
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn refusal_head(why: Refusal) -> RefusalHead {
    match why {
        Refusal::StaleTerm { held } => RefusalHead::StaleTerm { held },
        Refusal::NoLedger => RefusalHead::NoLedger,
        Refusal::Deleted => RefusalHead::Deleted,
        Refusal::Exists => RefusalHead::Exists,
        Refusal::Conflict => RefusalHead::Conflict,
        Refusal::BadCrc => RefusalHead::BadCrc,
        Refusal::TooLarge { bytes, max } => {
            RefusalHead::TooLarge { bytes: wide(bytes), max: wide(max) }
        }
        Refusal::DiskFull { dir, free } => {
            RefusalHead::DiskFull { directory: dir.to_string_lossy().into_owned(), free }
        }
        Refusal::ReadOnly => RefusalHead::ReadOnly,
        Refusal::Overloaded { retry_after_ms } => RefusalHead::Overloaded { retry_after_ms },
        Refusal::NotAllowed { role, method } => RefusalHead::NotAllowed { role, method },
    }
}

fn refusal(why: RefusalHead) -> Refusal {
    match why {
        RefusalHead::StaleTerm { held } => Refusal::StaleTerm { held },
        RefusalHead::NoLedger => Refusal::NoLedger,
        RefusalHead::Deleted => Refusal::Deleted,
        RefusalHead::Exists => Refusal::Exists,
        RefusalHead::Conflict => Refusal::Conflict,
        RefusalHead::BadCrc => Refusal::BadCrc,
        RefusalHead::TooLarge { bytes, max } => {
            Refusal::TooLarge { bytes: narrow(bytes), max: narrow(max) }
        }
        RefusalHead::DiskFull { directory, free } => {
            Refusal::DiskFull { dir: directory.into(), free }
        }
        RefusalHead::ReadOnly => Refusal::ReadOnly,
        RefusalHead::Overloaded { retry_after_ms } => Refusal::Overloaded { retry_after_ms },
        RefusalHead::NotAllowed { role, method } => Refusal::NotAllowed { role, method },
    }
}

fn unknown_head(why: Unknown) -> UnknownHead {
    match why {
        Unknown::Poisoned { why } => UnknownHead::Poisoned { why },
        Unknown::Damaged { file, offset, what } => {
            UnknownHead::Damaged { file: file.to_string_lossy().into_owned(), offset, what }
        }
        Unknown::Incarnation { asked, own } => UnknownHead::Incarnation { asked, own },
        Unknown::Limbo => UnknownHead::Limbo,
        // Who was turned away asks nobody on another's behalf; to a client it is all one.
        Unknown::Unreachable { to, why } | Unknown::TurnedAway { to, why } => {
            UnknownHead::Unreachable { to, why }
        }
        Unknown::Closing => UnknownHead::Closing,
        Unknown::Deadline { ms } => UnknownHead::Deadline { ms },
    }
}

fn unknown(why: UnknownHead) -> Unknown {
    match why {
        UnknownHead::Poisoned { why } => Unknown::Poisoned { why },
        UnknownHead::Damaged { file, offset, what } => {
            Unknown::Damaged { file: file.into(), offset, what }
        }
        UnknownHead::Incarnation { asked, own } => Unknown::Incarnation { asked, own },
        UnknownHead::Limbo => Unknown::Limbo,
        UnknownHead::Unreachable { to, why } => Unknown::Unreachable { to, why },
        UnknownHead::Closing => Unknown::Closing,
        UnknownHead::Deadline { ms } => Unknown::Deadline { ms },
    }
}
