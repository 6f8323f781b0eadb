//! The sink operator: writes commit after commit, publishes what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

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
use crate::batch::{Routed, typed};
use crate::task::{SinkTask, TaskError};

struct Local {
    task: Box<dyn SinkTask>,
    id: TaskId,
    unreported: Epoch,
}

/// The tactic: local tasks, aligned on commits, so that a partition holds commit after commit.
pub(crate) struct Sinks {
    tasks: Vec<Local>,
    local: Vec<Option<usize>>,
    align: Align<Routed>,
}

impl Sinks {
    /// Opened tasks of a component of `tasks_total` tasks.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn SinkTask>)>,
        tasks_total: u32,
        first: Epoch,
    ) -> Sinks {
        let mut local = vec![None; tasks_total as usize];
        for (index, (id, _)) in tasks.iter().enumerate() {
            local[id.task as usize] = Some(index);
        }
        let tasks = tasks.into_iter().map(|(id, task)| Local {
            task,
            id,
            unreported: first.commit_start(),
        });
        Sinks { tasks: tasks.collect(), local, align: Align::new(first) }
    }

    fn write(&mut self, epoch: Epoch, routed: Routed) -> Result<(), TaskError> {
        let index = self.local[routed.task as usize].expect("routed to the task's own worker");
        self.tasks[index].task.write(epoch.commit_start(), routed.batch, &routed.charge)
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
                    if let Control::Committed(upto) = order {
                        let notices = sinks.publish(upto)?;
                        // After the last commit the coordinator does not wait for them.
                        if shared.commits && reports.are_open() {
                            reports.send(notices);
                        }
                    }
                }
                sinks.turn(frontier)?;
                let mut failed = Ok(());
                inputs.for_each(|epoch, routed| {
                    if let Some(routed) = sinks.align.admit(epoch, routed)
                        && failed.is_ok()
                    {
                        failed = sinks.write(epoch, routed);
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
