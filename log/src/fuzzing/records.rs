//! Records of the metadata store: ledgers, bookies, and values as the embedded store keeps them.

use std::collections::BTreeSet;
use std::str;

use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::{Sample, Target, comes_back, with_checksum};
use crate::client::loss::{Decision, Loss, Note};
use crate::ledger::repair::{Standing, lacks};
use crate::ledger::{
    Ensemble, LedgerKind, LedgerMetadata, LedgerState, Member, Proposal, Quorum, metadata_codec,
};
use crate::metadata::Versioned;
use crate::metadata::redb::records;
use crate::registry::starts::{self, Counted};
use crate::registry::{BookieState, Registration, cluster_name, live};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "ledger_record", run: ledger, samples: ledger_samples },
    Target { name: "bookie_record", run: bookie, samples: bookie_samples },
    Target { name: "live_bookie", run: live_bookie, samples: live_bookie_samples },
    Target { name: "counted_starts", run: counted_starts, samples: counted_starts_samples },
    Target { name: "cluster_name", run: cluster, samples: cluster_samples },
    Target { name: "accepted_loss", run: accepted_loss, samples: accepted_loss_samples },
    Target { name: "noted_loss", run: noted_loss, samples: noted_loss_samples },
    Target { name: "stored_value", run: stored_value, samples: stored_value_samples },
];

const BY: Proposal = Proposal { process: 0xabcd, operation: 3 };

fn ledger(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        let taken = comes_back(bytes, metadata_codec::decode, metadata_codec::encode);
        if let Ok(metadata) = metadata_codec::decode(bytes) {
            // What every reader of a record asks of it.
            metadata.last_fragment();
            metadata.fragment_of(EntryId(0));
            metadata.fragment_of(EntryId(u64::MAX));
            let all_gone = lacks(&metadata, |_| Standing::Leaving);
            assert!(all_gone.iter().all(|lack| lack.first <= lack.last), "{all_gone:?}");
        }
        taken
    })
}

fn members(ids: &[u64]) -> Ensemble {
    let member = |id: &u64| Member { bookie: BookieId(*id), incarnation: Incarnation(9) };
    Ensemble::new(ids.iter().map(member).collect())
}

fn ledger_samples() -> Vec<Sample> {
    let one = LedgerMetadata::open(LedgerKind::Plain, Quorum::ONE, members(&[5]), Term(2), BY);
    let quorum = Quorum::new(3, 3, 2).expect("three copies, two acknowledged");
    let owner = "words".to_owned();
    let kind = LedgerKind::Transactional { owner };
    let mut changed = LedgerMetadata::open(kind, quorum, members(&[1, 2, 3]), Term(1), BY)
        .change_ensemble(Term(1), EntryId(9), members(&[1, 2, 4]), BY)
        .expect("an open ledger changes its ensemble");
    changed.lacking = BTreeSet::from([(EntryId(0), BookieId(2)), (EntryId(9), BookieId(4))]);
    let closed = LedgerMetadata {
        state: LedgerState::Closed { last: Some(EntryId(77)) },
        ..changed.clone()
    };
    let lost = closed
        .accept_loss(&[(EntryId(3), EntryId(3)), (EntryId(70), EntryId(77))], BY)
        .expect("a closed ledger has its losses accepted");
    [("one_bookie", one), ("changed_ensemble", changed), ("closed", closed), ("lost", lost)]
        .map(|(name, metadata)| (name, metadata_codec::encode(&metadata)))
        .to_vec()
}

const LOSER: LedgerId = LedgerId(7);

fn accepted_loss(bytes: &[u8]) -> bool {
    comes_back(bytes, |bytes| Loss::decode(LOSER, bytes), Loss::encode)
}

fn accepted_loss_samples() -> Vec<Sample> {
    let gone = BTreeSet::from([BookieId(2), BookieId(3)]);
    let decision = Decision { gone, by: "ann".to_owned(), reason: "both disks burnt".to_owned() };
    let ranges = vec![(EntryId(3), EntryId(9))];
    let noted = Loss { ledger: LOSER, ranges, closed: None, decision, at_ms: 5 };
    let closed = Loss { ranges: Vec::new(), closed: Some(Some(EntryId(8))), ..noted.clone() };
    vec![("noted", noted.encode()), ("closed", closed.encode())]
}

fn noted_loss(bytes: &[u8]) -> bool {
    comes_back(bytes, Note::decode, Note::encode)
}

fn noted_loss_samples() -> Vec<Sample> {
    vec![("entry", Note { entry: EntryId(4), at_ms: 5 }.encode())]
}

fn bookie(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| comes_back(bytes, Registration::decode, Registration::encode))
}

fn bookie_samples() -> Vec<Sample> {
    let held = Registration {
        bookie: BookieId(1),
        incarnation: Incarnation(2),
        address: "b1.example:7400".to_owned(),
        rack: "r1".to_owned(),
        since_ms: 3,
        state: BookieState::Draining,
    };
    vec![("draining", held.encode())]
}

fn cluster(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| comes_back(bytes, cluster_name::decode, cluster_name::encode))
}

fn cluster_samples() -> Vec<Sample> {
    vec![("blue", cluster_name::encode(&"blue".to_owned()))]
}

fn counted_starts(bytes: &[u8]) -> bool {
    let encode = |counted: &Counted| starts::encode(counted);
    with_checksum(bytes, |bytes| comes_back(bytes, starts::decode, encode))
}

fn counted_starts_samples() -> Vec<Sample> {
    let counted = Counted { incarnation: Incarnation(0x77), starts: 5, by: 0xabcd };
    vec![("five", starts::encode(&counted))]
}

/// Key and value, as a listing gives them, with a zero between.
fn live_bookie(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let Ok(key) = str::from_utf8(&bytes[..end]) else { return false };
    let value = bytes.get(end + 1..).unwrap_or_default();
    let sealed = value.get(..16).map(|own| {
        let own = Incarnation(u128::from_le_bytes(own.try_into().expect("sixteen bytes")));
        live::encode(key, own)
    });
    let read = |value: &[u8]| match live::read(key, value) {
        Ok((_, own)) => {
            assert_eq!(live::encode(key, own), value, "every byte of it says something");
            true
        }
        Err(_) => false,
    };
    let as_it_is = read(value);
    sealed.is_some_and(|sealed| read(&sealed)) || as_it_is
}

fn live_bookie_samples() -> Vec<Sample> {
    let key = live::key(BookieId(7));
    let value = live::encode(&key, Incarnation(0x77));
    vec![("a_live_one", [key.as_bytes(), &[0], &value].concat())]
}

fn stored_value(bytes: &[u8]) -> bool {
    comes_back(bytes, records::decode, records::encode)
}

fn stored_value_samples() -> Vec<Sample> {
    let value = Versioned { value: b"a value".to_vec(), revision: 3 };
    vec![("a_value", records::encode(&value))]
}
