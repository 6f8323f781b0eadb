//! What a takeover does on a real log to whoever ran the topology, who goes on as if nothing had been.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use egret_log::LogConfig;
use egret_log::client::{Copies, LedgerEnd, LedgerWriter};
use egret_log::metadata::conformance::lossy::Lossy;
use egret_log::stream::error::AppendError;
use egret_log::stream::{ReadFrom, Record, StreamConfig, TransactionalWriter};
use egret_schemas::{Epoch, SegmentId};
use egret_state::Guarantee;
use egret_state::commit::{LedgerRange, RestoreSet, Slice, term_of};

use super::*;

fn wanted(process: u128) -> Wanted {
    Wanted {
        claimant: Claimant { process, operation: 0 },
        graph: Graph { components: [("out".to_owned(), 1)].into() },
        guarantee: Guarantee::EffectivelyOnce,
        key_groups: 64,
        state_ledgers: 1,
        partitions: [(("s".to_owned(), 0), "out".to_owned())].into(),
        restore: None,
        fork: None,
    }
}

fn every(_: u32) -> bool {
    true
}

fn take_over_whole(log: &Log, process: u128, outputs: &Outputs) -> Result<Taken> {
    let here = Here { writes: &every, outputs };
    carry_through(log, "t", wanted(process), here, Faults::default())
}

fn driver<'a>(log: &'a Log, outputs: &'a Outputs, components: &'a OwnedPartitions) -> Driver<'a> {
    Driver {
        log,
        ledgers: log.ledgers(),
        topology: "t",
        here: Here { writes: &every, outputs },
        components,
        faults: Faults::default(),
        fingerprint: 0,
        generation: Generation(0),
        commit_writer: None,
    }
}

/// Who ran the topology.
struct Zombie {
    commits: LedgerWriter,
    state: LedgerWriter,
    output: TransactionalWriter,
}

impl Zombie {
    /// The first generation, which made a commit and has written more since.
    fn begin(log: &Log) -> Zombie {
        let transactional = Some("t".to_owned());
        let config = StreamConfig {
            partitions: 1,
            transactional,
            segment_bytes_max: 1,
            ..StreamConfig::default()
        };
        log.create_stream("s", config).unwrap();
        let outputs = Outputs::default();
        let Taken { opened, commit_writer } = take_over_whole(log, 1, &outputs).unwrap();
        let (commits, id) = (commit_writer.unwrap(), opened.state_ledgers[0]);
        let term = term_of(opened.topology.generation);
        let state = log.ledgers().create(id, LedgerKind::Plain, term).unwrap();
        let mut zombie = Zombie { commits, state, output: outputs.take("s", 0).unwrap() };

        let last = zombie.state.append_wait(Bytes::from_static(b"kept")).unwrap();
        let (segment, entry) = zombie.append(0, "kept").unwrap();
        let ledgers = vec![LedgerRange { ledger: id, last: Some(last) }];
        let slices = vec![Slice { first_group: 0, end_group: 64, ledgers }];
        let mut record = opened.record;
        record.last = Epoch::first(record.generation).commit_end();
        record.state.insert("count".into(), RestoreSet { tasks: 1, slices });
        record.sinks.insert("out".into(), [(0, (segment, Some(entry)))].into());
        zombie.commits.append_wait(Bytes::from(record.encode())).unwrap();
        zombie.state.append_wait(Bytes::from_static(b"lost")).unwrap();
        zombie.append(1, "lost").unwrap();
        zombie
    }

    fn append(
        &mut self,
        commit: u32,
        text: &str,
    ) -> std::result::Result<(SegmentId, EntryId), AppendError> {
        let (tell, told) = sync_channel(1);
        let epoch = Epoch::new(Generation(1), commit, 0);
        let done = Box::new(move |done| tell.send(done).unwrap());
        self.output.append(epoch, &[Record::of(text.to_owned())], done);
        told.recv().unwrap()
    }
}

#[test]
fn whoever_ran_the_topology_is_shut_out_step_by_step_and_all_it_wrote_ends_at_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let mut zombie = Zombie::begin(&log);
    let (outputs, partitions) = (Outputs::default(), wanted(2).partitions);
    let mut driver = driver(&log, &outputs, &partitions);
    let (mut recovery, mut step) = Recovery::start(wanted(2));
    let mut seen = 0;
    let opened = loop {
        step = match step {
            Step::Open(opened) => break opened,
            Step::Refuse(why) => panic!("{why}"),
            step => {
                match &step {
                    Step::CloseCommitLedgers { .. } => {
                        seen += 1;
                        let late = zombie.append(2, "late");
                        assert!(late.is_err(), "it begins no segment while commits are read");
                    }
                    Step::ReadRecord { .. } => {
                        seen += 1;
                        let late = zombie.commits.append_wait(Bytes::from_static(b"late"));
                        assert!(late.is_err(), "no commit comes after the one that is read");
                    }
                    _ => {}
                }
                recovery.step(driver.carry_out(step).unwrap())
            }
        };
    };
    assert_eq!(seen, 2);
    assert!(zombie.state.append_wait(Bytes::from_static(b"late")).is_err());
    let end = log.ledgers().end(zombie.state.id()).unwrap();
    assert!(matches!(end, LedgerEnd::Closed { last: Some(EntryId(0)) }), "{end:?}");
    assert_eq!(opened.record.sinks["out"][&0].1, Some(EntryId(0)));
    let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
    let mut read = Vec::new();
    while let Some(batch) = reader.next_wait(std::time::Duration::ZERO).unwrap() {
        read.extend(batch.records.into_iter().map(|record| record.value));
    }
    assert_eq!(read, ["kept"]);
    drop(driver);
    drop((zombie, reader, outputs));
    log.close().unwrap();
}

/// Between the look at the record and the claim another process claimed the same generation.
#[test]
fn a_claim_that_comes_second_touches_nothing_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let zombie = Zombie::begin(&log);
    let (outputs, partitions) = (Outputs::default(), wanted(2).partitions);
    let mut driver = driver(&log, &outputs, &partitions);
    let (mut recovery, mut step) = Recovery::start(wanted(2));
    while !matches!(step, Step::Save { .. }) {
        step = recovery.step(driver.carry_out(step).unwrap());
    }
    let theirs = Outputs::default();
    let taken = take_over_whole(&log, 3, &theirs).unwrap();
    let refused = loop {
        step = match step {
            Step::Refuse(why) => break why,
            Step::ReadTopology | Step::Save { .. } => {
                recovery.step(driver.carry_out(step).unwrap())
            }
            step => panic!("it goes on with {step:?}"),
        };
    };
    assert_eq!(refused, RecoveryError::TakenOver { generation: Generation(2), process: 3 });
    taken.commit_writer.as_ref().unwrap().append_wait(Bytes::from_static(b"theirs")).unwrap();
    drop(driver);
    drop((zombie, taken, theirs, outputs));
    log.close().unwrap();
}

/// A third of all transactions get no answer, and half of those were carried out.
#[test]
fn an_answer_that_is_lost_ends_no_takeover() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    drop(Zombie::begin(&log));
    for seed in 0..20 {
        let lossy = Arc::new(Lossy::new(Arc::clone(log.metadata()), seed));
        let bookies = Arc::clone(log.ledgers().bookies());
        let lossy = Log::on(Ledgers::new(bookies, Copies::ONE, lossy)).unwrap();
        let outputs = Outputs::default();
        let taken = take_over_whole(&lossy, 10 + u128::from(seed), &outputs);
        let taken = taken.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(taken.opened.record.last, Epoch::first(Generation(1)).commit_end());
    }
    log.close().unwrap();
}

#[test]
fn a_ledger_that_ends_before_what_a_named_commit_needs_of_it_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let zombie = Zombie::begin(&log);
    let (outputs, partitions) = (Outputs::default(), wanted(2).partitions);
    let driver = driver(&log, &outputs, &partitions);
    let id = zombie.state.id();
    let closes = |last| driver.close_beyond(id, Term(9), Some(EntryId(last)));
    closes(0).unwrap();
    closes(1).unwrap();
    let error = chain(&closes(2).unwrap_err());
    assert!(error.contains("entry 2"), "{error}");
    drop((zombie, outputs));
    log.close().unwrap();
}
