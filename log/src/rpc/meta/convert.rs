//! Values and errors of the metadata store to headers and back.

use std::path::PathBuf;

use egret_schemas::metadata::{MetaCompare, MetaEvent, MetaFailure, MetaOp, PageEntry};

use crate::metadata::{Compare, Event, LeaseId, MetaError, Op, Versioned};

pub(crate) fn compare_out(compare: &Compare) -> MetaCompare {
    match compare.clone() {
        Compare::Absent(key) => MetaCompare::Absent { key },
        Compare::Revision(key, revision) => MetaCompare::Revision { key, revision },
    }
}

pub(crate) fn compare_in(compare: MetaCompare) -> Compare {
    match compare {
        MetaCompare::Absent { key } => Compare::Absent(key),
        MetaCompare::Revision { key, revision } => Compare::Revision(key, revision),
    }
}

pub(crate) fn op_out(op: &Op) -> MetaOp {
    match op.clone() {
        Op::Put(key, value) => MetaOp::Put { key, value },
        Op::PutLeased { key, value, lease } => MetaOp::PutLeased { key, value, lease: lease.0 },
        Op::Delete(key) => MetaOp::Delete { key },
    }
}

pub(crate) fn op_in(op: MetaOp) -> Op {
    match op {
        MetaOp::Put { key, value } => Op::Put(key, value),
        MetaOp::PutLeased { key, value, lease } => {
            Op::PutLeased { key, value, lease: LeaseId(lease) }
        }
        MetaOp::Delete { key } => Op::Delete(key),
    }
}

pub(crate) fn entry_out((key, held): (String, Versioned)) -> PageEntry {
    PageEntry { key, value: held.value, revision: held.revision }
}

pub(crate) fn entry_in(entry: PageEntry) -> (String, Versioned) {
    (entry.key, Versioned { value: entry.value, revision: entry.revision })
}

pub(crate) fn event_out(event: Event) -> MetaEvent {
    match event {
        Event::Put { key, value, revision } => MetaEvent { key, revision, value: Some(value) },
        Event::Delete { key, revision } => MetaEvent { key, revision, value: None },
    }
}

pub(crate) fn event_in(event: MetaEvent) -> Event {
    let MetaEvent { key, revision, value } = event;
    match value {
        Some(value) => Event::Put { key, value, revision },
        None => Event::Delete { key, revision },
    }
}

pub(crate) fn error_out(error: MetaError) -> MetaFailure {
    let path = |path: PathBuf| path.display().to_string();
    match error {
        MetaError::Damaged { file, offset, what } => {
            MetaFailure::Damaged { file: path(file), offset, what }
        }
        MetaError::Record { file, record, what } => {
            MetaFailure::Record { file: path(file), record, what }
        }
        MetaError::Version { file, found, known } => {
            MetaFailure::Version { file: path(file), found, known }
        }
        MetaError::Io { file, why } => MetaFailure::Io { file: path(file), why },
        MetaError::Poisoned { file, why } => MetaFailure::Poisoned { file: path(file), why },
        MetaError::Closed => MetaFailure::Closed,
        MetaError::TwiceInTxn { key } => MetaFailure::TwiceInTxn { key },
        MetaError::TooLarge { what, max } => {
            MetaFailure::TooLarge { what, max: u64::try_from(max).unwrap_or(u64::MAX) }
        }
        MetaError::NoLease { lease } => MetaFailure::NoLease { lease: lease.0 },
        MetaError::Refused { why } => MetaFailure::Refused { why },
        MetaError::Unreachable { at, why } => MetaFailure::Unreachable { at, why },
        MetaError::Timeout { at, waited_ms } => MetaFailure::Timeout { at, waited_ms },
        MetaError::Gone { at } => MetaFailure::Gone { at },
    }
}

pub(crate) fn error_in(failure: MetaFailure) -> MetaError {
    match failure {
        MetaFailure::Damaged { file, offset, what } => {
            MetaError::Damaged { file: file.into(), offset, what }
        }
        MetaFailure::Record { file, record, what } => {
            MetaError::Record { file: file.into(), record, what }
        }
        MetaFailure::Version { file, found, known } => {
            MetaError::Version { file: file.into(), found, known }
        }
        MetaFailure::Io { file, why } => MetaError::Io { file: file.into(), why },
        MetaFailure::Poisoned { file, why } => MetaError::Poisoned { file: file.into(), why },
        MetaFailure::Closed => MetaError::Closed,
        MetaFailure::TwiceInTxn { key } => MetaError::TwiceInTxn { key },
        MetaFailure::TooLarge { what, max } => {
            MetaError::TooLarge { what, max: usize::try_from(max).unwrap_or(usize::MAX) }
        }
        MetaFailure::NoLease { lease } => MetaError::NoLease { lease: LeaseId(lease) },
        MetaFailure::Refused { why } => MetaError::Refused { why },
        MetaFailure::Unreachable { at, why } => MetaError::Unreachable { at, why },
        MetaFailure::Timeout { at, waited_ms } => MetaError::Timeout { at, waited_ms },
        MetaFailure::Gone { at } => MetaError::Gone { at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    #[test]
    fn every_error_crosses_with_its_words_and_its_outcome() {
        let (file, why) = (PathBuf::from("/d/meta.redb"), "no space".to_owned());
        let (what, at) = ("a page".to_owned(), "there".to_owned());
        let errors = [
            MetaError::Damaged { file: file.clone(), offset: 4096, what: what.clone() },
            MetaError::Record { file: file.clone(), record: "/a".to_owned(), what: what.clone() },
            MetaError::Version { file: file.clone(), found: 9, known: 2 },
            MetaError::Io { file: file.clone(), why: why.clone() },
            MetaError::Poisoned { file, why: why.clone() },
            MetaError::Closed,
            MetaError::TwiceInTxn { key: "/a".to_owned() },
            MetaError::TooLarge { what, max: 128 },
            MetaError::NoLease { lease: LeaseId(7) },
            MetaError::Refused { why: why.clone() },
            MetaError::Unreachable { at: at.clone(), why },
            MetaError::Timeout { at: at.clone(), waited_ms: 5 },
            MetaError::Gone { at },
        ];
        let mut unknown = 0;
        for error in errors {
            let back = error_in(error_out(error.clone()));
            assert_eq!(back, error);
            assert_eq!(back.to_string(), error.to_string());
            unknown += usize::from(back.outcome() == Outcome::Unknown);
        }
        assert_eq!(unknown, 4, "damaged, poisoned, unreachable, late");
    }
}
