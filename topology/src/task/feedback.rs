//! Where a cycle is cut: tuples leave at one end, and come back at the other one, task by task on the same worker.
//!
//! ```text
//!   bolts ──▶ [Leaving: task n, keeps state] ──▶ Round ──▶ [Returning: task n, emits like a spout] ──▶ bolts
//! ```
//! No edge leads from the one to the other, so timely knows of no cycle: what comes back is emitted at whatever epoch
//! spouts are in then. That is right because a commit is a cut, and both ends stand on the same side of it:
//! * what came in is of the commit that is open at the leaving end, the oldest; the returning end has not left that one
//!   yet, for its capability is among those that hold the frontier there. So a tuple goes out in the commit it came in
//!   with, or a later one, never an earlier one;
//! * when a commit closes at the leaving end, the returning end has left it for good. So it is known by then what was
//!   emitted in it and before. The state as of the commit is what came in up to it, less that;
//! * what is emitted in later commits stays here until those close: their commits have to forget it, this one has not.
//!
//! A restart begins with what the state has, and emits it in its first commits. Nothing else is kept: what came in and
//! is of no commit yet goes with its generation.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use egret_log::message::Wake;
use egret_schemas::{EntryAddress, Epoch};
use egret_state::commit::{Mark, Slice};
use egret_state::keyed::ListState;

use super::{BoltTask, SpoutTask, StateLog, Stateful, TaskError, guard};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::budget::{Held, Lane};
use crate::builder::Env;
use crate::component::{
    ComponentResult, Context, Emitter, Next, Outlet, Outlets, Positions, Rescale, StatefulBolt,
    TaskId,
};

/// What is on its way round from one task to the other one.
struct Round<T> {
    /// What came in, in order, as far as it is not forgotten.
    tuples: VecDeque<T>,
    /// How many came before those.
    forgotten: u64,
    /// How many were emitted, of all that ever came.
    emitted: u64,
    /// Up to where that was at the end of each commit in which anything was emitted; the last one is under way.
    emitted_in: VecDeque<(Epoch, u64)>,
    /// The commit in which is emitted.
    open: Epoch,
    /// Bytes counted, each up to the tuple of this number.
    held: VecDeque<(u64, Held)>,
    /// Has what is there emitted.
    wake: Wake,
}

type Shared<T> = Rc<RefCell<Round<T>>>;

impl<T: Tuple> Round<T> {
    fn new(wake: Wake) -> Shared<T> {
        Rc::new(RefCell::new(Round {
            tuples: VecDeque::new(),
            forgotten: 0,
            emitted: 0,
            emitted_in: VecDeque::new(),
            open: Epoch(0),
            held: VecDeque::new(),
            wake,
        }))
    }

    /// How many came, ever.
    fn came(&self) -> u64 {
        self.forgotten + self.tuples.len() as u64
    }

    /// Takes what came in.
    fn take(&mut self, tuples: impl IntoIterator<Item = T>, lane: Option<&Lane>) {
        let before = self.tuples.len();
        self.tuples.extend(tuples);
        if self.tuples.len() > before {
            if let Some(lane) = lane {
                let bytes = self.tuples.range(before..).map(Tuple::weight).sum();
                self.held.push_back((self.came(), lane.hold(bytes)));
            }
            (self.wake)();
        }
    }

    /// The next tuple to emit. It stays here until the commit closes.
    fn next(&mut self) -> Option<T> {
        let tuple = self.tuples.get(index(self.emitted - self.forgotten))?.clone();
        self.emitted += 1;
        match self.emitted_in.back_mut() {
            Some((commit, upto)) if *commit == self.open => *upto = self.emitted,
            _ => self.emitted_in.push_back((self.open, self.emitted)),
        }
        Some(tuple)
    }

    /// Forgets what was emitted in `commit` and before, which is over; up to where that is.
    fn forget(&mut self, commit: Epoch) -> u64 {
        assert!(
            self.open > commit,
            "a commit closes where tuples leave after they came back in it"
        );
        let mut upto = self.forgotten;
        while self.emitted_in.front().is_some_and(|(of, _)| *of <= commit) {
            upto = self.emitted_in.pop_front().map_or(upto, |(_, upto)| upto);
        }
        self.tuples.drain(..index(upto - self.forgotten));
        self.forgotten = upto;
        while self.held.front().is_some_and(|(last, _)| *last <= upto) {
            self.held.pop_front();
        }
        upto
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("there are as many tuples, in memory")
}

/// Where tuples come back.
pub(crate) struct Returning<T> {
    round: Shared<T>,
    emitter: Emitter<T>,
    cx: Context,
}

impl<T: Tuple> Returning<T> {
    pub(crate) fn new(emitter: Emitter<T>, cx: Context) -> Self {
        Returning { round: Round::new(cx.waker()), emitter, cx }
    }
}

impl<T: Tuple> SpoutTask for Returning<T> {
    fn open(&mut self, _: &Positions) -> Result<(), TaskError> {
        Ok(())
    }

    fn opens(&mut self, epoch: Epoch) {
        self.round.borrow_mut().open = epoch.commit_start();
    }

    fn round(&self) -> Option<Rc<dyn Any>> {
        Some(Rc::new(Rc::clone(&self.round)))
    }

    fn next(&mut self, bytes: usize) -> Result<Next, TaskError> {
        let Returning { round, emitter, cx } = self;
        let before = emitter.bytes();
        guard(&cx.id, || {
            while emitter.bytes() - before < bytes {
                // Groupings may be code of the user's: nothing is borrowed meanwhile.
                let Some(tuple) = round.borrow_mut().next() else { return Ok(Next::Idle) };
                emitter.emit(tuple);
            }
            Ok(Next::More)
        })
    }

    fn positions(&self) -> Positions {
        Positions::new()
    }

    fn committed(&mut self, _: &Positions) -> Result<(), TaskError> {
        Ok(())
    }

    fn mark(&mut self) -> Option<(Mark, Option<std::time::Duration>)> {
        None
    }

    fn activate(&mut self, _: bool) -> Result<(), TaskError> {
        Ok(())
    }

    fn end(&mut self) {}

    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.emitter
    }
}

/// What the state of a task where tuples leave is.
pub(crate) struct OnItsWay<T>(PhantomData<fn(T)>);

impl<T> Default for OnItsWay<T> {
    fn default() -> Self {
        OnItsWay(PhantomData)
    }
}

impl<T: Tuple> StatefulBolt<T, T> for OnItsWay<T> {
    type State = ListState<T>;

    fn execute(
        &mut self,
        list: &mut ListState<T>,
        tuple: T,
        _: &mut Emitter<T>,
        _: &Context,
    ) -> ComponentResult {
        list.push(tuple);
        Ok(())
    }

    fn rescale(&self) -> Rescale<ListState<T>> {
        Rescale::items()
    }
}

/// More goes round than may be under way at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "{held} bytes are on their way round in cycles, of {max} that may be under way at all: send back fewer tuples than come, or raise `in_flight_bytes_max`"
)]
pub(crate) struct RoundsOverflow {
    held: usize,
    max: usize,
}

/// Where tuples leave for the other end.
pub(crate) struct Leaving<T: Tuple> {
    of: Stateful<T, T, OnItsWay<T>>,
    round: Shared<T>,
    cx: Context,
    /// What counts the bytes; known once the other end is.
    lane: Option<Lane>,
    /// Whether what is on its way is kept in state.
    keeps: bool,
    forgets: bool,
    /// Numbers of the tuples that the state has.
    listed: Range<u64>,
    work: std::vec::IntoIter<T>,
    /// The last commit that closed.
    closed: Option<Epoch>,
    /// The commits that closed and were not told of, and whether there was anything on its way as of them.
    held: Vec<(Epoch, bool)>,
}

impl<T: Tuple> Leaving<T> {
    pub(crate) fn new(out: Outlets<T, T>, cx: Context, env: &Env, log: Option<StateLog>) -> Self {
        let keeps = log.is_some();
        let of = Stateful::new(OnItsWay::default(), out, cx.clone(), env, log);
        Leaving {
            of,
            round: Round::new(cx.waker()),
            cx,
            lane: None,
            keeps,
            forgets: env.faults.forget_rounds,
            listed: 0..0,
            work: Vec::new().into_iter(),
            closed: None,
            held: Vec::new(),
        }
    }

    /// Has what the state has go on from here.
    fn go_on_from_state(&mut self) {
        let Leaving { of, round, lane, listed, forgets, .. } = self;
        let mut round = round.borrow_mut();
        let Some(list) = of.state() else { return };
        *listed = 0..list.len() as u64;
        if *forgets {
            (round.forgotten, round.emitted) = (listed.end, listed.end);
        } else {
            round.take(list.iter().cloned(), lane.as_ref());
        }
    }

    /// Makes the state what it is as of `commit`; whether that is anything.
    fn settle_round(&mut self, commit: Epoch) -> bool {
        let mut round = self.round.borrow_mut();
        let upto = round.forget(commit);
        let came = round.came();
        if self.keeps && self.listed != (upto..came) {
            let list = self.of.state_mut();
            for _ in self.listed.start..upto.min(self.listed.end) {
                list.pop_front();
            }
            let new = self.listed.end.max(upto) - upto;
            round.tuples.range(index(new)..).for_each(|tuple| list.push(tuple.clone()));
            self.listed = upto..came;
        }
        came > upto
    }
}

impl<T: Tuple> BoltTask for Leaving<T> {
    fn id(&self) -> &TaskId {
        self.of.id()
    }

    fn open(&mut self) -> Result<(), TaskError> {
        self.of.open()
    }

    fn feeds(&mut self, round: &dyn Any, lane: Lane) {
        self.lane = Some(lane);
        let round = round.downcast_ref::<Shared<T>>();
        self.round = Rc::clone(round.expect("both ends were made for tuples of one type"));
    }

    fn reads(&mut self, before: u32) -> Option<Range<u32>> {
        self.of.reads(before)
    }

    fn revive(&mut self, commit: Epoch) -> bool {
        let revived = self.of.revive(commit);
        if revived {
            self.go_on_from_state();
        }
        revived
    }

    fn restore(
        &mut self,
        at: EntryAddress,
        entry: &[u8],
        takes: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        self.of.restore(at, entry, takes)
    }

    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        self.of.restored_ledger()
    }

    fn restored(&mut self, commit: Epoch) -> Result<(), TaskError> {
        self.of.restored(commit)?;
        self.go_on_from_state();
        Ok(())
    }

    fn begin(&mut self, batch: Box<dyn AnyBatch>) {
        assert_eq!(self.work.len(), 0, "one batch is done before the next begins");
        self.work = typed::<T>(batch).tuples.into_iter();
    }

    fn go_on(&mut self) -> Result<bool, TaskError> {
        let Leaving { round, cx, lane, work, .. } = self;
        guard(&cx.id, || {
            round.borrow_mut().take(work, lane.as_ref());
            match lane.as_ref().and_then(Lane::holds_too_much) {
                Some((held, max)) => Err(RoundsOverflow { held, max }.into()),
                None => Ok(()),
            }
        })?;
        Ok(true)
    }

    fn close(&mut self, commit: Epoch) -> Result<bool, TaskError> {
        if self.closed.replace(commit) != Some(commit) {
            let held = self.settle_round(commit);
            self.held.push((commit, held));
        }
        self.of.close(commit)
    }

    fn held(&mut self) -> Vec<(Epoch, bool)> {
        std::mem::take(&mut self.held)
    }

    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        self.of.durable()
    }

    fn committed(&mut self, commit: Epoch) {
        self.of.committed(commit);
    }

    fn stateful(&self) -> bool {
        true
    }

    fn outlet(&mut self) -> &mut dyn Outlet {
        self.of.outlet()
    }
}
