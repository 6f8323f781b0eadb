//! What a bolt does because its watermark moved: where the commit closes, slice by slice, and as part of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::Slice;

use crate::batch::{AnyBatch, typed};
use crate::builder::{BoltPart, Env, Part, Stream};
use crate::component::{Context, Emitter, Outlet, OutletOf, TaskId};
use crate::grouping::Target;
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, StateLog, TaskError};
use crate::{Blob, LogSink, LogSpout, Progress, RunOptions, TopologyBuilder};

/// Tuples that one move of the watermark makes due, a KiB each: many slices.
const DUE: u64 = 30_000;

/// Emits what is due when the watermark moved, and the word `closed` where a commit closes.
struct Due {
    emitter: Emitter<Blob>,
    cx: Context,
    moved_to: Option<i64>,
    left: u64,
    calls: Arc<Mutex<Vec<u64>>>,
}

impl BoltTask for Due {
    fn id(&self) -> &TaskId {
        self.cx.id()
    }
    fn open(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    fn restore(
        &mut self,
        _: EntryAddress,
        _: &[u8],
        _: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        unreachable!("it has no state")
    }
    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    fn revive(&mut self, _: Epoch) -> bool {
        false
    }
    fn restored(&mut self, _: Epoch) -> Result<(), TaskError> {
        Ok(())
    }
    fn committed(&mut self, _: Epoch) {}
    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        drop(typed::<Blob>(batch));
    }
    fn go_on(&mut self) -> Result<bool, TaskError> {
        Ok(true)
    }
    fn close(&mut self, _: Epoch) -> Result<bool, TaskError> {
        let watermark = self.cx.watermark();
        if self.moved_to != watermark {
            assert!(self.moved_to < watermark, "it moves on");
            (self.moved_to, self.left) = (watermark, DUE);
        }
        if self.left > 0 {
            while self.left > 0 && !self.emitter.is_full() {
                let mut tuple = vec![b'.'; 1024];
                tuple[..8].copy_from_slice(&self.left.to_le_bytes());
                self.emitter.emit(Blob::from(&tuple[..]));
                self.left -= 1;
            }
            self.calls.lock().unwrap().push(self.left);
            return Ok(false);
        }
        self.emitter.emit(Blob::from(&b"closed"[..]));
        Ok(true)
    }
    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        Ok(Vec::new())
    }
    fn stateful(&self) -> bool {
        false
    }
    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}

struct DuePart {
    outlet: Arc<Mutex<OutletOf<Blob>>>,
    calls: Arc<Mutex<Vec<u64>>>,
}

impl BoltPart for DuePart {
    fn make(
        &self,
        _: &Env,
        cx: Context,
        targets: &[Target],
        _: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        let emitter = self.outlet.lock().unwrap().build(targets, true);
        let calls = Arc::clone(&self.calls);
        Box::new(Due { emitter, cx, moved_to: None, left: 0, calls })
    }
}

#[test]
fn what_is_due_by_event_time_is_shipped_slice_by_slice_before_the_commit_closes() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let config = StreamConfig { partitions: 1, ..StreamConfig::default() };
    log.create_stream("in", config).unwrap();
    log.writer("in", 0).unwrap().append_wait(&[Record::of("5")]).unwrap();

    let mut t = TopologyBuilder::new("due");
    let stream = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let time_of = |tuple: &Blob| std::str::from_utf8(tuple).unwrap().parse().unwrap();
    let grouped = stream.event_time(time_of).unwrap().shuffle();
    let (outlet, calls) = (Arc::<Mutex<OutletOf<Blob>>>::default(), Arc::default());
    let plan = ComponentPlan {
        name: "due".to_owned(),
        kind: Kind::Bolt,
        parallelism: 1,
        inputs: Vec::new(),
        feeds: None,
        emits: Some("Blob".to_owned()),
        outputs: Vec::new(),
        state: None,
        event_time: None,
        detail: String::new(),
    };
    let part = DuePart { outlet: Arc::clone(&outlet), calls: Arc::clone(&calls) };
    let draft = grouped.draft.clone();
    let index = grouped.attach(plan, Part::Bolt(Arc::new(part))).unwrap();
    let out = Stream::new(draft, index, outlet);
    out.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();

    let progress = Arc::new(Progress::default());
    let options =
        RunOptions { in_flight_bytes_max: 1 << 20, commit_ms: 1, ..RunOptions::default() };
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    // One move, heard of once for each slice; every other commit has its end and nothing else.
    let calls = calls.lock().unwrap();
    assert!(calls.len() > 10, "{} slices", calls.len());
    assert!(calls.windows(2).all(|two| two[0] > two[1]), "each went on where the last one was");
    assert!(progress.peak_bytes() < 8 << 20, "{} bytes in flight", progress.peak_bytes());
    let mut reader = log.reader("out", 0, ReadFrom::Earliest).unwrap();
    let mut left = DUE;
    let mut closed_before = None;
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        for record in batch.records {
            match &record.value[..] {
                b"closed" => closed_before = closed_before.or(Some(left)),
                due => {
                    assert_eq!(due[..8], left.to_le_bytes(), "in order");
                    left -= 1;
                }
            }
        }
    }
    assert_eq!(
        (left, closed_before),
        (0, Some(0)),
        "all of it, and before the first commit closed"
    );
    log.close().unwrap();
}
