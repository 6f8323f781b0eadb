//! The writer's core, event by event.

use super::*;
use crate::ledger::metadata::tests::{members, three};
use crate::ledger::{LedgerKind, Proposal, Quorum};

fn one(kind: LedgerKind) -> Writer {
    let p = Proposal::default();
    let metadata = LedgerMetadata::open(kind, Quorum::ONE, members(&[1]), Term(1), p);
    Writer::new(LedgerId(1), &metadata)
}

fn append(writer: &mut Writer) -> (EntryId, Vec<WriterEffect>) {
    let mut out = Vec::new();
    let entry = writer.append(Bytes::from_static(b"x"), &mut out).unwrap();
    (entry, out)
}

fn answer(writer: &mut Writer, slot: usize, entry: u64, answer: AddAnswer) -> Vec<WriterEffect> {
    let mut out = Vec::new();
    writer.on_answer(slot, 0, EntryId(entry), answer, &mut out);
    out
}

fn confirm(entry: u64) -> WriterEffect {
    WriterEffect::Confirm { entry: EntryId(entry) }
}

#[test]
fn acknowledgements_leave_in_order() {
    let mut w = one(LedgerKind::Plain);
    append(&mut w);
    append(&mut w);
    assert_eq!(answer(&mut w, 0, 1, AddAnswer::Done), []);
    let publish = WriterEffect::Publish { lac: EntryId(1) };
    assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), [confirm(0), confirm(1), publish]);
    assert!(w.is_idle());
}

#[test]
fn two_of_three_acknowledge() {
    let mut w = Writer::new(LedgerId(1), &three());
    assert_eq!(append(&mut w).1.len(), 3);
    assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done), []);
    assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done)[0], confirm(0));
    assert_eq!(answer(&mut w, 1, 0, AddAnswer::Done), [], "a third answer changes nothing");
}

fn lost() -> AddAnswer {
    AddAnswer::Unknown(Unknown::Deadline { ms: 9 })
}

fn change(first: u64, failed: &[usize]) -> WriterEffect {
    WriterEffect::ChangeEnsemble { first: EntryId(first), failed: failed.to_vec() }
}

fn nobody(writer: &mut Writer) -> Vec<WriterEffect> {
    let mut out = Vec::new();
    writer.on_no_replacement(&mut out);
    out
}

/// The slot, era and entry of each send.
fn sends(effects: &[WriterEffect]) -> Vec<(usize, u32, u64)> {
    let send = |effect: &WriterEffect| match effect {
        WriterEffect::Send { slot, era, entry, .. } => Some((*slot, *era, entry.0)),
        _ => None,
    };
    effects.iter().filter_map(send).collect()
}

fn committed(first: u64, numbers: &[u64]) -> LedgerMetadata {
    let p = Proposal::default();
    three().change_ensemble(Term(1), EntryId(first), members(numbers), p).unwrap()
}

fn renew(writer: &mut Writer, metadata: &LedgerMetadata, renewed: &[usize]) -> Vec<WriterEffect> {
    let mut out = Vec::new();
    writer.on_ensemble(metadata, renewed, &mut out);
    out
}

#[test]
fn without_another_bookie_two_of_three_go_on_and_one_does_not() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    assert_eq!(answer(&mut w, 1, 0, lost()), [change(0, &[1])]);
    assert_eq!(nobody(&mut w), []);
    assert_eq!(append(&mut w).1.len(), 2);
    assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), []);
    assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done)[0], confirm(0));
    assert_eq!(w.replicated(), None, "one copy is missing");
    assert_eq!(answer(&mut w, 2, 1, lost()), [change(1, &[2])]);
    let out = nobody(&mut w);
    assert!(matches!(out[..], [WriterEffect::Fail { outcome: Outcome::Unknown, .. }]));
    assert!(w.append(Bytes::new(), &mut Vec::new()).is_err());
}

/// Each entry lost one copy only, but not of the same bookie: nothing more can be written.
#[test]
fn two_bookies_that_failed_different_entries_end_the_writer() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    append(&mut w);
    answer(&mut w, 1, 0, lost());
    assert_eq!(answer(&mut w, 2, 1, lost()), [], "one change at a time");
    assert_eq!(nobody(&mut w), [change(0, &[2])]);
    assert_eq!(nobody(&mut w).len(), 2);
    assert!(w.append(Bytes::new(), &mut Vec::new()).is_err());
}

#[test]
fn nothing_is_confirmed_while_an_ensemble_is_not_committed() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    append(&mut w);
    answer(&mut w, 0, 0, AddAnswer::Done);
    assert_eq!(answer(&mut w, 1, 1, lost()), [change(0, &[1])]);
    assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done), [], "an ack quorum, and yet not");
    let out = renew(&mut w, &committed(0, &[1, 9, 3]), &[1]);
    assert_eq!(sends(&out), [(1, 1, 0), (1, 1, 1)]);
    assert!(out.contains(&confirm(0)), "by the two that stayed");
}

/// The acknowledgement of a bookie that left must not count for the one that came: a recovery
/// reads the new ensemble, where one copy would be all there is.
#[test]
fn acks_of_a_replaced_bookie_are_forgotten() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    append(&mut w);
    answer(&mut w, 1, 0, AddAnswer::Done);
    answer(&mut w, 1, 1, lost());
    renew(&mut w, &committed(0, &[1, 9, 3]), &[1]);
    assert_eq!(answer(&mut w, 1, 0, AddAnswer::Done), [], "of the earlier era");
    assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), [], "only one of the new ensemble");
    let mut out = Vec::new();
    w.on_answer(1, 1, EntryId(0), AddAnswer::Done, &mut out);
    assert_eq!(out[0], confirm(0));
}

/// Elsewhere what was sent again followed from how the two ensembles differ. These do not, and the
/// ledger hung.
#[test]
fn a_bookie_that_takes_its_own_place_again_is_sent_all_that_is_not_confirmed() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    append(&mut w);
    answer(&mut w, 0, 0, AddAnswer::Done);
    assert_eq!(answer(&mut w, 1, 1, lost()), [change(0, &[1])]);
    let out = renew(&mut w, &committed(0, &[1, 2, 3]), &[1]);
    assert_eq!(sends(&out), [(1, 1, 0), (1, 1, 1)]);
    let mut out = Vec::new();
    w.on_answer(1, 1, EntryId(0), AddAnswer::Done, &mut out);
    assert_eq!(out[0], confirm(0));
}

#[test]
fn a_late_failure_of_a_replaced_bookie_is_not_its_successors() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    append(&mut w);
    answer(&mut w, 1, 0, lost());
    renew(&mut w, &committed(0, &[1, 9, 3]), &[1]);
    assert_eq!(answer(&mut w, 1, 1, lost()), []);
}

#[test]
fn a_bookie_that_fails_during_a_change_is_the_next_change() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    answer(&mut w, 1, 0, lost());
    assert_eq!(answer(&mut w, 2, 0, lost()), []);
    assert!(append(&mut w).1.len() == 1, "to the one left, though no ack quorum is");
    let first = committed(0, &[1, 9, 3]);
    let out = renew(&mut w, &first, &[1]);
    assert_eq!(sends(&out), [(1, 1, 0), (1, 1, 1)]);
    assert_eq!(out.last(), Some(&change(0, &[2])));
    let p = Proposal::default();
    let second = first.change_ensemble(Term(1), EntryId(0), members(&[1, 9, 8]), p).unwrap();
    assert_eq!(sends(&renew(&mut w, &second, &[2])), [(2, 2, 0), (2, 2, 1)]);
}

#[test]
fn a_bookie_too_far_behind_is_replaced_and_what_it_lacks_is_remembered() {
    let mut w = Writer::new(LedgerId(1), &three());
    let payload = Bytes::from(vec![0; caps::REPLICA_BEHIND_BYTES_MAX / 2]);
    let mut out = Vec::new();
    for entry in 0..2 {
        w.append(payload.clone(), &mut out).unwrap();
        out.clear();
        for slot in 0..2 {
            w.on_answer(slot, 0, EntryId(entry), AddAnswer::Done, &mut out);
        }
        assert_eq!(out[0], confirm(entry));
    }
    assert_eq!(out.last(), Some(&change(2, &[2])), "behind what is confirmed");
    assert_eq!(sends(&renew(&mut w, &committed(2, &[1, 2, 9]), &[2])), []);
    assert_eq!(w.replicated(), None);
    assert!(w.is_idle());
}

#[test]
fn a_bookie_that_came_back_is_asked_for_again() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    answer(&mut w, 1, 0, lost());
    nobody(&mut w);
    assert_eq!(w.given_up().collect::<Vec<_>>(), [1]);
    let mut out = Vec::new();
    w.retry_bookies(&mut out);
    assert_eq!(out, [change(0, &[1])]);
    assert_eq!(sends(&renew(&mut w, &committed(0, &[1, 2, 3]), &[1])), [(1, 1, 0)]);
    assert_eq!(w.given_up().count(), 0);
}

#[test]
fn a_fenced_writer_cannot_confirm() {
    let mut w = Writer::new(LedgerId(1), &three());
    append(&mut w);
    answer(&mut w, 0, 0, AddAnswer::Done);
    let fenced = AddAnswer::Refused(Refusal::StaleTerm { held: Term(2) });
    let out = answer(&mut w, 1, 0, fenced);
    assert!(matches!(
        out[..],
        [WriterEffect::Fail {
            failure: WriterFailure::Fenced { .. },
            outcome: Outcome::Unknown,
            ..
        }]
    ));
    assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done), []);
    assert_eq!(w.confirmed(), None);
}

#[test]
fn an_entry_refused_everywhere_is_definitely_not_written() {
    let mut w = one(LedgerKind::Plain);
    append(&mut w);
    append(&mut w);
    let refused = AddAnswer::Refused(Refusal::BadCrc);
    assert_eq!(answer(&mut w, 0, 0, refused), [change(0, &[0])]);
    let out = nobody(&mut w);
    let outcomes: Vec<_> = out
        .iter()
        .map(|e| match e {
            WriterEffect::Fail { entry, outcome, .. } => (entry.0, *outcome),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outcomes, [(0, Outcome::Definite), (1, Outcome::Unknown)]);
}

#[test]
fn a_transactional_writer_shows_what_was_published() {
    let mut w = one(LedgerKind::Transactional { owner: "t".to_owned() });
    append(&mut w);
    assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), [confirm(0)]);
    let (_, sent) = append(&mut w);
    assert!(matches!(sent[0], WriterEffect::Send { lac: None, .. }));
    let mut out = Vec::new();
    w.publish(EntryId(0), &mut out);
    w.publish(EntryId(0), &mut out);
    assert_eq!(out, [WriterEffect::Publish { lac: EntryId(0) }]);
    assert!(matches!(append(&mut w).1[0], WriterEffect::Send { lac: Some(EntryId(0)), .. }));
}

#[test]
#[should_panic(expected = "is not acknowledged")]
fn nothing_is_published_before_it_is_acknowledged() {
    let mut w = one(LedgerKind::Transactional { owner: "t".to_owned() });
    append(&mut w);
    w.publish(EntryId(0), &mut Vec::new());
}
