//! A round of ticks that is held up until its commit closed goes on in the next one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use std::vec::Drain;

use egret_schemas::{Epoch, Generation};
use egret_state::commit::TaskId as PlanId;

use super::chain::{Bolts, Left};
use super::outputs::Outputs;
use super::stage::Stage;
use super::watched::Watched;
use crate::batch::{AnyBatch, Routed};
use crate::component::{Outlet, TaskId};
use crate::task::{BoltTask, TaskError};

/// What its consumers have room for.
#[derive(Default)]
struct Lane {
    has_room: Cell<bool>,
}

/// Emits one tuple at each tick, which waits until there is room, and says which commit it closed.
struct Ticking {
    id: TaskId,
    closed: Rc<Cell<u32>>,
    out: Packed,
}

struct Packed {
    lane: Rc<Lane>,
    packed: bool,
    emitted: u64,
    ready: Vec<Routed>,
}

impl Outlet for Packed {
    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    fn has(&self, _: usize) -> bool {
        false
    }
    fn take(&mut self, _: usize) -> Drain<'_, Routed> {
        self.ready.drain(..)
    }
    fn taken(&mut self) -> bool {
        self.packed
    }
    fn refill(&mut self) -> Result<(), TaskError> {
        self.packed = false;
        Ok(())
    }
    fn has_room(&self) -> bool {
        self.lane.has_room.get()
    }
    fn is_ready(&self) -> bool {
        false
    }
    fn totals(&self) -> (u64, usize) {
        (self.emitted, 0)
    }
    fn emitted(&self) -> u64 {
        self.emitted
    }
}

impl BoltTask for Ticking {
    fn id(&self) -> &TaskId {
        &self.id
    }
    fn open(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    fn begin(&mut self, _: Box<dyn AnyBatch>) {
        unreachable!("nothing is sent to it")
    }
    fn go_on(&mut self) -> Result<bool, TaskError> {
        Ok(true)
    }
    fn close(&mut self, commit: Epoch) -> Result<bool, TaskError> {
        self.closed.set(commit.commit());
        Ok(true)
    }
    fn tick(&mut self) -> Result<(), TaskError> {
        (self.out.packed, self.out.emitted) = (true, self.out.emitted + 1);
        Ok(())
    }
    fn outlet(&mut self) -> &mut dyn Outlet {
        &mut self.out
    }
}

#[test]
fn a_round_of_ticks_that_outlasts_its_commit_goes_on_in_the_next() {
    let at = |commit| Epoch::new(Generation(1), commit, 0);
    let (lane, closed) = (Rc::<Lane>::default(), Rc::new(Cell::new(0)));
    let task = |number| {
        let out = Packed { lane: Rc::clone(&lane), packed: false, emitted: 0, ready: Vec::new() };
        let id = TaskId { component: "ticks".into(), task: number };
        let task = Ticking { id, closed: Rc::clone(&closed), out };
        let id = PlanId { component: 0, task: number };
        (id, Box::new(task) as Box<dyn BoltTask>, Watched::default())
    };
    let stage = Stage::new(vec![task(0), task(1)], at(1), None).ticking(Some(Duration::ZERO));
    let mut bolts = Bolts::new(vec![stage], 2, at(1));
    let mut outputs = Outputs::new(Vec::new(), Vec::new(), at(1));
    // The first one ticked, and there is no room for what it emitted.
    assert_eq!(bolts.work(Some(at(1)), &mut outputs).unwrap(), Left::Filled);
    assert_eq!((bolts.take_ticked(), closed.get()), (Some(at(1)), 0));
    // The commit is over, and there is room.
    lane.has_room.set(true);
    bolts.work(Some(at(2)), &mut outputs).unwrap();
    assert_eq!((bolts.take_ticked(), closed.get()), (Some(at(2)), 1), "of what is open then");
}
