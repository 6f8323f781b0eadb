//! Files into the stream `lines`: one record a line, resumable at any byte.
//!
//! A file's producer is its canonical path, a record's sequence the line's byte offset. Chunks of the
//! file go to partitions in turn, so that several spout tasks share one file, the first to one that the
//! path decides, so that small files spread; every partition drops what it has already. With each append
//! goes a note: the file's length, and a hash of everything up to the end of that append. A later load
//! compares both, so a file that changed is refused.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use egret_log::Log;
use egret_log::caps::RECORD_BYTES_MAX;
use egret_log::stream::error::CreateStreamError;
use egret_log::stream::{Ends, PartitionWriter, Producer, Record, StreamConfig};
use indicatif::{ProgressBar, ProgressStyle};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The stream's name.
pub(crate) const STREAM: &str = "lines";

/// Partitions of the stream: as many spout tasks can read it.
const PARTITIONS: u32 = 4;

/// The longest line that is one record: room for the count beside a word that is all of it, for the two
/// are one record, too.
const LINE_BYTES_MAX: usize = RECORD_BYTES_MAX - (1 << 10);

/// Bytes of a file that go to one partition before the next has its turn.
const CHUNK: u64 = 256 << 10;

/// What loading a file did.
pub(crate) struct Loaded {
    name: String,
    pub(crate) lines: u64,
    lines_before: bool,
    resumable: bool,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lines, self.lines_before, self.resumable) {
            (0, true, _) => write!(f, "{}: loaded before, nothing added", self.name),
            (n, true, _) => write!(f, "{}: went on, {n} lines added", self.name),
            (n, false, true) => write!(f, "{}: {n} lines", self.name),
            (n, false, false) => write!(f, "{}: {n} lines; it cannot be resumed", self.name),
        }
    }
}

/// The file's length when the load began, and a hash of its bytes up to `end`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Note {
    file_bytes: u64,
    end: u64,
    hash: u64,
}

impl Note {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![1];
        for field in [self.file_bytes, self.end, self.hash] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<Note> {
        let (version, rest) = bytes.split_first()?;
        let mut fields = rest.chunks_exact(8).map(|b| b.try_into().map(u64::from_le_bytes));
        let mut field = || fields.next()?.ok();
        let note = Note { file_bytes: field()?, end: field()?, hash: field()? };
        (*version == 1 && rest.len() == 24).then_some(note)
    }
}

/// Makes the stream if it is not there; where it ends.
pub(crate) fn ends(log: &Log) -> Result<Ends> {
    let config = StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() };
    match log.create_stream(STREAM, config) {
        Ok(_) | Err(CreateStreamError::Exists { .. }) => Ok(log.ends(STREAM)?),
        Err(error) => Err(error.into()),
    }
}

/// The writers of the stream, which is there.
pub(crate) fn writers(log: &Log) -> Result<Vec<PartitionWriter>> {
    let partitions = 0..log.stream(STREAM)?.config.partitions;
    let writers: Result<Vec<_>, _> =
        partitions.map(|partition| log.writer(STREAM, partition)).collect();
    writers.map_err(|error| judged(error.into()))
}

/// Loads a file, or standard input for `-`.
pub(crate) fn load(writers: &[PartitionWriter], file: &Path) -> Result<Loaded> {
    let loaded = match file == Path::new("-") {
        true => load_stdin(writers),
        false => load_file(writers, file),
    };
    loaded.map_err(judged)
}

/// One word for all the ways in which a run finds out that another one loads.
fn judged(error: anyhow::Error) -> anyhow::Error {
    match egret::is_taken_over(&*error) {
        true => anyhow::anyhow!(
            "stream `{STREAM}` was taken over by another process, another run of this most likely: this \
             one stops"
        ),
        false => error,
    }
}

fn load_stdin(writers: &[PartitionWriter]) -> Result<Loaded> {
    crate::say("standard input cannot be resumed: if this is interrupted, its lines stay counted");
    let bar = bar(0, "standard input");
    let mut loader =
        Loader { writers, producer: None, turn: 0, hash: Xxh3::new(), lines: 0, file_bytes: 0 };
    loader.all(&mut std::io::stdin().lock(), 0, &[], &bar)?;
    bar.finish_and_clear();
    let name = "standard input".to_owned();
    Ok(Loaded { name, lines: loader.lines, lines_before: false, resumable: false })
}

fn load_file(writers: &[PartitionWriter], file: &Path) -> Result<Loaded> {
    let path = file.canonicalize().with_context(|| format!("cannot find {}", file.display()))?;
    let open = || File::open(&path).with_context(|| format!("cannot open {}", path.display()));
    // Asked before it is opened: opening a pipe waits for who writes into it.
    let meta = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_dir() {
        bail!("{} is a directory: name the files in it", path.display());
    }
    if !meta.is_file() {
        bail!("{} is not a regular file: pipe it in and name `-`", path.display());
    }
    let input = open()?;
    let file_bytes = input.metadata()?.len();
    let name = Bytes::copy_from_slice(path.as_os_str().as_encoded_bytes());
    let states: Vec<_> =
        writers.iter().map(|w| w.producer_state(&name)).collect::<Result<_, _>>()?;
    let notes: Vec<Note> = states.iter().flatten().filter_map(|s| Note::decode(&s.note)).collect();
    let lines_before = !notes.is_empty();
    let bar = bar(file_bytes, &file.display().to_string());
    if lines_before {
        verify(&mut open()?, &path, file_bytes, &notes)?;
    }
    let done: Vec<Option<u64>> =
        states.iter().map(|s| s.as_ref().and_then(|state| state.last_sequence)).collect();
    let (turn, hash) = (xxh3_64(&name), Xxh3::new());
    let mut loader = Loader { writers, producer: Some(name), turn, hash, lines: 0, file_bytes };
    // What is appended to the file meanwhile is not part of this load.
    let mut input = BufReader::with_capacity(1 << 20, input.take(file_bytes));
    loader.all(&mut input, file_bytes, &done, &bar)?;
    bar.finish_and_clear();
    let name = file.display().to_string();
    Ok(Loaded { name, lines: loader.lines, lines_before, resumable: true })
}

/// Whether the file still begins as it did when the notes were made.
fn verify(file: &mut File, path: &Path, file_bytes: u64, notes: &[Note]) -> Result<()> {
    let changed = |what: String| {
        anyhow::anyhow!(
            "{} changed since it was loaded: {what}; load the new text under another name, or count \
             it in a fresh directory with `--data`",
            path.display()
        )
    };
    let mut notes = notes.to_vec();
    notes.sort_by_key(|note| note.end);
    let mut hash = Xxh3::new();
    let mut at = 0;
    let mut buffer = vec![0; 1 << 20];
    for note in notes {
        if note.file_bytes != file_bytes {
            let was = note.file_bytes;
            return Err(changed(format!("it had {was} bytes and has {file_bytes} now")));
        }
        while at < note.end {
            let want = usize::try_from(note.end - at).unwrap_or(usize::MAX).min(buffer.len());
            let got = file.read(&mut buffer[..want])?;
            if got == 0 {
                return Err(changed(format!("it ends at byte {at}")));
            }
            hash.update(&buffer[..got]);
            at += got as u64;
        }
        if hash.digest() != note.hash {
            return Err(changed(format!("its first {at} bytes are not what they were")));
        }
    }
    Ok(())
}

struct Loader<'a> {
    writers: &'a [PartitionWriter],
    producer: Option<Bytes>,
    /// Which partition the first chunk goes to, counted round; the same at every load of a file.
    turn: u64,
    hash: Xxh3,
    lines: u64,
    file_bytes: u64,
}

impl Loader<'_> {
    /// Appends every line that `done` (the last sequence of each partition) does not cover.
    fn all(
        &mut self,
        input: &mut dyn BufRead,
        expected: u64,
        done: &[Option<u64>],
        bar: &ProgressBar,
    ) -> Result<()> {
        let mut at = 0;
        let mut batch = Vec::new();
        let mut chunk = 0;
        loop {
            let line = next_line(input, at)?;
            let Some(line) = line else { break };
            if at / CHUNK != chunk {
                self.append(chunk, at, &mut batch)?;
                bar.set_position(at);
                chunk = at / CHUNK;
            }
            let start = at;
            at += line.taken;
            self.hash_of(&line);
            let partition = self.partition(chunk);
            if done.get(partition).copied().flatten().is_none_or(|last| start > last) {
                batch.push(Record {
                    key: None,
                    value: line.bytes.into(),
                    event_time_ms: None,
                    sequence: self.producer.is_some().then_some(start),
                });
            }
        }
        self.append(chunk, at, &mut batch)?;
        if self.producer.is_some() && at != expected {
            bail!("the file changed while it was loaded: it had {expected} bytes and gave {at}");
        }
        Ok(())
    }

    fn hash_of(&mut self, line: &Line) {
        if self.producer.is_some() {
            self.hash.update(&line.bytes);
            if line.newline {
                self.hash.update(b"\n");
            }
        }
    }

    fn partition(&self, chunk: u64) -> usize {
        let partitions = self.writers.len() as u64;
        let turn = (self.turn % partitions + chunk % partitions) % partitions;
        usize::try_from(turn).expect("below the partition count")
    }

    fn append(&mut self, chunk: u64, end: u64, batch: &mut Vec<Record>) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let writer = &self.writers[self.partition(chunk)];
        let records = std::mem::take(batch);
        let appended = match &self.producer {
            Some(name) => {
                let note = Note { file_bytes: self.file_bytes, end, hash: self.hash.digest() };
                let note = note.encode().into();
                writer.append_as_wait(&Producer { name: name.clone(), note }, &records)?
            }
            None => writer.append_wait(&records)?,
        };
        self.lines += u64::from(appended.records);
        Ok(())
    }
}

struct Line {
    bytes: Vec<u8>,
    /// Bytes of the input it took, the newline included.
    taken: u64,
    newline: bool,
}

/// The next line, without its newline. A line longer than [`LINE_BYTES_MAX`] is cut at its last white
/// space: no word is torn.
fn next_line(input: &mut dyn BufRead, at: u64) -> Result<Option<Line>> {
    let mut bytes = Vec::new();
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            let taken = bytes.len() as u64;
            return Ok((taken > 0).then_some(Line { bytes, taken, newline: false }));
        }
        let room = LINE_BYTES_MAX - bytes.len();
        let look = &buffer[..buffer.len().min(room)];
        if let Some(end) = memchr(look) {
            bytes.extend_from_slice(&look[..end]);
            input.consume(end + 1);
            let taken = bytes.len() as u64 + 1;
            return Ok(Some(Line { bytes, taken, newline: true }));
        }
        if buffer.len() < room {
            let n = buffer.len();
            bytes.extend_from_slice(buffer);
            input.consume(n);
            continue;
        }
        // The record is full. Cut inside this buffer if there is white space, so nothing is put back.
        let Some(space) = look.iter().rposition(|byte| crate::is_space(*byte)) else {
            bail!(
                "the line at byte {at} has no white space in its last bytes before {LINE_BYTES_MAX}: no \
                 record can hold more with a count, so break the line"
            );
        };
        bytes.extend_from_slice(&look[..=space]);
        input.consume(space + 1);
        let taken = bytes.len() as u64;
        return Ok(Some(Line { bytes, taken, newline: false }));
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

fn bar(bytes: u64, name: &str) -> ProgressBar {
    let template = "loading {msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name.to_owned())
}
