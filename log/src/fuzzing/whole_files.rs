//! Files that are read and replaced as a whole: identity, count of starts and manifest.

use std::path::Path;

use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::{Sample, Target, comes_back, with_checksum};
use crate::bookie::extent::ExtentId;
use crate::bookie::identity::{self, Identity};
use crate::bookie::manifest::{self, LedgerRange, LedgerRow, Manifest};
use crate::bookie::starts::{self, Starts};
use crate::bookie::term_table::TermTable;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "identity", run: identity, samples: identity_samples },
    Target { name: "starts", run: starts, samples: starts_samples },
    Target { name: "manifest", run: manifest, samples: manifest_samples },
];

fn identity(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| identity::decode(Path::new("IDENTITY"), bytes);
    with_checksum(bytes, |bytes| comes_back(bytes, decode, Identity::encode))
}

fn starts(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| starts::decode(Path::new("STARTS"), bytes);
    with_checksum(bytes, |bytes| comes_back(bytes, decode, |starts| starts.encode()))
}

fn starts_samples() -> Vec<Sample> {
    vec![("five", Starts { starts: 5, known: 4 }.encode())]
}

fn identity_samples() -> Vec<Sample> {
    let identity = Identity {
        bookie: BookieId(7),
        cluster: "blue".to_owned(),
        incarnation: Incarnation(0x77),
        created_ms: 1_764_113_000_000,
        shards: 2,
    };
    let alone = b"EGRETIDT\x01\x00\
        \x02\x01\0\0\0\0\0\0\
        \x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x0d\x0c\0\0\0\0\0\0\
        \xe9\x57\x88\x7f";
    let of_one_shard = b"EGRETIDT\x02\x00\
        \x02\x01\0\0\0\0\0\0\
        \x0b\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x0d\x0c\0\0\0\0\0\0\
        \x04\0\0\0blue\
        \x5a\xf6\x66\x28";
    vec![
        ("version_1", alone.to_vec()),
        ("version_2", of_one_shard.to_vec()),
        ("version_3", identity.encode()),
    ]
}

fn manifest(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| manifest::decode(Path::new("MANIFEST"), bytes);
    with_checksum(bytes, |bytes| {
        let taken = comes_back(bytes, decode, Manifest::encode);
        if let Ok(manifest) = decode(bytes) {
            // What a bookie makes of it when it starts, and writes down again.
            let mut table = TermTable::from_manifest(&manifest);
            table.retire();
            let (rows, deleted) = table.rows();
            assert!(rows.is_sorted_by(|a, b| a.ledger < b.ledger), "{rows:?}");
            assert!(deleted.is_sorted_by(|a, b| a.last < b.first), "{deleted:?}");
        }
        taken
    })
}

fn manifest_samples() -> Vec<Sample> {
    let empty = Manifest::empty(Incarnation(0x77));
    let row = LedgerRow {
        ledger: LedgerId(3),
        term: Term(2),
        lac: Some(EntryId(8)),
        transactional: true,
        created: true,
        deleted: false,
        replicated: true,
        limbo: true,
    };
    let stub = LedgerRow {
        ledger: LedgerId(6),
        term: Term(9),
        lac: None,
        transactional: false,
        created: false,
        deleted: false,
        replicated: false,
        limbo: false,
    };
    let gone = LedgerRow { ledger: LedgerId(7), deleted: true, ..stub };
    let range = |first, last| LedgerRange { first: LedgerId(first), last: LedgerId(last) };
    let full = Manifest {
        sequence: 4,
        checkpoint_lsn: 99,
        next_extent: ExtentId(12),
        limbo_below: LedgerId(5),
        extents: vec![ExtentId(2), ExtentId(11)],
        ledgers: vec![row, stub, gone],
        deleted: vec![range(1, 2), range(4, 4)],
        ..empty.clone()
    };
    vec![("empty", empty.encode()), ("full", full.encode())]
}
