//! What a keyed task does because it is time, or was asked to for a key: timers that are due, keys that expire, keys
//! that are forgotten.
//!
//! All of it happens where a commit closes, and is part of that commit. What is due then is looked up once, in
//! order of time and then key, processing time first. So many timers of processing time are fired, and what is left
//! is due at the next commit, so that input gets its turn. Those of event time are fired all: what they emit is on
//! time for whoever follows the same watermark in this commit, and would be late in the next. A timer set meanwhile
//! waits for the next commit.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::key::hash;
use egret_state::keyed::backing::Backing;
use egret_state::keyed::key::Key;
use egret_state::keyed::schedule::{Due, Kind, Schedule};
use egret_state::keyed::state::State;
use egret_state::keyed::table::KeyedTable;

use crate::component::{ComponentResult, Context, TimeOf, TimeToLive, Timer};

/// Timers of processing time a task fires in one commit, and keys it lets expire.
const DUE_PER_COMMIT_MAX: usize = 1 << 14;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ByTime {
    pub(super) schedule: Schedule,
    ttl: Option<TimeToLive>,
    /// While a commit closes: what is left to fire.
    firing: Option<VecDeque<(Arc<[u8]>, Due)>>,
    /// While a commit closes: keys that are to be forgotten, encoded.
    forgotten: Vec<Box<[u8]>>,
    /// A key's encoding.
    scratch: Vec<u8>,
}

impl ByTime {
    pub(super) fn new(ttl: Option<TimeToLive>) -> ByTime {
        ByTime { ttl, ..ByTime::default() }
    }

    /// Takes up what a call for `key` asked for. Whether its state is to go.
    #[cold]
    pub(super) fn take_up<K: Key + ?Sized>(
        &mut self,
        key: &K,
        cx: &Context,
    ) -> ComponentResult<bool> {
        self.scratch.clear();
        key.encode(&mut self.scratch);
        self.take_up_for(None, cx)
    }

    /// As [`take_up`](ByTime::take_up), while all that changed is gone through: the state goes
    /// [afterwards](ByTime::forget).
    #[cold]
    pub(super) fn take_up_later<K: Key + ?Sized>(
        &mut self,
        key: &K,
        cx: &Context,
    ) -> ComponentResult {
        if self.take_up(key, cx)? {
            self.forgotten.push(self.scratch.as_slice().into());
        }
        Ok(())
    }

    fn take_up_for(&mut self, key: Option<&[u8]>, cx: &Context) -> ComponentResult<bool> {
        let asked = cx.timers.take();
        let key = key.unwrap_or(&self.scratch);
        if asked.forget {
            self.schedule.forget(key);
            return Ok(true);
        }
        for (timer, set) in asked.timers {
            match set {
                true => self.schedule.set(key, timer.due())?,
                false => {
                    self.schedule.cancel(key, timer.due());
                }
            }
        }
        Ok(false)
    }

    /// Removes what was to be forgotten.
    pub(super) fn forget<K: Key + ?Sized, S: State, B: Backing>(
        &mut self,
        table: &mut KeyedTable<K, S, B>,
    ) -> ComponentResult {
        for bytes in std::mem::take(&mut self.forgotten) {
            let key = K::decode(&bytes)?;
            let slot = table.reach(hash(&bytes), key.borrow())?;
            table.remove(slot);
        }
        Ok(())
    }

    /// What is due when a commit closes, looked up once.
    fn look(&mut self, cx: &Context) -> &mut VecDeque<(Arc<[u8]>, Due)> {
        let ByTime { schedule, firing, .. } = self;
        firing.get_or_insert_with(|| {
            if schedule.is_empty() {
                return VecDeque::new();
            }
            let now = schedule.due(Kind::ProcessingTime, cx.processing_time(), DUE_PER_COMMIT_MAX);
            let mut due: VecDeque<_> = now.collect();
            if let Some(watermark) = cx.watermark() {
                due.extend(schedule.due(Kind::EventTime, watermark, usize::MAX));
            }
            due
        })
    }

    /// The next timer to fire in the commit that closes, taken out of the schedule, with its key's encoding.
    pub(super) fn next(&mut self, cx: &Context) -> Option<(Arc<[u8]>, Timer)> {
        let hides = self.hides(cx);
        loop {
            let (key, due) = self.look(cx).pop_front()?;
            if hides.is_some_and(|now| self.schedule.expiry(&key).is_some_and(|ms| ms <= now)) {
                continue;
            }
            // One before may have cancelled it.
            if let Some(timer) = Timer::of_due(due).filter(|_| self.schedule.cancel(&key, due)) {
                return Some((key, timer));
            }
        }
    }

    /// Takes up what a timer's call asked for. Whether the key's state is to go.
    pub(super) fn take_up_fired(&mut self, key: &[u8], cx: &Context) -> ComponentResult<bool> {
        if cx.timers.is_pending() { self.take_up_for(Some(key), cx) } else { Ok(false) }
    }

    /// The commit is closed.
    pub(super) fn closed(&mut self) {
        self.firing = None;
    }

    fn ttl_now(&self, cx: &Context) -> Option<(TimeToLive, i64)> {
        let ttl = self.ttl?;
        let now = match ttl.of {
            TimeOf::Processing => cx.processing_time(),
            TimeOf::Event => cx.watermark()?,
        };
        Some((ttl, now))
    }

    /// The time now, for a task that hides keys that expired.
    pub(super) fn hides(&self, cx: &Context) -> Option<i64> {
        self.ttl_now(cx).filter(|(ttl, _)| ttl.hidden).map(|(_, now)| now)
    }

    /// Removes `key` if it expired and is there still.
    pub(super) fn hide<K: Key + ?Sized, S: State, B: Backing>(
        &mut self,
        table: &mut KeyedTable<K, S, B>,
        hash: u64,
        key: &K,
        now: i64,
    ) -> ComponentResult {
        self.scratch.clear();
        key.encode(&mut self.scratch);
        if self.schedule.expiry(&self.scratch).is_some_and(|ms| ms <= now) {
            let slot = table.reach(hash, key)?;
            table.remove(slot);
            self.schedule.forget(&self.scratch);
        }
        Ok(())
    }

    /// When a commit closes and everything that changes in it did: gives the keys that changed their time, and
    /// removes those whose time has come.
    pub(super) fn expire<K: Key + ?Sized, S: State, B: Backing>(
        &mut self,
        table: &mut KeyedTable<K, S, B>,
        cx: &Context,
    ) -> ComponentResult {
        let Some((ttl, now)) = self.ttl_now(cx) else { return Ok(()) };
        let ByTime { schedule, scratch, .. } = self;
        let due = Due { kind: Kind::Expiry, ms: ttl.expiry(now), tag: 0 };
        table.for_each_dirty(0, |key, _| {
            scratch.clear();
            key.encode(scratch);
            let keeps = ttl.since_creation && schedule.expiry(scratch).is_some();
            if !keeps {
                schedule.set(scratch, due)?;
            }
            Ok::<_, crate::ComponentError>(std::ops::ControlFlow::Continue(()))
        })?;
        let expired: Vec<_> = schedule.due(Kind::Expiry, now, DUE_PER_COMMIT_MAX).collect();
        for (bytes, _) in expired {
            let key = K::decode(&bytes)?;
            let key: &K = key.borrow();
            let slot = table.reach(hash(&bytes), key)?;
            table.remove(slot);
            schedule.forget(&bytes);
        }
        Ok(())
    }

    /// In how long something is due, if it is known; nothing is due by event time but what was left.
    pub(super) fn until_due(&self, cx: &Context) -> Option<Duration> {
        if self.schedule.is_empty() {
            return None;
        }
        let now = cx.processing_time();
        let wait =
            |ms: i64| Duration::from_millis(u64::try_from(ms.saturating_sub(now)).unwrap_or(0));
        let by_event = |kind| {
            let due = self.schedule.first(kind).zip(cx.watermark()).is_some_and(|(ms, w)| ms <= w);
            due.then_some(Duration::ZERO)
        };
        let expiry = match self.ttl.map(|ttl| ttl.of) {
            Some(TimeOf::Processing) => self.schedule.first(Kind::Expiry).map(wait),
            Some(TimeOf::Event) => by_event(Kind::Expiry),
            None => None,
        };
        let timer = self.schedule.first(Kind::ProcessingTime).map(wait);
        [timer, by_event(Kind::EventTime), expiry].into_iter().flatten().min()
    }
}
