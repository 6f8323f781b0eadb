//! Requests and answers in short, for the trace.

use std::fmt;

use egret_log::message::{Reply, Request, Unknown};
use egret_schemas::EntryId;

/// A request in short.
pub(crate) struct Asked<'a>(pub(crate) &'a Request);

/// An answer in short.
pub(crate) struct Answered<'a>(pub(crate) &'a Reply);

struct Upto(Option<EntryId>);

impl fmt::Display for Upto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(entry) => write!(f, "{entry}"),
            None => f.write_str("-"),
        }
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Create { ledger, term, .. } => write!(f, "create {ledger} at {term}"),
            Request::Add { ledger, entry, term, lac, copy, payload, .. } => {
                let (lac, bytes) = (Upto(*lac), payload.len());
                let add = if *copy { "copy" } else { "add" };
                write!(f, "{add} {ledger}:{entry} at {term}, lac {lac}, {bytes} bytes")
            }
            Request::Read { ledger, entry, fence: None } => write!(f, "read {ledger}:{entry}"),
            Request::Read { ledger, entry, fence: Some(term) } => {
                write!(f, "read {ledger}:{entry} fencing at {term}")
            }
            Request::Fence { ledger, term } => write!(f, "fence {ledger} at {term}"),
            Request::WriteLac { ledger, term, lac } => {
                write!(f, "write lac {ledger}:{lac} at {term}")
            }
            Request::ReadLac { ledger } => write!(f, "read lac {ledger}"),
            Request::Delete { ledger } => write!(f, "delete {ledger}"),
            Request::ReadRange { ledger, from, .. } => write!(f, "read {ledger} from {from}"),
            Request::ClearLimbo { ledger, .. } => write!(f, "clear limbo of {ledger}"),
            Request::LimboBound { below } => write!(f, "limbo below {below}"),
        }
    }
}

impl fmt::Display for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Done => f.write_str("done"),
            Reply::Entry { entry, term, lac, payload, .. } => {
                let (lac, bytes) = (Upto(*lac), payload.len());
                write!(f, "entry {entry} of {term}, lac {lac}, {bytes} bytes")
            }
            Reply::Entries { entries, .. } => write!(f, "{} entries", entries.len()),
            Reply::NoEntry { lac } => write!(f, "no entry, lac {}", Upto(*lac)),
            Reply::Fenced { lac, last } => {
                write!(f, "fenced, lac {}, last {}", Upto(*lac), Upto(*last))
            }
            Reply::Lac { lac, last } => write!(f, "lac {}, last {}", Upto(*lac), Upto(*last)),
            Reply::Refused(refusal) => write!(f, "refused: {refusal}"),
            Reply::Unknown(Unknown::Incarnation { .. }) => f.write_str("unknown: another life"),
            Reply::Unknown(unknown) => write!(f, "unknown: {unknown}"),
        }
    }
}
