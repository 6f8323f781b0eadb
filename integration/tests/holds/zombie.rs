//! **Who stood still while another took over appends nothing afterwards**: a process stopped with `SIGSTOP` in the
//! middle of its work and let go on with `SIGCONT` after the takeover finds every ledger shut, and says that it was
//! taken over.
//!
//! Control: let go on without a takeover it must append, or nothing would have been shown.

use std::collections::BTreeMap;

use egret_integration::kill::every_kind::{compare, outputs};
use egret_integration::kill::program::Running;
use egret_log::{Log, LogConfig};
use egret_schemas::{EntryId, LedgerId};
use rustix::process::{Signal, kill_process};

use crate::lives::{Place, until_commit};

/// The directory as processes share it, and one that stands still in the middle of its work there.
fn stopped(seed: u64) -> (Place, Log, Running) {
    let place = Place::empty(seed);
    let config = LogConfig { serve: true, shared: true, ..LogConfig::default() };
    let log = Log::open(place.path(), config).unwrap();
    place.input.write(&log).unwrap();
    let earlier = place.start(&["--attach"]);
    assert!(until_commit(&earlier, 3, &mut Vec::new()));
    kill_process(earlier.pid(), Signal::STOP).unwrap();
    (place, log, earlier)
}

/// How many entries each ledger has, confirmed or not.
fn entries(log: &Log) -> BTreeMap<LedgerId, u64> {
    let there = |ledger: LedgerId| {
        let read = |entry: &u64| log.ledgers().read_unconfirmed(ledger, EntryId(*entry)).is_ok();
        (0..).take_while(read).count() as u64
    };
    log.ledgers().list().unwrap().into_iter().map(|ledger| (ledger, there(ledger))).collect()
}

#[test]
fn who_stood_still_during_a_takeover_appends_nothing_and_says_why() {
    for (seed, tasks) in [(41, "2"), (42, "3")] {
        let (place, log, earlier) = stopped(seed);
        let later = place.start(&["--attach", "--tasks", tasks, "--workers", "2"]);
        let (status, said) = {
            let mut said = Vec::new();
            until_commit(&later, u64::MAX, &mut said);
            (later.end().unwrap().0, said)
        };
        assert!(status.success(), "{:?}", said.last());
        let before = entries(&log);

        kill_process(earlier.pid(), Signal::CONT).unwrap();
        let mut said = Vec::new();
        until_commit(&earlier, u64::MAX, &mut said);
        let (status, _) = earlier.end().unwrap();
        let last = said.last().unwrap();
        assert!(!status.success() && last.contains("taken over by another process"), "{last}");
        let mut after = entries(&log);
        after.retain(|ledger, _| before.contains_key(ledger));
        assert_eq!(after, before, "an entry was appended after the takeover");
        compare(&outputs(&log).unwrap(), &place.input).unwrap();
        log.close().unwrap();
    }
}

#[test]
fn control_who_stood_still_and_was_not_taken_over_appends_the_rest() {
    let (place, log, earlier) = stopped(43);
    let before = entries(&log);
    kill_process(earlier.pid(), Signal::CONT).unwrap();
    let mut said = Vec::new();
    until_commit(&earlier, u64::MAX, &mut said);
    assert!(earlier.end().unwrap().0.success(), "{:?}", said.last());
    assert_ne!(entries(&log), before, "its appends are not seen");
    compare(&outputs(&log).unwrap(), &place.input).unwrap();
    log.close().unwrap();
}
