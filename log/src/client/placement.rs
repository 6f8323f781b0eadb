//! Which bookies a fragment is put on, pure.
//!
//! Copies go to different racks for as long as there are any: a rack is what fails as one. Within
//! that the choice goes round the candidates by a number the caller gives (the ledger's), so that
//! ledgers spread evenly and the same call gives the same answer.

use egret_schemas::BookieId;

use super::bookies::Candidate;
use crate::ledger::{Ensemble, Member, Quorum};

/// How many copies a log wants, and with how few it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// As wanted.
    pub quorum: Quorum,
    /// Whether a new ledger may have only the ack quorum's copies while there are no more bookies.
    pub fewer_allowed: bool,
}

impl Copies {
    /// One copy: embedded mode.
    pub const ONE: Copies = Copies { quorum: Quorum::ONE, fewer_allowed: false };
}

impl Default for Copies {
    /// Three copies, two acknowledge; a cluster short of bookies goes on with two.
    fn default() -> Copies {
        let quorum = Quorum::new(3, 3, 2).expect("in order");
        Copies { quorum, fewer_allowed: true }
    }
}

/// Too few bookies take ledgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{have} bookies take new ledgers and {need} are needed: start more, or wait for those that are down"
)]
pub struct TooFewBookies {
    /// That could be chosen.
    pub have: usize,
    /// Needed at least.
    pub need: usize,
}

/// The bookies of a new ledger.
pub fn choose(
    copies: Copies,
    candidates: &[Candidate],
    round: u64,
) -> Result<(Quorum, Ensemble), TooFewBookies> {
    let wanted = copies.quorum;
    let order = turned(candidates, round);
    let least = if copies.fewer_allowed { wanted.ack() } else { wanted.ensemble() };
    if order.len() < least {
        return Err(TooFewBookies { have: order.len(), need: least });
    }
    let size = wanted.ensemble().min(order.len());
    let mut chosen: Vec<&Candidate> = Vec::with_capacity(size);
    while chosen.len() < size {
        let next = best(&order, &chosen).expect("there are enough");
        chosen.push(next);
    }
    let quorum = wanted.at_most(size);
    Ok((quorum, Ensemble::new(chosen.iter().map(|chosen| chosen.member).collect())))
}

/// Bookies for slots whose own failed, as many as there are: never one that is in another slot of the
/// ensemble, nor one of `avoid`. Any part of them may be put in place: a bookie whose slot failed and
/// that is back with another disk takes no slot but its own, which may keep the old one.
pub fn replace(
    ensemble: &Ensemble,
    failed: &[usize],
    candidates: &[Candidate],
    avoid: &[Member],
    round: u64,
) -> Vec<(usize, Member)> {
    let order = turned(candidates, round);
    let stays = |slot: &usize| !failed.contains(slot);
    let rack_of = |member: Member| candidates.iter().find(|c| c.member.bookie == member.bookie);
    let mut taken: Vec<BookieId> = Vec::new();
    let mut chosen: Vec<&Candidate> = Vec::new();
    for slot in (0..ensemble.members().len()).filter(stays) {
        let member = ensemble.member(slot);
        taken.push(member.bookie);
        chosen.extend(rack_of(member));
    }
    let mut found = Vec::new();
    for &slot in failed {
        let sits_elsewhere = |bookie: BookieId| {
            failed.iter().any(|&other| other != slot && ensemble.member(other).bookie == bookie)
        };
        let free: Vec<&Candidate> = order
            .iter()
            .filter(|c| !taken.contains(&c.member.bookie) && !avoid.contains(&c.member))
            .filter(|c| !sits_elsewhere(c.member.bookie))
            .copied()
            .collect();
        let Some(next) = best(&free, &chosen) else { continue };
        taken.push(next.member.bookie);
        chosen.push(next);
        found.push((slot, next.member));
    }
    found
}

/// The candidates, beginning at another one for each round.
fn turned(candidates: &[Candidate], round: u64) -> Vec<&Candidate> {
    let size = candidates.len().max(1) as u64;
    let first = usize::try_from(round % size).expect("below their number");
    candidates[first.min(candidates.len())..].iter().chain(&candidates[..first]).collect()
}

/// The first of those whose rack has the fewest of `chosen`.
fn best<'a>(order: &[&'a Candidate], chosen: &[&Candidate]) -> Option<&'a Candidate> {
    let shares = |candidate: &Candidate| {
        let same = |other: &&&Candidate| !other.rack.is_empty() && other.rack == candidate.rack;
        chosen.iter().filter(same).count()
    };
    let free = order.iter().filter(|c| chosen.iter().all(|o| o.member.bookie != c.member.bookie));
    free.copied().min_by_key(|candidate| shares(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Incarnation;
    use proptest::prelude::*;

    fn candidates(racks: &[&str]) -> Vec<Candidate> {
        let candidate = |(n, rack): (usize, &&str)| {
            let n = n as u64 + 1;
            let incarnation = Incarnation(u128::from(n));
            Candidate {
                member: Member { bookie: BookieId(n), incarnation },
                rack: (*rack).to_owned(),
            }
        };
        racks.iter().enumerate().map(candidate).collect()
    }

    fn rack(all: &[Candidate], member: Member) -> String {
        all.iter().find(|candidate| candidate.member == member).unwrap().rack.clone()
    }

    fn numbers(ensemble: &Ensemble) -> Vec<u64> {
        ensemble.members().iter().map(|member| member.bookie.0).collect()
    }

    #[test]
    fn copies_go_to_different_racks_while_there_are_any() {
        let all = candidates(&["a", "a", "a", "b", "c"]);
        for round in 0..10 {
            let (_, ensemble) = choose(Copies::default(), &all, round).unwrap();
            let racks: std::collections::BTreeSet<_> =
                ensemble.members().iter().map(|member| rack(&all, *member)).collect();
            assert_eq!(racks.len(), 3, "round {round}: {ensemble:?}");
        }
        let all = candidates(&["a", "a", "a"]);
        assert_eq!(numbers(&choose(Copies::default(), &all, 1).unwrap().1), [2, 3, 1]);
    }

    #[test]
    fn with_too_few_bookies_there_are_fewer_copies_or_none() {
        let two = candidates(&["", ""]);
        let (quorum, ensemble) = choose(Copies::default(), &two, 0).unwrap();
        assert_eq!((quorum.to_string().as_str(), numbers(&ensemble)), ("2/2/2", vec![1, 2]));
        let strict = Copies { fewer_allowed: false, ..Copies::default() };
        assert_eq!(choose(strict, &two, 0), Err(TooFewBookies { have: 2, need: 3 }));
        let one = candidates(&[""]);
        assert_eq!(choose(Copies::default(), &one, 7), Err(TooFewBookies { have: 1, need: 2 }));
        assert!(choose(Copies::default(), &[], 7).is_err());
    }

    #[test]
    fn a_replacement_is_nobody_that_is_there_and_nobody_to_avoid() {
        let all = candidates(&["a", "b", "c", "a", "b"]);
        let (_, ensemble) = choose(Copies::default(), &all, 0).unwrap();
        assert_eq!(numbers(&ensemble), [1, 2, 3]);
        let lost = [ensemble.member(1)];
        let found = replace(&ensemble, &[1], &all, &lost, 0);
        assert_eq!(found, [(1, all[4].member)], "the rack that is missing");
        let lost = [ensemble.member(1), all[4].member];
        assert_eq!(replace(&ensemble, &[1], &all, &lost, 0), [(1, all[3].member)]);
        assert_eq!(replace(&ensemble, &[1], &all[..3], &lost, 0), []);
        assert_eq!(replace(&ensemble, &[1], &all[..3], &[], 0), [(1, all[1].member)], "came back");
    }

    /// Two slots failed, and the bookie of the second is back with an empty disk, a new incarnation
    /// that nobody has a reason to avoid. Put into the first slot it was in the ensemble twice, when
    /// nobody was found for the second: the writer, or the recovery, panicked.
    #[test]
    fn a_bookie_that_is_back_takes_no_slot_but_its_own() {
        let all = candidates(&["", "", ""]);
        let (_, ensemble) = choose(Copies::default(), &all, 0).unwrap();
        let mut back = all[1].clone();
        back.member.incarnation = Incarnation(99);
        let lost = [ensemble.member(0), ensemble.member(1)];
        let found = replace(&ensemble, &[0, 1], std::slice::from_ref(&back), &lost, 0);
        assert_eq!(found, [(1, back.member)]);
    }

    proptest! {
        #[test]
        fn nobody_is_chosen_twice(racks in prop::collection::vec(0..4u8, 0..8), round: u64, failed in 0..8u8) {
            let racks: Vec<String> = racks.iter().map(u8::to_string).collect();
            let all = candidates(&racks.iter().map(String::as_str).collect::<Vec<_>>());
            // `Ensemble::new` panics when one is in it twice.
            if let Ok((quorum, ensemble)) = choose(Copies::default(), &all, round) {
                prop_assert_eq!(quorum.ensemble(), ensemble.members().len());
                let failed: Vec<usize> =
                    (0..quorum.ensemble()).filter(|slot| failed >> slot & 1 == 1).collect();
                let mut members = ensemble.members().to_vec();
                for (slot, member) in replace(&ensemble, &failed, &all, &[], round) {
                    members[slot] = member;
                }
                Ensemble::new(members);
            }
        }
    }
}
