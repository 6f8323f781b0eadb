//! The log on bookies of their own processes, under writers and readers, while everything around it fails.
//!
//! * [`numbers`]: what is written and read, what was acknowledged, and what must be there in the end;
//! * [`deed`]: what is done to the bookies, the store and the network, from a seed;
//! * [`flip`]: bits of a bookie's files turned over;
//! * [`mend`]: copies made until none is lacking;
//! * [`watch`]: says when a run stands still, and where.

pub mod deed;
pub mod flip;
pub mod mend;
pub mod numbers;
pub mod watch;

use std::time::Duration;

use egret_log::clock;

/// Waits, whatever wakes the thread meanwhile.
pub fn wait(time: Duration) {
    let until = clock::now() + time;
    while let Some(left) = until.checked_duration_since(clock::now()).filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}
