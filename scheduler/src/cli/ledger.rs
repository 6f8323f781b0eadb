//! `egret ledger …`: the ledgers of a cluster, as its metadata has them and its bookies hold them.

mod loss;
mod repair;
mod verified;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use egret_log::client::ReadError;
use egret_log::ledger::repair::{Lack, Why, lacks};
use egret_log::ledger::{LedgerKind, LedgerMetadata, LedgerState};
use egret_schemas::bookie::Role;
use egret_schemas::{EntryId, LedgerId};
use serde_json::{Value, json};

use super::exit::{Done, Exit};
use super::output::{self, Form};
use egret_log_cluster::Cluster;

/// The ledgers of a cluster.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Ledger {
    /// The file that says where the cluster is.
    #[arg(long, value_name = "FILE", env = "EGRET_CLUSTER", global = true)]
    cluster: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the ledgers.
    List(List),
    /// Show a ledger: its state, its bookies, what it lacks.
    Describe(Describe),
    /// Write an entry's bytes to standard output, whether readers may see it or not.
    Read(Read),
    /// Make the copies that are lacking, of all ledgers; of one that is named every copy is looked at.
    Repair(repair::Repair),
    /// Accept that entries of which no copy is left are lost.
    AcceptLoss(loss::AcceptLoss),
    /// Show what is lost, what of it was accepted, by whom and why.
    Losses(loss::Losses),
}

#[derive(Debug, Args)]
struct List {
    /// Only those that lack copies.
    #[arg(long)]
    lacking: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Describe {
    /// The ledger: L42, or 42.
    ledger: String,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Read {
    /// The ledger: L42, or 42.
    ledger: String,
    /// The entry's number.
    entry: u64,
}

impl Ledger {
    pub(super) fn run(self) -> Done {
        let file = self.cluster.ok_or_else(|| {
            Exit::Usage("say which cluster: --cluster FILE, or EGRET_CLUSTER".to_owned())
        })?;
        let role = match self.verb {
            Verb::Repair(_) => Role::Bookie,
            // It may have to find the end of a ledger, like whoever writes one.
            Verb::AcceptLoss(_) => Role::Client,
            _ => Role::Admin,
        };
        let cluster = Cluster::open(&file, role)?;
        match self.verb {
            Verb::List(verb) => verb.run(&cluster),
            Verb::Describe(verb) => verb.run(&cluster),
            Verb::Read(verb) => verb.run(&cluster),
            Verb::Repair(verb) => verb.run(&cluster),
            Verb::AcceptLoss(verb) => verb.run(&cluster),
            Verb::Losses(verb) => verb.run(&cluster),
        }
    }
}

fn parse(text: &str) -> Result<LedgerId, Exit> {
    let number = text.strip_prefix('L').unwrap_or(text);
    let wrong = |_| Exit::Usage(format!("`{text}` is no ledger: write L42, or 42"));
    number.parse().map(LedgerId).map_err(wrong)
}

fn record(cluster: &Cluster, ledger: LedgerId) -> Result<LedgerMetadata, Exit> {
    Ok(cluster.ledgers.describe(ledger)?)
}

fn lacking(cluster: &Cluster, record: &LedgerMetadata) -> Vec<Lack> {
    lacks(record, |member| cluster.ledgers.bookies().standing(member))
}

fn state(record: &LedgerMetadata) -> &'static str {
    match record.state {
        LedgerState::Open => "open",
        LedgerState::InRecovery => "in recovery",
        LedgerState::Closed { .. } => "closed",
        LedgerState::Deleting => "deleting",
    }
}

fn last(record: &LedgerMetadata) -> Option<u64> {
    record.closed().flatten().map(|last| last.0)
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Incomplete => "may lack entries",
        Why::Replaced => "its directory is another one",
        Why::Leaving => "is gone, or is to go",
    }
}

impl List {
    fn run(self, cluster: &Cluster) -> Done {
        let ids = cluster.ledgers.list()?;
        let mut rows = Vec::new();
        for id in ids {
            // Deleted since it was listed.
            let Ok(record) = cluster.ledgers.describe(id) else { continue };
            let lacking = lacking(cluster, &record).len();
            if self.lacking && lacking == 0 {
                continue;
            }
            rows.push((id, record, lacking));
        }
        match self.output {
            Form::Json => {
                let row = |(id, record, lacking): &(LedgerId, LedgerMetadata, usize)| {
                    json!({
                        "ledger": id.to_string(),
                        "state": state(record),
                        "term": record.term.0,
                        "last": last(record),
                        "copies": record.quorum.to_string(),
                        "fragments": record.fragments.len(),
                        "lacking": lacking,
                    })
                };
                output::json(&rows.iter().map(row).collect::<Vec<Value>>())?;
            }
            Form::Table => {
                let head = ["LEDGER", "STATE", "LAST", "COPIES", "FRAGMENTS", "LACKING"];
                let row = |(id, record, lacking): (LedgerId, LedgerMetadata, usize)| {
                    vec![
                        id.to_string(),
                        state(&record).to_owned(),
                        last(&record).map_or_else(|| "-".to_owned(), |last| last.to_string()),
                        record.quorum.to_string(),
                        record.fragments.len().to_string(),
                        lacking.to_string(),
                    ]
                };
                output::table(&head, rows.into_iter().map(row))?;
            }
        }
        Ok(())
    }
}

impl Describe {
    fn run(self, cluster: &Cluster) -> Done {
        let id = parse(&self.ledger)?;
        let record = record(cluster, id)?;
        let lacking = lacking(cluster, &record);
        let lost: Vec<_> = record.lost.iter().map(|(&first, &last)| (first, last)).collect();
        let known = match record.state {
            LedgerState::Open | LedgerState::InRecovery => Some(cluster.ledgers.known_end(id)?),
            LedgerState::Closed { .. } | LedgerState::Deleting => None,
        };
        let readable = known.as_ref().map(|known| known.end.readable());
        let owner = match &record.kind {
            LedgerKind::Plain => None,
            LedgerKind::Transactional { owner } => Some(owner.clone()),
        };
        match self.output {
            Form::Json => {
                let fragment = |(first, ensemble): (&EntryId, &egret_log::ledger::Ensemble)| {
                    let member = |member: &egret_log::ledger::Member| {
                        json!({
                            "bookie": member.bookie.0,
                            "incarnation": member.incarnation.to_string(),
                        })
                    };
                    let members = ensemble.members().iter().map(member).collect::<Vec<Value>>();
                    json!({ "first": first.0, "bookies": members })
                };
                let lack = |lack: &Lack| {
                    json!({
                        "first": lack.first.0,
                        "last": lack.last.0,
                        "bookie": lack.member.bookie.0,
                        "why": why(lack.why),
                    })
                };
                output::json(&json!({
                    "ledger": id.to_string(),
                    "state": state(&record),
                    "term": record.term.0,
                    "last": last(&record),
                    "readable": readable.flatten().map(|entry| entry.0),
                    "doubt": known.as_ref().and_then(|k| k.doubt.as_ref()).map(ToString::to_string),
                    "copies": record.quorum.to_string(),
                    "owner": owner,
                    "fragments": record.fragments.iter().map(fragment).collect::<Vec<Value>>(),
                    "lacking": lacking.iter().map(lack).collect::<Vec<Value>>(),
                    "lost": loss::pairs(&lost),
                }))?;
            }
            Form::Table => {
                let end = match (last(&record), readable) {
                    (Some(last), _) => format!(", last entry {last}"),
                    (None, Some(Some(entry))) => format!(", readable up to entry {entry}"),
                    (None, _) => String::new(),
                };
                let owner = owner.map_or_else(String::new, |owner| format!(", owned by {owner}"));
                output::line(&format!(
                    "{id}: {} at {}{end}, {} copies{owner}",
                    state(&record),
                    record.term,
                    record.quorum
                ))?;
                if !lost.is_empty() {
                    output::line(&format!("lost, as was accepted: {}", loss::ranges(&lost)))?;
                }
                let head = ["FIRST", "BOOKIES", "LACKING"];
                let rows = record.fragments.iter().map(|(first, ensemble)| {
                    let bookies: Vec<String> =
                        ensemble.members().iter().map(|m| m.bookie.to_string()).collect();
                    let lacks: Vec<String> = lacking
                        .iter()
                        .filter(|lack| lack.first == *first)
                        .map(|lack| format!("{} {}", lack.member.bookie, why(lack.why)))
                        .collect();
                    vec![first.to_string(), bookies.join(" "), lacks.join(", ")]
                });
                output::table(&head, rows)?;
            }
        }
        // What the record says was said; how far it may be read its bookies know.
        match known.and_then(|known| known.doubt) {
            Some(doubt) => Err(doubt.into()),
            None => Ok(()),
        }
    }
}

impl Read {
    fn run(self, cluster: &Cluster) -> Done {
        use std::io::Write;
        let id = parse(&self.ledger)?;
        let entry = EntryId(self.entry);
        if let Some(end) = record(cluster, id)?.closed()
            && Some(entry) > end
        {
            return Err(ReadError::Beyond { ledger: id, entry, end }.into());
        }
        let bytes = cluster.ledgers.read_unconfirmed(id, entry)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        Ok(())
    }
}
