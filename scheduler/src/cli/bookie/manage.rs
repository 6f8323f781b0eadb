//! The bookies of a cluster: which there are, what each holds, and what they take.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use egret_log::registry::{BookieState, Registration};
use egret_schemas::BookieId;
use egret_schemas::bookie::Role;
use serde_json::{Value, json};

use super::decommission::Decommission;
use crate::cli::exit::{Done, Exit};
use crate::cli::output::{self, Form};
use egret_log_cluster::Cluster;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List the bookies of a cluster.
    List(List),
    /// Show a bookie: who and where it is, what it takes, which ledgers name it.
    Describe(Describe),
    /// Tell a bookie what it takes: active, or read-only; also one that was told to go.
    Set(Set),
    /// Take a bookie out: nothing new goes there, what it has is copied elsewhere.
    Decommission(Decommission),
}

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The file that says where the cluster is.
    #[arg(long, value_name = "FILE", env = "EGRET_CLUSTER")]
    cluster: PathBuf,
}

impl Where {
    pub(super) fn open(&self) -> Result<Cluster, Exit> {
        Ok(Cluster::open(&self.cluster, Role::Bookie)?)
    }
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

pub(super) fn parse(text: &str) -> Result<BookieId, Exit> {
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
        let cluster = self.at.open()?;
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
        let cluster = self.at.open()?;
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
        let cluster = self.at.open()?;
        let state: BookieState = self.state.parse()?;
        let was = cluster.registry.find(bookie)?.map(|held| held.state);
        let now = cluster.registry.set_state(bookie, state)?;
        let after = match was {
            Some(BookieState::Draining) => {
                ", and no longer to go: what was copied elsewhere stays there"
            }
            Some(BookieState::Decommissioned) => {
                ", and no longer decommissioned: it begins with nothing, for no ledger names it"
            }
            _ => "",
        };
        output::line(&format!("{bookie} is {}{after}", now.state))?;
        Ok(())
    }
}
