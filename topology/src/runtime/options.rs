//! What can be chosen when a topology is run.

use std::sync::Arc;
use std::time::Duration;

use egret_state::commit::Origin;

use super::{Faults, Kept};
use crate::metrics::MetricsAddress;
use crate::{Error, Result};

/// How to run a topology. The defaults suit a laptop and a server alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Worker threads, in each process.
    pub workers: u32,
    /// How long after the one before a commit ends, when there is anything to commit; the earliest, with
    /// [`commit_ms_max`](Self::commit_ms_max).
    pub commit_ms: u64,
    /// How long after the one before a commit ends at the latest. Between the two a commit is longer the longer it takes to
    /// end commits, so that no more than a tenth of the time goes into that: short commits, and quick results, while
    /// traffic is light, and long ones when there is much to do. `None`: always [`commit_ms`](Self::commit_ms).
    pub commit_ms_max: Option<u64>,
    /// How long an epoch lasts at most.
    pub epoch_ms: u64,
    /// Bytes between components, stashes included, before spouts hold back.
    pub in_flight_bytes_max: usize,
    /// Bytes a spout task emits into one epoch at most: batches of a larger one leave the caches.
    pub epoch_bytes_max: usize,
    /// Epochs not fully processed before no new one opens.
    pub epochs_in_flight_max: usize,
    /// Generations that may fail one after another, without a commit between, before the topology does.
    pub tries: u32,
    /// Bytes the keyed state of one process may take, those kept for taking changes back included; `None`: half of
    /// the host's memory.
    pub state_bytes_max: Option<usize>,
    /// Bytes of one process kept to take back, after a failure, what no commit covers; beyond them state is read
    /// from its ledgers again. 0: always read again.
    pub undo_bytes_max: usize,
    /// How long another worker process may say nothing before it counts as gone.
    pub silence_ms: u64,
    /// How long worker processes may take to come together: their leader waits so long for members, and
    /// those that were placed so long for their leader.
    pub join_wait_ms: u64,
    /// The named commit to go back to before anything runs, instead of going on from the last one. State
    /// and source positions are those of that commit; output stays, and what the run writes follows it.
    pub restore: Option<String>,
    /// Where to begin if the topology is not there yet: a named commit of another one, which must be of the same
    /// graph and write other streams. Given again it changes nothing.
    pub from: Option<Origin>,
    /// Where to tell the process's numbers over HTTP while it runs, or stands by; see [`metrics`](crate::metrics).
    pub metrics: Option<MetricsAddress>,
    /// Defects to switch in, so that tests can show they would be found.
    #[doc(hidden)]
    pub faults: Faults,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            workers: 1,
            commit_ms: 100,
            commit_ms_max: None,
            epoch_ms: 10,
            in_flight_bytes_max: 64 << 20,
            epoch_bytes_max: 1 << 20,
            epochs_in_flight_max: 4,
            tries: 3,
            state_bytes_max: None,
            undo_bytes_max: 256 << 20,
            silence_ms: 1000,
            join_wait_ms: 60_000,
            restore: None,
            from: None,
            metrics: None,
            faults: Faults::default(),
        }
    }
}

/// Worker threads beyond this help nobody and exhaust threads.
const WORKERS_MAX: u32 = 256;

impl RunOptions {
    /// What the state of one process may take.
    pub(crate) fn state_bytes_max(&self) -> usize {
        self.state_bytes_max.unwrap_or_else(|| super::probe::memory_bytes() / 2)
    }

    /// What keeps state in memory from one generation to the next.
    pub(crate) fn keep(&self) -> Arc<Kept> {
        Kept::new(self.undo_bytes_max, self.state_bytes_max())
    }

    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }

    pub(crate) fn join_wait(&self) -> Duration {
        Duration::from_millis(self.join_wait_ms)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what, value: u64, allowed| Err(Error::Option { what, value, allowed });
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return wrong("workers", u64::from(self.workers), "1 to 256");
        }
        if !(1..=3_600_000).contains(&self.commit_ms) {
            return wrong("commit_ms", self.commit_ms, "1 to 3600000");
        }
        if let Some(max) = self.commit_ms_max
            && !(self.commit_ms..=3_600_000).contains(&max)
        {
            return wrong("commit_ms_max", max, "commit_ms to 3600000");
        }
        if !(1..=60_000).contains(&self.epoch_ms) {
            return wrong("epoch_ms", self.epoch_ms, "1 to 60000");
        }
        if !(100..=600_000).contains(&self.silence_ms) {
            return wrong("silence_ms", self.silence_ms, "100 to 600000");
        }
        if !(1000..=86_400_000).contains(&self.join_wait_ms) {
            return wrong("join_wait_ms", self.join_wait_ms, "1000 to 86400000");
        }
        if self.epochs_in_flight_max < 2 {
            return wrong("epochs_in_flight_max", self.epochs_in_flight_max as u64, "2 or more");
        }
        if self.state_bytes_max.is_some_and(|max| max < 1 << 20) {
            let value = self.state_bytes_max.unwrap_or_default() as u64;
            return wrong("state_bytes_max", value, "1 MiB or more");
        }
        if self.epoch_bytes_max == 0 {
            return wrong("epoch_bytes_max", 0, "1 or more");
        }
        if self.in_flight_bytes_max < 1 << 20 {
            return wrong("in_flight_bytes_max", self.in_flight_bytes_max as u64, "1 MiB or more");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_cannot_be_due_at_the_latest_before_it_is_at_the_earliest() {
        let options = |commit_ms_max| RunOptions { commit_ms_max, ..RunOptions::default() };
        for max in [None, Some(100), Some(3_600_000)] {
            assert!(options(max).check().is_ok(), "{max:?}");
        }
        for max in [0, 99, 3_600_001] {
            let said = options(Some(max)).check().unwrap_err().to_string();
            assert!(said.contains("commit_ms_max") && said.contains(&max.to_string()), "{said}");
        }
    }
}
