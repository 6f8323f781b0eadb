//! Lives of the topology with every kind of state: a directory, processes that run it there, and their ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use egret_integration::kill::commits::Commits;
use egret_integration::kill::every_kind::{Input, NAME};
use egret_integration::kill::program::{Moment, Running};
use egret_integration::sim::dice::Dice;
use egret_log::{Log, LogConfig};
use egret_schemas::EntryId;
use egret_state::commit::{CommitRecord, TopologyRecord};

/// Lines of a partition: more than a life that is killed gets through.
pub(crate) const LINES: u64 = 1500;

/// Microseconds that a line takes, so that a commit has few.
const LINE_US: &str = "150";

/// Kills of a test.
pub(crate) const KILLS: u64 = 6;

/// A data directory with the input in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) input: Input,
    dice: Dice,
}

impl Place {
    /// With input from a seed.
    pub(crate) fn new(seed: u64) -> Place {
        let place = Place::empty(seed);
        let log = place.open();
        place.input.write(&log).unwrap();
        log.close().unwrap();
        place
    }

    /// Whose input is not written yet.
    pub(crate) fn empty(seed: u64) -> Place {
        let dir = tempfile::tempdir().unwrap();
        Place { dir, input: Input::new(seed, LINES), dice: Dice::new(seed, "lives") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Holds the directory, while no process does.
    pub(crate) fn open(&self) -> Log {
        Log::open(self.path(), LogConfig::default()).unwrap()
    }

    /// Starts a process that runs the topology.
    pub(crate) fn start(&self, with: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_every_kind"));
        command
            .arg("--data")
            .arg(self.path())
            .args(["--commit-ms", "1", "--line-us", LINE_US])
            .args(with);
        Running::start(&mut command).unwrap()
    }

    /// Starts one and kills it a moment after one of its commits. Whether it lived so long; what it said.
    pub(crate) fn live(&mut self, with: &[&str]) -> (bool, Vec<String>) {
        let running = self.start(with);
        let mut said = Vec::new();
        let commits = self.dice.between(1, 4);
        let lived = until_commit(&running, commits, &mut said);
        // Not what is waited for: whatever it is in the middle of by then.
        running.wait(Moment::AfterStart(Duration::from_micros(self.dice.roll(4000))));
        let (status, last) = running.kill().unwrap();
        said.push(last);
        // What ends by itself ends well, unless it was given a defect.
        let sound = with.windows(2).all(|w| w[0] != "--fault" || w[1] == "commits_late");
        assert!(!sound || status.code().is_none_or(|code| code == 0), "{said:?}");
        (lived && status.code().is_none(), said)
    }

    /// Kills one after the other; how many there were. `after` sees the directory after each.
    pub(crate) fn lives(&mut self, with: &[&str], mut after: impl FnMut(&Place)) -> u64 {
        let mut killed = 0;
        for kill in 0..KILLS {
            let tasks = ["2", "3", "1"][usize::try_from(kill % 3).unwrap()];
            let workers = ["1", "2"][usize::try_from(kill % 2).unwrap()];
            let size = ["--tasks", tasks, "--workers", workers];
            killed += u64::from(self.live(&[&size, with].concat()).0);
            after(self);
        }
        killed
    }

    /// Runs it to its end; what it said.
    pub(crate) fn finish(&self, with: &[&str]) -> Vec<String> {
        let running = self.start(with);
        let mut said = Vec::new();
        while let Some(line) = running.says().unwrap() {
            said.push(line);
        }
        let (status, _) = running.end().unwrap();
        assert!(status.success(), "{status}: {:?}", said.last());
        said
    }

    /// Adds what was committed.
    pub(crate) fn look(&self, commits: &mut Commits) {
        commits.look(self.path(), NAME).unwrap();
    }
}

/// Reads on until it said so many commits. Whether it did.
pub(crate) fn until_commit(running: &Running, commits: u64, said: &mut Vec<String>) -> bool {
    while let Some(line) = running.says().unwrap() {
        let done = line.strip_prefix("commit ").and_then(|n| n.parse().ok()).unwrap_or(0);
        said.push(line);
        if done >= commits {
            return true;
        }
    }
    false
}

/// The record of the topology.
pub(crate) fn topology_record(log: &Log) -> Option<TopologyRecord> {
    let held = log.metadata().get(&format!("/topology/{NAME}")).unwrap()?;
    Some(TopologyRecord::decode(&held.value).unwrap())
}

/// The newest commit, as nobody holds it open: where its record is and what it says.
pub(crate) fn newest(log: &Log) -> Option<CommitRecord> {
    let ledgers = topology_record(log)?.commit_ledgers;
    ledgers.iter().rev().find_map(|ledger| {
        let read = |entry| log.ledgers().read_unconfirmed(*ledger, EntryId(entry)).ok();
        let last = (0..).map_while(read).last()?;
        Some(CommitRecord::decode(&last).unwrap())
    })
}

/// The number of the line that follows what a commit has, by side and partition.
pub(crate) fn next_lines(log: &Log, record: &CommitRecord) -> BTreeMap<(String, u32), u64> {
    let mut next = BTreeMap::new();
    for (side, splits) in &record.spouts {
        for (split, at) in splits {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (partition, at) = (text(split).parse().unwrap(), text(at));
            let at = at.split_once('@').unwrap().0.parse().unwrap();
            let number = line_at(log, side, partition, at);
            next.insert((side.clone(), partition), number);
        }
    }
    next
}

fn line_at(log: &Log, side: &str, partition: u32, at: egret_schemas::Position) -> u64 {
    use egret_log::stream::{Format, ReadFrom};
    let from = ReadFrom::At(at);
    let mut reader = log.reader_of(side, partition, from, &Format::Utf8).unwrap();
    match reader.next_wait(Duration::ZERO).unwrap() {
        Some(batch) => {
            let line = std::str::from_utf8(&batch.records[0].value).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        }
        // Behind the last line.
        None => LINES + 1,
    }
}
