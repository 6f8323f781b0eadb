//! Copies made until none is lacking, as the bookies' own processes would.

use std::time::Duration;

use anyhow::bail;
use egret_log::client::repair::{self, Pace};
use egret_log::clock;
use egret_log::ledger::Member;
use egret_log::ledger::repair::Standing;
use egret_schemas::bookie::Role;

use super::wait;
use crate::cluster::Cluster;

/// As fast as it goes.
const PACE: Pace = Pace { bytes_per_second: u64::MAX };

/// How long copies may fail to be made, with every bookie up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long writers may take to go on without a disk that is gone.
const WRITERS: Duration = Duration::from_secs(20);

/// Makes every copy that is lacking now; how many.
///
/// # Errors
/// When some cannot be made.
pub fn mend(cluster: &Cluster) -> anyhow::Result<u64> {
    let ledgers = cluster.ledgers(Role::Bookie)?;
    let mut copies = 0;
    let until = clock::now() + PATIENCE;
    loop {
        let sweep = repair::sweep(&ledgers, PACE, |_| true)?;
        copies += sweep.made.len() as u64;
        if sweep.failed.is_empty() && sweep.unread.is_empty() {
            return Ok(copies);
        }
        if clock::now() >= until {
            bail!(
                "copies are still lacking: {:?} {:?}",
                sweep.failed.first(),
                sweep.unread.first()
            );
        }
        wait(Duration::from_millis(200));
    }
}

/// Whether another disk may go without two of three going at once: no ledger that is written counts on one
/// that went before. Repair leaves those to their writers, who are waited for a while.
///
/// # Errors
/// When the ledgers cannot be listed.
pub fn on_whole_disks(cluster: &Cluster) -> anyhow::Result<bool> {
    let ledgers = cluster.ledgers(Role::Bookie)?;
    let until = clock::now() + WRITERS;
    loop {
        let mut whole = true;
        for id in ledgers.list()? {
            // Deleted since it was listed, if it is not there.
            let Ok(record) = ledgers.describe(id) else { continue };
            let mut members = record.last_fragment().1.members().iter();
            let present =
                |member: &Member| matches!(ledgers.bookies().standing(*member), Standing::Present);
            whole &= record.closed().is_some() || members.all(present);
        }
        if whole || clock::now() >= until {
            return Ok(whole);
        }
        wait(Duration::from_millis(100));
    }
}

/// Copies that are lacking.
///
/// # Errors
/// When the ledgers cannot be listed.
pub fn lacking(cluster: &Cluster) -> anyhow::Result<usize> {
    Ok(repair::survey(&cluster.ledgers(Role::Bookie)?)?.0.len())
}
