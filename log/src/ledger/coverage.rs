//! What a set of three-valued answers proves.
//!
//! A property is *covered* when **every possible ack quorum holds a bookie that has it**. Then no
//! quorum exists that the property missed: a fence that is covered stops every further
//! acknowledgement; a `NoEntry` that is covered means no acknowledgement can have happened.
//!
//! This is the only place that counts answers. There is no shortcut by the number of positives.

use super::ensemble::Quorum;
use crate::mutants::{self, Mutant};

/// What one bookie's answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It has it.
    Yes,
    /// Proof that it does not.
    No,
    /// Not asked, not heard, or an answer that proves nothing.
    Unknown,
}

/// Whether every ack quorum within `answers` holds one equal to `wanted`.
///
/// `answers` are either those of one entry's write set, or those of a whole ensemble in slot order;
/// then every write set that an entry of the ensemble can have must be covered.
///
/// # Panics
/// When there are neither as many answers as a write set has, nor as an ensemble has.
pub fn covered(answers: &[Answer], wanted: Answer, quorum: Quorum) -> bool {
    let (size, write) = (answers.len(), quorum.write());
    assert!(size == write || size == quorum.ensemble(), "{size} answers for a quorum of {quorum}");
    let sets = if size == write { 1 } else { size };
    (0..sets).all(|first| {
        let set = (0..write).map(|i| answers[(first + i) % size]);
        if mutants::on(Mutant::CoverageCountsPositives) {
            return set.filter(|&answer| answer == wanted).count() >= quorum.ack();
        }
        let proves = |answer| {
            answer == wanted
                || (wanted == Answer::No
                    && answer == Answer::Unknown
                    && mutants::on(Mutant::UnknownCountedAsNo))
        };
        set.filter(|&answer| !proves(answer)).count() < quorum.ack()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, by enumeration: each subset of `ack` slots of each write set.
    fn by_definition(answers: &[Answer], wanted: Answer, quorum: Quorum) -> bool {
        let size = answers.len();
        let sets: Vec<u32> = if size == quorum.write() {
            vec![(1 << size) - 1]
        } else {
            (0..size)
                .map(|f| (0..quorum.write()).fold(0, |m, i| m | 1 << ((f + i) % size)))
                .collect()
        };
        sets.into_iter().all(|set| {
            (0u32..1 << size)
                .filter(|sub| sub & !set == 0 && sub.count_ones() as usize == quorum.ack())
                .all(|sub| (0..size).any(|slot| sub >> slot & 1 == 1 && answers[slot] == wanted))
        })
    }

    fn answer() -> impl Strategy<Value = Answer> {
        prop_oneof![Just(Answer::Yes), Just(Answer::No), Just(Answer::Unknown)]
    }

    proptest! {
        #[test]
        fn counting_agrees_with_the_definition(
            (e, w, a) in (1u8..=6).prop_flat_map(|e| (Just(e), 1..=e)).prop_flat_map(|(e, w)| (Just(e), Just(w), 1..=w)),
            all in prop::collection::vec(answer(), 6),
            whole: bool,
        ) {
            let Ok(quorum) = Quorum::new(e, w, a) else { return Ok(()) };
            let answers = &all[..usize::from(if whole { e } else { w })];
            for wanted in [Answer::Yes, Answer::No] {
                prop_assert_eq!(
                    covered(answers, wanted, quorum),
                    by_definition(answers, wanted, quorum)
                );
            }
        }
    }

    #[test]
    fn unknown_answers_prove_nothing() {
        let q = Quorum::new(3, 3, 2).unwrap();
        assert!(covered(&[Answer::No, Answer::No, Answer::Unknown], Answer::No, q));
        assert!(!covered(&[Answer::No, Answer::Unknown, Answer::Unknown], Answer::No, q));
        assert!(!covered(&[Answer::Unknown], Answer::No, Quorum::ONE));
    }
}
