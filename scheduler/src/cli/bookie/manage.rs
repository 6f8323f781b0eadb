//! The bookies of a cluster: which there are, what each holds, what they take, and taking one out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use egret_log::client::repair::{self, Pace};
use egret_log::ledger::LedgerMetadata;
use egret_log::registry::{BookieState, Registration};
use egret_schemas::BookieId;
use egret_schemas::bookie::Role;
use serde_json::{Value, json};

use crate::cli::exit::{Done, Exit};
use crate::cli::output::{self, Form};
use egret_log_cluster::Cluster;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the bookies of a cluster.
    List(List),
    /// Show a bookie: who and where it is, what it takes, which ledgers name it.
    Describe(Describe),
    /// Tell a bookie what it takes: active, or read-only.
    Set(Set),
    /// Take a bookie out: nothing new goes there, what it has is copied elsewhere.
    Decommission(Decommission),
}

/// Which cluster.
#[derive(Debug, Args)]
struct Where {
    /// The file that says where the cluster is.
    #[arg(long, value_name = "FILE", env = "EGRET_CLUSTER")]
    cluster: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    at: Where,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
pub(super) struct Describe {
    /// The bookie: B3, or 3.
    bookie: String,
    #[command(flatten)]
    at: Where,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// The bookie: B3, or 3.
    bookie: String,
    /// What it takes from now on.
    #[arg(value_parser = ["active", "read-only"])]
    state: String,
    #[command(flatten)]
    at: Where,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What the bookie has is copied by this command and by the bookies themselves;
it may be broken off and called again. Ledgers that are still written leave the bookie by
themselves, when their segments end."
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

impl Verb {
    pub(super) fn run(self) -> Done {
        match self {
            Verb::List(verb) => verb.run(),
            Verb::Describe(verb) => verb.run(),
            Verb::Set(verb) => verb.run(),
            Verb::Decommission(verb) => verb.run(),
        }
    }
}

fn open(at: &Path) -> Result<Cluster, Exit> {
    Ok(Cluster::open(at, Role::Bookie)?)
}

fn parse(text: &str) -> Result<BookieId, Exit> {
    let number = text.strip_prefix('B').unwrap_or(text);
    let wrong = |_| Exit::Usage(format!("`{text}` is no bookie: write B3, or 3"));
    number.parse().map(BookieId).map_err(wrong)
}

/// Ledgers that name a bookie: all of them, and those that are still written.
#[derive(Debug, Default, Clone, Copy)]
struct Named {
    ledgers: u64,
    open: u64,
}

fn names(record: &LedgerMetadata, bookie: BookieId) -> bool {
    record.fragments.values().flat_map(|e| e.members()).any(|member| member.bookie == bookie)
}

/// How many ledgers name each bookie.
fn named(cluster: &Cluster) -> Result<BTreeMap<BookieId, Named>, Exit> {
    let mut all: BTreeMap<BookieId, Named> = BTreeMap::new();
    for id in cluster.ledgers.list()? {
        // Deleted since it was listed.
        let Ok(record) = cluster.ledgers.describe(id) else { continue };
        let members = record.fragments.values().flat_map(|ensemble| ensemble.members());
        let mut bookies: Vec<BookieId> = members.map(|member| member.bookie).collect();
        bookies.sort_unstable();
        bookies.dedup();
        for bookie in bookies {
            let named = all.entry(bookie).or_default();
            named.ledgers += 1;
            named.open += u64::from(record.closed().is_none());
        }
    }
    Ok(all)
}

struct Row {
    registered: Registration,
    is_live: bool,
    named: Named,
}

fn rows(cluster: &Cluster) -> Result<Vec<Row>, Exit> {
    let live = cluster.registry.live()?;
    let named = named(cluster)?;
    let row = |registered: Registration| Row {
        is_live: live.get(&registered.bookie) == Some(&registered.incarnation),
        named: named.get(&registered.bookie).copied().unwrap_or_default(),
        registered,
    };
    Ok(cluster.registry.all()?.into_iter().map(row).collect())
}

impl Row {
    fn json(&self) -> Value {
        let Registration { bookie, incarnation, address, rack, since_ms, state } = &self.registered;
        json!({
            "bookie": bookie.0,
            "state": state.to_string(),
            "live": self.is_live,
            "address": address,
            "rack": rack,
            "incarnation": incarnation.to_string(),
            "since_ms": since_ms,
            "ledgers": self.named.ledgers,
            "open_ledgers": self.named.open,
        })
    }

    fn cells(&self) -> Vec<String> {
        let registered = &self.registered;
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        vec![
            registered.bookie.to_string(),
            registered.state.to_string(),
            if self.is_live { "up" } else { "down" }.to_owned(),
            registered.address.clone(),
            or_dash(&registered.rack),
            self.named.ledgers.to_string(),
            registered.incarnation.to_string(),
        ]
    }
}

impl List {
    fn run(self) -> Done {
        let cluster = open(&self.at.cluster)?;
        let rows = rows(&cluster)?;
        match self.output {
            Form::Json => output::json(&rows.iter().map(Row::json).collect::<Vec<Value>>())?,
            Form::Table => {
                let head = ["BOOKIE", "STATE", "LIVE", "ADDRESS", "RACK", "LEDGERS", "INCARNATION"];
                output::table(&head, rows.iter().map(Row::cells))?;
            }
        }
        Ok(())
    }
}

impl Describe {
    fn run(self) -> Done {
        let bookie = parse(&self.bookie)?;
        let cluster = open(&self.at.cluster)?;
        let row = rows(&cluster)?.into_iter().find(|row| row.registered.bookie == bookie);
        let Some(row) = row else {
            return Err(Exit::Refused(format!(
                "{bookie} is not registered in {}: `egret bookie list` shows who is",
                cluster.name
            )));
        };
        match self.output {
            Form::Json => output::json(&row.json())?,
            Form::Table => {
                let Registration { incarnation, address, rack, state, .. } = &row.registered;
                let live = if row.is_live { "up" } else { "down" };
                output::line(&format!("{bookie}: {state}, {live}, at {address}"))?;
                output::line(&format!("incarnation {incarnation}"))?;
                if !rack.is_empty() {
                    output::line(&format!("rack {rack}"))?;
                }
                let Named { ledgers, open } = row.named;
                output::line(&format!("{ledgers} ledgers name it, {open} of them not closed"))?;
            }
        }
        Ok(())
    }
}

impl Set {
    fn run(self) -> Done {
        let bookie = parse(&self.bookie)?;
        let cluster = open(&self.at.cluster)?;
        let state: BookieState = self.state.parse()?;
        let now = cluster.registry.set_state(bookie, state)?;
        output::line(&format!("{bookie} is {}", now.state))?;
        Ok(())
    }
}

impl Decommission {
    fn run(self) -> Done {
        let bookie = parse(&self.bookie)?;
        let cluster = open(&self.at.cluster)?;
        cluster.registry.set_state(bookie, BookieState::Draining)?;
        if self.no_wait {
            output::line(&format!("{bookie} is draining"))?;
            return Ok(());
        }
        // Asked anew: what was read before does not know that it is to go. A file has one holder at a time.
        drop(cluster);
        let cluster = open(&self.at.cluster)?;
        let pace = Pace { bytes_per_second: self.mb_per_second.saturating_mul(1 << 20) };
        let (found, _) = repair::survey(&cluster.ledgers)?;
        let of_it: Vec<_> =
            found.into_iter().filter(|(_, lack)| lack.member.bookie == bookie).collect();
        let total = of_it.len();
        let mut left = 0;
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
                Err(why) => {
                    left += 1;
                    output::line(&format!("{}/{total} not copied: {why}", index + 1))?;
                }
            }
        }
        let mut open = 0u64;
        for id in cluster.ledgers.list()? {
            let Ok(record) = cluster.ledgers.describe(id) else { continue };
            if names(&record, bookie) {
                open += 1;
            }
        }
        if left > 0 || open > 0 {
            return Err(Exit::Failed(format!(
                "{bookie} is draining: {open} ledgers still name it ({left} copies failed, the others \
                 are still written): call this again when their segments have ended"
            )));
        }
        cluster.registry.set_state(bookie, BookieState::Decommissioned)?;
        output::line(&format!(
            "{bookie} is decommissioned: no ledger names it, it may be stopped"
        ))?;
        Ok(())
    }
}
