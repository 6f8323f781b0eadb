//! Readers of the output stream: `egret stream cat` as a user runs it, and one that follows the stream
//! over the socket of whoever holds the directory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use egret_log::rpc::Client;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{Place, ReadFrom, ReadHead, StreamReply, StreamRequest};
use egret_schemas::{Epoch, Generation, Position};

use super::commits::Epochs;
use super::history::Rows;

/// How long an answer may take to begin.
const WAIT: Duration = Duration::from_secs(20);

/// What a reader saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The records.
    pub rows: Rows,
    /// The epochs of the entries they were in.
    pub epochs: Epochs,
}

impl Seen {
    pub(super) fn add(&mut self, partition: u32, at: Position, epoch: Epoch, row: (Vec<u8>, u64)) {
        self.rows.insert((partition, at), row);
        self.epochs.insert((partition, Position { slot: 0, ..at }), epoch);
    }
}

/// Reads the whole stream `counts` as anyone would see it now.
pub fn cat(egret: &Path, data: &Path) -> Result<Seen> {
    let child =
        command(egret, data, "cat").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    anyhow::ensure!(out.status.success(), "`egret stream cat` ended with {}: {said}", out.status);
    let mut seen = Seen::default();
    for line in out.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        take(line, &mut seen)?;
    }
    Ok(seen)
}

fn command(egret: &Path, data: &Path, verb: &str) -> Command {
    let mut command = Command::new(egret);
    command.args(["stream", "--data"]).arg(data).args([verb, "counts", "-o", "json"]);
    command
}

fn take(line: &[u8], seen: &mut Seen) -> Result<()> {
    let record: serde_json::Value = serde_json::from_slice(line)
        .with_context(|| format!("`{}` is not JSON", String::from_utf8_lossy(line)))?;
    let partition = record["partition"].as_u64().context("a record has a partition")?;
    let position = record["position"].as_str().context("a record has a position")?.parse()?;
    let field = |name: &str| -> Result<Vec<u8>> {
        if let Some(text) = record[name].as_str() {
            return Ok(text.as_bytes().to_vec());
        }
        let coded = record[format!("{name}_base64")].as_str();
        let coded = coded.with_context(|| format!("a record has a {name}"))?;
        use base64::Engine as _;
        Ok(base64::engine::general_purpose::STANDARD.decode(coded)?)
    };
    let count = String::from_utf8(field("value")?)?.parse()?;
    // A record that no topology wrote has none.
    let epoch = record["epoch"].as_str().map(epoch_of).transpose()?.unwrap_or_default();
    seen.add(u32::try_from(partition)?, position, epoch, (field("key")?, count));
    Ok(())
}

/// `G2.17.3` as an epoch.
fn epoch_of(text: &str) -> Result<Epoch> {
    let fields: Option<Vec<u32>> =
        text.strip_prefix('G').map(|t| t.split('.').map_while(|f| f.parse().ok()).collect());
    match fields.as_deref() {
        Some(&[generation, commit, micro]) => Ok(Epoch::new(Generation(generation), commit, micro)),
        _ => anyhow::bail!("`{text}` is no epoch"),
    }
}

/// Follows the stream while its holder is killed and started again.
#[derive(Debug)]
pub struct Tail {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Tail {
    /// Begins to follow. It only ever attaches to a holder: when that dies it looks for the next one, and
    /// never takes the directory itself.
    pub fn begin(data: &Path) -> Tail {
        let over = Arc::new(AtomicBool::new(false));
        let (data, stop) = (data.to_owned(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut tail = Following { places: Vec::new(), seen: Seen::default() };
            while !stop.load(Ordering::Acquire) {
                match Client::connect(&data, None) {
                    Ok(client) => tail.follow(client, &stop)?,
                    Err(_) => std::thread::park_timeout(Duration::from_millis(2)),
                }
            }
            Ok(tail.seen)
        });
        Tail { over, thread }
    }

    /// Ends it; everything it saw.
    pub fn end(self) -> Result<Seen> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }
}

struct Following {
    places: Vec<Place>,
    seen: Seen,
}

impl Following {
    /// Reads until the holder goes away.
    fn follow(&mut self, mut client: Client, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Acquire) {
            if self.places.is_empty() {
                let describe = StreamRequest::DescribeStream { name: "counts".into() };
                let Ok(answered) = client.call(&describe, &[], WAIT) else { return Ok(()) };
                let StreamReply::Description(stream) = answered.reply else {
                    // It is not created yet.
                    std::thread::park_timeout(Duration::from_millis(2));
                    continue;
                };
                let place = |partition| Place { partition, from: ReadFrom::Earliest };
                self.places = (0..stream.info.partitions).map(place).collect();
            }
            let head = ReadHead {
                stream: "counts".into(),
                from: self.places.clone(),
                bytes_max: 1 << 20,
                wait_ms: 100,
            };
            let Ok(answered) = client.call(&StreamRequest::Read(head), &[], WAIT) else {
                return Ok(());
            };
            let StreamReply::Batches { batches, next } = answered.reply else { return Ok(()) };
            let mut payload = Reader::new(&answered.payload);
            for batch in batches {
                for slot in 0..batch.records {
                    let record = RecordRef::take(&mut payload)?;
                    let position = Position { slot: batch.first.slot + slot, ..batch.first };
                    let key = record.key.context("a count has its word")?.to_vec();
                    let count = std::str::from_utf8(record.value)?.parse()?;
                    self.seen.add(batch.partition, position, batch.epoch, (key, count));
                }
            }
            for next in next {
                let place = self.places.iter_mut().find(|p| p.partition == next.partition);
                place.context("a partition that was asked for")?.from = ReadFrom::At(next.next);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_comes_back_from_how_it_prints() {
        let epoch = Epoch::new(Generation(2), 17, 3);
        assert_eq!(epoch_of(&epoch.to_string()).unwrap(), epoch);
        assert!(epoch_of("G2.17").is_err() && epoch_of("2.17.3").is_err());
    }
}
