//! Which copies a ledger lacks, from its record and from what is known of bookies.
//!
//! Only fragments that cannot change any more are looked at: all of a closed ledger, all but the last of
//! an open one. The last fragment of an open ledger is its writer's to mend, by another ensemble. When
//! [one of its bookies is gone](gone_from_the_end) and there is no writer, others take the end over.
//!
//! Nothing is remembered: a repair that was interrupted is found again, one that was done is not.

use egret_schemas::{EntryId, Incarnation};

use super::coverage::{Answer, covered};
use super::ensemble::{Ensemble, Member};
use super::metadata::{LedgerMetadata, LedgerState};

/// What is known of a bookie an ensemble names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It answers, or is expected back: its copies count.
    Present,
    /// Its directory was formatted anew, or replaced: what the former had is gone.
    Replaced {
        /// Who is at its place now.
        by: Incarnation,
    },
    /// It will not come back, or is to go: its copies are to be elsewhere.
    Leaving,
}

/// Why a copy is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The bookie failed while the fragment was written, and may lack some of it.
    Incomplete,
    /// The bookie's directory is another one now.
    Replaced,
    /// The bookie is gone, or is to go.
    Leaving,
}

/// One bookie's share of one fragment that is to be filled up, there or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// The fragment, by its first entry.
    pub first: EntryId,
    /// Its last entry.
    pub last: EntryId,
    /// The slot.
    pub slot: usize,
    /// Who is in it.
    pub member: Member,
    /// Why it is not enough.
    pub why: Why,
}

/// The fragments that nobody writes any more, each with its first and last entry.
pub fn ended(
    metadata: &LedgerMetadata,
) -> impl Iterator<Item = (EntryId, EntryId, &Ensemble)> + use<'_> {
    let end = match metadata.state {
        LedgerState::Deleting => EntryId(0),
        LedgerState::Closed { last } => EntryId::after(last),
        // The last fragment is not looked at: it ends where it begins.
        LedgerState::Open | LedgerState::InRecovery => metadata.last_fragment().0,
    };
    metadata.fragments.iter().filter_map(move |(&first, ensemble)| {
        let next = metadata.fragments.range(first.next()..).next().map(|(&next, _)| next);
        let last = next.unwrap_or(end).min(end).before().filter(|last| *last >= first)?;
        Some((first, last, ensemble))
    })
}

/// What a ledger lacks, fragment by fragment, slot by slot.
pub fn lacks(metadata: &LedgerMetadata, standing: impl Fn(Member) -> Standing) -> Vec<Lack> {
    let mut found = Vec::new();
    for (first, last, ensemble) in ended(metadata) {
        for (slot, &member) in ensemble.members().iter().enumerate() {
            let why = match standing(member) {
                Standing::Leaving => Why::Leaving,
                Standing::Replaced { .. } => Why::Replaced,
                Standing::Present if metadata.lacking.contains(&(first, member.bookie)) => {
                    Why::Incomplete
                }
                Standing::Present => continue,
            };
            found.push(Lack { first, last, slot, member, why });
        }
    }
    found
}

/// Slots of the last fragment of a ledger that is not closed whose bookies are gone, where those that are
/// left can still prove what was acknowledged: no slot otherwise, for then nobody can.
pub fn gone_from_the_end(
    metadata: &LedgerMetadata,
    standing: impl Fn(Member) -> Standing,
) -> Vec<usize> {
    let Some(standing) = of_the_end(metadata, standing) else { return Vec::new() };
    match can_be_proven(&standing, metadata) {
        true => (0..standing.len()).filter(|&slot| is_gone(standing[slot])).collect(),
        false => Vec::new(),
    }
}

/// Slots of the last fragment of a ledger that is not closed whose bookies have other directories now, where
/// those that are left cannot prove what was acknowledged: nobody can find its end.
pub fn lost_from_the_end(
    metadata: &LedgerMetadata,
    standing: impl Fn(Member) -> Standing,
) -> Vec<usize> {
    let Some(standing) = of_the_end(metadata, standing) else { return Vec::new() };
    let replaced = |&slot: &usize| matches!(standing[slot], Standing::Replaced { .. });
    match can_be_proven(&standing, metadata) {
        true => Vec::new(),
        false => (0..standing.len()).filter(replaced).collect(),
    }
}

/// What is known of the last bookies of a ledger that is not closed.
fn of_the_end(
    metadata: &LedgerMetadata,
    standing: impl Fn(Member) -> Standing,
) -> Option<Vec<Standing>> {
    if !matches!(metadata.state, LedgerState::Open | LedgerState::InRecovery) {
        return None;
    }
    let members = metadata.last_fragment().1.members();
    Some(members.iter().map(|&member| standing(member)).collect())
}

/// Whether what was acknowledged can be proven by those that have what they had.
fn can_be_proven(standing: &[Standing], metadata: &LedgerMetadata) -> bool {
    // One that is to go still answers, or does not: then the recovery says so, and nothing is lost.
    let answer = |standing: &Standing| match standing {
        Standing::Replaced { .. } => Answer::Unknown,
        Standing::Present | Standing::Leaving => Answer::Yes,
    };
    let answers: Vec<Answer> = standing.iter().map(answer).collect();
    covered(&answers, Answer::Yes, metadata.quorum)
}

/// Whether copies there are to be elsewhere.
pub fn is_gone(standing: Standing) -> bool {
    !matches!(standing, Standing::Present)
}

/// The first entry of which every copy was on a bookie whose directory is another one now: no repair
/// can make another.
pub fn hopeless(
    metadata: &LedgerMetadata,
    standing: impl Fn(Member) -> Standing,
) -> Option<EntryId> {
    let LedgerState::Closed { last: Some(last) } = metadata.state else { return None };
    let quorum = metadata.quorum;
    for (&first, ensemble) in &metadata.fragments {
        let next = metadata.fragments.range(first.next()..).next().map(|(&next, _)| next);
        let until = next.unwrap_or(last.next()).min(last.next());
        let gone: Vec<bool> = ensemble
            .members()
            .iter()
            .map(|&member| matches!(standing(member), Standing::Replaced { .. }))
            .collect();
        // Write sets repeat after as many entries as there are bookies.
        let turn = (first.0..until.0).take(quorum.ensemble()).map(EntryId);
        let without = |&entry: &EntryId| ensemble.write_set(entry, quorum).all(|slot| gone[slot]);
        let found = turn.filter(without).find(|&entry| metadata.lost_with(entry).is_none());
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::metadata::Proposal;
    use crate::ledger::metadata::tests::{members, three};
    use egret_schemas::{BookieId, Term};

    const P: Proposal = Proposal { process: 1, operation: 1 };

    fn changed() -> LedgerMetadata {
        three().change_ensemble(Term(1), EntryId(5), members(&[1, 2, 4]), P).unwrap()
    }

    fn short(lacks: &[Lack]) -> Vec<(u64, u64, u64, Why)> {
        lacks.iter().map(|l| (l.first.0, l.last.0, l.member.bookie.0, l.why)).collect()
    }

    #[test]
    fn the_last_fragment_of_an_open_ledger_is_its_writers() {
        let gone = |member: Member| match member.bookie {
            BookieId(2) => Standing::Leaving,
            _ => Standing::Present,
        };
        assert_eq!(short(&lacks(&changed(), gone)), [(0, 4, 2, Why::Leaving)]);
        let closed = changed().close(Term(1), Some(EntryId(7)), P).unwrap();
        let both = [(0, 4, 2, Why::Leaving), (5, 7, 2, Why::Leaving)];
        assert_eq!(short(&lacks(&closed, gone)), both);
        let empty = changed().close(Term(1), Some(EntryId(4)), P).unwrap();
        assert_eq!(
            short(&lacks(&empty, gone)),
            [(0, 4, 2, Why::Leaving)],
            "nothing behind the end"
        );
    }

    #[test]
    fn the_end_of_an_open_ledger_is_taken_over_while_it_can_be_proven() {
        let of = |standing: [Standing; 3]| {
            move |m: Member| match m.bookie.0 {
                1 => standing[0],
                2 => standing[1],
                _ => standing[2],
            }
        };
        let (there, leaving) = (Standing::Present, Standing::Leaving);
        let other = Standing::Replaced { by: Incarnation(9) };
        let gone = |record: &LedgerMetadata, standing| gone_from_the_end(record, of(standing));
        let open = changed();
        assert_eq!(gone(&open, [there, there, there]), [0; 0]);
        assert_eq!(gone(&open, [there, other, there]), [1]);
        assert_eq!(gone(&open, [leaving, other, there]), [0, 1]);
        assert_eq!(gone(&open, [leaving; 3]), [0, 1, 2]);
        assert_eq!(gone(&open, [other, other, there]), [0; 0], "what one had nobody can tell");
        let lost = |record: &LedgerMetadata, standing| lost_from_the_end(record, of(standing));
        assert_eq!(lost(&open, [other, other, there]), [0, 1]);
        assert_eq!(lost(&open, [leaving, other, there]), [0; 0]);
        let taken = open.start_recovery(Term(2), P).unwrap();
        assert_eq!(gone(&taken, [other, there, there]), [0]);
        let closed = open.close(Term(1), Some(EntryId(7)), P).unwrap();
        assert_eq!(gone(&closed, [other, there, there]), [0; 0]);
        assert_eq!(lost(&closed, [other, other, there]), [0; 0]);
    }

    #[test]
    fn a_ledger_is_hopeless_when_a_whole_write_set_is_replaced() {
        let by = Standing::Replaced { by: Incarnation(9) };
        let without = |gone: &'static [u64]| {
            move |m: Member| if gone.contains(&m.bookie.0) { by } else { Standing::Present }
        };
        let closed = changed().close(Term(1), Some(EntryId(7)), P).unwrap();
        assert_eq!(hopeless(&closed, without(&[1, 2])), None);
        assert_eq!(hopeless(&closed, without(&[1, 2, 3])), Some(EntryId(0)));
        assert_eq!(hopeless(&closed, without(&[1, 2, 4])), Some(EntryId(5)));
        assert_eq!(hopeless(&changed(), without(&[1, 2, 3])), None, "its writer may know");
        let accepted = closed.accept_loss(&[(EntryId(0), EntryId(4))], P).unwrap();
        assert_eq!(hopeless(&accepted, without(&[1, 2, 3])), None);
        // Of four bookies with two copies each, two next to each other are enough.
        let quorum = super::super::ensemble::Quorum::new(4, 2, 2).unwrap();
        let four = LedgerMetadata {
            quorum,
            fragments: [(EntryId(0), members(&[1, 2, 3, 4]))].into(),
            ..closed
        };
        assert_eq!(hopeless(&four, without(&[1, 3])), None);
        assert_eq!(hopeless(&four, without(&[2, 3])), Some(EntryId(1)));
    }

    #[test]
    fn what_a_writer_noted_and_another_incarnation_are_found() {
        let noted = changed().note_lacking(Term(1), EntryId(5), &[BookieId(4)], P).unwrap();
        let closed = noted.close(Term(1), Some(EntryId(7)), P).unwrap();
        let present = |_| Standing::Present;
        assert_eq!(short(&lacks(&closed, present)), [(5, 7, 4, Why::Incomplete)]);
        let other = |member: Member| match member.bookie {
            BookieId(3) => Standing::Replaced { by: Incarnation(9) },
            _ => Standing::Present,
        };
        let both = [(0, 4, 3, Why::Replaced), (5, 7, 4, Why::Incomplete)];
        assert_eq!(short(&lacks(&closed, other)), both);

        let four = closed.fragments[&EntryId(5)].member(2);
        let mended = closed.repaired(EntryId(5), 2, four, four, P).unwrap();
        let three = closed.fragments[&EntryId(0)].member(2);
        let five = members(&[5]).member(0);
        let mended = mended.repaired(EntryId(0), 2, three, five, P).unwrap();
        assert_eq!(lacks(&mended, other), []);
        assert!(mended.repaired(EntryId(0), 2, three, five, P).is_err(), "done by someone else");
        assert_eq!(mended.closed(), closed.closed());
    }
}
