//! Members that go away or stand still at any moment: others take their place, and the results are the same.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

use super::*;
use crate::runtime::mesh::{Seat, Started, Starter, stand_still};
use crate::{Blob, LogSink, LogSpout, TopologyBuilder};

fn topology() -> Topology {
    let mut t = TopologyBuilder::new("copies");
    let lines = t.spout("lines", 3, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    lines.sink("copies", LogSink::to_stream("copies").partitions(3)).unwrap();
    t.finish().unwrap()
}

/// What the first process at rank 1 does, before it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ghost {
    /// It joins and leaves.
    Joins,
    /// It hears of a generation and leaves.
    Begins,
    /// It connects to the others, and leaves before it works.
    Connects,
    /// It joins and says nothing more, as one that is stopped does.
    StandsStill,
    /// It ends before it joins.
    NeverJoins,
}

struct Starts {
    log: Log,
    options: RunOptions,
    ghost: Ghost,
    ranks: Mutex<BTreeMap<u32, u32>>,
    strangers: AtomicU32,
}

struct Thread(Option<JoinHandle<()>>);

impl Started for Thread {
    fn ended(&mut self) -> Option<String> {
        self.0.as_ref().is_none_or(JoinHandle::is_finished).then(|| "it is a ghost".to_owned())
    }

    fn kill(&mut self) {
        drop(self.0.take().map(JoinHandle::join));
    }

    fn settle(&mut self, _: Duration) {
        self.kill();
    }
}

fn haunt(ghost: Ghost, seat: &Seat, options: &RunOptions) {
    let topology = topology();
    let silence = Duration::from_millis(options.silence_ms);
    if ghost == Ghost::NeverJoins {
        return;
    }
    if ghost == Ghost::StandsStill {
        return stand_still(seat, topology.fingerprint());
    }
    let progress = Arc::default();
    let member = Member::join(seat, topology.fingerprint(), silence, &progress).unwrap();
    if ghost == Ghost::Joins {
        return;
    }
    let Ok(Told::Begin(begin)) = member.next() else { panic!("a generation begins") };
    if ghost == Ghost::Connects {
        let shared = Arc::new(Shared::new(
            Epoch::first(begin.generation),
            Budget::new(1 << 20, 1),
            1 << 20,
            true,
            progress,
        ));
        drop(member.connect(&begin, &shared));
    }
}

impl Starter for Starts {
    fn start(&self, seat: &Seat) -> std::io::Result<Box<dyn Started>> {
        let nth = {
            let mut ranks = self.ranks.lock().unwrap();
            let nth = ranks.entry(seat.rank).or_insert(0);
            *nth += 1;
            *nth
        };
        // Somebody who has no business here is not in the way of those who have.
        let mut stranger = TcpStream::connect(seat.leader)?;
        stranger
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n, and more than a hello has bytes")?;
        self.strangers.fetch_add(1, Ordering::Relaxed);
        let (log, options, seat, ghost) =
            (self.log.clone(), self.options.clone(), seat.clone(), self.ghost);
        let run = move || {
            if (seat.rank, nth) == (1, 1) {
                return haunt(ghost, &seat, &options);
            }
            let seat = Processes::Other(seat);
            topology().run_among(&log, &options, &Arc::default(), &seat).unwrap();
        };
        Ok(Box::new(Thread(Some(thread::spawn(run)))))
    }
}

#[test]
fn who_goes_away_or_stands_still_is_replaced_and_nothing_is_lost_or_repeated() {
    use Ghost::{Begins, Connects, Joins, NeverJoins, StandsStill};
    for ghost in [Joins, Begins, Connects, StandsStill, NeverJoins] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let lines: Vec<String> = (0..300).map(|n| format!("line {n:03}")).collect();
        let config = StreamConfig { partitions: 3, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
        for (partition, lines) in (0..).zip(lines.chunks(100)) {
            let records: Vec<Record> = lines.iter().map(|line| Record::of(line.clone())).collect();
            log.writer("lines", partition).unwrap().append_wait(&records).unwrap();
        }
        let silence_ms = if ghost == StandsStill { 1000 } else { 20_000 };
        let options = RunOptions { commit_ms: 5, silence_ms, tries: 20, ..RunOptions::default() };
        let starter = Arc::new(Starts {
            log: log.clone(),
            options: options.clone(),
            ghost,
            ranks: Mutex::default(),
            strangers: AtomicU32::new(0),
        });
        let processes = Processes::First { count: 3, starter: Arc::clone(&starter) as _ };
        topology().run_among(&log, &options, &Arc::default(), &processes).unwrap();

        let mut copies = Vec::new();
        for partition in 0..3 {
            let mut reader = log.reader("copies", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
                copies.extend(batch.records.iter().map(text));
            }
        }
        copies.sort_unstable();
        assert_eq!(copies, lines, "{ghost:?}");
        let ranks = starter.ranks.lock().unwrap();
        assert!(ranks[&1] >= 2, "{ghost:?}: another one is started in its place, {ranks:?}");
        log.close().unwrap();
    }
}
