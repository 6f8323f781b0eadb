//! `egret checkpoint …`: named commits of topologies.
//!
//! Each verb but `restore` works beside a topology that runs: over a data directory through whoever holds it,
//! over a cluster like anybody else. `restore` takes the topology over, so it holds the directory itself.

use clap::{Args, Subcommand};
use egret::runtime::NamedCommit;
use egret::runtime::named;
use serde_json::{Value, json};

use super::exit::{Done, Exit};
use super::output::{self, Form};
use super::place::Place;

/// Named commits of topologies.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "A named commit keeps the state of that moment, and what the topology would read again after it, \
against trimming and truncation, until its name is deleted. A program of a topology begins at one of another topology, as \
a fork with a name and output of its own, when it is run with `--from TOPOLOGY:NAME --name FORK`.

Examples:
  egret checkpoint create words before-upgrade
  egret checkpoint list words
  egret checkpoint restore words before-upgrade --yes
  egret checkpoint delete words before-upgrade
  ./words --from words:before-upgrade --name trial"
)]
pub struct Checkpoint {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the named commits of a topology.
    List(List),
    /// Name the newest commit, while the topology runs or while it does not.
    Create(Create),
    /// Take a name away; what only that kept goes with the topology's next trim.
    Delete(Delete),
    /// Go back to a named commit: the next run of the topology goes on from there.
    Restore(Restore),
}

#[derive(Debug, Args)]
struct List {
    /// The topology.
    topology: String,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Create {
    /// The topology.
    topology: String,
    /// The name: letters, digits, `-`, `_` and `.`.
    name: String,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Delete {
    /// The topology.
    topology: String,
    /// The name.
    name: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "State and source positions become those of the named commit. A topology that runs elsewhere on \
a cluster is shut out, and says that it was taken over; one that holds the data directory has to end first. What was \
written to output streams since stays, because readers saw it; the next run writes after it. So the results of what is \
read again come again. `--restore NAME --yes` of the topology's own program goes back and runs, in one."
)]
struct Restore {
    /// The topology.
    topology: String,
    /// The name.
    name: String,
    /// Although what was counted since is forgotten, and counted again.
    #[arg(long)]
    yes: bool,
}

impl Checkpoint {
    pub(super) fn run(self) -> Done {
        let place = self.place;
        match self.verb {
            Verb::List(verb) => verb.run(&place),
            Verb::Create(verb) => verb.run(&place),
            Verb::Delete(verb) => verb.run(&place),
            Verb::Restore(verb) => verb.run(&place),
        }
    }
}

impl List {
    fn run(self, place: &Place) -> Done {
        let commits = place.beside(|log| Ok(named::list(log, &self.topology)?))?;
        match self.output {
            Form::Json => output::json(&commits.iter().map(as_json).collect::<Vec<Value>>())?,
            Form::Table => {
                let head = ["NAME", "COMMIT", "CREATED", "KEEPS", "POSITIONS", "CAN BE RESTORED"];
                output::table(&head, commits.iter().map(as_row))?;
            }
        }
        Ok(())
    }
}

impl Create {
    fn run(self, place: &Place) -> Done {
        let made = place.beside(|log| Ok(named::create(log, &self.topology, &self.name)?))?;
        match self.output {
            Form::Json => output::json(&as_json(&made))?,
            Form::Table => {
                let (topology, name) = (&self.topology, &self.name);
                output::line(&format!("named {} of {topology}: {name}", commit(&made)))?;
            }
        }
        Ok(())
    }
}

impl Delete {
    fn run(self, place: &Place) -> Done {
        let gone = place.beside(|log| Ok(named::delete(log, &self.topology, &self.name)?))?;
        let free = match gone.only_named.len() {
            0 => String::new(),
            1 => "; a ledger that no other commit needs goes with the next trim".to_owned(),
            n => format!("; {n} ledgers that no other commit needs go with the next trim"),
        };
        let (topology, name) = (&self.topology, &self.name);
        output::line(&format!("deleted the name {name} of {} of {topology}{free}", commit(&gone)))?;
        Ok(())
    }
}

impl Restore {
    fn run(self, place: &Place) -> Done {
        let (topology, name) = (&self.topology, &self.name);
        if !self.yes {
            return Err(Exit::Refused(format!(
                "going back to `{name}` forgets what {topology} counted since, and the results written since come \
                 again when it is run: add --yes if that is meant"
            )));
        }
        let instead =
            "a topology that runs there goes back when it is started with --restore NAME --yes";
        let restored = place.alone(instead, |log| Ok(named::restore(log, topology, name)?))?;
        let at = commit(&restored.commit);
        output::line(&format!(
            "{topology} is back at {name}, {at}, as generation {}: run it, and it goes on from there",
            restored.generation
        ))?;
        Ok(())
    }
}

/// The commit, as people are told it.
fn commit(named: &NamedCommit) -> String {
    named::in_words(named.last)
}

fn as_row(named: &NamedCommit) -> Vec<String> {
    let entries: u64 = named.state.values().sum();
    let only = named.only_named.len();
    let positions = named.positions.iter().map(|(component, splits)| {
        let splits = splits.iter().map(|(split, at)| {
            let at = at.split_once('@').map_or(at.as_str(), |(position, _)| position);
            format!("{component}[{split}]={at}")
        });
        splits.collect::<Vec<_>>().join(" ")
    });
    vec![
        named.name.clone(),
        format!("{}.{}", named.last.generation().0, named.last.commit()),
        output::utc(named.created_ms),
        format!("{} ledgers, {entries} entries, {only} by names only", named.state.len()),
        positions.collect::<Vec<_>>().join(" "),
        match (&named.lost, &named.forks[..]) {
            (Some(why), _) => format!("no: {why}"),
            (None, []) => "yes".to_owned(),
            (None, forks) => format!("yes; kept for {}", forks.join(", ")),
        },
    ]
}

fn as_json(named: &NamedCommit) -> Value {
    let ledger = |(ledger, entries): (&egret_schemas::LedgerId, &u64)| {
        json!({
            "ledger": ledger.to_string(),
            "entries": entries,
            "only_named": named.only_named.contains(ledger),
        })
    };
    json!({
        "name": named.name,
        "generation": named.last.generation().0,
        "commit": named.last.commit(),
        "created_ms": named.created_ms,
        "created": output::utc(named.created_ms),
        "positions": named.positions,
        "state": named.state.iter().map(ledger).collect::<Vec<Value>>(),
        "forks": named.forks,
        "lost": named.lost,
    })
}
