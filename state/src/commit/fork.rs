//! Forks: a topology that begins where a named commit of another one stands, and goes its own way.
//!
//! ```text
//! parent   names: "noon" ── kept for: fork ◀──────────────┐ one transaction writes both: either says
//! fork     forked from parent:noon, the commit whole, ────┘ of the other, or neither is there
//!          the ledgers of its state
//! ```
//! * The fork reads the ledgers of the commit and never writes, closes or deletes one: they are not among its
//!   own ([`TopologyRecord::state_ledgers`]), and whoever runs the parent is not disturbed.
//! * The name is not taken away while a fork needs it ([`NameError::Forked`]), so nothing of it is trimmed. It
//!   is let go of once none of the commits the fork keeps reads a ledger of the parent, by one transaction again.
//! * Until the fork has a commit record of its own, the commit it begins with stands in its record: whatever
//!   ends the process that forks, the next one begins there, and never empty.
//! * A fork's generations begin above that of the commit, so that epochs only rise along what it reads. Its
//!   output begins anew.
//!
//! ```text
//! fork   topology | name | held u8 | count u32 × ledger u64, ascending | 0 u8, or 1 u8 and the commit record
//! ```

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{Generation, LedgerId};

use super::named::NameError;
use super::record::{CommitRecord, insert_ascending, put_count};
use super::topology_record::{ChangeError, Claimant, TopologyRecord};
use crate::caps;

/// A named commit of another topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The topology.
    pub topology: String,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.topology, self.name)
    }
}

/// What a topology keeps of where it was forked from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fork {
    /// Where.
    pub origin: Origin,
    /// Whether the commit is kept there for it.
    pub held: bool,
    /// Ledgers of others that its commits may need.
    pub ledgers: BTreeSet<LedgerId>,
    /// The commit, until there is one of its own.
    pub commit: Option<CommitRecord>,
}

impl Fork {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_bytes(self.origin.topology.as_bytes());
        out.put_bytes(self.origin.name.as_bytes());
        out.put_u8(u8::from(self.held));
        put_count(out, self.ledgers.len());
        self.ledgers.iter().for_each(|ledger| out.put_u64(ledger.0));
        out.put_u8(u8::from(self.commit.is_some()));
        if let Some(commit) = &self.commit {
            out.put_bytes(&commit.encode());
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Fork, DecodeError> {
        let (topology, name) = (r.text("origin")?.to_owned(), r.text("origin's name")?.to_owned());
        let held = flag(r, "held")?;
        let mut ledgers = BTreeMap::new();
        for _ in 0..r.u32("ledgers of others")? {
            let ledger = LedgerId(r.u64("ledger of others")?);
            insert_ascending(r, &mut ledgers, ledger, ())?;
        }
        let commit = match flag(r, "whether there is a commit")? {
            true => {
                let commit = CommitRecord::decode(r.bytes("commit")?);
                Some(commit.map_err(|_| r.wrong("commit", "it does not decode"))?)
            }
            false => None,
        };
        let ledgers = ledgers.into_keys().collect();
        Ok(Fork { origin: Origin { topology, name }, held, ledgers, commit })
    }
}

pub(super) fn flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match r.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.wrong(what, "neither 0 nor 1")),
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        let parts = text.rsplit_once(':').filter(|(topology, _)| !topology.is_empty());
        let (topology, name) =
            parts.ok_or("write TOPOLOGY:NAME, as `egret checkpoint list` has them")?;
        super::named::check_name(name).map_err(|why| why.to_string())?;
        Ok(Origin { topology: topology.to_owned(), name: name.to_owned() })
    }
}

impl TopologyRecord {
    /// The first record of a fork of this topology, which begins with the commit of that name.
    ///
    /// # Errors
    /// When there is no such name, or all generations are used up.
    pub fn forked(&self, claimant: Claimant, origin: Origin) -> Result<TopologyRecord, ForkError> {
        let commit = self.named(&origin.name)?.record.clone();
        let generation = commit.generation.next().ok_or(ChangeError::Generations)?;
        let ledgers = commit.state_ledgers().into_keys().collect();
        let fork = Fork { origin, held: true, ledgers, commit: Some(commit) };
        let (guarantee, key_groups, graph) = (self.guarantee, self.key_groups, self.graph.clone());
        let first = TopologyRecord::first(claimant, guarantee, key_groups, graph);
        Ok(TopologyRecord { generation, fork: Some(fork), ..first })
    }

    /// This record with the commit of that name kept for `fork`, too.
    ///
    /// # Errors
    /// When there is no such name, or as many forks of it as may be.
    pub fn keep_for(
        &self,
        by: Claimant,
        name: &str,
        fork: &str,
    ) -> Result<TopologyRecord, NameError> {
        self.named(name)?;
        let mut next = TopologyRecord { names: self.names_by(by), ..self.clone() };
        let named = next.names.commits.get_mut(name).expect("looked up above");
        named.forks.insert(fork.to_owned());
        let max = caps::COMMIT_FORKS_MAX;
        if named.forks.len() > max {
            return Err(NameError::TooManyForks { name: name.to_owned(), max });
        }
        Ok(next)
    }

    /// This record with the commit of that name no longer kept for `fork`; `None` if it is not.
    pub fn let_go_for(&self, by: Claimant, name: &str, fork: &str) -> Option<TopologyRecord> {
        self.names.commits.get(name).filter(|named| named.forks.contains(fork))?;
        let mut next = TopologyRecord { names: self.names_by(by), ..self.clone() };
        next.names.commits.get_mut(name)?.forks.remove(fork);
        Some(next)
    }

    /// Whether the commit it was forked from is kept for it and need not be: neither the `kept` commits nor
    /// named ones read a ledger of others.
    pub fn outgrew_origin<'a>(&self, kept: impl IntoIterator<Item = &'a CommitRecord>) -> bool {
        let Some(fork) = self.fork.as_ref().filter(|fork| fork.held && self.begun) else {
            return false;
        };
        let needs = |record: &CommitRecord| {
            record.state_ledgers().keys().any(|ledger| fork.ledgers.contains(ledger))
        };
        let names = self.names.commits.values();
        !kept.into_iter().any(needs) && !names.map(|named| &named.record).any(needs)
    }

    /// This record of a fork that needs nothing of others any more.
    ///
    /// # Errors
    /// When another process claimed it.
    pub fn on_its_own(&self, claimant: Claimant) -> Result<TopologyRecord, ChangeError> {
        let mut next = self.changed_by(claimant)?;
        if let Some(fork) = &mut next.fork {
            (fork.held, fork.ledgers) = (false, BTreeSet::new());
        }
        Ok(next)
    }

    /// Whether the ledger is one of its own.
    pub fn lists(&self, ledger: LedgerId) -> bool {
        self.state_ledgers.contains(&ledger) || self.commit_ledgers.contains(&ledger)
    }

    /// Whether a commit of this topology may read the ledger: its own, or one of those it was forked with.
    pub fn may_read(&self, ledger: LedgerId) -> bool {
        let of_others = self.fork.as_ref().is_some_and(|fork| fork.ledgers.contains(&ledger));
        of_others || self.state_ledgers.contains(&ledger)
    }
}

impl CommitRecord {
    /// This record, as the first one of a fork: its state and its positions. Output begins anew.
    pub fn forked(&self, generation: Generation, fingerprint: u64) -> CommitRecord {
        CommitRecord { sinks: BTreeMap::new(), ..self.restated(generation, fingerprint) }
    }
}

/// Why a topology is not forked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ForkError {
    /// The name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The generation.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
