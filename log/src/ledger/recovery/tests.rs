//! A recovery, answer by answer.

use super::*;
use crate::ledger::LedgerKind;
use crate::ledger::metadata::tests::{members, three};
use crate::ledger::metadata::{LedgerMetadata, Proposal};
use crate::message::{Unknown, entry_crc};

const LEDGER: LedgerId = LedgerId(1);

fn start(open: &LedgerMetadata, close: CloseAt) -> Recovery {
    let taken = open.start_recovery(Term(2), Proposal::default()).unwrap();
    let mut out = Vec::new();
    let core = Recovery::start(LEDGER, taken, close, &mut out);
    assert_eq!(out.len(), 3, "every bookie is fenced");
    core
}

fn fenced(core: &mut Recovery, slot: usize, lac: Option<u64>) -> Vec<RecoveryEffect> {
    let mut out = Vec::new();
    let lac = lac.map(EntryId);
    core.on_fence(slot, Reply::Fenced { lac, last: None }, &mut out);
    out
}

fn entry(n: u64) -> ReadAnswer {
    let payload = Bytes::from(n.to_string());
    let crc = entry_crc(LEDGER, EntryId(n), &payload);
    ReadAnswer::Entry { payload, crc }
}

fn read(core: &mut Recovery, slot: usize, n: u64, answer: ReadAnswer) -> Vec<RecoveryEffect> {
    let mut out = Vec::new();
    core.on_read(slot, EntryId(n), answer, &mut out);
    out
}

fn reads(effects: &[RecoveryEffect]) -> Vec<u64> {
    let entry = |effect: &RecoveryEffect| match effect {
        RecoveryEffect::Read { entry, .. } => Some(entry.0),
        _ => None,
    };
    effects.iter().filter_map(entry).collect()
}

#[test]
fn one_fenced_bookie_of_three_is_not_enough() {
    let mut core = start(&three(), CloseAt::End);
    assert_eq!(fenced(&mut core, 0, None), []);
    assert_eq!(reads(&fenced(&mut core, 2, None)), [0, 0, 0]);

    let mut core = start(&three(), CloseAt::End);
    let mut out = Vec::new();
    fenced(&mut core, 0, None);
    for slot in 1..3 {
        core.on_fence(slot, Reply::Unknown(Unknown::Closing), &mut out);
    }
    assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::NotFenced { .. })]));
}

#[test]
fn reading_begins_behind_what_is_acknowledged_for_certain() {
    let mut core = start(&three(), CloseAt::End);
    fenced(&mut core, 0, Some(4));
    assert_eq!(reads(&fenced(&mut core, 1, None)), [5, 5, 5]);

    // A new, empty fragment proves everything before it, whatever its bookies know (Apache
    // BookKeeper issue 2615: recovery went back into old fragments).
    let changed =
        three().change_ensemble(Term(1), EntryId(7), members(&[1, 4, 5]), Proposal::default());
    let changed = changed.unwrap();
    let mut core = start(&changed, CloseAt::End);
    fenced(&mut core, 1, None);
    assert_eq!(reads(&fenced(&mut core, 2, None)), [7, 7, 7]);
    read(&mut core, 1, 7, ReadAnswer::NoEntry);
    let unseen = BTreeSet::from([BookieId(1)]);
    let (last, moved) = (Some(EntryId(6)), BTreeMap::new());
    let taken = changed.start_recovery(Term(2), Proposal::default()).unwrap();
    let close = RecoveryEffect::Close(Found::new(&taken, last, moved, unseen));
    assert_eq!(read(&mut core, 2, 7, ReadAnswer::NoEntry), [close]);
}

#[test]
fn one_copy_is_written_again_with_the_lac_frozen() {
    let mut core = start(&three(), CloseAt::End);
    fenced(&mut core, 0, Some(4));
    fenced(&mut core, 1, Some(3));
    assert_eq!(read(&mut core, 0, 5, ReadAnswer::NoEntry), []);
    let copies = read(&mut core, 2, 5, entry(5));
    let to: Vec<_> = copies
        .iter()
        .map(|effect| match effect {
            RecoveryEffect::Add { slot, entry: EntryId(5), lac, .. } => (*slot, lac.unwrap().0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(to, [(0, 4), (1, 4)]);
    let mut out = Vec::new();
    core.on_add(0, EntryId(5), AddAnswer::Unknown(Unknown::Closing), &mut out);
    assert_eq!(out, []);
    core.on_add(1, EntryId(5), AddAnswer::Done, &mut out);
    assert_eq!(reads(&out), [6, 6, 6]);
}

/// Two copies, both must acknowledge, one bookie is gone for good: without another in its place the
/// ledger could never be closed.
#[test]
fn a_bookie_that_takes_no_copy_is_replaced_with_the_close() {
    let quorum = crate::ledger::Quorum::new(2, 2, 2).unwrap();
    let p = Proposal::default();
    let open = LedgerMetadata::open(LedgerKind::Plain, quorum, members(&[1, 2]), Term(1), p);
    let taken = open.start_recovery(Term(2), Proposal::default()).unwrap();
    let mut out = Vec::new();
    let mut core = Recovery::start(LEDGER, taken.clone(), CloseAt::End, &mut out);
    assert_eq!(reads(&fenced(&mut core, 0, None)), [0, 0]);
    let copies = read(&mut core, 0, 0, entry(0));
    assert!(matches!(copies[..], [RecoveryEffect::Add { slot: 1, .. }]));
    let mut out = Vec::new();
    core.on_add(1, EntryId(0), AddAnswer::Unknown(Unknown::Closing), &mut out);
    let ensemble = members(&[1, 2]);
    let replace = RecoveryEffect::Replace { entry: EntryId(0), failed: vec![1], ensemble };
    assert_eq!(out, [replace]);

    let mut nobody = core.clone();
    let mut out = Vec::new();
    nobody.on_replaced(None, &mut out);
    assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::NotCopied { .. })]));

    let mut out = Vec::new();
    core.on_replaced(Some((members(&[1, 3]), vec![1])), &mut out);
    assert!(matches!(out[..], [RecoveryEffect::Add { slot: 1, to, .. }] if to.bookie.0 == 3));
    out.clear();
    core.on_add(1, EntryId(0), AddAnswer::Done, &mut out);
    assert_eq!(reads(&out), [1, 1], "the next is read from those that were there");
    let copies = read(&mut core, 0, 1, entry(1));
    assert!(matches!(copies[..], [RecoveryEffect::Add { slot: 1, to, .. }] if to.bookie.0 == 3));
    let mut out = Vec::new();
    core.on_add(1, EntryId(1), AddAnswer::Done, &mut out);
    let end = read(&mut core, 0, 2, ReadAnswer::NoEntry);
    let moved = BTreeMap::from([(EntryId(0), members(&[1, 3]))]);
    let last = Some(EntryId(1));
    let unseen = BTreeSet::from([BookieId(2)]);
    let found = Found::new(&taken, last, moved, unseen);
    assert_eq!(end, [RecoveryEffect::Close(found.clone())]);
    let p = Proposal::default();
    let closed = taken.close_recovered(&found, p).unwrap();
    assert_eq!(closed.lacking, BTreeSet::new(), "bookie 2 is in no fragment any more");
    assert_eq!(closed.fragments, BTreeMap::from([(EntryId(0), members(&[1, 3]))]));
}

#[test]
fn an_undecided_entry_gives_up() {
    let mut core = start(&three(), CloseAt::End);
    fenced(&mut core, 0, None);
    fenced(&mut core, 1, None);
    let late = || ReadAnswer::Unknown(Doubt::Bookie(Unknown::Closing));
    assert_eq!(read(&mut core, 0, 0, ReadAnswer::NoEntry), []);
    assert_eq!(read(&mut core, 1, 0, late()), []);
    let out = read(&mut core, 2, 0, late());
    assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::Undecided { .. })]));
}

#[test]
fn a_commit_given_waits_for_the_last_copy_before_calling_it_gone() {
    let owner = LedgerKind::Transactional { owner: "t".to_owned() };
    let open = LedgerMetadata { kind: owner, ..three() };
    let close = CloseAt::Entry(Some(EntryId(0)));
    let mut core = start(&open, close);
    fenced(&mut core, 0, None);
    fenced(&mut core, 1, None);
    read(&mut core, 0, 0, ReadAnswer::NoEntry);
    assert_eq!(read(&mut core, 1, 0, ReadAnswer::NoEntry), []);
    assert_eq!(read(&mut core, 2, 0, entry(0)).len(), 2, "copied to the two that lack it");

    let mut core = start(&open, close);
    fenced(&mut core, 0, None);
    let out = fenced(&mut core, 1, Some(3));
    let visible = RecoveryFailure::BelowVisible { visible: EntryId(3) };
    assert_eq!(out, [RecoveryEffect::Fail(visible)]);
}

/// What readers were told of was acknowledged, and may be gone all the same: that is said now, not
/// when somebody reads it.
#[test]
fn a_commit_that_readers_know_of_is_verified_all_the_same() {
    let owner = LedgerKind::Transactional { owner: "t".to_owned() };
    let open = LedgerMetadata { kind: owner, ..three() };
    let mut core = start(&open, CloseAt::Entry(Some(EntryId(1))));
    fenced(&mut core, 0, Some(1));
    assert_eq!(reads(&fenced(&mut core, 1, Some(1))), [0, 0, 0]);
    for slot in 0..2 {
        assert_eq!(read(&mut core, slot, 0, ReadAnswer::NoEntry), []);
    }
    let out = read(&mut core, 2, 0, ReadAnswer::NoEntry);
    assert_eq!(out, [RecoveryEffect::Fail(RecoveryFailure::Missing { entry: EntryId(0) })]);
}

#[test]
fn a_newer_recoverer_ends_this_one() {
    let mut core = start(&three(), CloseAt::End);
    let mut out = Vec::new();
    core.on_fence(0, Reply::Refused(Refusal::StaleTerm { held: Term(9) }), &mut out);
    let superseded = RecoveryFailure::Superseded { held: Term(9) };
    assert_eq!(out, [RecoveryEffect::Fail(superseded)]);
    assert_eq!(fenced(&mut core, 1, None), []);
}
fn committed(last: u64, lac: Option<u64>) -> (Recovery, Vec<RecoveryEffect>) {
    let owner = LedgerKind::Transactional { owner: "t".to_owned() };
    let open = LedgerMetadata { kind: owner, ..three() };
    let mut core = start(&open, CloseAt::Entry(Some(EntryId(last))));
    fenced(&mut core, 0, lac);
    let out = fenced(&mut core, 1, lac);
    (core, out)
}

#[test]
fn committed_entries_are_read_ahead_once_one_was_seen_and_none_beyond_the_commit() {
    let (mut core, first) = committed(4, Some(4));
    assert_eq!(reads(&first), [0, 0, 0], "nothing is known of their size");
    assert_eq!(reads(&read(&mut core, 0, 0, entry(0))), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    for n in [4, 2, 3] {
        assert_eq!(read(&mut core, 1, n, entry(n)), [], "not its turn");
    }
    let end = read(&mut core, 2, 1, entry(1));
    let [RecoveryEffect::Close(Found { last, unseen, .. })] = &end[..] else { panic!("{end:?}") };
    assert_eq!((*last, unseen.len()), (Some(EntryId(4)), 3));
    assert_eq!(read(&mut core, 0, 3, entry(3)), [], "too late to matter");
}

#[test]
fn what_was_read_ahead_is_copied_only_when_its_turn_comes() {
    let (mut core, _) = committed(2, None);
    let copies = read(&mut core, 0, 0, entry(0));
    assert_eq!(copies.len(), 2, "it is not known to be acknowledged: {copies:?}");
    let mut out = Vec::new();
    core.on_add(1, EntryId(0), AddAnswer::Done, &mut out);
    assert_eq!(reads(&out), [1, 1, 1, 2, 2, 2]);
    assert_eq!(read(&mut core, 0, 2, ReadAnswer::NoEntry), []);
    assert_eq!(read(&mut core, 2, 2, entry(2)), []);
    read(&mut core, 1, 1, entry(1));
    assert_eq!(read(&mut core, 1, 2, entry(2)), [], "while another is copied");
    out.clear();
    core.on_add(2, EntryId(1), AddAnswer::Done, &mut out);
    assert!(
        matches!(&out[..], [RecoveryEffect::Close(found)] if found.last == Some(EntryId(2))),
        "{out:?}"
    );
}

#[test]
fn an_absence_found_ahead_is_judged_in_its_turn_and_a_newer_owner_at_once() {
    let (mut core, _) = committed(2, Some(2));
    read(&mut core, 0, 0, entry(0));
    for slot in 0..3 {
        assert_eq!(read(&mut core, slot, 2, ReadAnswer::NoEntry), []);
    }
    let mut shut_out = core.clone();
    let missing = RecoveryFailure::Missing { entry: EntryId(2) };
    assert_eq!(read(&mut core, 0, 1, entry(1)), [RecoveryEffect::Fail(missing)]);
    let stale = ReadAnswer::Unknown(Doubt::Refused(Refusal::StaleTerm { held: Term(9) }));
    let newer = RecoveryFailure::Superseded { held: Term(9) };
    assert_eq!(read(&mut shut_out, 0, 2, stale), [RecoveryEffect::Fail(newer)]);
}
