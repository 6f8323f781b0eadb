//! `egret topology …`: which topologies there are, the plan of one, whether one reads its sources, and the end of one.
//!
//! A deletion takes the topology's place, so it holds the directory itself, as going back to a named commit does.

mod explain;
mod metrics;

use clap::{Args, Subcommand};
use egret::runtime::named::in_words;
use egret::runtime::topologies::{self, OwnStreams, TopologyInfo};
use serde_json::{Value, json};

use super::exit::{Done, Exit};
use super::output::{self, Form};
use super::place::Place;

/// The topologies that ran here.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  egret topology list
  egret topology explain ./word_count -- --workers 4
  egret topology metrics 127.0.0.1:9100
  egret topology deactivate trial
  egret topology delete trial --streams --yes"
)]
pub struct Topology {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the topologies: their last commits, their names, what was forked from what.
    List(List),
    /// Show the plan of a topology program: what runs where, and what its exchanges cost.
    Explain(explain::Explain),
    /// Show what a process of a running topology tells of itself: its tasks, its commits, its state.
    Metrics(metrics::Metrics),
    /// Have a topology stop to read its sources, until it is activated. Whoever runs it finds out within a second or two;
    /// what was read is processed and committed.
    Deactivate(Activity),
    /// Have a topology read its sources again.
    Activate(Activity),
    /// Delete a topology: its state, its commits and their names, and what others keep for it.
    Delete(Delete),
}

#[derive(Debug, Args)]
struct List {
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
#[command(
    after_help = "What it reads is not kept for it any more, nor is the named commit that it was forked from. It is \
refused while others that were forked from it need a commit of it, while streams are its own unless they are to go with \
it, and while a process runs it. \
A deletion that is interrupted is gone on with by the same command; until then the topology is not run."
)]
struct Delete {
    /// The topology.
    topology: String,
    /// Together with the streams that it alone writes.
    #[arg(long)]
    streams: bool,
    /// Although nothing of it can be brought back.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Activity {
    /// The topology.
    topology: String,
}

impl Activity {
    fn run(self, place: &Place, active: bool) -> Done {
        let topology = &self.topology;
        let set = if active { topologies::activate } else { topologies::deactivate };
        place.beside(|log| Ok(set(log, topology)?))?;
        output::line(&format!("{topology} is {}", if active { "active" } else { "inactive" }))?;
        Ok(())
    }
}

impl Topology {
    pub(super) fn run(self) -> Done {
        match self.verb {
            Verb::List(verb) => verb.run(&self.place),
            Verb::Explain(verb) => verb.run(),
            Verb::Metrics(verb) => verb.run(),
            Verb::Deactivate(verb) => verb.run(&self.place, false),
            Verb::Activate(verb) => verb.run(&self.place, true),
            Verb::Delete(verb) => verb.run(&self.place),
        }
    }
}

impl List {
    fn run(self, place: &Place) -> Done {
        let all = place.beside(|log| Ok(topologies::list(log)?))?;
        match self.output {
            Form::Json => output::json(&all.iter().map(as_json).collect::<Vec<Value>>())?,
            Form::Table => {
                let head = ["TOPOLOGY", "LAST", "GUARANTEE", "NAMED", "STREAMS", "FORKED FROM"];
                output::table(&head, all.iter().map(as_row))?;
            }
        }
        Ok(())
    }
}

impl Delete {
    fn run(self, place: &Place) -> Done {
        let topology = &self.topology;
        if !self.yes {
            return Err(Exit::Refused(format!(
                "deleting {topology} takes its state, its commits and their names away for good: add --yes if that is \
                 meant"
            )));
        }
        let streams = if self.streams { OwnStreams::Delete } else { OwnStreams::Refuse };
        let instead = "a topology that runs is not deleted: end it first";
        let done = place.alone(instead, |log| Ok(topologies::delete(log, topology, streams)?))?;
        let mut said = format!("deleted {topology}: {} ledgers", done.ledgers);
        if !done.streams.is_empty() {
            let names: Vec<_> = done.streams.iter().map(String::as_str).collect();
            said += &format!(" and what it wrote, {}", names.join(", "));
        }
        if let Some(origin) = &done.released {
            said += &format!("; {origin} is not kept for it any more");
        }
        output::line(&said)?;
        Ok(())
    }
}

fn as_row(info: &TopologyInfo) -> Vec<String> {
    let last = match info.last {
        _ if info.deleting => "being deleted".to_owned(),
        Some(last) => in_words(last),
        None if info.unreadable.is_some() => "cannot be read".to_owned(),
        None => "nothing committed".to_owned(),
    };
    let last = if info.active { last } else { format!("{last}, inactive") };
    let none = |words: String| if words.is_empty() { "-".to_owned() } else { words };
    let streams: Vec<_> = info.streams.iter().map(String::as_str).collect();
    let origin = match &info.origin {
        Some(origin) if info.holds_origin => format!("{origin}, which is kept for it"),
        Some(origin) => origin.to_string(),
        None => String::new(),
    };
    vec![
        info.name.clone(),
        last,
        info.guarantee.to_string(),
        none(info.names.join(" ")),
        none(streams.join(" ")),
        none(origin),
    ]
}

fn as_json(info: &TopologyInfo) -> Value {
    json!({
        "topology": info.name,
        "generation": info.generation.0,
        "guarantee": info.guarantee.to_string(),
        "last": info.last.map(|last| json!({
            "generation": last.generation().0,
            "commit": last.commit(),
        })),
        "unreadable": info.unreadable,
        "names": info.names,
        "streams": info.streams,
        "ledgers": info.ledgers,
        "forked_from": info.origin.as_ref().map(ToString::to_string),
        "holds_origin": info.holds_origin,
        "forks": info.forks,
        "deleting": info.deleting,
        "active": info.active,
    })
}
