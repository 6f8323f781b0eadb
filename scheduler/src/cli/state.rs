//! `egret state …`: what topologies keep for their keys, as of their last commit.
//!
//! Each verb works beside a topology that runs, and beside none. What is answered is committed; which commit
//! it is of is part of the answer.

mod serve;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use egret::replica::shown::Range;
use egret::replica::{Replica, ReplicaOptions, Shown};
use serde_json::{Value, json};

use super::exit::{self, Done, Exit};
use super::output::{self, Form};
use super::place::Place;

/// What topologies keep for their keys.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Every answer is of one commit, and says which; that of `get` on standard error, so that the value stands \
alone on standard output. With -o json `epoch` has the commit's `generation` and \
`commit`, which go back when the topology goes back to a named commit, and `written_by`, the generation that made it \
the last one or found it so, which never does.

Keys are written as words: a text as it is, a number in decimal, bytes as the text they are or in \
hexadecimal with 0x before, a pair as a JSON list. Keys come in the order of their encodings: texts in that of their bytes, numbers in that of their \
little-endian ones.

Examples:
  egret state list words
  egret state get words count heron
  egret state scan words count --prefix her --limit 20 -o json
  egret state serve words --listen 127.0.0.1:7070"
)]
pub struct State {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the components of a topology that keep state.
    List(List),
    /// Show what is kept for one key; only what that takes is read.
    Get(Get),
    /// Show what is kept for many keys.
    Scan(Scan),
    /// Answer over HTTP, as JSON, until told to end.
    Serve(serve::Serve),
}

#[derive(Debug, Args)]
struct List {
    /// The topology.
    topology: String,
    /// How much memory may be used, in MiB: everything is read.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: u32,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Get {
    /// The topology.
    topology: String,
    /// The component.
    component: String,
    /// The key.
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// How much memory may be used, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: u32,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

#[derive(Debug, Args)]
struct Scan {
    /// The topology.
    topology: String,
    /// The component.
    component: String,
    /// Only keys that begin so; of keys that are bytes, as a text or in hexadecimal with 0x before.
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// From this key on.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    from: Option<String>,
    /// So many keys at most; where there are more, the answer says where they go on.
    #[arg(long, value_name = "N", default_value = "1000")]
    limit: NonZeroUsize,
    /// How much memory may be used, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: u32,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl State {
    pub(super) fn run(self) -> Done {
        let place = self.place;
        match self.verb {
            Verb::List(verb) => verb.run(&place),
            Verb::Get(verb) => verb.run(&place),
            Verb::Scan(verb) => verb.run(&place),
            Verb::Serve(verb) => verb.run(&place),
        }
    }
}

fn replica(topology: &str, component: Option<&str>, memory_bytes: usize) -> Replica {
    let (component, memory_bytes) = (component.map(str::to_owned), Some(memory_bytes));
    Replica::new(topology, ReplicaOptions { component, memory_bytes })
}

/// So many MiB, in bytes.
fn mib(n: u32) -> usize {
    (n as usize).saturating_mul(1 << 20)
}

impl List {
    fn run(self, place: &Place) -> Done {
        let mut replica = replica(&self.topology, None, mib(self.memory_mb));
        place.beside(|log| Ok(replica.catch_up(log)?))?;
        let shown = replica.read();
        let names: Vec<&str> = shown.view().components().map(|(name, _)| name).collect();
        let found = names.iter().map(|name| shown.component(name));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        match self.output {
            Form::Json => {
                let of = |c: &egret::replica::shown::Component<'_>| {
                    json!({
                        "component": c.name,
                        "tasks": shown.view().tasks(c.name),
                        "keys": c.table.len(),
                        "bytes": c.table.bytes(),
                        "schema": c.table.schemas().last().map(|id| format!("{id:016x}")),
                        "format": c.schema().map(ToString::to_string),
                    })
                };
                let components: Vec<Value> = found.iter().map(of).collect();
                output::json(&answer(&shown, json!({ "components": components })))?;
            }
            Form::Table => {
                let rows = found.iter().map(|c| {
                    let format = c.schema().map_or_else(
                        || "not known".to_owned(),
                        |schema| schema.to_string().trim_end().replace('\n', "; "),
                    );
                    let tasks = shown.view().tasks(c.name).unwrap_or_default();
                    let (keys, bytes) = (c.table.len(), c.table.bytes());
                    [c.name, &tasks.to_string(), &keys.to_string(), &bytes.to_string(), &format]
                        .map(str::to_owned)
                        .to_vec()
                });
                output::table(&["COMPONENT", "TASKS", "KEYS", "BYTES", "FORMAT"], rows)?;
                output::line(&as_of(&shown))?;
            }
        }
        Ok(())
    }
}

impl Get {
    fn run(self, place: &Place) -> Done {
        let Get { topology, component, key, memory_mb, output } = self;
        let mut replica = replica(&topology, Some(&component), mib(memory_mb));
        place.beside(|log| {
            replica.only_key(log, &component, &key)?;
            Ok(replica.catch_up(log)?)
        })?;
        let shown = replica.read();
        let Some(value) = shown.get(&component, &key)? else {
            return Err(Exit::Refused(format!(
                "`{component}` of {topology} keeps nothing for the key `{key}`, {}",
                as_of(&shown)
            )));
        };
        match output {
            Form::Json => {
                let found = json!({ "component": component, "key": key, "value": value });
                output::json(&answer(&shown, found))?;
            }
            Form::Table => {
                output::line(&in_words(&value))?;
                // Beside it: standard output is the value and nothing else.
                exit::say(format_args!("{}", as_of(&shown)));
            }
        }
        Ok(())
    }
}

impl Scan {
    fn run(self, place: &Place) -> Done {
        let mut replica = replica(&self.topology, Some(&self.component), mib(self.memory_mb));
        place.beside(|log| Ok(replica.catch_up(log)?))?;
        let shown = replica.read();
        let (from, prefix) = (self.from, self.prefix);
        let range = Range { from, prefix, limit: self.limit.get(), bytes: usize::MAX };
        let page = shown.scan(&self.component, &range)?;
        match self.output {
            Form::Json => {
                let entry = |(key, value): (Value, Value)| json!({ "key": key, "value": value });
                let entries: Vec<Value> = page.entries.into_iter().map(entry).collect();
                let found = json!({
                    "component": self.component, "entries": entries, "next": page.next,
                });
                output::json(&answer(&shown, found))?;
            }
            Form::Table => {
                let rows =
                    page.entries.iter().map(|(key, value)| vec![in_words(key), in_words(value)]);
                output::table(&["KEY", "VALUE"], rows)?;
                let more = page.next.map_or_else(String::new, |next| {
                    format!("; there are more, from `{next}` on: --from or --limit")
                });
                output::line(&format!("{}{more}", as_of(&shown)))?;
            }
        }
        Ok(())
    }
}

/// An answer with what it is of.
fn answer(shown: &Shown, mut found: Value) -> Value {
    if let Value::Object(fields) = &mut found {
        fields.insert("topology".to_owned(), Value::from(shown.topology()));
        fields.insert("epoch".to_owned(), shown.epoch());
    }
    found
}

fn as_of(shown: &Shown) -> String {
    shown
        .mark()
        .map_or_else(|| "before the first commit".to_owned(), |mark| format!("as of {mark}"))
}

/// JSON for people: a text as it is.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) if !text.chars().any(char::is_control) => text.clone(),
        other => other.to_string(),
    }
}
