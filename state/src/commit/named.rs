//! Named commits: what a name keeps, for as long as somebody wants to come back to it.
//!
//! The names of a topology stand in its one record, each with its commit record whole: a name needs no
//! commit ledger, and is there when those are damaged. Everything else it needs is listed there as well,
//! so one compare-and-swap makes a name true or takes it away:
//!
//! * a commit is named while the record still lists every ledger it needs and the floor stands below it:
//!   a trim raises the floor, by the same compare-and-swap, before it deletes anything;
//! * what a name needs is in nothing that is trimmed ([`TopologyRecord::spared`]), and the floor stays
//!   below every name ([`TopologyRecord::floor_below`]);
//! * names are changed by others than the process that runs the topology, who leave the rest of the
//!   record alone and sign for the names only ([`Names::by`]): whoever runs the topology finds that
//!   nothing of its own was touched ([`TopologyRecord::same_but_names`]) and goes on.
//!
//! ```text
//! names   process u128 | operation u64 | count u32 × { name | created ms u64 | commit record
//!         | count u32 × fork, in version 3 of the topology record }, ascending
//! ```

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{Epoch, LedgerId};

use super::record::{CommitRecord, insert_ascending, put_count};
use super::topology_record::{Claimant, TopologyRecord};
use crate::caps;

/// A commit that somebody named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// When, in milliseconds since 1970; for people.
    pub created_ms: u64,
    /// The commit: state, positions, ends of output.
    pub record: CommitRecord,
    /// The [forks](super::fork) that it is kept for.
    pub forks: BTreeSet<String>,
}

/// The named commits of a topology.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// Who changed them last; all zero while nobody did. No two changes are alike by it, so a change
    /// whose reply was lost is known again.
    pub by: Claimant,
    /// Name → commit.
    pub commits: BTreeMap<String, Named>,
}

impl Default for Names {
    fn default() -> Names {
        Names { by: Claimant { process: 0, operation: 0 }, commits: BTreeMap::new() }
    }
}

/// Why a name cannot be given, found or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NameError {
    /// No name at all.
    #[error(
        "`{name}` cannot name a commit: give 1 to {} letters, digits, `-`, `_` or `.`, a letter or a digit first",
        caps::COMMIT_NAME_BYTES_MAX
    )]
    Wrong {
        /// What was given.
        name: String,
    },
    /// The name is given away.
    #[error(
        "`{name}` names a commit already, {}: give another name, or delete that one first (`egret checkpoint delete`)",
        in_words(*.epoch)
    )]
    Taken {
        /// The name.
        name: String,
        /// Its commit.
        epoch: Epoch,
    },
    /// There are as many as may be.
    #[error(
        "the topology has {max} named commits, as many as it may: delete one first (`egret checkpoint delete`)"
    )]
    TooMany {
        /// How many may be.
        max: usize,
    },
    /// They would not fit beside each other.
    #[error(
        "the records of the named commits would take {bytes} bytes, and may take {max}: delete a name first (`egret checkpoint delete`)"
    )]
    TooLarge {
        /// What they would take.
        bytes: usize,
        /// What they may take.
        max: usize,
    },
    /// Nobody gave it.
    #[error("no commit is named `{name}`: {}", there_are(.names))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        names: Vec<String>,
    },
    /// Forks begin with it, and have not come away from it yet.
    #[error(
        "`{name}` is kept for what was forked from it, `{}`: let that run until it has written its state anew, then \
         delete the name",
        .forks.join("`, `")
    )]
    Forked {
        /// The name.
        name: String,
        /// Who needs it.
        forks: Vec<String>,
    },
    /// There are as many forks as may be.
    #[error(
        "`{name}` is kept for {max} forks, as many as it may: let one of them run until it has written its state \
         anew, or give the commit's topology another name to fork from (`egret checkpoint create`)"
    )]
    TooManyForks {
        /// The name.
        name: String,
        /// How many may be.
        max: usize,
    },
    /// There is nothing to name.
    #[error("the topology has not committed anything yet: let it run first")]
    Nothing,
    /// The commit was trimmed since it was read: read again.
    #[error("{} was trimmed meanwhile: ask again for the newest commit", in_words(*.epoch))]
    Trimmed {
        /// The commit.
        epoch: Epoch,
    },
    /// The commit is of another graph.
    #[error(
        "{} was written by another graph of the topology: ask again for the newest commit",
        in_words(*.epoch)
    )]
    Graph {
        /// The commit.
        epoch: Epoch,
    },
}

/// A commit by its last epoch, as people are told it: `commit 3.17`, the generation and its commit.
pub fn in_words(last: Epoch) -> String {
    format!("commit {}.{}", last.generation().0, last.commit())
}

/// The names there are, in words.
fn there_are(names: &[String]) -> String {
    match names {
        [] => "the topology has no named commits (`egret checkpoint create` makes one)".to_owned(),
        [one] => format!("there is `{one}`"),
        [most @ .., last] => format!("there are `{}` and `{last}`", most.join("`, `")),
    }
}

/// Refuses what cannot be a name: one stands in commands, tables and error texts.
///
/// # Errors
/// [`NameError::Wrong`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins || name.len() > caps::COMMIT_NAME_BYTES_MAX || !name.chars().all(fits) {
        return Err(NameError::Wrong { name: name.to_owned() });
    }
    Ok(())
}

impl Names {
    /// Whether they were never changed; such a record looks as it did before there were names.
    pub(crate) fn untouched(&self) -> bool {
        *self == Names::default()
    }

    /// Every state ledger that some name needs.
    pub fn ledgers(&self) -> BTreeSet<LedgerId> {
        let records = self.commits.values().map(|named| &named.record);
        records.flat_map(|record| record.state_ledgers().into_keys()).collect()
    }

    /// The oldest commit named.
    pub fn oldest(&self) -> Option<Epoch> {
        self.commits.values().map(|named| named.record.last).min()
    }

    /// Whether some are kept for forks.
    pub(crate) fn are_forked(&self) -> bool {
        self.commits.values().any(|named| !named.forks.is_empty())
    }

    pub(super) fn put(&self, out: &mut Vec<u8>, with_forks: bool) {
        out.put_u128(self.by.process);
        out.put_u64(self.by.operation);
        put_count(out, self.commits.len());
        for (name, Named { created_ms, record, forks }) in &self.commits {
            out.put_bytes(name.as_bytes());
            out.put_u64(*created_ms);
            out.put_bytes(&record.encode());
            if with_forks {
                put_count(out, forks.len());
                forks.iter().for_each(|fork| out.put_bytes(fork.as_bytes()));
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>, with_forks: bool) -> Result<Names, DecodeError> {
        let by = Claimant { process: r.u128("namer")?, operation: r.u64("namer's operation")? };
        let mut commits = BTreeMap::new();
        for _ in 0..r.u32("names")? {
            let name = r.text("name")?.to_owned();
            let created_ms = r.u64("created")?;
            let record = CommitRecord::decode(r.bytes("named commit")?)
                .map_err(|_| r.wrong("named commit", "it does not decode"))?;
            let mut forks = BTreeMap::new();
            for _ in 0..if with_forks { r.u32("forks")? } else { 0 } {
                let fork = r.text("fork")?.to_owned();
                insert_ascending(r, &mut forks, fork, ())?;
            }
            let forks = forks.into_keys().collect();
            insert_ascending(r, &mut commits, name, Named { created_ms, record, forks })?;
        }
        Ok(Names { by, commits })
    }
}

impl TopologyRecord {
    /// This record with a commit named, `by` somebody who need not be whoever runs the topology.
    ///
    /// # Errors
    /// When the name is none or given away, there are too many, or the commit cannot be restored any more.
    pub fn name_commit(
        &self,
        by: Claimant,
        name: &str,
        created_ms: u64,
        record: CommitRecord,
    ) -> Result<TopologyRecord, NameError> {
        check_name(name)?;
        if let Some(named) = self.names.commits.get(name) {
            return Err(NameError::Taken { name: name.to_owned(), epoch: named.record.last });
        }
        if self.names.commits.len() >= caps::COMMIT_NAMES_MAX {
            return Err(NameError::TooMany { max: caps::COMMIT_NAMES_MAX });
        }
        let epoch = record.last;
        if !self.begun || epoch == Epoch(0) {
            return Err(NameError::Nothing);
        }
        if record.fingerprint != self.graph.fingerprint() {
            return Err(NameError::Graph { epoch });
        }
        let listed = |ledger: &LedgerId| self.may_read(*ledger);
        if epoch < self.floor || !record.state_ledgers().keys().all(listed) {
            return Err(NameError::Trimmed { epoch });
        }
        let mut next = TopologyRecord { names: self.names_by(by), ..self.clone() };
        let named = Named { created_ms, record, forks: BTreeSet::new() };
        next.names.commits.insert(name.to_owned(), named);
        let of = |(name, named): (&String, &Named)| name.len() + named.record.encode().len();
        let bytes: usize = next.names.commits.iter().map(of).sum();
        let max = caps::NAMED_COMMITS_BYTES_MAX;
        if bytes > max {
            return Err(NameError::TooLarge { bytes, max });
        }
        Ok(next)
    }

    /// This record without a name. What only that kept may be trimmed from then on.
    ///
    /// # Errors
    /// [`NameError::Unknown`], and [`NameError::Forked`] while a fork needs it.
    pub fn forget_name(&self, by: Claimant, name: &str) -> Result<TopologyRecord, NameError> {
        let forks = &self.named(name)?.forks;
        if !forks.is_empty() {
            let (name, forks) = (name.to_owned(), forks.iter().cloned().collect());
            return Err(NameError::Forked { name, forks });
        }
        let mut next = TopologyRecord { names: self.names_by(by), ..self.clone() };
        next.names.commits.remove(name);
        Ok(next)
    }

    /// The commit of this name.
    ///
    /// # Errors
    /// [`NameError::Unknown`], with the names there are.
    pub fn named(&self, name: &str) -> Result<&Named, NameError> {
        self.names.commits.get(name).ok_or_else(|| NameError::Unknown {
            name: name.to_owned(),
            names: self.names.commits.keys().cloned().collect(),
        })
    }

    /// Those of these ledgers that no name needs.
    pub fn spared(&self, ledgers: &BTreeSet<LedgerId>) -> BTreeSet<LedgerId> {
        ledgers.difference(&self.names.ledgers()).copied().collect()
    }

    /// Where the trim floor goes when everything from `epoch` on is kept: not above a name, not back.
    pub fn floor_below(&self, epoch: Epoch) -> Epoch {
        self.names.oldest().map_or(epoch, |oldest| oldest.min(epoch)).max(self.floor)
    }

    /// Whether the two differ in their names at most: only such a change is made by somebody who does
    /// not run the topology.
    pub fn same_but_names(&self, other: &TopologyRecord) -> bool {
        let with_ours = TopologyRecord { names: self.names.clone(), ..other.clone() };
        with_ours == *self
    }

    pub(super) fn names_by(&self, by: Claimant) -> Names {
        assert!(
            by.process != 0 && by != self.names.by,
            "each change of the names has its own sign"
        );
        Names { by, ..self.names.clone() }
    }
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
