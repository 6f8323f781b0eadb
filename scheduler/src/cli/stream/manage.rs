//! Create, list, describe, truncate, delete.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;
use egret_log::directory::Directory;
use egret_schemas::Position;
use egret_schemas::stream::{
    NewStream, PartitionDescription, StreamDescription, StreamInfo, StreamUser,
};
use serde_json::{Value, json};

use super::{Place, close};
use crate::cli::exit::{Done, Exit};
use crate::cli::output::{self, Form};

/// How long a name a stream may have is the log's matter; that it is one word helps the shell.
const FORMAT_HELP: &str = "bytes, utf8, json, or postcard:SCHEMA";

const HOUR_MS: u64 = 3_600_000;
/// A thousand years: what is to be kept longer is kept for ever.
const HOURS_MAX: u64 = 24 * 365 * 1000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream create orders
  egret stream create clicks --partitions 8 --format json
  egret stream create metrics --retention-hours 24 --retention-bytes 1000000000")]
pub(super) struct Create {
    /// The stream.
    name: String,
    /// How many partitions it has, for ever.
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    partitions: u32,
    /// What its records are; another format's readers and writers are refused.
    #[arg(short, long, default_value = "bytes", value_name = "FORMAT", help = format!("What its records are: {FORMAT_HELP}"))]
    format: String,
    /// Bytes after which a partition goes on in a new segment; 0 takes the default.
    #[arg(long, default_value_t = 0, value_name = "BYTES")]
    segment_bytes: u64,
    /// Forget what was appended longer ago, a segment at a time; without, nothing is for its age.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u64).range(1..=HOURS_MAX))]
    retention_hours: Option<u64>,
    /// Forget the oldest of each partition, a segment at a time, beyond so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    retention_bytes: Option<u64>,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl Create {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open_or_create()?;
        let info = directory.create_stream(NewStream {
            name: self.name,
            partitions: self.partitions,
            format: self.format,
            segment_bytes_max: self.segment_bytes,
            retention_ms: self.retention_hours.map_or(0, |hours| hours * HOUR_MS),
            retention_bytes: self.retention_bytes.unwrap_or(0),
        })?;
        match self.output {
            Form::Json => output::json(&info_json(&info))?,
            Form::Table => output::line(&format!(
                "created {}: {} of {}",
                info.name,
                partitions(info.partitions),
                info.format
            ))?,
        }
        close(directory);
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream list
  egret stream list -o json | jq -r '.[].name'")]
pub(super) struct List {
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl List {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open()?;
        let streams = directory.streams()?;
        match self.output {
            Form::Json => {
                output::json(&streams.iter().map(info_json).collect::<Vec<Value>>())?;
            }
            Form::Table => {
                let row = |info: &StreamInfo| {
                    vec![
                        info.name.clone(),
                        info.partitions.to_string(),
                        info.format.clone(),
                        owner(&info.owner),
                    ]
                };
                output::table(
                    &["STREAM", "PARTITIONS", "FORMAT", "OWNER"],
                    streams.iter().map(row),
                )?;
            }
        }
        close(directory);
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream describe orders
  egret stream describe orders -o json | jq '.partitions[].records'")]
pub(super) struct Describe {
    /// The stream.
    name: String,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl Describe {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open()?;
        let description = directory.describe(&self.name)?;
        match self.output {
            Form::Json => output::json(&description_json(&description))?,
            Form::Table => {
                let info = &description.info;
                output::line(&format!(
                    "{}: {} of {}, written by {}, {}\n",
                    info.name,
                    partitions(info.partitions),
                    info.format,
                    if info.owner.is_empty() { "anybody" } else { &info.owner },
                    kept(info),
                ))?;
                let row = |p: &PartitionDescription| {
                    vec![
                        p.partition.to_string(),
                        p.records.to_string(),
                        p.entries.to_string(),
                        p.segments.to_string(),
                        p.first.to_string(),
                        p.end.to_string(),
                        p.term.to_string(),
                        owner(&p.owner),
                    ]
                };
                output::table(
                    &[
                        "PARTITION",
                        "RECORDS",
                        "ENTRIES",
                        "SEGMENTS",
                        "FIRST",
                        "END",
                        "TERM",
                        "OWNER",
                    ],
                    description.partitions.iter().map(row),
                )?;
                used_by(&description.users)?;
            }
        }
        close(directory);
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream truncate orders --before S3:0:0
  egret stream truncate clicks --partition 2 --before S1:120:0")]
pub(super) struct Truncate {
    /// The stream.
    name: String,
    /// The partition, of a stream that has more than one.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// The first position to keep.
    #[arg(long, value_name = "POSITION")]
    before: Position,
    /// Forget even what a topology may yet read: it cannot go on then. See `egret stream describe`.
    #[arg(long)]
    force: bool,
}

impl Truncate {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open()?;
        let partition = the_partition(&mut directory, &self.name, self.partition)?;
        directory.truncate(&self.name, partition, self.before, self.force)?;
        output::line(&format!(
            "partition {partition} of {} begins at {} or later",
            self.name, self.before
        ))?;
        close(directory);
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream delete orders
  egret stream delete orders --yes
  egret stream delete counts --force")]
pub(super) struct Delete {
    /// The stream.
    name: String,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Delete it even while a topology uses it: that cannot go on then. See `egret stream describe`.
    #[arg(long)]
    force: bool,
}

impl Delete {
    pub(super) fn run(self, place: &Place) -> Done {
        if !self.yes && !confirmed(&format!("delete {} and all it holds?", self.name))? {
            return Err(Exit::Refused(format!("{} stays", self.name)));
        }
        let mut directory = place.open()?;
        directory.delete_stream(&self.name, self.force)?;
        output::line(&format!("deleted {}", self.name))?;
        close(directory);
        Ok(())
    }
}

/// Which topologies read and write a stream, if any does.
fn used_by(users: &[StreamUser]) -> Done {
    if users.is_empty() {
        return Ok(());
    }
    let row = |user: &StreamUser, how: &str, partition: String, from: String| {
        vec![format!("{}/{}", user.topology, user.component), how.to_owned(), partition, from]
    };
    let mut rows = Vec::new();
    for user in users {
        if user.writes {
            rows.push(row(user, "writes", "-".to_owned(), "-".to_owned()));
        }
        let reads = user.needed.iter();
        rows.extend(
            reads.map(|(partition, from)| {
                row(user, "reads", partition.to_string(), from.to_string())
            }),
        );
    }
    output::line("")?;
    output::table(&["USED BY", "HOW", "PARTITION", "NEEDED FROM"], rows)?;
    Ok(())
}

/// Asks on the terminal; where there is none, somebody has to have said yes before.
fn confirmed(question: &str) -> Result<bool, Exit> {
    if !io::stdin().is_terminal() {
        return Err(Exit::Usage(format!("{question} Say so with --yes")));
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The partition that was named, or the only one there is.
pub(super) fn the_partition(
    directory: &mut Directory,
    stream: &str,
    named: Option<u32>,
) -> Result<u32, Exit> {
    if let Some(partition) = named {
        return Ok(partition);
    }
    let count = directory.stream(stream)?.partitions;
    if count == 1 {
        return Ok(0);
    }
    Err(Exit::Usage(format!(
        "{stream} has {count} partitions, and a position is of one of them: give --partition N"
    )))
}

fn partitions(count: u32) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

/// How long a stream keeps its records.
fn kept(info: &StreamInfo) -> String {
    let hours = match info.retention_ms {
        0 => None,
        ms if ms % HOUR_MS == 0 => Some(format!("{} h", ms / HOUR_MS)),
        ms => Some(format!("{ms} ms")),
    };
    let bytes = Some(info.retention_bytes).filter(|bytes| *bytes > 0);
    match (hours, bytes) {
        (None, None) => "kept for ever".to_owned(),
        (Some(hours), None) => format!("kept for {hours}"),
        (None, Some(bytes)) => format!("kept up to {bytes} bytes a partition"),
        (Some(hours), Some(bytes)) => {
            format!("kept for {hours} and up to {bytes} bytes a partition")
        }
    }
}

fn owner(owner: &str) -> String {
    if owner.is_empty() { "-".to_owned() } else { owner.to_owned() }
}

fn info_json(info: &StreamInfo) -> Value {
    json!({
        "name": info.name,
        "partitions": info.partitions,
        "format": info.format,
        "segment_bytes_max": info.segment_bytes_max,
        "owner": (!info.owner.is_empty()).then_some(&info.owner),
        "retention_ms": (info.retention_ms > 0).then_some(info.retention_ms),
        "retention_bytes": (info.retention_bytes > 0).then_some(info.retention_bytes),
    })
}

fn description_json(description: &StreamDescription) -> Value {
    let mut whole = info_json(&description.info);
    whole["partitions"] = description
        .partitions
        .iter()
        .map(|p| {
            json!({
                "partition": p.partition,
                "records": p.records,
                "entries": p.entries,
                "segments": p.segments,
                "first": p.first.to_string(),
                "end": p.end.to_string(),
                "term": p.term.0,
                "owner": (!p.owner.is_empty()).then_some(&p.owner),
            })
        })
        .collect();
    whole["users"] = description.users.iter().map(user_json).collect();
    whole
}

fn user_json(user: &StreamUser) -> Value {
    let needed = user
        .needed
        .iter()
        .map(|(partition, from)| json!({ "partition": partition, "from": from.to_string() }))
        .collect::<Vec<Value>>();
    json!({
        "topology": user.topology,
        "component": user.component,
        "how": if user.writes { "writes" } else { "reads" },
        "needed": needed,
    })
}
