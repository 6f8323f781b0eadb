//! Which ledgers one task would be restored from, when to begin a new one, and how much to rewrite.
//!
//! A task writes one ledger at a time and goes on in another when that one has become a good part of what lives.
//! Beside what changed, each commit rewrites some of what did not, in rounds over all keys (a
//! [sweep](super::table::KeyedTable::sweep)). Once a whole round was made since a ledger began, nothing older is needed. With
//! half as much again rewritten as changed, a round takes two thirds of what lives in changes and one whole in
//! rewriting: what a restore reads stays below twice what lives, and there is no moment at which everything
//! is written at once.

use std::ops::Range;
use std::time::Duration;

use egret_schemas::{EntryId, LedgerId};

use super::changelog::Written;
use super::replay::Replayed;
use super::table::Swept;
use crate::caps;
use crate::commit::restore_set::{LedgerRange, Slice};

/// The chain of one task; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    groups: Range<u32>,
    /// What was restored; covers all groups without a gap.
    older: Vec<Slice>,
    older_bytes: u64,
    /// Whether other tasks need what was restored, too: another cut of tasks wrote it, and each reads it whole.
    shared: bool,
    /// Ledgers of this generation, oldest first; the last is being written.
    own: Vec<Own>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Own {
    range: LedgerRange,
    bytes: u64,
    /// Where sweeps were when it began.
    began: Swept,
}

impl Chain {
    /// The chain of a task that restored `slices` of its key groups (none, if it begins empty).
    /// `tasks_changed`: they were written by another number of tasks.
    pub fn restored(
        groups: Range<u32>,
        slices: &[Slice],
        tasks_changed: bool,
        replayed: Replayed,
    ) -> Chain {
        let mut older = Vec::new();
        let mut from = groups.start;
        let gap = |first_group, end_group| Slice { first_group, end_group, ledgers: Vec::new() };
        for slice in slices {
            assert!(from <= slice.first_group && slice.end_group <= groups.end, "own groups only");
            if from < slice.first_group {
                older.push(gap(from, slice.first_group));
            }
            from = slice.end_group;
            older.push(slice.clone());
        }
        if from < groups.end {
            older.push(gap(from, groups.end));
        }
        let shared = tasks_changed && !slices.is_empty();
        Chain { groups, older, older_bytes: replayed.bytes, shared, own: Vec::new() }
    }

    /// The ledger being written.
    pub fn current(&self) -> Option<LedgerId> {
        self.own.last().map(|own| own.range.ledger)
    }

    /// Goes on in a new ledger, from the next commit on; sweeps are at `swept`.
    pub fn begin_ledger(&mut self, ledger: LedgerId, swept: Swept) {
        let range = LedgerRange { ledger, last: None };
        self.own.push(Own { range, bytes: 0, began: swept });
    }

    /// Whether it is time to go on in a new ledger, when this many bytes live.
    pub fn ledger_due(&self, live_bytes: u64) -> bool {
        self.is_filled(live_bytes, 2)
    }

    /// Whether a new ledger will soon be due: half of the current one is written.
    pub fn ledger_due_soon(&self, live_bytes: u64) -> bool {
        self.is_filled(live_bytes, 1)
    }

    /// Whether the current ledger is twice what it should be.
    pub fn ledger_late(&self, live_bytes: u64) -> bool {
        self.is_filled(live_bytes, 4)
    }

    fn is_filled(&self, live_bytes: u64, halves: u64) -> bool {
        let half = (live_bytes / caps::LEDGER_PARTS).max(caps::LEDGER_BYTES_MIN) / 2;
        self.own.last().is_some_and(|own| own.bytes >= half.saturating_mul(halves))
    }

    /// How much to rewrite beside the next commit, when this many bytes live and the last commit was so
    /// long ago.
    pub fn pace(&self, live_bytes: u64, since: Duration) -> Pace {
        let ledgers = self.all().iter().map(|slice| slice.ledgers.len()).max().unwrap_or(0);
        let must = ledgers > caps::CHAIN_LEDGERS_MAX || self.shared;
        Pace { bytes: self.bytes(), live_bytes, must, since }
    }

    /// A commit's batch was appended to the current ledger, `last` being its last entry.
    ///
    /// # Panics
    /// When no ledger was begun, or entries do not rise.
    pub fn appended(&mut self, last: EntryId, written: Written) {
        let current = self.own.last_mut().expect("a ledger was begun");
        assert!(current.range.last < Some(last), "entries rise");
        current.range.last = Some(last);
        current.bytes += written.bytes;
    }

    /// Sweeps have come to `swept`, and what they wrote was appended: lets go of what nothing needs any more.
    pub fn swept(&mut self, swept: Swept) {
        let Some(newest) = self.own.iter().rposition(|own| swept.is_round_after(own.began)) else {
            return;
        };
        self.own.drain(..newest);
        if self.older_bytes > 0 || self.older.len() != 1 || !self.older[0].ledgers.is_empty() {
            let Range { start: first_group, end: end_group } = self.groups.clone();
            self.older.clear();
            if first_group < end_group {
                self.older.push(Slice { first_group, end_group, ledgers: Vec::new() });
            }
            self.older_bytes = 0;
            self.shared = false;
        }
    }

    /// What to report for the commit whose batch was appended last.
    pub fn slices(&self) -> Vec<Slice> {
        let mut slices = self.all();
        slices.retain(|slice| !slice.ledgers.is_empty());
        slices
    }

    /// Bytes a restore would read.
    pub fn bytes(&self) -> u64 {
        self.older_bytes + self.own.iter().map(|own| own.bytes).sum::<u64>()
    }

    /// Older ledgers and own ones, as far as they have entries.
    fn all(&self) -> Vec<Slice> {
        let own = self.own.iter().map(|own| own.range).filter(|range| range.last.is_some());
        let mut all = self.older.clone();
        all.iter_mut().for_each(|slice| slice.ledgers.extend(own.clone()));
        all
    }
}

/// How much to rewrite beside a commit.
///
/// Let `live` be the bytes that live and `slack` what a log may have beyond twice that. With `rate` bytes rewritten
/// beside each changed one, `live + live / rate` are written in a round, and that, with two ledgers not let go of
/// yet, is what a restore reads. So the rate is `live / (2/3·live + 1/2·slack)`: one and a half where much lives, next
/// to nothing where little does.
///
/// A log that is longer than it may be is shortened beside that, by time and not by commit: commits that come often
/// are each the smaller for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a restore would read.
    bytes: u64,
    live_bytes: u64,
    /// Whether the chain is to be shortened, however few bytes it has.
    must: bool,
    /// Since the last commit.
    since: Duration,
}

impl Pace {
    /// How many bytes of unchanged keys to rewrite with a commit in which `changed` bytes did.
    pub fn sweep_bytes(&self, changed: u64) -> u64 {
        let Pace { bytes, live_bytes: live, must, since } = *self;
        let bytes = bytes.saturating_add(changed);
        let slack = caps::LOG_SLACK_BYTES;
        if bytes <= slack / 4 && !must {
            return 0;
        }
        let round = u128::from(live) * 2 / 3 + u128::from(slack / 2);
        let beside = u128::from(changed) * u128::from(live) / round;
        let beside = u64::try_from(beside).unwrap_or(u64::MAX);
        let worth = live.saturating_mul(2).saturating_add(slack);
        let a_second = u128::from(live.min(caps::SWEEP_BYTES_PER_SECOND));
        let of_time = u64::try_from(a_second * since.as_millis() / 1000).unwrap_or(u64::MAX);
        let most = (live / 32).clamp(caps::SWEEP_BYTES_MIN, caps::SWEEP_BYTES_MAX);
        let pace = of_time.clamp(caps::SWEEP_BYTES_MIN, most);
        beside.max(if bytes > worth || must { pace } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::changelog::{Head, write_commit};
    use crate::keyed::schedule::Schedule;
    use crate::keyed::{Key, KeyedTable};
    use egret_schemas::{Epoch, Generation};

    fn slice(groups: Range<u32>, ranges: &[(u64, u64)]) -> Slice {
        let range =
            |&(ledger, last)| LedgerRange { ledger: LedgerId(ledger), last: Some(EntryId(last)) };
        let ledgers = ranges.iter().map(range).collect();
        Slice { first_group: groups.start, end_group: groups.end, ledgers }
    }

    fn written(bytes: u64) -> Written {
        Written { entries: 1, records: 1, bytes }
    }

    /// Where a table's sweeps are after so many rounds.
    fn rounds(rounds: u64) -> Swept {
        let mut table = KeyedTable::<u64, u64>::new(1);
        (0..rounds).for_each(|_| table.sweep(0, |_| ()).unwrap());
        table.swept()
    }

    #[test]
    fn changes_after_a_restore_follow_what_was_restored() {
        let old = [slice(2..4, &[(1, 9)])];
        let mut chain = Chain::restored(0..8, &old, false, Replayed { bytes: 9, records: 1 });
        assert_eq!(chain.slices(), old);
        chain.begin_ledger(LedgerId(5), rounds(0));
        assert_eq!(chain.slices(), old, "a ledger without entries is not needed");
        chain.appended(EntryId(0), written(10));
        let all = [slice(0..2, &[(5, 0)]), slice(2..4, &[(1, 9), (5, 0)]), slice(4..8, &[(5, 0)])];
        assert_eq!(chain.slices(), all);
        chain.begin_ledger(LedgerId(6), rounds(1));
        chain.appended(EntryId(3), written(10));
        chain.swept(rounds(1));
        assert_eq!(chain.slices(), [slice(0..8, &[(5, 0), (6, 3)])], "a round since 5 began");
        assert_eq!(chain.bytes(), 20);
        chain.swept(rounds(2));
        assert_eq!(chain.slices(), [slice(0..8, &[(6, 3)])]);
    }

    /// A ledger of little that lives once counted as late as soon as it was due, and its commit waited for the next.
    #[test]
    fn a_ledger_is_due_soon_due_and_late_one_after_the_other_however_little_lives() {
        for live in [0, 1 << 30] {
            let enough = caps::LEDGER_BYTES_MIN.max(live / caps::LEDGER_PARTS);
            let mut chain = Chain::restored(0..8, &[], false, Replayed::default());
            chain.begin_ledger(LedgerId(1), rounds(0));
            let mut at = |entry| {
                chain.appended(EntryId(entry), written(enough / 2));
                [chain.ledger_due_soon(live), chain.ledger_due(live), chain.ledger_late(live)]
            };
            assert_eq!(at(0), [true, false, false]);
            assert_eq!(at(1), [true, true, false]);
            assert_eq!(at(2), [true, true, false]);
            assert_eq!(at(3), [true, true, true]);
        }
    }

    #[test]
    fn a_short_log_is_not_rewritten_and_one_in_pieces_or_shared_is() {
        let slack = caps::LOG_SLACK_BYTES;
        let of = |bytes, ledgers, shared| {
            let ranges: Vec<_> = (0..ledgers).map(|ledger| (ledger, 0)).collect();
            let replayed = Replayed { bytes, records: 1 };
            Chain::restored(0..8, &[slice(0..8, &ranges)], shared, replayed)
        };
        let sweep = |chain: Chain, changed, live| {
            chain.pace(live, Duration::from_secs(1)).sweep_bytes(changed)
        };
        assert_eq!(sweep(of(slack / 4 - 100, 1, false), 100, slack), 0);
        assert_eq!(sweep(of(slack / 4, 1, false), 700, slack), 600);
        assert_eq!(sweep(of(slack, 1, false), 100, slack << 10), 149, "of much that lives");
        assert_eq!(sweep(of(slack, 1, false), 100, 0), caps::SWEEP_BYTES_MIN, "too long");
        assert_eq!(sweep(of(9, 17, false), 0, 10), caps::SWEEP_BYTES_MIN);
        assert_eq!(sweep(of(9, 1, true), 0, 1 << 40), caps::SWEEP_BYTES_MAX);
        let often = of(9, 1, true).pace(1 << 40, Duration::from_millis(20)).sweep_bytes(0);
        assert_eq!(often, caps::SWEEP_BYTES_PER_SECOND / 50, "commits that come often are smaller");
        let most = of(u64::MAX / 2, 1, false);
        assert!(sweep(most, u64::MAX, u64::MAX) > u64::MAX / 2, "no overflow");
        let empty = Chain::restored(0..8, &[], true, Replayed::default());
        assert_eq!(sweep(empty, 100, 0), 0, "a task that begins empty shares nothing");
    }

    /// The promise of the rolling snapshot: what a restore reads stays below twice what lives and some slack,
    /// and no commit writes much more than others, whatever share of the keys changes.
    #[test]
    fn the_log_stays_below_twice_what_lives_and_no_commit_is_a_burst() {
        let many = 150_000u64;
        for (keys, changes) in [(many, 50), (many, 500), (many, 15_000), (10_000, 500)] {
            let mut table = KeyedTable::<u64, Vec<u8>>::new(64);
            let mut chain = Chain::restored(0..64, &[], false, Replayed::default());
            let (mut ledger, mut entry, mut largest, mut total) = (1, 0, 0u64, 0u64);
            chain.begin_ledger(LedgerId(ledger), table.swept());
            let mut commit = 0;
            let mut next = 0;
            let mut one = |table: &mut KeyedTable<u64, Vec<u8>>, many: u64| {
                for _ in 0..many {
                    let key = next % keys;
                    next += 7919;
                    let slot = table.entry(key.hash64(), &key);
                    *table.get_mut(slot).1 = vec![1; 1000];
                }
                if chain.ledger_due(table.live_bytes()) {
                    ledger += 1;
                    chain.begin_ledger(LedgerId(ledger), table.swept());
                }
                commit += 1;
                let epoch = Epoch::new(Generation(1), commit, 0);
                let head = Head { component: "c".into(), task: 0, tasks: 1, schema: 1, epoch };
                let live = table.live_bytes();
                let mut appended = 0;
                let pace = chain.pace(live, Duration::from_millis(20));
                let sweep = |changed| pace.sweep_bytes(changed);
                let written =
                    write_commit(table, &mut Schedule::default(), &head, sweep, |_| appended += 1)
                        .unwrap();
                entry += appended;
                chain.appended(EntryId(entry), written);
                chain.swept(table.swept());
                (written.bytes, chain.bytes(), chain.slices()[0].ledgers.len())
            };
            // All keys once, then their share until everything turned over three times.
            for _ in 0..30 {
                one(&mut table, keys / 30);
            }
            let live = table.live_bytes();
            let worth = 2 * live + caps::LOG_SLACK_BYTES;
            let turned = if live < caps::LOG_SLACK_BYTES {
                2 * caps::LOG_SLACK_BYTES
            } else {
                3 * live.min(40 * changes * 1010)
            };
            while total < turned {
                let (written, bytes, ledgers) = one(&mut table, changes);
                total += written;
                largest = largest.max(written);
                assert!(bytes <= worth + live / 8, "{changes}: {bytes} of {live}");
                assert!(ledgers <= 24, "{changes}: {ledgers} ledgers");
            }
            let changed = changes * 1020;
            let fair = changed * 5 / 2 + caps::SWEEP_BYTES_PER_SECOND / 50 + 4096;
            assert!(largest <= fair, "{changes}: a commit of {largest} where {changed} changed");
        }
    }
}
