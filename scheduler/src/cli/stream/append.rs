//! Append standard input, a record a line.
//!
//! One thread reads and encodes, the other appends: while one append waits for the disk the next
//! gathers, so a slow typist's lines go at once and a fast pipe's go by the megabyte. Between the two
//! stands a [`Feed`] with a bound.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use egret_log::directory::{Appended, Directory, DirectoryError};
use egret_log::stream::error::CatalogError;
use egret_log::{caps, clock};
use egret_schemas::Position;
use egret_schemas::stream::{AppendHead, Code, NewStream, Outcome, Route};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::de::IgnoredAny;
use serde_json::json;

use super::text::{self, Text};
use super::{Place, close};
use crate::cli::exit::{Done, Exit};
use crate::cli::output::{self, Form};

/// What gathers for one append: past this a larger one is no faster.
const CHUNK_BYTES: usize = 1 << 20;

/// Before this a progress bar only flickers.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  printf 'a\\nb\\n' | egret stream append orders
  echo hello | egret stream append notes --create
  egret stream append clicks --key-separator '\\t' < clicks.tsv
  egret stream append orders --producer nightly < orders.txt    # again: adds only what is missing
  egret stream cat orders -o json | egret stream append copy --input json")]
pub(super) struct Append {
    /// The stream.
    name: String,
    /// Append all to this partition; without, a key decides, and records without one spread evenly.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// What stands between key and value in each line; \t is a tab.
    #[arg(short, long, value_name = "TEXT", value_parser = separator)]
    key_separator: Option<Separator>,
    /// Create the stream if there is none: one partition of bytes.
    #[arg(long)]
    create: bool,
    /// How records are written on standard input.
    #[arg(short, long, value_enum, default_value_t = Text::Lines)]
    input: Text,
    /// Number the lines for this producer: the same input again adds only what is missing.
    #[arg(long, value_name = "NAME")]
    producer: Option<String>,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// `\t` and `\\` spelled out, and never empty.
pub(in crate::cli) fn separator(text: &str) -> Result<Separator, String> {
    if text.is_empty() {
        return Err("a separator has at least one character".to_owned());
    }
    // In one pass: `\\t` is a backslash and a t.
    let mut spelled = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        spelled.extend_from_slice(before.as_bytes());
        let (byte, taken) = match after.as_bytes().first() {
            Some(b't') => (b'\t', 1),
            Some(b'\\') => (b'\\', 1),
            _ => (b'\\', 0),
        };
        spelled.push(byte);
        rest = &after[taken..];
    }
    spelled.extend_from_slice(rest.as_bytes());
    Ok(Separator(spelled))
}

/// What stands between key and value; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Separator(pub(in crate::cli) Vec<u8>);

impl Append {
    pub(super) fn run(self, place: &Place) -> Done {
        if self.key_separator.is_some() && self.input == Text::Json {
            let why = "--key-separator is for lines: in JSON a record has a field `key`";
            return Err(Exit::Usage(why.to_owned()));
        }
        let mut directory = if self.create { place.open_or_create()? } else { place.open()? };
        if self.create {
            create(&mut directory, &self.name)?;
        }
        let info = directory.stream(&self.name)?;
        if let Some(asked) = self.partition.filter(|asked| *asked >= info.partitions) {
            // Before the input is read: it may be long, or empty.
            let (stream, partitions) = (info.name, info.partitions);
            let error = CatalogError::NoPartition { stream, partitions, asked };
            return Err(Exit::Refused(error.to_string()));
        }
        let form = LineForm {
            separator: self.key_separator.clone().map(|separator| separator.0),
            input: self.input,
            numbered: self.producer.is_some(),
            holds: Holds::of(&self.name, &info.format)?,
        };
        let feed = Feed::start(form);
        let mut tally = Tally::new();
        let mut wrong = None;
        while let Some(chunk) = feed.take(&mut wrong) {
            let head = AppendHead {
                stream: self.name.clone(),
                route: self.partition.map_or(Route::ByKey, Route::Partition),
                records: chunk.records,
                producer: self.producer.clone().unwrap_or_default().into_bytes(),
                note: Vec::new(),
            };
            let bytes = chunk.payload.len() as u64;
            let appended = directory
                .append(head, chunk.payload.into())
                .map_err(|error| tally.broken(chunk.records, error))?;
            tally.add(&appended, bytes);
            if let Some(failure) = appended.failure {
                let rest = chunk.records
                    - appended.parts.iter().map(|p| p.records + p.duplicates).sum::<u32>();
                let exit = tally.told(failure.outcome, rest, &failure.to_string());
                return Err(if tally.durable() == 0 && failure.outcome == Outcome::Definite {
                    Exit::Refused(exit)
                } else {
                    Exit::Failed(exit)
                });
            }
        }
        tally.progress.finish_and_clear();
        let done = match wrong {
            Some(wrong) => Err(Exit::Failed(tally.told(Outcome::Definite, 0, &wrong))),
            None => self.answer(&tally).map_err(Exit::from),
        };
        close(directory);
        done
    }

    fn answer(&self, tally: &Tally) -> io::Result<()> {
        match self.output {
            Form::Json => output::json(&json!({
                "stream": self.name,
                "records": tally.records,
                "duplicates": tally.duplicates,
                "parts": tally.parts.iter().map(|(partition, part)| json!({
                    "partition": partition,
                    "first": part.first.to_string(),
                    "records": part.records,
                })).collect::<Vec<_>>(),
            })),
            Form::Table => {
                let there = match tally.duplicates {
                    0 => String::new(),
                    n => format!("; {} there already", were(n)),
                };
                let what = records(tally.records);
                output::line(&format!("appended {what} to {}{there}", self.name))
            }
        }
    }
}

/// Creates the stream, unless it is there.
fn create(directory: &mut Directory, stream: &str) -> Done {
    let (name, format) = (stream.to_owned(), "bytes".to_owned());
    let new = NewStream { name, partitions: 1, format, ..NewStream::default() };
    match directory.create_stream(new) {
        Err(DirectoryError::Failed(failure)) if failure.code == Code::Exists => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

/// What the values of a stream must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Bytes,
    Utf8,
    Json,
}

impl Holds {
    fn of(stream: &str, format: &str) -> Result<Holds, Exit> {
        match format {
            "bytes" => Ok(Holds::Bytes),
            "utf8" => Ok(Holds::Utf8),
            "json" => Ok(Holds::Json),
            other => Err(Exit::Refused(format!(
                "stream `{stream}` holds {other}, and text is bytes, utf8 or json: use another stream"
            ))),
        }
    }

    fn check(self, value: &[u8]) -> Result<(), String> {
        match self {
            Holds::Bytes => Ok(()),
            Holds::Utf8 => std::str::from_utf8(value)
                .map(drop)
                .map_err(|e| format!("is no UTF-8 ({e}), and that is what the stream holds")),
            Holds::Json => serde_json::from_slice(value)
                .map(|IgnoredAny| ())
                .map_err(|e| format!("is no JSON value ({e}), and that is what the stream holds")),
        }
    }
}

/// How a line becomes a record.
#[derive(Debug)]
struct LineForm {
    separator: Option<Vec<u8>>,
    input: Text,
    numbered: bool,
    holds: Holds,
}

impl LineForm {
    /// The record of a line without its newline.
    fn take<'a>(&self, line: &'a [u8], number: u64) -> Result<text::Taken<'a>, String> {
        let mut taken = match self.input {
            Text::Lines => text::take_line(line, self.separator.as_deref())?,
            Text::Json => text::take_json(line)?,
        };
        self.holds.check(&taken.value)?;
        if self.numbered {
            taken.sequence = Some(number);
        }
        Ok(taken)
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn were(count: u64) -> String {
    if count == 1 { "1 was".to_owned() } else { format!("{count} were") }
}

/// What became durable so far.
#[derive(Debug)]
struct Tally {
    records: u64,
    duplicates: u64,
    bytes: u64,
    parts: BTreeMap<u32, Part>,
    started: Instant,
    progress: ProgressBar,
}

#[derive(Debug)]
struct Part {
    first: Position,
    records: u64,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            records: 0,
            duplicates: 0,
            bytes: 0,
            parts: BTreeMap::new(),
            started: clock::now(),
            progress: ProgressBar::hidden(),
        }
    }

    fn add(&mut self, appended: &Appended, bytes: u64) {
        for part in &appended.parts {
            self.records += u64::from(part.records);
            self.duplicates += u64::from(part.duplicates);
            if part.records > 0 {
                let whole = self
                    .parts
                    .entry(part.partition)
                    .or_insert(Part { first: part.first, records: 0 });
                whole.records += u64::from(part.records);
            }
        }
        self.bytes += bytes;
        if self.progress.is_hidden() && self.started.elapsed() > QUIET {
            // On standard error, and only where that is a terminal.
            self.progress = ProgressBar::new_spinner().with_style(
                ProgressStyle::with_template("{spinner} {msg}")
                    .expect("the template is well formed"),
            );
            self.progress.enable_steady_tick(Duration::from_millis(100));
        }
        self.progress.set_message(format!(
            "{} records, {} durable",
            HumanCount(self.durable()),
            HumanBytes(self.bytes)
        ));
    }

    fn durable(&self) -> u64 {
        self.records + self.duplicates
    }

    /// An append that was refused as a whole, or had no answer.
    fn broken(&self, sent: u32, error: DirectoryError) -> Exit {
        if error.is_refusal() && self.durable() == 0 {
            return error.into();
        }
        Exit::Failed(self.told(error.outcome(), sent, &error.to_string()))
    }

    /// What went wrong, and what is durable all the same.
    fn told(&self, outcome: Outcome, rest: u32, why: &str) -> String {
        self.progress.finish_and_clear();
        let durable = records(self.durable());
        let rest = match (outcome, rest) {
            (_, 0) => String::new(),
            (Outcome::Definite, _) => "; nothing after them is".to_owned(),
            (Outcome::Unknown, n) => format!("; of the next {n} some may be"),
        };
        let are = if self.durable() == 1 { "is" } else { "are" };
        format!("{why}\n{durable} {are} durable{rest}")
    }
}

/// What stands between the thread that reads and the one that appends.
#[derive(Debug, Default)]
struct Feed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunk: Chunk,
    ended: bool,
    wrong: Option<String>,
}

/// Encoded records.
#[derive(Debug, Default)]
struct Chunk {
    payload: Vec<u8>,
    records: u32,
}

impl Feed {
    /// Starts the thread that reads standard input. Nobody joins it: it may stand in a read that only
    /// the end of the process ends.
    fn start(form: LineForm) -> Arc<Feed> {
        let feed = Arc::new(Feed::default());
        let filling = Arc::clone(&feed);
        thread::spawn(move || {
            let mut from = io::stdin().lock();
            let wrong = filling.fill(&mut from, &form).err();
            let mut state = filling.state();
            state.ended = true;
            state.wrong = wrong;
            filling.changed.notify_all();
        });
        feed
    }

    /// Reads to the end, or says in which line what is wrong.
    fn fill(&self, from: &mut impl BufRead, form: &LineForm) -> Result<(), String> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let got = from
                .by_ref()
                .take(caps::RECORD_BYTES_MAX as u64 + 2)
                .read_until(b'\n', &mut line)
                .map_err(|e| format!("standard input, line {number}: {e}"))?;
            if got == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if text.len() > caps::RECORD_BYTES_MAX {
                let max = caps::RECORD_BYTES_MAX;
                return Err(format!("line {number} is over the limit of {max} bytes: cut it"));
            }
            let record = form.take(text, number).map_err(|why| format!("line {number} {why}"))?;
            self.put(&record);
        }
        Ok(())
    }

    fn put(&self, record: &text::Taken<'_>) {
        let mut state = self.state();
        while state.chunk.payload.len() >= CHUNK_BYTES {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        record.as_ref().put(&mut state.chunk.payload);
        state.chunk.records += 1;
        if state.chunk.records == 1 {
            self.changed.notify_all();
        }
    }

    /// Everything gathered since the last time, or `None` at the end; then `wrong` is why.
    fn take(&self, wrong: &mut Option<String>) -> Option<Chunk> {
        let mut state = self.state();
        loop {
            if state.chunk.records > 0 {
                let was_full = state.chunk.payload.len() >= CHUNK_BYTES;
                let room = if was_full { CHUNK_BYTES + CHUNK_BYTES / 8 } else { 0 };
                let next = Chunk { payload: Vec::with_capacity(room), records: 0 };
                let chunk = std::mem::replace(&mut state.chunk, next);
                self.changed.notify_all();
                return Some(chunk);
            }
            if state.ended {
                *wrong = state.wrong.take();
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::bytes::Reader;
    use egret_schemas::records::RecordRef;

    fn plain() -> LineForm {
        LineForm { separator: None, input: Text::Lines, numbered: false, holds: Holds::Bytes }
    }

    fn fed(text: &[u8], form: &LineForm) -> (Chunk, Result<(), String>) {
        let feed = Feed::default();
        let done = feed.fill(&mut &*text, form);
        let chunk = std::mem::take(&mut feed.state().chunk);
        (chunk, done)
    }

    fn values(chunk: &Chunk) -> Vec<String> {
        let mut from = Reader::new(&chunk.payload);
        (0..chunk.records)
            .map(|_| {
                let record = RecordRef::take(&mut from).unwrap();
                String::from_utf8_lossy(record.value).into_owned()
            })
            .collect()
    }

    #[test]
    fn each_line_is_a_record_whether_or_not_the_last_one_ends() {
        for text in ["a\n\nb", "a\n\nb\n"] {
            let (chunk, done) = fed(text.as_bytes(), &plain());
            assert_eq!(
                (values(&chunk), done),
                (vec!["a".into(), String::new(), "b".into()], Ok(()))
            );
        }
        assert_eq!(fed(b"", &plain()).0.records, 0);
    }

    #[test]
    fn what_stands_before_a_wrong_line_is_kept_and_the_line_is_named() {
        let (chunk, done) =
            fed(b"k:1\nk:2\nk3\nk:4\n", &LineForm { separator: Some(b":".to_vec()), ..plain() });
        assert_eq!(values(&chunk), ["1", "2"]);
        assert_eq!(done.unwrap_err(), "line 3 has no key: \":\" is not in it");
    }

    #[test]
    fn a_producer_numbers_its_lines_from_one() {
        let (chunk, _) = fed(b"a\nb\n", &LineForm { numbered: true, ..plain() });
        let mut from = Reader::new(&chunk.payload);
        let sequences: Vec<_> =
            (0..2).map(|_| RecordRef::take(&mut from).unwrap().sequence).collect();
        assert_eq!(sequences, [Some(1), Some(2)]);
    }

    #[test]
    fn a_line_over_the_limit_is_named_and_not_cut() {
        let text = format!("short\n{}\n", "x".repeat(caps::RECORD_BYTES_MAX + 1));
        let (chunk, done) = fed(text.as_bytes(), &plain());
        assert_eq!(values(&chunk), ["short"]);
        assert!(done.unwrap_err().starts_with("line 2 is over the limit"));
    }

    #[test]
    fn the_feed_is_bounded_and_hands_everything_over() {
        let feed = Arc::new(Feed::default());
        let filling = Arc::clone(&feed);
        let text = format!("{}\n", "y".repeat(1000)).repeat(5000);
        let thread = thread::spawn(move || {
            filling.fill(&mut text.as_bytes(), &plain()).unwrap();
            filling.state().ended = true;
            filling.changed.notify_all();
        });
        let (mut records, mut wrong) = (0, None);
        while let Some(chunk) = feed.take(&mut wrong) {
            assert!(chunk.payload.len() < CHUNK_BYTES + 2000);
            records += chunk.records;
        }
        thread.join().unwrap();
        assert_eq!((records, wrong), (5000, None));
    }

    #[test]
    fn a_line_of_another_format_than_the_stream_is_named() {
        let utf8 = LineForm { holds: Holds::Utf8, ..plain() };
        let (chunk, done) = fed(b"ok\n\xff\n", &utf8);
        assert_eq!(values(&chunk), ["ok"]);
        assert!(done.unwrap_err().starts_with("line 2 is no UTF-8"));
        let json = LineForm { holds: Holds::Json, ..plain() };
        let (chunk, done) = fed(b"{\"a\": [1]}\n7\n{oops\n", &json);
        assert_eq!(chunk.records, 2);
        assert!(done.unwrap_err().starts_with("line 3 is no JSON value"));
        assert!(Holds::of("s", "postcard:x").is_err());
    }

    #[test]
    fn a_tab_can_be_written_as_one_types_it() {
        assert_eq!(separator("\\t"), Ok(Separator(b"\t".to_vec())));
        assert_eq!(separator("=>"), Ok(Separator(b"=>".to_vec())));
        assert!(separator("").is_err());
        // A doubled backslash was looked for last, when what follows it had been made a tab already.
        assert_eq!(separator("\\\\t"), Ok(Separator(b"\\t".to_vec())));
        assert_eq!(separator("\\\\\\t|\\"), Ok(Separator(b"\\\t|\\".to_vec())));
    }
}
