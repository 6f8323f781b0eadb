//! Cat and tail: what a stream holds, and what comes, to standard output.
//!
//! Both survive the process that holds the directory: reading again is harmless, so when the holder
//! goes away they find the next one, or hold the directory themselves, and go on where they were.

use std::io::{self, Write};

use clap::Args;
use egret_log::directory::{Directory, DirectoryError, Read};
use egret_log::{caps, clock};
use egret_schemas::Position;
use egret_schemas::bytes::{DecodeError, Reader};
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{Code, Place as From, ReadFrom, ReadHead};

use super::append::{Separator, separator};
use super::manage::the_partition;
use super::since::{Since, since};
use super::text::{Standing, Text, put_json, put_line};
use super::{Place, close};
use crate::cli::exit::{self, Done, Exit};

/// What one read asks for.
const CHUNK_BYTES: u32 = 1 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream cat orders
  egret stream cat orders --from S1:100:0 --to S1:200:0
  egret stream cat clicks --since 15m
  egret stream cat clicks --partition 2 -o json | jq .key")]
pub(super) struct Cat {
    /// The stream.
    name: String,
    /// Only this partition; without, one after the other.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// The first position to write.
    #[arg(long, value_name = "POSITION")]
    from: Option<Position>,
    /// Only what was appended since: 90s, 15m, 2h or 7d ago, or at a time in milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "from")]
    since: Option<Since>,
    /// The first position no longer to write; without, what is there now.
    #[arg(long, value_name = "POSITION")]
    to: Option<Position>,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret stream tail orders
  egret stream tail orders -n 0 -o json | jq .value")]
pub(super) struct Tail {
    /// The stream.
    name: String,
    /// Only this partition.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// How many records of each partition to begin with.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    records: u32,
    #[command(flatten)]
    style: Style,
}

#[derive(Debug, Args)]
struct Style {
    /// How to write records.
    #[arg(short, long, value_enum, default_value_t = Text::Lines)]
    output: Text,
    /// Write keys too, with this between key and value; \t is a tab.
    #[arg(short, long, value_name = "TEXT", value_parser = separator)]
    key_separator: Option<Separator>,
}

impl Cat {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open()?;
        let partitions = if self.from.is_some() || self.to.is_some() {
            vec![the_partition(&mut directory, &self.name, self.partition)?]
        } else {
            all_or_one(&mut directory, &self.name, self.partition)?
        };
        let begin = match (self.from, self.since) {
            (Some(position), _) => ReadFrom::At(position),
            (None, Some(since)) => ReadFrom::Since(since.ms(clock::wall_ms())),
            (None, None) => ReadFrom::Earliest,
        };
        let several = partitions.len() > 1 || self.partition.is_some();
        let mut reading = Reading { directory, stream: self.name, from: Vec::new() };
        let mut cut_short = Vec::new();
        for &partition in &partitions {
            reading.from = vec![From { partition, from: begin }];
            let option = if several { format!("--partition {partition} ") } else { String::new() };
            match reading.write_out(self.to, &self.style, &option) {
                Ok(()) => {}
                Err(Exit::Pipe) => return Err(Exit::Pipe),
                Err(why) if partitions.len() == 1 => return Err(why),
                // The others may be whole.
                Err(why) => {
                    exit::warn(format_args!("partition {partition}: {why}"));
                    cut_short.push((partition, why));
                }
            }
        }
        close(reading.directory);
        let Some((_, why)) = cut_short.first() else { return Ok(()) };
        let which: Vec<String> = cut_short.iter().map(|(number, _)| number.to_string()).collect();
        let of = partitions.len();
        Err(why.saying(format!(
            "of {of} partitions these were not written to their end: {}",
            which.join(", ")
        )))
    }
}

impl Tail {
    pub(super) fn run(self, place: &Place) -> Done {
        let mut directory = place.open()?;
        let begin = match self.records {
            0 => ReadFrom::Latest,
            n => ReadFrom::Last(n),
        };
        let from = all_or_one(&mut directory, &self.name, self.partition)?
            .into_iter()
            .map(|partition| From { partition, from: begin })
            .collect();
        let mut reading = Reading { directory, stream: self.name, from };
        loop {
            let read = reading.next(caps::READ_WAIT_MS_MAX, |_, _| String::new())?;
            write(&read, &self.style, None)?;
        }
    }
}

fn all_or_one(
    directory: &mut Directory,
    stream: &str,
    named: Option<u32>,
) -> Result<Vec<u32>, Exit> {
    match named {
        Some(partition) => Ok(vec![partition]),
        None => Ok((0..directory.stream(stream)?.partitions).collect()),
    }
}

/// Reads on and on.
struct Reading {
    directory: Directory,
    stream: String,
    from: Vec<From>,
}

impl Reading {
    /// Writes the partition it is at, up to `until` or where it ends now.
    fn write_out(
        &mut self,
        mut until: Option<Position>,
        style: &Style,
        option: &str,
    ) -> Result<(), Exit> {
        loop {
            let read = self.next(0, |error, stopped| go_on(error, stopped, option))?;
            let end = read.next.first().map(|next| (next.next, next.end));
            let until = *until.get_or_insert(end.map_or(Position::START, |(_, end)| end));
            write(&read, style, Some(until))?;
            let is_over = end.is_none_or(|(next, _)| next >= until);
            if is_over || read.batches.is_empty() {
                return Ok(());
            }
        }
    }

    /// What comes next; an error is told with what `more` says of it and of where this stopped.
    fn next(
        &mut self,
        wait_ms: u32,
        more: impl FnOnce(&DirectoryError, ReadFrom) -> String,
    ) -> Result<Read, Exit> {
        let (stream, from) = (self.stream.clone(), self.from.clone());
        let stopped = from.first().map_or(ReadFrom::Earliest, |from| from.from);
        let head = ReadHead { stream, from, bytes_max: CHUNK_BYTES, wait_ms };
        let read = self.directory.read(head).map_err(|error| {
            let more = more(&error, stopped);
            Exit::from(error).adding(more)
        })?;
        for (from, next) in self.from.iter_mut().zip(&read.next) {
            from.from = ReadFrom::At(next.next);
        }
        Ok(read)
    }
}

/// Where to go on when something cannot be read, with the option that says so: behind what is gone for good,
/// else where it stopped.
fn go_on(error: &DirectoryError, stopped: ReadFrom, partition: &str) -> String {
    let DirectoryError::Failed(failure) = error else { return String::new() };
    let unread = matches!(failure.code, Code::Internal | Code::Damaged | Code::Closing);
    match (failure.position, stopped) {
        (Some(behind), _) => format!("; what stands behind it: `{partition}--from {behind}`"),
        (None, ReadFrom::At(at)) if unread => {
            format!("; all before it was written, go on there with `{partition}--from {at}`")
        }
        _ => String::new(),
    }
}

/// Writes what stands before `until`.
fn write(read: &Read, style: &Style, until: Option<Position>) -> Result<(), Exit> {
    let mut out = Vec::with_capacity(read.payload.len() + read.payload.len() / 2);
    let mut payload = Reader::new(&read.payload);
    for batch in &read.batches {
        for at in 0..batch.records {
            let record = RecordRef::take(&mut payload).map_err(odd)?;
            let position = Position { slot: batch.first.slot + at, ..batch.first };
            if until.is_some_and(|until| position >= until) {
                continue;
            }
            match style.output {
                Text::Lines => put_line(
                    &mut out,
                    record,
                    style.key_separator.as_ref().map(|separator| &separator.0[..]),
                ),
                Text::Json => {
                    let number = batch.first_number + u64::from(at);
                    let (partition, epoch) = (batch.partition, batch.epoch);
                    put_json(&mut out, record, Standing { partition, position, number, epoch });
                }
            }
        }
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out)?;
    stdout.flush()?;
    Ok(())
}

fn odd(error: DecodeError) -> Exit {
    Exit::Failed(format!("what the holder sent does not decode: {error}: use the same release"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::stream::{Failure, Outcome};

    fn failed(code: Code, position: Option<&str>) -> DirectoryError {
        let (message, hint) = ("S2: L7:3 is gone".to_owned(), String::new());
        let position = position.map(|text| text.parse().expect("a position"));
        let outcome = Outcome::Definite;
        Failure { code, message, hint, outcome, position, retry_after_ms: 0 }.into()
    }

    #[test]
    fn where_to_go_on_is_said_as_the_command_takes_it() {
        let stopped = ReadFrom::At("S2:3:0".parse().expect("a position"));
        let gone = failed(Code::Damaged, Some("S2:5:0"));
        assert_eq!(go_on(&gone, stopped, ""), "; what stands behind it: `--from S2:5:0`");
        assert_eq!(
            go_on(&gone, ReadFrom::Earliest, "--partition 4 "),
            "; what stands behind it: `--partition 4 --from S2:5:0`"
        );
        let away = failed(Code::Internal, None);
        assert_eq!(
            go_on(&away, stopped, ""),
            "; all before it was written, go on there with `--from S2:3:0`"
        );
        assert_eq!(go_on(&away, ReadFrom::Earliest, ""), "", "nothing was written");
        assert_eq!(go_on(&failed(Code::Refused, None), stopped, ""), "");
        let said = Exit::from(gone).adding("; more").to_string();
        assert_eq!(said, "S2: L7:3 is gone; more");
    }
}
