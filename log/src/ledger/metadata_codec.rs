//! Bytes of a ledger's record.
//!
//! ```text
//! version u8 = 3 | state u8 | [last u64 when state = closed with entries] | term u64 | E u8 Qw u8 Qa u8
//! kind u8 | [owner bytes when transactional] | process u128 | operation u64
//! fragments u16 | for each: first u64, E × (bookie u64, incarnation u128)
//! lacking u32 | for each: first u64 of a fragment, bookie u64; in order
//! lost u32 | for each: first u64, last u64; in order, and apart
//! crc32c u32 over everything before it
//! ```
//! States: 0 open, 1 in recovery, 2 closed and empty, 3 closed, 4 deleting. Kinds: 0 plain,
//! 1 transactional. Numbers are never used again for something else.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{BookieId, EntryId, Incarnation, Term};

use super::ensemble::{Ensemble, Member, Quorum};
use super::metadata::{LedgerKind, LedgerMetadata, LedgerState, Proposal};

const VERSION: u8 = 3;

/// Encodes a record.
pub fn encode(metadata: &LedgerMetadata) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.put_u8(VERSION);
    match metadata.state {
        LedgerState::Open => out.put_u8(0),
        LedgerState::InRecovery => out.put_u8(1),
        LedgerState::Closed { last: None } => out.put_u8(2),
        LedgerState::Closed { last: Some(last) } => {
            out.put_u8(3);
            out.put_u64(last.0);
        }
        LedgerState::Deleting => out.put_u8(4),
    }
    out.put_u64(metadata.term.0);
    let (ensemble, write, ack) = metadata.quorum.sizes();
    out.extend_from_slice(&[ensemble, write, ack]);
    match &metadata.kind {
        LedgerKind::Plain => out.put_u8(0),
        LedgerKind::Transactional { owner } => {
            out.put_u8(1);
            out.put_bytes(owner.as_bytes());
        }
    }
    out.put_u128(metadata.proposal.process);
    out.put_u64(metadata.proposal.operation);
    out.put_u16(u16::try_from(metadata.fragments.len()).expect("a writer rolls long before"));
    for (first, ensemble) in &metadata.fragments {
        out.put_u64(first.0);
        for member in ensemble.members() {
            out.put_u64(member.bookie.0);
            out.put_u128(member.incarnation.0);
        }
    }
    out.put_u32(u32::try_from(metadata.lacking.len()).expect("bookies of fragments"));
    for (first, bookie) in &metadata.lacking {
        out.put_u64(first.0);
        out.put_u64(bookie.0);
    }
    out.put_u32(u32::try_from(metadata.lost.len()).expect("ranges an operator accepted"));
    for (first, last) in &metadata.lost {
        out.put_u64(first.0);
        out.put_u64(last.0);
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out
}

/// Decodes a record; every rule a record keeps is checked.
pub fn decode(bytes: &[u8]) -> Result<LedgerMetadata, DecodeError> {
    let what = "ledger metadata";
    let Some(end) = bytes.len().checked_sub(4) else {
        return Err(DecodeError { what, at: 0, why: "shorter than its checksum" });
    };
    let stored = Reader::new(&bytes[end..]).u32("checksum")?;
    if crc32c::crc32c(&bytes[..end]) != stored {
        return Err(DecodeError { what, at: end, why: "its checksum does not match" });
    }
    let mut r = Reader::new(&bytes[..end]);
    if r.u8("version")? != VERSION {
        return Err(r.wrong("ledger metadata version", "not known to this build"));
    }
    let state = match r.u8("state")? {
        0 => LedgerState::Open,
        1 => LedgerState::InRecovery,
        2 => LedgerState::Closed { last: None },
        3 => match r.u64("last entry")? {
            // Nothing could come behind it.
            u64::MAX => return Err(r.wrong("last entry", "a number that no entry has")),
            last => LedgerState::Closed { last: Some(EntryId(last)) },
        },
        4 => LedgerState::Deleting,
        _ => return Err(r.wrong("state", "not known to this build")),
    };
    let term = Term(r.u64("term")?);
    let (e, w, a) = (r.u8("ensemble")?, r.u8("write quorum")?, r.u8("ack quorum")?);
    let quorum = Quorum::new(e, w, a).map_err(|_| r.wrong("quorum", "sizes out of order"))?;
    let kind = match r.u8("kind")? {
        0 => LedgerKind::Plain,
        1 => LedgerKind::Transactional { owner: r.text("owner")?.to_owned() },
        _ => return Err(r.wrong("kind", "not known to this build")),
    };
    let proposal = Proposal { process: r.u128("process")?, operation: r.u64("operation")? };
    let fragments = fragments(&mut r, quorum)?;
    let lacking = lacking(&mut r, &fragments)?;
    let lost = lost(&mut r, state)?;
    r.end("ledger metadata")?;
    Ok(LedgerMetadata { state, term, quorum, fragments, lacking, lost, kind, proposal })
}

fn fragments(
    r: &mut Reader<'_>,
    quorum: Quorum,
) -> Result<BTreeMap<EntryId, Ensemble>, DecodeError> {
    let mut fragments = BTreeMap::new();
    for _ in 0..r.u16("fragments")? {
        let first = EntryId(r.u64("first entry")?);
        let mut members: Vec<Member> = Vec::with_capacity(quorum.ensemble());
        for _ in 0..quorum.ensemble() {
            let bookie = BookieId(r.u64("bookie")?);
            if members.iter().any(|member| member.bookie == bookie) {
                return Err(r.wrong("bookie", "twice in one ensemble"));
            }
            members.push(Member { bookie, incarnation: Incarnation(r.u128("incarnation")?) });
        }
        if fragments.last_key_value().is_some_and(|(&before, _)| before >= first) {
            return Err(r.wrong("first entry", "fragments out of order"));
        }
        fragments.insert(first, Ensemble::new(members));
    }
    if !fragments.contains_key(&EntryId(0)) {
        return Err(r.wrong("fragments", "none starts at entry 0"));
    }
    Ok(fragments)
}

fn lacking(
    r: &mut Reader<'_>,
    fragments: &BTreeMap<EntryId, Ensemble>,
) -> Result<BTreeSet<(EntryId, BookieId)>, DecodeError> {
    let mut lacking = BTreeSet::new();
    for _ in 0..r.u32("lacking")? {
        let first = EntryId(r.u64("fragment")?);
        let bookie = BookieId(r.u64("lacking bookie")?);
        let ensemble = fragments.get(&first);
        if !ensemble.is_some_and(|e| e.members().iter().any(|member| member.bookie == bookie)) {
            return Err(r.wrong("lacking bookie", "not in that fragment"));
        }
        if lacking.last().is_some_and(|&before| before >= (first, bookie)) {
            return Err(r.wrong("lacking bookie", "out of order"));
        }
        lacking.insert((first, bookie));
    }
    Ok(lacking)
}

fn lost(r: &mut Reader<'_>, state: LedgerState) -> Result<BTreeMap<EntryId, EntryId>, DecodeError> {
    let end = match state {
        LedgerState::Closed { last } => last,
        LedgerState::Deleting => Some(EntryId(u64::MAX)),
        LedgerState::Open | LedgerState::InRecovery => None,
    };
    let mut lost: BTreeMap<EntryId, EntryId> = BTreeMap::new();
    for _ in 0..r.u32("lost")? {
        let (first, last) = (EntryId(r.u64("first lost")?), EntryId(r.u64("last lost")?));
        if first > last || Some(last) > end {
            return Err(r.wrong("lost entries", "not entries of that ledger"));
        }
        if lost.last_key_value().is_some_and(|(_, before)| before.0 >= first.0.saturating_sub(1)) {
            return Err(r.wrong("lost entries", "out of order"));
        }
        lost.insert(first, last);
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::metadata::tests::{members, three};
    use proptest::prelude::*;

    fn sample() -> LedgerMetadata {
        let proposal = Proposal { process: 0xABCD, operation: 3 };
        let mut sample =
            three().change_ensemble(Term(1), EntryId(9), members(&[1, 2, 4]), proposal).unwrap();
        sample.kind = LedgerKind::Transactional { owner: "words".to_owned() };
        sample.lacking = BTreeSet::from([(EntryId(0), BookieId(2)), (EntryId(9), BookieId(4))]);
        sample
    }

    #[test]
    fn every_state_comes_back() {
        for state in [
            LedgerState::Open,
            LedgerState::InRecovery,
            LedgerState::Closed { last: None },
            LedgerState::Closed { last: Some(EntryId(77)) },
            LedgerState::Deleting,
        ] {
            let metadata = LedgerMetadata { state, ..sample() };
            assert_eq!(decode(&encode(&metadata)), Ok(metadata));
        }
    }

    #[test]
    fn what_was_lost_comes_back() {
        let closed =
            LedgerMetadata { state: LedgerState::Closed { last: Some(EntryId(77)) }, ..sample() };
        let ranges = [(EntryId(3), EntryId(3)), (EntryId(70), EntryId(77))];
        let lost = closed.accept_loss(&ranges, Proposal::default()).unwrap();
        assert_eq!(decode(&encode(&lost)), Ok(lost.clone()));
        let beyond =
            LedgerMetadata { state: LedgerState::Closed { last: Some(EntryId(76)) }, ..lost };
        let error = decode(&encode(&beyond)).unwrap_err().to_string();
        assert!(error.contains("not entries of that ledger"), "{error}");
    }

    #[test]
    fn no_ledger_ends_where_no_entry_can_be() {
        let state = LedgerState::Closed { last: Some(EntryId(u64::MAX)) };
        let error = decode(&encode(&LedgerMetadata { state, ..sample() })).unwrap_err();
        assert_eq!(error.what, "last entry");
    }

    #[test]
    fn the_bytes_are_frozen() {
        let one = LedgerMetadata::open(
            LedgerKind::Plain,
            Quorum::ONE,
            members(&[5]),
            Term(2),
            Proposal { process: 1, operation: 2 },
        );
        let hex: String = encode(&one).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "030002000000000000000101010001000000000000000000000000000000020000000000000001000000\
             00000000000005000000000000000500000000000000000000000000000000000000\
             00000000131c3d3c"
        );
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_noticed(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = encode(&sample());
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(mut bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let crc = crc32c::crc32c(&bytes);
            bytes.put_u32(crc);
            let _ = decode(&bytes);
        }
    }
}
