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
use egret_schemas::Position;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{Place, ReadFrom, ReadHead, StreamReply, StreamRequest};

use super::history::Rows;

/// How long an answer may take to begin.
const WAIT: Duration = Duration::from_secs(20);

/// Reads the whole stream `counts` as anyone would see it now.
pub fn cat(egret: &Path, data: &Path) -> Result<Rows> {
    let child =
        command(egret, data, "cat").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    anyhow::ensure!(out.status.success(), "`egret stream cat` ended with {}: {said}", out.status);
    let mut rows = Rows::new();
    for line in out.stdout.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        take(line, &mut rows)?;
    }
    Ok(rows)
}

fn command(egret: &Path, data: &Path, verb: &str) -> Command {
    let mut command = Command::new(egret);
    command.args(["stream", "--data"]).arg(data).args([verb, "counts", "-o", "json"]);
    command
}

fn take(line: &[u8], rows: &mut Rows) -> Result<()> {
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
    rows.insert((u32::try_from(partition)?, position), (field("key")?, count));
    Ok(())
}

/// Follows the stream while its holder is killed and started again.
#[derive(Debug)]
pub struct Tail {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Rows>>,
}

impl Tail {
    /// Begins to follow. It only ever attaches to a holder: when that dies it looks for the next one, and
    /// never takes the directory itself.
    pub fn begin(data: &Path) -> Tail {
        let over = Arc::new(AtomicBool::new(false));
        let (data, stop) = (data.to_owned(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut tail = Following { places: Vec::new(), rows: Rows::new() };
            while !stop.load(Ordering::Acquire) {
                match Client::connect(&data, None) {
                    Ok(client) => tail.follow(client, &stop)?,
                    Err(_) => std::thread::park_timeout(Duration::from_millis(2)),
                }
            }
            Ok(tail.rows)
        });
        Tail { over, thread }
    }

    /// Ends it; everything it saw.
    pub fn end(self) -> Result<Rows> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    }
}

struct Following {
    places: Vec<Place>,
    rows: Rows,
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
                    self.rows.insert((batch.partition, position), (key, count));
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
