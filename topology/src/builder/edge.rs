//! Edges to be: where tuples come from, how they find their task, and what they become on the way.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::Tuple;
use crate::batch::{AnyBatch, Batch, Routed, typed};
use crate::component::{OutletOf, Output};
use crate::grouping::{Grouping, MakePartitioner, NoSuchTask, Partitioner, Target};

/// Makes batches of a bolt's input type of what a component emits.
type Turn = Arc<dyn Fn(Box<dyn AnyBatch>) -> Box<dyn AnyBatch> + Send + Sync>;

/// Where edges of tuples of `T` are attached: a component's outlet, or one side of it.
trait Attach<T> {
    /// As the component's edge of this number.
    fn attach(&self, number: usize, make: MakePartitioner<T>);
}

impl<T> Attach<T> for Mutex<OutletOf<T>> {
    fn attach(&self, number: usize, make: MakePartitioner<T>) {
        self.lock().expect("no panic while held").edges.push((number, make));
    }
}

/// Those tuples of an outlet that `pick` takes.
struct Side<T, U> {
    of: Arc<dyn Attach<T>>,
    pick: fn(T) -> Option<U>,
}

impl<T: Tuple, U: Tuple> Attach<U> for Side<T, U> {
    fn attach(&self, number: usize, make: MakePartitioner<U>) {
        let pick = self.pick;
        let make: MakePartitioner<T> =
            Arc::new(move |target: &Target| Box::new(Picking { to: make(target), pick }));
        self.of.attach(number, make);
    }
}

/// Routes those tuples that `pick` takes.
struct Picking<T, U> {
    to: Box<dyn Partitioner<U>>,
    pick: fn(T) -> Option<U>,
}

impl<T: Tuple, U: Tuple> Partitioner<T> for Picking<T, U> {
    fn route(&mut self, batch: Vec<T>, _: usize, out: &mut Vec<Routed>) -> Result<(), NoSuchTask> {
        let picked: Vec<U> = batch.into_iter().filter_map(self.pick).collect();
        if picked.is_empty() {
            return Ok(());
        }
        let bytes = picked.iter().map(Tuple::weight).sum();
        self.to.route(picked, bytes, out)
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        self.to.flush(out);
    }
}

/// One component among those a stream comes from.
pub(crate) struct Origin<T> {
    pub(crate) component: usize,
    /// All of its outlet, unless this is a side or a named output of it.
    pub(crate) outlet: Option<Arc<Mutex<OutletOf<T>>>>,
    /// Its named output, if it is one.
    output: Option<&'static str>,
    to: Arc<dyn Attach<T>>,
}

impl<T> Clone for Origin<T> {
    fn clone(&self) -> Self {
        let to = Arc::clone(&self.to);
        Origin { component: self.component, outlet: self.outlet.clone(), output: self.output, to }
    }
}

impl<T: Tuple> Origin<T> {
    pub(crate) fn new(component: usize, outlet: Arc<Mutex<OutletOf<T>>>) -> Origin<T> {
        Origin { component, outlet: Some(Arc::clone(&outlet)), output: None, to: outlet }
    }

    /// One of its named outputs.
    pub(crate) fn named(
        component: usize,
        output: &Output<T>,
        outlet: Arc<Mutex<OutletOf<T>>>,
    ) -> Origin<T> {
        Origin { component, outlet: None, output: Some(output.name()), to: outlet }
    }

    /// Those of its tuples that `pick` takes.
    pub(crate) fn side<U: Tuple>(&self, pick: fn(T) -> Option<U>) -> Origin<U> {
        let to = Arc::new(Side { of: Arc::clone(&self.to), pick });
        Origin { component: self.component, outlet: None, output: self.output, to }
    }
}

/// An edge that waits for the component it leads to. What its origin emits is put away.
pub(crate) struct Edge {
    /// The component it comes from.
    pub(crate) component: usize,
    /// The named output of that, if it is not the first one.
    pub(crate) output: Option<&'static str>,
    pub(crate) grouping: Grouping,
    /// Which input of the component it leads to.
    pub(crate) side: u32,
    turn: Option<Turn>,
    connect: Rc<dyn Fn(usize, Option<Turn>)>,
}

impl Edge {
    pub(crate) fn new<T: Tuple>(
        origin: &Origin<T>,
        grouping: Grouping,
        make: &MakePartitioner<T>,
    ) -> Edge {
        let (to, make) = (Arc::clone(&origin.to), Arc::clone(make));
        let connect = move |number: usize, turn: Option<Turn>| {
            let make = Arc::clone(&make);
            let make: MakePartitioner<T> = match turn {
                None => make,
                Some(turn) => Arc::new(move |target: &Target| {
                    let turn = Arc::clone(&turn);
                    Box::new(Turning { to: make(target), turn })
                }),
            };
            to.attach(number, make);
        };
        let Origin { component, output, .. } = *origin;
        Edge { component, output, grouping, side: 0, turn: None, connect: Rc::new(connect) }
    }

    /// The same edge to a bolt that takes `U`, of which `turn` makes one of each tuple; its sides are
    /// counted from `side`.
    pub(crate) fn turned<T: Tuple, U: Tuple>(mut self, turn: fn(T) -> U, side: u32) -> Edge {
        let before = self.turn.take();
        let turn = move |mut batch: Box<dyn AnyBatch>| -> Box<dyn AnyBatch> {
            if let Some(before) = &before {
                batch = before(batch);
            }
            let Batch { tuples, hashes } = typed::<T>(batch);
            Box::new(Batch { tuples: tuples.into_iter().map(turn).collect::<Vec<U>>(), hashes })
        };
        self.turn = Some(Arc::new(turn));
        self.side += side;
        self
    }

    /// The same edge to what looks at no key: hashes stay where they were made.
    pub(crate) fn unkeyed<T: Tuple>(mut self) -> Edge {
        let before = self.turn.take();
        self.turn = Some(Arc::new(move |mut batch: Box<dyn AnyBatch>| {
            if let Some(before) = &before {
                batch = before(batch);
            }
            Box::new(Batch { tuples: typed::<T>(batch).tuples, hashes: Vec::new() })
        }));
        self
    }

    /// Adds the edge to those of its origin, as the one of this number.
    pub(crate) fn connect(self, number: usize) {
        (self.connect)(number, self.turn);
    }
}

/// Turns batches once they are routed.
struct Turning<T> {
    to: Box<dyn Partitioner<T>>,
    turn: Turn,
}

impl<T> Turning<T> {
    /// Turns what was appended since there were `before`.
    fn turn(&self, out: &mut Vec<Routed>, before: usize) {
        for routed in out.split_off(before) {
            out.push(Routed { batch: (self.turn)(routed.batch), ..routed });
        }
    }
}

impl<T: Tuple> Partitioner<T> for Turning<T> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let before = out.len();
        self.to.route(batch, bytes, out)?;
        self.turn(out, before);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        let before = out.len();
        self.to.flush(out);
        self.turn(out, before);
    }
}
