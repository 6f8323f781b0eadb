//! Messages as headers with a payload, and back.

use bytes::Bytes;
use egret_schemas::bookie::{Ask, BookieReply, Refusal as RefusalHead, Unknown as UnknownHead};

use crate::message::{Refusal, Reply, Request, Unknown};

/// A request's header and payload.
pub(super) fn ask(request: Request) -> (Ask, Bytes) {
    let ask = match request {
        Request::Create { ledger, term, transactional } => {
            Ask::Create { ledger, term, transactional }
        }
        Request::Add { ledger, entry, term, lac, crc, payload } => {
            return (Ask::Add { ledger, entry, term, lac, crc }, payload);
        }
        Request::Read { ledger, entry, fence } => Ask::Read { ledger, entry, fence },
        Request::Fence { ledger, term } => Ask::Fence { ledger, term },
        Request::WriteLac { ledger, term, lac } => Ask::WriteLac { ledger, term, lac },
        Request::ReadLac { ledger } => Ask::ReadLac { ledger },
        Request::Delete { ledger } => Ask::Delete { ledger },
    };
    (ask, Bytes::new())
}

/// What a bookie is asked; `None` for what only the server answers.
pub(super) fn request(ask: Ask, payload: Bytes) -> Option<Request> {
    Some(match ask {
        Ask::Hello(_) | Ask::WatchLac { .. } => return None,
        Ask::Create { ledger, term, transactional } => {
            Request::Create { ledger, term, transactional }
        }
        Ask::Add { ledger, entry, term, lac, crc } => {
            Request::Add { ledger, entry, term, lac, crc, payload }
        }
        Ask::Read { ledger, entry, fence } => Request::Read { ledger, entry, fence },
        Ask::Fence { ledger, term } => Request::Fence { ledger, term },
        Ask::WriteLac { ledger, term, lac } => Request::WriteLac { ledger, term, lac },
        Ask::ReadLac { ledger } => Request::ReadLac { ledger },
        Ask::Delete { ledger } => Request::Delete { ledger },
    })
}

/// A reply's header and payload.
pub(super) fn head(reply: Reply) -> (BookieReply, Bytes) {
    let head = match reply {
        Reply::Done => BookieReply::Done,
        Reply::Entry { entry, term, crc, lac, payload } => {
            return (BookieReply::Entry { entry, term, crc, lac }, payload);
        }
        Reply::NoEntry { lac } => BookieReply::NoEntry { lac },
        Reply::Fenced { lac, last } => BookieReply::Fenced { lac, last },
        Reply::Lac { lac, last } => BookieReply::Lac { lac, last },
        Reply::Refused(why) => BookieReply::Refused(refusal_head(why)),
        Reply::Unknown(why) => BookieReply::Unknown(unknown_head(why)),
    };
    (head, Bytes::new())
}

/// What a bookie answered; `None` for what is about the connection or a watch.
pub(super) fn reply(head: BookieReply, payload: Bytes) -> Option<Reply> {
    Some(match head {
        BookieReply::TurnedAway(_) | BookieReply::Welcome(_) | BookieReply::Watched => return None,
        BookieReply::Done => Reply::Done,
        BookieReply::Entry { entry, term, crc, lac } => {
            Reply::Entry { entry, term, crc, lac, payload }
        }
        BookieReply::NoEntry { lac } => Reply::NoEntry { lac },
        BookieReply::Fenced { lac, last } => Reply::Fenced { lac, last },
        BookieReply::Lac { lac, last } => Reply::Lac { lac, last },
        BookieReply::Refused(why) => Reply::Refused(refusal(why)),
        BookieReply::Unknown(why) => Reply::Unknown(unknown(why)),
    })
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
        Unknown::Unreachable { to, why } => UnknownHead::Unreachable { to, why },
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
