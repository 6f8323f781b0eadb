//! `egret ledger accept-loss` and `egret ledger losses`: what no bookie has any more, and who said that it
//! may go.

use std::collections::BTreeSet;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use egret_log::client::loss::{self, Assessed, Decision, Loss, Note};
use egret_schemas::{BookieId, EntryId, LedgerId};
use serde_json::{Value, json};

use super::super::exit::{Done, Exit};
use super::super::output::{self, Form};
use egret_log_cluster::Cluster;

#[derive(Debug, Args)]
#[command(
    after_help = "Of a closed ledger every entry is looked for, and those of which no copy is left are \
noted as lost: readers are told, and repairs copy the rest. An open ledger is closed with what the bookies \
that are left have. Nothing is changed without --yes, and --yes needs --reason. What was accepted stays on \
record: `egret ledger losses`.

A bookie is taken for gone only when nobody is there: not one that answers, that turns this process away, or \
that the metadata has as there, which it does for some seconds after it was killed.

It ends with 1 when a bookie that may have the entries does not answer, with 3 when nothing is lost or a bookie \
called gone is there.

Examples:
  egret ledger accept-loss L42
  egret ledger accept-loss L42 --gone B2 --gone B3 --reason 'both disks burnt' --yes"
)]
pub(super) struct AcceptLoss {
    /// The ledger: L42, or 42.
    ledger: String,
    /// A bookie that will not come back, or not with what it had: B2, or 2. May be given several times.
    #[arg(long, value_name = "BOOKIE")]
    gone: Vec<String>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", required_if_eq("yes", "true"), value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Who decides, for the record.
    #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown")]
    by: String,
    /// Do it, for a --reason; otherwise only say what would be lost.
    #[arg(long)]
    yes: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
pub(super) struct Losses {
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

fn bookie(text: &str) -> Result<BookieId, Exit> {
    let number = text.strip_prefix('B').unwrap_or(text);
    let wrong = |_| Exit::Usage(format!("`{text}` is no bookie: write B2, or 2"));
    number.parse().map(BookieId).map_err(wrong)
}

pub(super) fn range(&(first, last): &(EntryId, EntryId)) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

pub(super) fn ranges(all: &[(EntryId, EntryId)]) -> String {
    all.iter().map(range).collect::<Vec<_>>().join(", ")
}

pub(super) fn pairs(all: &[(EntryId, EntryId)]) -> Vec<Value> {
    all.iter().map(|(first, last)| json!({ "first": first.0, "last": last.0 })).collect()
}

/// A ledger that repairs leave alone, and what to do about it.
pub(super) fn nothing_left(id: LedgerId, note: &Note) -> String {
    format!(
        "{id}: no copy is left of entry {}, and nobody accepted that: restore a disk and run `egret ledger \
         repair {id}`, or `egret ledger accept-loss {id}`",
        note.entry
    )
}

impl AcceptLoss {
    pub(super) fn run(self, cluster: &Cluster) -> Done {
        let id = super::parse(&self.ledger)?;
        let gone = self.gone.iter().map(|text| bookie(text)).collect::<Result<BTreeSet<_>, _>>()?;
        let entries = super::last(&super::record(cluster, id)?).map_or(0, |last| last + 1);
        let bar = output::progress(entries, "entries");
        bar.set_message(id.to_string());
        let seen = |_| bar.inc(1);
        if self.yes {
            let reason = self.reason.unwrap_or_default();
            let decision = Decision { gone, by: self.by, reason };
            let loss = loss::accept(&cluster.ledgers, id, decision, seen);
            bar.finish_and_clear();
            return accepted(&loss?, self.output);
        }
        let assessed = loss::assess(&cluster.ledgers, id, &gone, seen);
        bar.finish_and_clear();
        would_be(id, &assessed?, self.output)
    }
}

fn would_be(id: LedgerId, assessed: &Assessed, form: Form) -> Done {
    if let Form::Json = form {
        let (lost, without) = match assessed {
            Assessed::Closed(lost) => (pairs(lost), Vec::new()),
            Assessed::Open { without } => {
                (Vec::new(), without.iter().map(|b| b.0).collect::<Vec<u64>>())
            }
        };
        output::json(&json!({
            "ledger": id.to_string(), "accepted": false, "lost": lost, "closed_without": without,
        }))?;
        return Ok(());
    }
    let what = match assessed {
        Assessed::Closed(lost) => format!("{id}: no copy is left of {}", ranges(lost)),
        Assessed::Open { without } => {
            let without: Vec<String> = without.iter().map(BookieId::to_string).collect();
            format!(
                "{id} would be closed with what its bookies have without {}",
                without.join(", ")
            )
        }
    };
    output::line(&what)?;
    output::line("nothing was changed: add --yes and --reason TEXT to accept it")?;
    Ok(())
}

fn accepted(loss: &Loss, form: Form) -> Done {
    if let Form::Json = form {
        output::json(&row(loss))?;
        return Ok(());
    }
    output::line(&match loss.closed {
        None => format!("{}: accepted as lost: {}", loss.ledger, ranges(&loss.ranges)),
        Some(None) => format!("{}: closed, empty", loss.ledger),
        Some(Some(last)) => format!("{}: closed at entry {last}", loss.ledger),
    })?;
    Ok(())
}

fn row(loss: &Loss) -> Value {
    json!({
        "ledger": loss.ledger.to_string(),
        "accepted": true,
        "lost": pairs(&loss.ranges),
        "closed_by_this": loss.closed.is_some(),
        "last": loss.closed.flatten().map(|last| last.0),
        "gone": loss.decision.gone.iter().map(|bookie| bookie.0).collect::<Vec<u64>>(),
        "by": loss.decision.by,
        "reason": loss.decision.reason,
        "at_ms": loss.at_ms,
    })
}

impl Losses {
    pub(super) fn run(self, cluster: &Cluster) -> Done {
        let accepted = loss::accepted(&cluster.ledgers)?;
        let given_up = loss::unrecoverable(&cluster.ledgers)?;
        if let Form::Json = self.output {
            let given_up: Vec<Value> = given_up
                .iter()
                .map(|(id, note)| {
                    json!({ "ledger": id.to_string(), "entry": note.entry.0, "at_ms": note.at_ms })
                })
                .collect();
            let accepted: Vec<Value> = accepted.iter().map(row).collect();
            output::json(&json!({ "unrecoverable": given_up, "accepted": accepted }))?;
            return Ok(());
        }
        for (id, note) in &given_up {
            output::line(&nothing_left(*id, note))?;
        }
        let head = ["LEDGER", "LOST", "CLOSED AT", "GONE", "BY", "WHEN", "REASON"];
        let rows = accepted.iter().map(|loss| {
            let gone: Vec<String> = loss.decision.gone.iter().map(BookieId::to_string).collect();
            let closed = match loss.closed {
                None => "-".to_owned(),
                Some(None) => "empty".to_owned(),
                Some(Some(last)) => last.to_string(),
            };
            vec![
                loss.ledger.to_string(),
                ranges(&loss.ranges),
                closed,
                gone.join(" "),
                loss.decision.by.clone(),
                output::utc(loss.at_ms),
                loss.decision.reason.clone(),
            ]
        });
        output::table(&head, rows)?;
        Ok(())
    }
}
