//! The sink operator: writes commit after commit, publishes what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret_log::clock;
use egret_schemas::Epoch;
use egret_state::commit::{Durable, TaskId, TaskReport};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;

use super::align::Align;
use super::chunk::Chunk;
use super::compile::Shared;
use super::inputs::{Edge, Inputs, frontier};
use super::pact::Route;
use super::reports::{Control, Notice, Reports};
use super::watched::Watched;
use crate::batch::{Routed, typed};
use crate::task::{SinkTask, TaskError};

struct Local {
    task: Box<dyn SinkTask>,
    id: TaskId,
    unreported: Epoch,
    watched: Watched,
}

/// The tactic: local tasks, aligned on commits, so that a partition holds commit after commit.
pub(crate) struct Sinks {
    tasks: Vec<Local>,
    local: Vec<Option<usize>>,
    align: Align<Routed>,
    /// Whether the tasks were told that the topology ended.
    ended: bool,
}

impl Sinks {
    /// Opened tasks of a component of `tasks_total` tasks.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn SinkTask>, Watched)>,
        tasks_total: u32,
        first: Epoch,
    ) -> Sinks {
        let mut local = vec![None; tasks_total as usize];
        for (index, (id, ..)) in tasks.iter().enumerate() {
            local[id.task as usize] = Some(index);
        }
        let tasks = tasks.into_iter().map(|(id, task, watched)| Local {
            task,
            id,
            watched,
            unreported: first.commit_start(),
        });
        Sinks { tasks: tasks.collect(), local, align: Align::new(first), ended: false }
    }

    /// The topology ended in order.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            for local in &mut self.tasks {
                local.task.end();
                local.watched.closed();
            }
        }
    }

    /// Takes a batch that came in. One of a later commit waits until those before it are closed.
    fn arrived(&mut self, epoch: Epoch, routed: Routed) -> Result<(), TaskError> {
        self.local_of(routed.task).watched.meter().queued(routed.charge.bytes());
        match self.align.admit(epoch, routed) {
            Some(routed) => self.write(epoch, routed),
            None => Ok(()),
        }
    }

    fn write(&mut self, epoch: Epoch, routed: Routed) -> Result<(), TaskError> {
        let Routed { task, batch, charge } = routed;
        let Local { task, watched, .. } = self.local_of(task);
        let (tuples, began) = (batch.len(), clock::now());
        let written = task.write(epoch.commit_start(), batch, &charge);
        watched.meter().dequeued(charge.bytes());
        match &written {
            Ok(()) => {
                watched.meter().took(tuples);
                watched.executed(tuples, clock::now() - began);
            }
            Err(_) => watched.fails(),
        }
        written
    }

    fn local_of(&mut self, task: u32) -> &mut Local {
        let index = self.local[task as usize].expect("routed to the task's own worker");
        &mut self.tasks[index]
    }

    fn turn(&mut self, frontier: Option<Epoch>) -> Result<(), TaskError> {
        while let Some(commit) = self.align.ended(frontier) {
            for (epoch, routed) in self.align.unstash() {
                self.write(epoch, routed)?;
            }
            for local in &mut self.tasks {
                local.task.close(commit)?;
            }
            self.align.advance();
        }
        for (epoch, routed) in self.align.unstash() {
            self.write(epoch, routed)?;
        }
        Ok(())
    }

    fn publish(&mut self, upto: Epoch) -> Result<Vec<Notice>, TaskError> {
        let mut notices = Vec::with_capacity(self.tasks.len());
        for local in &mut self.tasks {
            local.task.publish(upto)?;
            notices.push(Notice::Published { task: local.id, upto });
        }
        Ok(notices)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        self.tasks.iter_mut().try_for_each(|local| local.task.finish())
    }

    fn reports(&mut self) -> Result<(Vec<Notice>, Option<Epoch>), TaskError> {
        let mut notices = Vec::new();
        for local in &mut self.tasks {
            for (commit, ends) in local.task.durable()? {
                assert_eq!(commit, local.unreported, "a task reports commit after commit");
                notices.push(Notice::Report(TaskReport {
                    generation: commit.generation(),
                    task: local.id,
                    commit: commit.commit(),
                    what: Durable::Sink { partitions: BTreeMap::from_iter(ends) },
                }));
                local.unreported =
                    commit.next_commit().expect("the coordinator ends the generation before");
            }
        }
        Ok((notices, self.tasks.iter().map(|local| local.unreported).min()))
    }
}

/// Builds the operator of one sink component. Its first output carries nothing; its frontier is what
/// flow control sees. The order of an activation: publish; close and drain; read; report.
pub(crate) fn build<'s>(
    name: &str,
    scope: Scope<'s, u64>,
    inputs: Vec<Edge<'s>>,
    control: Stream<'s, u64, Chunk>,
    sinks: impl FnOnce(&[usize]) -> Option<Sinks>,
    shared: &Arc<Shared>,
) -> (Stream<'s, u64, Chunk>, Stream<'s, u64, Chunk>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut inputs = Inputs::new(&mut builder, inputs);
    let count = inputs.count();
    let mut control = builder.new_input(control, Route::ToWorker);
    let path = || {
        let data = (0..count).map(|input| (input, Antichain::from_elem(0)));
        data.chain([(count, Antichain::new())]).collect::<Vec<_>>()
    };
    let (_processed, processed_stream) = builder.new_output_connection::<Chunk, _>(path());
    let (reports, report_stream) = builder.new_output_connection::<Chunk, _>(path());
    let sinks = sinks(&builder.operator_info().address);
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let report_cap = caps.pop().expect("one capability per output");
        // The processed port holds nothing back: its frontier is the input's.
        drop(caps);
        let mut reports = Reports::new(OutputBuilder::from(reports), report_cap, shared.first);
        let mut sinks = sinks;
        if sinks.as_ref().is_none_or(|s| s.tasks.is_empty()) {
            reports.end();
            sinks = None;
        }
        move |frontiers| {
            let mut orders = Vec::new();
            control.for_each(|_, chunk| {
                orders.extend(typed::<Control>(chunk.take().batch).tuples);
            });
            let Some(sinks) = sinks.as_mut().filter(|_| !shared.has_failed()) else { return };
            let frontier = frontier(&frontiers[..count]);
            let step = || -> Result<(), TaskError> {
                for order in orders {
                    match order {
                        Control::Committed(upto) => {
                            let notices = sinks.publish(upto)?;
                            // After the last commit the coordinator does not wait for them.
                            if shared.commits && reports.are_open() {
                                reports.send(notices);
                            }
                        }
                        Control::Finish => sinks.finish()?,
                        Control::Open(_) | Control::Drain | Control::Active(_) => {}
                    }
                }
                sinks.turn(frontier)?;
                let mut failed = Ok(());
                inputs.for_each(|epoch, routed| {
                    if failed.is_ok() {
                        failed = sinks.arrived(epoch, routed);
                    }
                });
                failed?;
                let (notices, unreported) = sinks.reports()?;
                // At-most-once has no record to make of them, yet its end waits for what is written.
                if shared.commits {
                    reports.send(notices);
                }
                if let Some(commit) = unreported {
                    reports.advance(commit);
                }
                if frontier.is_none() {
                    reports.end();
                    sinks.end();
                }
                Ok(())
            };
            if let Err(error) = step() {
                shared.fail(error.into());
            }
        }
    });
    (processed_stream, report_stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    use egret_schemas::Generation;

    use crate::batch::AnyBatch;
    use crate::budget::Charge;
    use crate::task::{DurableOutput, SinkEnds};

    /// Notes what it is asked to do.
    struct Noted(Rc<RefCell<Vec<String>>>);

    impl SinkTask for Noted {
        fn open(&mut self, _: &SinkEnds) -> Result<(), TaskError> {
            Ok(())
        }
        fn write(
            &mut self,
            commit: Epoch,
            batch: Box<dyn AnyBatch>,
            _: &Charge,
        ) -> Result<(), TaskError> {
            let tuples = typed::<u64>(batch).tuples;
            self.0.borrow_mut().push(format!("{tuples:?} in {commit}"));
            Ok(())
        }
        fn close(&mut self, commit: Epoch) -> Result<(), TaskError> {
            self.0.borrow_mut().push(format!("end of {commit}"));
            Ok(())
        }
        fn durable(&mut self) -> Result<Vec<DurableOutput>, TaskError> {
            Ok(Vec::new())
        }
        fn publish(&mut self, _: Epoch) -> Result<(), TaskError> {
            Ok(())
        }
        fn end(&mut self) {}
    }

    #[test]
    fn output_of_a_later_commit_waits_until_the_one_before_is_closed() {
        let noted = Rc::<RefCell<Vec<String>>>::default();
        let at = |commit, micro| Epoch::new(Generation(1), commit, micro);
        let task: Box<dyn SinkTask> = Box::new(Noted(Rc::clone(&noted)));
        let id = TaskId { component: 0, task: 0 };
        let mut sinks = Sinks::new(vec![(id, task, Watched::default())], 1, at(0, 0));
        for (epoch, n) in [(at(0, 3), 1u64), (at(2, 0), 2), (at(1, 0), 3), (at(0, 4), 4)] {
            sinks.arrived(epoch, Routed::message(0, vec![n])).unwrap();
        }
        sinks.turn(Some(at(0, 9))).unwrap();
        assert_eq!(noted.take(), ["[1] in G1.0.0", "[4] in G1.0.0"]);
        sinks.turn(Some(at(1, 0))).unwrap();
        assert_eq!(noted.take(), ["end of G1.0.0", "[3] in G1.1.0"]);
        sinks.turn(Some(at(2, 0))).unwrap();
        assert_eq!(noted.take(), ["end of G1.1.0", "[2] in G1.2.0"]);
    }
}
