//! What arrives on a directory's socket for its metadata: requests and replies; and what a store does with any
//! conversation.

use std::sync::Arc;

use egret_schemas::Incarnation;
use egret_schemas::metadata::{
    MetaCompare, MetaEvent, MetaFailure, MetaOp, MetaReason, MetaReply, MetaRequest,
    MetaTurnedAway, MetaWelcome, Page, PageEntry,
};

use super::wire::{framed, unframed};
use super::{Sample, Target, comes_back};
use crate::caps;
use crate::metadata::{LeaseClock, MemoryMeta, MetaStore};
use crate::rpc::meta::convert;
use crate::rpc::meta::teller::Teller;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "meta_request", run: meta_request, samples: meta_request_samples },
    Target { name: "meta_reply", run: meta_reply, samples: meta_reply_samples },
    Target { name: "meta_answers", run: meta_answers, samples: meta_answers_samples },
];

fn meta_request(bytes: &[u8]) -> bool {
    let Ok(request) = MetaRequest::decode(bytes) else { return false };
    if let MetaRequest::Txn { compare, ops } = request {
        let taken: Vec<_> = compare.iter().cloned().map(convert::compare_in).collect();
        let back: Vec<_> = taken.iter().map(convert::compare_out).collect();
        assert_eq!(back, compare, "what is required comes back");
        let taken: Vec<_> = ops.iter().cloned().map(convert::op_in).collect();
        let back: Vec<_> = taken.iter().map(convert::op_out).collect();
        assert_eq!(back, ops, "what is written comes back");
    }
    comes_back(bytes, MetaRequest::decode, MetaRequest::encode)
}

fn meta_reply(bytes: &[u8]) -> bool {
    let Ok(reply) = MetaReply::decode(bytes) else { return false };
    match reply {
        MetaReply::Failed(failure) => {
            let back = convert::error_out(convert::error_in(failure.clone()));
            assert_eq!(back, failure, "an error comes back");
        }
        MetaReply::Events { events, .. } => {
            let taken: Vec<_> = events.iter().cloned().map(convert::event_in).collect();
            let back: Vec<_> = taken.into_iter().map(convert::event_out).collect();
            assert_eq!(back, events, "events come back");
        }
        _ => {}
    }
    comes_back(bytes, MetaReply::decode, MetaReply::encode)
}

/// An input is a conversation: frames one behind the other. Whatever is asked, the answer fits what the other
/// side reads, and no wait outlasts what it is for.
fn meta_answers(bytes: &[u8]) -> bool {
    let store: Arc<dyn MetaStore> =
        Arc::new(MemoryMeta::with_clock(LeaseClock::Set(Arc::default())));
    let mut teller = Teller::new(&*store);
    let mut taken = false;
    for (header, _) in unframed(bytes) {
        let Ok(request) = MetaRequest::decode(header) else { continue };
        taken = true;
        let answer = teller.answer(request, &|| true);
        let header = answer.encode();
        assert!(header.len() <= caps::META_HEADER_BYTES_MAX, "{} bytes", header.len());
        assert_eq!(MetaReply::decode(&header).as_ref(), Ok(&answer), "the client can read it");
        if let MetaReply::TurnedAway(_) = answer {
            // The connection ends, and another begins.
            teller = Teller::new(&*store);
        }
    }
    taken
}

/// A request of each kind.
fn requests() -> Vec<(&'static str, MetaRequest)> {
    let (key, value) = ("/a".to_owned(), b"egret".to_vec());
    let compare = vec![
        MetaCompare::Absent { key: key.clone() },
        MetaCompare::Revision { key: "/b".to_owned(), revision: 3 },
    ];
    let ops = vec![
        MetaOp::Put { key: key.clone(), value: value.clone() },
        MetaOp::PutLeased { key: "/c".to_owned(), value, lease: 1 },
        MetaOp::Delete { key: "/b".to_owned() },
    ];
    vec![
        ("hello", MetaRequest::Hello { version: 1, life: Some(Incarnation(0x11fe)) }),
        ("grant", MetaRequest::Grant { ttl_ms: 5000 }),
        ("keep_alive", MetaRequest::KeepAlive { lease: 1 }),
        ("txn", MetaRequest::Txn { compare, ops }),
        ("get", MetaRequest::Get { key }),
        ("list", MetaRequest::List { prefix: "/".to_owned() }),
        ("more", MetaRequest::More),
        ("revoke", MetaRequest::Revoke { lease: 1 }),
        ("watch", MetaRequest::Watch { prefix: "/".to_owned(), from: 1 }),
        ("next", MetaRequest::Next { wait_ms: 9 }),
    ]
}

fn meta_request_samples() -> Vec<Sample> {
    requests().into_iter().map(|(name, request)| (name, request.encode())).collect()
}

fn meta_reply_samples() -> Vec<Sample> {
    let (key, value) = ("/a".to_owned(), b"egret".to_vec());
    let (file, why) = ("/d/meta.redb".to_owned(), "no space".to_owned());
    let message = "the holder of this directory is going away".to_owned();
    let entries = vec![PageEntry { key: key.clone(), value: value.clone(), revision: 3 }];
    let events = vec![
        MetaEvent { key: key.clone(), revision: 3, value: Some(value.clone()) },
        MetaEvent { key: key.clone(), revision: 4, value: None },
    ];
    let welcome = MetaWelcome {
        version: 1,
        life: Incarnation(0x11fe),
        incarnation: Incarnation(0x77),
        pid: 4711,
    };
    let failed = |failure| MetaReply::Failed(failure);
    let all = vec![
        (
            "turned_away",
            MetaReply::TurnedAway(MetaTurnedAway {
                reason: MetaReason::Closing,
                message,
                version: 1,
            }),
        ),
        ("welcome", MetaReply::Welcome(welcome)),
        ("value", MetaReply::Value { value, revision: 3 }),
        ("no_value", MetaReply::NoValue),
        ("page", MetaReply::Page(Page { entries, revision: 9, more: true })),
        ("committed", MetaReply::Committed { revision: 9 }),
        ("conflict", MetaReply::Conflict),
        ("lease", MetaReply::Lease { lease: 1 }),
        ("alive", MetaReply::Alive { ttl_ms: 5000 }),
        ("done", MetaReply::Done),
        ("events", MetaReply::Events { events, more: true }),
        ("compacted", MetaReply::Compacted { oldest: 9 }),
        (
            "failed_damaged",
            failed(MetaFailure::Damaged { file: file.clone(), offset: 4096, what: why.clone() }),
        ),
        (
            "failed_record",
            failed(MetaFailure::Record {
                file: file.clone(),
                record: key.clone(),
                what: why.clone(),
            }),
        ),
        ("failed_version", failed(MetaFailure::Version { file: file.clone(), found: 9, known: 2 })),
        ("failed_io", failed(MetaFailure::Io { file: file.clone(), why: why.clone() })),
        ("failed_poisoned", failed(MetaFailure::Poisoned { file: file.clone(), why: why.clone() })),
        ("failed_closed", failed(MetaFailure::Closed)),
        ("failed_twice", failed(MetaFailure::TwiceInTxn { key: key.clone() })),
        ("failed_too_large", failed(MetaFailure::TooLarge { what: key, max: 128 })),
        ("failed_no_lease", failed(MetaFailure::NoLease { lease: 1 })),
        ("failed_refused", failed(MetaFailure::Refused { why: why.clone() })),
        ("failed_unreachable", failed(MetaFailure::Unreachable { at: file.clone(), why })),
        ("failed_timeout", failed(MetaFailure::Timeout { at: file.clone(), waited_ms: 5 })),
        ("failed_gone", failed(MetaFailure::Gone { at: file })),
    ];
    all.into_iter().map(|(name, reply)| (name, reply.encode())).collect()
}

fn meta_answers_samples() -> Vec<Sample> {
    let said = |all: Vec<MetaRequest>| {
        let frame = |(at, request): (u64, MetaRequest)| framed(at, &request.encode(), b"");
        (1..).zip(all).flat_map(frame).collect::<Vec<u8>>()
    };
    let put = |key: &str| {
        let ops = vec![MetaOp::Put { key: key.to_owned(), value: vec![7; 40] }];
        MetaRequest::Txn { compare: Vec::new(), ops }
    };
    let watch = MetaRequest::Watch { prefix: "/".to_owned(), from: 1 };
    let next = MetaRequest::Next { wait_ms: 0 };
    vec![
        ("one_of_each", said(requests().into_iter().map(|(_, request)| request).skip(1).collect())),
        ("written_and_watched", said(vec![put("/a"), put("/b"), watch, next.clone(), next])),
    ]
}
