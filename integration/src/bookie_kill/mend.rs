//! Copies made until none is lacking, as the bookies' own processes would.

use std::time::Duration;

use anyhow::bail;
use egret_log::client::repair::{self, Pace};
use egret_log::clock;
use egret_schemas::bookie::Role;

use super::wait;
use crate::cluster::Cluster;

/// As fast as it goes.
const PACE: Pace = Pace { bytes_per_second: u64::MAX };

/// How long copies may fail to be made, with every bookie up.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Copies that are lacking.
///
/// # Errors
/// When the ledgers cannot be listed.
pub fn lacking(cluster: &Cluster) -> anyhow::Result<usize> {
    Ok(repair::survey(&cluster.ledgers(Role::Bookie)?)?.0.len())
}
