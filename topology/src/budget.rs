//! Bytes on their way, counted, so that memory stays bounded whatever a bolt emits.
//!
//! Every batch is charged when it is shipped and released when its consumer is done with it, stashes
//! included. Spouts ask [`Budget::exhausted`] before they emit. A bolt is not held back by the budget,
//! which others may have used up, but by what it shipped itself: its [`Lane`]. So whatever holds the
//! oldest epoch can always finish.
//!
//! Each process has a budget of its own. A batch for another process stays counted where it was shipped,
//! and is counted where it arrived, until its consumer is done with it; that is then
//! [owed](Budget::settle) to the process it came from, and [given back](Budget::given_back) there.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes one emitter has on their way before its task rests: enough to keep its consumers busy, and
/// little beside the budget however many emitters there are.
const LANE_BYTES_MAX: usize = 4 << 20;

/// Bytes in flight in one process.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
    /// What each emitter has on its way; of an emitter in another process, what it is owed.
    lanes: Box<[AtomicUsize]>,
    /// Which emitters are in another process; empty when there is none.
    away: Box<[bool]>,
    owes: AtomicBool,
    /// Of `used`, what is held where tuples come back in cycles.
    round: AtomicUsize,
}

impl Budget {
    /// A budget of `max` bytes for `lanes` emitters, all in this process.
    #[cfg(test)]
    pub(crate) fn new(max: usize, lanes: usize) -> Arc<Budget> {
        Budget::of_process(max, lanes, Box::default())
    }

    /// A budget of `max` bytes for `lanes` emitters; `away` says which of them are in another process, and
    /// is empty when there is only this one.
    pub(crate) fn of_process(max: usize, lanes: usize, away: Box<[bool]>) -> Arc<Budget> {
        let lanes = (0..lanes).map(|_| AtomicUsize::new(0)).collect();
        let (used, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (owes, round) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Budget { used, peak, max, lanes, away, owes, round })
    }

    fn is_away(&self, lane: u32) -> bool {
        self.away.get(lane as usize).copied().unwrap_or_default()
    }

    /// Whether another process is owed anything.
    pub(crate) fn owes(&self) -> bool {
        self.owes.load(Ordering::Acquire)
    }

    /// Hands out what other processes' emitters are owed: lane and bytes.
    pub(crate) fn settle(&self, mut pay: impl FnMut(u32, usize)) {
        self.owes.store(false, Ordering::Release);
        for lane in (0..).zip(self.away.iter()).filter_map(|(lane, away)| away.then_some(lane)) {
            let owed = self.lanes[lane as usize].swap(0, Ordering::AcqRel);
            if owed > 0 {
                pay(lane, owed);
            }
        }
    }

    /// Another process is done with `bytes` that were shipped here. What is not on its way is nobody's to
    /// give back.
    pub(crate) fn given_back(&self, lane: u32, bytes: usize) {
        let Some(on_its_way) = self.lanes.get(lane as usize).filter(|_| !self.is_away(lane)) else {
            return;
        };
        let take = |had: usize| Some(had - bytes.min(had));
        let had = on_its_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        let taken = had.map_or(0, |had| bytes.min(had));
        self.used.fetch_sub(taken, Ordering::Relaxed);
    }

    /// Whether spouts should hold back.
    pub(crate) fn exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.max
    }

    /// The most that was ever in flight.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    fn lane_max(&self) -> usize {
        LANE_BYTES_MAX.min(self.max / 8)
    }

    fn count(&self, lane: Option<u32>, bytes: usize) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
        if let Some(lane) = lane {
            self.lanes[lane as usize].fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn release(&self, lane: Option<u32>, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(lane) = lane {
            self.lanes[lane as usize].fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// Bytes owed to an emitter of another process once nobody holds this any more.
#[derive(Debug)]
struct Owed {
    budget: Arc<Budget>,
    lane: u32,
    bytes: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.budget.lanes[self.lane as usize].fetch_add(self.bytes, Ordering::AcqRel);
        self.budget.owes.store(true, Ordering::Release);
    }
}

/// One emitter's share of a [`Budget`]: what it shipped and its consumers are not done with.
///
/// A lane that is full holds its own task back and nobody else. It cannot hold back for ever: the
/// consumer of the oldest commit is never waiting for anything but its own lane, and the last bolt's
/// consumers are sinks, which wait for nothing.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    budget: Arc<Budget>,
    number: u32,
}

impl Lane {
    pub(crate) fn new(budget: &Arc<Budget>, number: u32) -> Lane {
        assert!((number as usize) < budget.lanes.len(), "every emitter has a lane");
        Lane { budget: Arc::clone(budget), number }
    }

    /// Whether the emitter's task may go on.
    pub(crate) fn has_room(&self) -> bool {
        let used = self.budget.lanes[self.number as usize].load(Ordering::Relaxed);
        used < self.budget.lane_max()
    }

    /// Bytes to ship at once: a few slices fill the lane.
    pub(crate) fn slice_bytes(&self) -> usize {
        self.budget.lane_max() / 4
    }

    /// Counts `bytes` on their way until the charge is dropped.
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        self.counted(Some(self.number), bytes)
    }

    /// Counts `bytes` that are still with the emitter until the charge is dropped.
    pub(crate) fn keep(&self, bytes: usize) -> Charge {
        self.counted(None, bytes)
    }

    /// Counts `bytes` on their way round a cycle, until what is returned is dropped.
    pub(crate) fn hold(&self, bytes: usize) -> Held {
        self.budget.round.fetch_add(bytes, Ordering::Relaxed);
        Held { charge: self.keep(bytes), of: Arc::clone(&self.budget) }
    }

    /// What all cycles hold, and how much may be, if they hold more than that.
    pub(crate) fn holds_too_much(&self) -> Option<(usize, usize)> {
        let (held, max) = (self.budget.round.load(Ordering::Relaxed), self.budget.max);
        (held > max).then_some((held, max))
    }

    fn counted(&self, lane: Option<u32>, bytes: usize) -> Charge {
        self.budget.count(lane, bytes);
        let budget = Some(Arc::clone(&self.budget));
        Charge { budget, lane, bytes, handed_over: Cell::new(false), owed: None }
    }
}

/// Bytes on their way round a cycle, counted while this lives.
#[derive(Debug)]
pub(crate) struct Held {
    charge: Charge,
    of: Arc<Budget>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.round.fetch_sub(self.charge.bytes(), Ordering::Relaxed);
    }
}

thread_local! {
    /// The budget of the process this worker thread belongs to.
    static OF_WORKER: RefCell<Option<Arc<Budget>>> = const { RefCell::new(None) };
}

/// Makes `budget` the one that batches arriving on this thread are counted against.
pub(crate) fn adopt(budget: &Arc<Budget>) {
    OF_WORKER.with_borrow_mut(|own| *own = Some(Arc::clone(budget)));
}

/// Does `run` with `budget` in place of the one adopted before.
pub(crate) fn within<R>(budget: &Arc<Budget>, run: impl FnOnce() -> R) -> R {
    let before = OF_WORKER.replace(Some(Arc::clone(budget)));
    let ran = run();
    OF_WORKER.set(before);
    ran
}

/// Bytes counted against a [`Budget`], and the [`Lane`] they travel on, while this lives.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    lane: Option<u32>,
    bytes: usize,
    handed_over: Cell<bool>,
    /// Of a batch from another process: owed to it when the last charge that came of it is dropped.
    owed: Option<Arc<Owed>>,
}

impl Charge {
    /// Of the engine's own messages: they are few and small, and never held back.
    pub(crate) fn nothing() -> Charge {
        let handed_over = Cell::new(false);
        Charge { budget: None, lane: None, bytes: 0, handed_over, owed: None }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the lane, if it is on one.
    pub(crate) fn lane(&self) -> Option<u32> {
        self.lane
    }

    /// Leaves the bytes counted when this is dropped: their encoding is on its way to another worker,
    /// which takes the count over with [`Charge::take_over`], or to another process, which gives it back.
    pub(crate) fn hand_over(&self) {
        self.handed_over.set(true);
    }

    /// Takes over bytes that the sender left counted; in another process, counts them here as well.
    pub(crate) fn take_over(lane: Option<u32>, bytes: usize) -> Charge {
        let budget = OF_WORKER.with_borrow(Option::clone);
        let handed_over = Cell::new(false);
        match (&budget, lane) {
            (Some(here), Some(away)) if here.is_away(away) => {
                here.count(None, bytes);
                let owed = Owed { budget: Arc::clone(here), lane: away, bytes };
                Charge { budget, lane: None, bytes, handed_over, owed: Some(Arc::new(owed)) }
            }
            _ => Charge { budget, lane, bytes, handed_over, owed: None },
        }
    }

    /// The same once more.
    pub(crate) fn copy(&self) -> Charge {
        self.like(self.bytes)
    }

    /// Counts `bytes` more where these are counted.
    pub(crate) fn like(&self, bytes: usize) -> Charge {
        let Charge { budget, lane, owed, .. } = self;
        if let Some(budget) = budget {
            budget.count(*lane, bytes);
        }
        let (budget, owed, handed_over) = (budget.clone(), owed.clone(), Cell::new(false));
        Charge { budget, lane: *lane, bytes, handed_over, owed }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let (Some(budget), false) = (&self.budget, self.handed_over.get()) {
            budget.release(self.lane, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_workers_stay_counted() {
        let budget = Budget::new(100, 2);
        adopt(&budget);
        let lane = Lane::new(&budget, 1);
        let sent = lane.charge(70);
        sent.hand_over();
        let number = sent.lane();
        drop(sent);
        assert_eq!(budget.used.load(Ordering::Relaxed), 70);
        assert!(!lane.has_room());
        drop(Charge::take_over(number, 70));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(lane.has_room());
    }

    /// Two processes: what one ships stays on its lane until the other is done with it, copies included.
    #[test]
    fn what_went_to_another_process_is_given_back_when_nothing_there_holds_it() {
        let here = Budget::of_process(100, 2, [false, true].into());
        let there = Budget::of_process(100, 2, [true, false].into());
        let lane = Lane::new(&here, 0);
        lane.charge(70).hand_over();

        adopt(&there);
        let arrived = Charge::take_over(Some(0), 70);
        let stored = arrived.like(30);
        assert!(there.exhausted() && here.used.load(Ordering::Relaxed) == 70);
        drop(arrived);
        assert!(!there.owes(), "its storage is not done with it");
        drop(stored);
        assert_eq!(there.used.load(Ordering::Relaxed), 0);

        assert!(there.owes() && !lane.has_room());
        there.settle(|lane, bytes| here.given_back(lane, bytes));
        assert_eq!((here.used.load(Ordering::Relaxed), lane.has_room()), (0, true));
        assert!(!there.owes());
        there.settle(|_, _| panic!("nothing is paid twice"));
    }

    #[test]
    fn nobody_gives_back_more_than_there_is() {
        let here = Budget::of_process(100, 2, [false, true].into());
        Lane::new(&here, 0).charge(10).hand_over();
        for (lane, bytes) in [(0, 70), (1, 5), (9, 5)] {
            here.given_back(lane, bytes);
        }
        assert_eq!(here.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_lane_holds_nobody_else_back() {
        let budget = Budget::new(100, 2);
        let (full, other) = (Lane::new(&budget, 0), Lane::new(&budget, 1));
        let _sent = full.charge(50);
        assert!(!full.has_room() && other.has_room());
        let _kept = other.keep(500);
        assert!(other.has_room(), "what is still with the emitter is not on its way");
        assert!(budget.exhausted(), "but spouts hold back for it");
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(100, 1);
        let a = Lane::new(&budget, 0).charge(60);
        assert!(!budget.exhausted());
        let b = a.copy();
        assert!(budget.exhausted());
        drop(a);
        assert!(!budget.exhausted());
        drop(b);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert_eq!(budget.peak(), 120);
    }
}
