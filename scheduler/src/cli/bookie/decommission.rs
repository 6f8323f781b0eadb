//! A bookie taken out: nothing new goes there, what it has is copied elsewhere, and when no ledger needs it
//! any more it is out. Where nobody could take its copies nothing is begun.

use std::fmt;

use clap::Args;
use egret_log::client::error::RecordError;
use egret_log::client::repair::{self, Pace};
use egret_log::ledger::repair::ended;
use egret_log::ledger::{Ensemble, LedgerMetadata, LedgerState};
use egret_log::registry::{BookieState, RegistryError};
use egret_log_cluster::Cluster;
use egret_schemas::{BookieId, LedgerId};

use super::manage::{Where, parse};
use crate::cli::exit::{self, Done, Exit};
use crate::cli::output;

/// How many ledgers a message names.
const NAMED_MAX: usize = 5;

#[derive(Debug, Args)]
#[command(
    after_help = "What the bookie has is copied by this command and by the bookies themselves;
it may be broken off and called again, and until it is done `egret bookie set B3 active` calls the
bookie back. Ledgers that are still written leave the bookie by themselves, when their segments end.
Each copy needs a bookie that has none of that ledger yet: where there is none, nothing is done."
)]
pub(super) struct Decommission {
    /// The bookie: B3, or 3.
    bookie: String,
    #[command(flatten)]
    at: Where,
    /// Only mark it, and leave the copying to the bookies.
    #[arg(long)]
    no_wait: bool,
    /// How fast entries are copied.
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    mb_per_second: u64,
}

impl Decommission {
    pub(super) fn run(self) -> Done {
        let bookie = parse(&self.bookie)?;
        let cluster = self.at.open()?;
        let held = cluster.registry.find(bookie)?.ok_or(RegistryError::Nobody { bookie })?;
        if held.state == BookieState::Decommissioned {
            output::line(&format!("{bookie} is decommissioned already"))?;
            return Ok(());
        }
        let nobody = nobody_takes(&cluster, bookie, held.state)?;
        if self.no_wait {
            cluster.registry.set_state(bookie, BookieState::Draining)?;
            output::line(&format!("{bookie} is draining"))?;
            if let Some(nobody) = nobody {
                exit::warn(format_args!("its copies stay for now: {}", nobody.why()));
            }
            return Ok(());
        }
        if let Some(nobody) = nobody {
            return Err(Exit::Refused(nobody.to_string()));
        }
        cluster.registry.set_state(bookie, BookieState::Draining)?;
        // Asked anew: what was read before does not know that it is to go. A file has one holder at a time.
        drop(cluster);
        let cluster = self.at.open()?;
        self.copy(&cluster, bookie)?;
        let left = Left::of(&cluster, bookie)?;
        if left.is_any() {
            return Err(Exit::Failed(left.to_string()));
        }
        cluster.registry.set_state(bookie, BookieState::Decommissioned)?;
        output::line(&format!(
            "{bookie} is decommissioned: no ledger needs it, it may be stopped"
        ))?;
        if takers(&cluster, bookie).is_empty() {
            exit::warn("no other bookie is up and active: nothing can be written until one is");
        }
        Ok(())
    }

    /// Makes the copies that can be made now, and says of each what became of it.
    fn copy(&self, cluster: &Cluster, bookie: BookieId) -> Done {
        let pace = Pace { bytes_per_second: self.mb_per_second.saturating_mul(1 << 20) };
        let (found, _) = repair::survey(&cluster.ledgers)?;
        let of_it: Vec<_> =
            found.into_iter().filter(|(_, lack)| lack.member.bookie == bookie).collect();
        let total = of_it.len();
        for (index, (id, lack)) in of_it.into_iter().enumerate() {
            match repair::make(&cluster.ledgers, id, &lack, pace) {
                Ok(made) => output::line(&format!(
                    "{}/{total} {id} from entry {}: {} entries to {}",
                    index + 1,
                    lack.first,
                    made.entries,
                    made.at.bookie
                ))?,
                // The bookies' own repair was faster.
                Err(why) if why.is_settled() => {}
                Err(why) => output::line(&format!("{}/{total} not copied: {why}", index + 1))?,
            }
        }
        Ok(())
    }
}

/// The records of the ledgers that need a bookie.
fn needing(cluster: &Cluster, bookie: BookieId) -> Result<Vec<(LedgerId, LedgerMetadata)>, Exit> {
    let mut found = Vec::new();
    for id in cluster.ledgers.list()? {
        match cluster.ledgers.describe(id) {
            Ok(record) if needs(&record, bookie) => found.push((id, record)),
            // Deleted since it was listed.
            Ok(_) | Err(RecordError::NoLedger { .. }) => {}
            // Nobody knows whether it needs it.
            Err(why) => return Err(why.into()),
        }
    }
    Ok(found)
}

/// Those who have entries of a ledger, or get the next: a fragment without any says nothing.
fn ensembles(record: &LedgerMetadata) -> impl Iterator<Item = &Ensemble> {
    let written = match record.state {
        LedgerState::Open | LedgerState::InRecovery => Some(record.last_fragment().1),
        LedgerState::Closed { .. } | LedgerState::Deleting => None,
    };
    ended(record).map(|(_, _, ensemble)| ensemble).chain(written)
}

fn has(ensemble: &Ensemble, bookie: BookieId) -> bool {
    ensemble.members().iter().any(|member| member.bookie == bookie)
}

fn needs(record: &LedgerMetadata, bookie: BookieId) -> bool {
    ensembles(record).any(|ensemble| has(ensemble, bookie))
}

/// Whether nobody of `takers` could have a copy that `bookie` has: each has one already.
fn is_stuck(record: &LedgerMetadata, bookie: BookieId, takers: &[BookieId]) -> bool {
    let mut of_it = ensembles(record).filter(|ensemble| has(ensemble, bookie));
    of_it.any(|ensemble| takers.iter().all(|&taker| has(ensemble, taker)))
}

/// Too few bookies for one of them to go.
#[derive(Debug)]
struct Nobody {
    bookie: BookieId,
    state: BookieState,
    /// Whose copies nobody takes.
    stuck: Vec<LedgerId>,
    /// The others that take ledgers now.
    takers: Vec<BookieId>,
}

/// The others that take ledgers now.
fn takers(cluster: &Cluster, bookie: BookieId) -> Vec<BookieId> {
    let candidates = cluster.ledgers.bookies().candidates();
    let all = candidates.iter().map(|candidate| candidate.member.bookie);
    all.filter(|&other| other != bookie).collect()
}

fn nobody_takes(
    cluster: &Cluster,
    bookie: BookieId,
    state: BookieState,
) -> Result<Option<Nobody>, Exit> {
    let takers = takers(cluster, bookie);
    let needing = needing(cluster, bookie)?;
    let of_them = needing.iter().filter(|(_, record)| is_stuck(record, bookie, &takers));
    let stuck: Vec<LedgerId> = of_them.map(|(id, _)| *id).collect();
    Ok((!stuck.is_empty()).then_some(Nobody { bookie, state, stuck, takers }))
}

impl Nobody {
    fn why(&self) -> String {
        let Nobody { stuck, takers, .. } = self;
        let copies = format!("{} on it that nobody else can take", copies_of(stuck));
        let others = match &takers[..] {
            [] => "no other bookie is up and active".to_owned(),
            takers => {
                let names: Vec<String> = takers.iter().map(BookieId::to_string).collect();
                let (names, count) = (names.join(", "), takers.len());
                format!(
                    "of the others {count} are up and active ({names}), and have copies of their own"
                )
            }
        };
        format!(
            "there are {copies}: {others}; start at least one more, or bring back one that is down or read-only"
        )
    }
}

impl fmt::Display for Nobody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nobody { bookie, state, .. } = self;
        write!(
            f,
            "too few bookies for {bookie} to go, which stays {state}: {}, then call this again",
            self.why()
        )
    }
}

/// `copies of 7 ledgers (L1, L2, L3, L4, L5 and 2 more)`
fn copies_of(ledgers: &[LedgerId]) -> String {
    let names: Vec<String> = ledgers.iter().take(NAMED_MAX).map(LedgerId::to_string).collect();
    let more = match ledgers.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let many = if ledgers.len() == 1 { "" } else { "s" };
    format!("copies of {} ledger{many} ({}{more})", ledgers.len(), names.join(", "))
}

/// What keeps a bookie from being out.
#[derive(Debug)]
struct Left {
    bookie: BookieId,
    /// Copies that were not made.
    ended: Vec<LedgerId>,
    /// Ledgers that are still written, or whose owners did not come back yet.
    open: Vec<LedgerId>,
    /// Ledgers no repair helps.
    given_up: Vec<LedgerId>,
}

impl Left {
    fn of(cluster: &Cluster, bookie: BookieId) -> Result<Left, Exit> {
        let (_, swept) = repair::survey(&cluster.ledgers)?;
        let mut left = Left { bookie, ended: vec![], open: vec![], given_up: vec![] };
        for (id, record) in needing(cluster, bookie)? {
            let is_over = ended(&record).any(|(_, _, ensemble)| has(ensemble, bookie));
            let kind = match is_over {
                _ if swept.unrecoverable.contains_key(&id) => &mut left.given_up,
                true => &mut left.ended,
                false => &mut left.open,
            };
            kind.push(id);
        }
        Ok(left)
    }

    fn is_any(&self) -> bool {
        !(self.ended.is_empty() && self.open.is_empty() && self.given_up.is_empty())
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bookie = self.bookie;
        write!(f, "{bookie} is draining, and not decommissioned")?;
        let kinds = [
            (&self.ended, "were not made, as said above"),
            (&self.open, "are still written and leave it by themselves, when segments end"),
            (
                &self.given_up,
                "cannot be made, for entries of them have no copy left: see `egret ledger accept-loss --help`",
            ),
        ];
        for (ledgers, why) in kinds.into_iter().filter(|(ledgers, _)| !ledgers.is_empty()) {
            write!(f, "; {} {why}", copies_of(ledgers))?;
        }
        write!(
            f,
            "; call this again when that has changed, or `egret bookie set {bookie} active` if it is to stay"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::ledger::{LedgerKind, Member, Proposal, Quorum};
    use egret_schemas::{EntryId, Incarnation, Term};

    const P: Proposal = Proposal { process: 7, operation: 1 };

    fn ensemble(bookies: [u64; 3]) -> Ensemble {
        let member = |bookie| Member { bookie: BookieId(bookie), incarnation: Incarnation(7) };
        Ensemble::new(bookies.map(member).to_vec())
    }

    fn open(bookies: [u64; 3]) -> LedgerMetadata {
        let quorum = Quorum::new(3, 3, 2).unwrap();
        LedgerMetadata::open(LedgerKind::Plain, quorum, ensemble(bookies), Term(1), P)
    }

    fn closed(last: Option<u64>) -> LedgerMetadata {
        open([1, 2, 3]).close(Term(1), last.map(EntryId), P).unwrap()
    }

    fn bookies(numbers: &[u64]) -> Vec<BookieId> {
        numbers.iter().copied().map(BookieId).collect()
    }

    /// Ledgers that ended without an entry kept a bookie from ever being out.
    #[test]
    fn a_ledger_needs_a_bookie_for_what_it_has_and_for_what_comes() {
        assert!(needs(&open([1, 2, 3]), BookieId(1)));
        assert!(needs(&closed(Some(0)), BookieId(1)));
        assert!(!needs(&closed(Some(0)), BookieId(4)));
        assert!(!needs(&closed(None), BookieId(1)));
        assert!(!needs(&closed(Some(0)).start_delete(P).unwrap(), BookieId(1)));
    }

    #[test]
    fn a_copy_needs_somebody_who_has_none() {
        for record in [open([1, 2, 3]), closed(Some(9))] {
            assert!(is_stuck(&record, BookieId(1), &bookies(&[2, 3])));
            assert!(is_stuck(&record, BookieId(1), &[]));
            assert!(!is_stuck(&record, BookieId(1), &bookies(&[2, 3, 4])));
            assert!(!is_stuck(&record, BookieId(4), &bookies(&[1, 2, 3])), "it has none");
        }
        assert!(!is_stuck(&closed(None), BookieId(1), &[]));
    }

    #[test]
    fn too_few_bookies_are_told_with_what_is_needed() {
        let told = |stuck: std::ops::Range<u64>, takers: &[u64]| {
            let (bookie, state) = (BookieId(1), BookieState::Active);
            let stuck = stuck.map(LedgerId).collect();
            Nobody { bookie, state, stuck, takers: bookies(takers) }.to_string()
        };
        assert_eq!(
            told(3..4, &[2, 3]),
            "too few bookies for B1 to go, which stays active: there are copies of 1 ledger (L3) on it that \
             nobody else can take: of the others 2 are up and active (B2, B3), and have copies of their own; \
             start at least one more, or bring back one that is down or read-only, then call this again"
        );
        let alone = told(3..10, &[]);
        assert!(alone.contains("copies of 7 ledgers (L3, L4, L5, L6, L7 and 2 more)"), "{alone}");
        assert!(alone.contains("no other bookie is up and active"), "{alone}");
    }

    #[test]
    fn what_keeps_a_bookie_from_being_out_is_told_by_its_kind() {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(LedgerId).collect::<Vec<_>>();
        let left = |ended: &[u64], open: &[u64], given_up: &[u64]| {
            let (ended, open, given_up) = (ids(ended), ids(open), ids(given_up));
            Left { bookie: BookieId(1), ended, open, given_up }
        };
        assert!(!left(&[], &[], &[]).is_any());
        let said = left(&[], &[4], &[]).to_string();
        assert_eq!(
            said,
            "B1 is draining, and not decommissioned; copies of 1 ledger (L4) are still written and leave it \
             by themselves, when segments end; call this again when that has changed, or `egret bookie set \
             B1 active` if it is to stay"
        );
        let said = left(&[1, 2], &[], &[9]).to_string();
        assert!(said.contains("copies of 2 ledgers (L1, L2) were not made"), "{said}");
        assert!(said.contains("copies of 1 ledger (L9) cannot be made"), "{said}");
        assert!(!said.contains("still written"), "{said}");
    }
}
