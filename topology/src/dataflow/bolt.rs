//! The bolt operator, with and without state.

use std::sync::Arc;

use egret_schemas::Epoch;
use egret_state::commit::{Durable, TaskId, TaskReport};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::align::Align;
use super::chunk::Chunk;
use super::compile::Shared;
use super::outputs::Outputs;
use super::pact::Route;
use super::reports::{Notice, Reports};
use crate::batch::Routed;
use crate::task::{BoltTask, TaskError};

/// One local task, and the commit it has to report next.
struct Local {
    task: Box<dyn BoltTask>,
    id: TaskId,
    unreported: Epoch,
}

/// The tactic: local tasks, aligned on commits.
pub(crate) struct Bolts {
    tasks: Vec<Local>,
    /// Index into `tasks` by task number.
    local: Vec<Option<usize>>,
    align: Align<Routed>,
    /// The epoch of what lies in the outlets.
    emitting: Epoch,
    stateful: bool,
}

impl Bolts {
    /// Opened and restored tasks of a component of `tasks_total` tasks.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn BoltTask>)>,
        tasks_total: u32,
        first: Epoch,
    ) -> Bolts {
        let mut local = vec![None; tasks_total as usize];
        for (index, (id, _)) in tasks.iter().enumerate() {
            local[id.task as usize] = Some(index);
        }
        let stateful = tasks.first().is_some_and(|(_, task)| task.stateful());
        let tasks = tasks.into_iter().map(|(id, task)| Local {
            task,
            id,
            unreported: first.commit_start(),
        });
        Bolts { tasks: tasks.collect(), local, align: Align::new(first), emitting: first, stateful }
    }

    fn execute(
        &mut self,
        epoch: Epoch,
        routed: Routed,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if epoch != self.emitting {
            self.ship(outputs);
            self.emitting = epoch;
        }
        let index = self.local[routed.task as usize].expect("routed to the task's own worker");
        let task = &mut self.tasks[index].task;
        task.execute(routed.batch)?;
        outputs.ship(task.outlet(), epoch);
        Ok(())
    }

    fn ship(&mut self, outputs: &mut Outputs) {
        for local in &mut self.tasks {
            local.task.outlet().finish();
            outputs.ship(local.task.outlet(), self.emitting);
        }
    }

    /// Closes what the frontier left, then drains the stash of what is now oldest.
    fn turn(&mut self, frontier: Option<Epoch>, outputs: &mut Outputs) -> Result<(), TaskError> {
        while let Some(commit) = self.align.ended(frontier) {
            for (epoch, routed) in self.align.unstash() {
                self.execute(epoch, routed, outputs)?;
            }
            self.ship(outputs);
            // Results of the commit as a whole leave at its latest epoch still open here: the frontier
            // may have gone on inside the commit since the last tuple.
            self.emitting = self.emitting.max(commit).max(outputs.earliest());
            for local in &mut self.tasks {
                local.task.close(commit)?;
            }
            self.ship(outputs);
            self.align.advance();
        }
        for (epoch, routed) in self.align.unstash() {
            self.execute(epoch, routed, outputs)?;
        }
        Ok(())
    }

    /// What became durable, and the oldest commit still to be reported.
    fn reports(&mut self) -> Result<(Vec<Notice>, Option<Epoch>), TaskError> {
        let mut notices = Vec::new();
        for local in &mut self.tasks {
            for (commit, slices) in local.task.durable()? {
                assert_eq!(commit, local.unreported, "a task reports commit after commit");
                notices.push(Notice::Report(TaskReport {
                    generation: commit.generation(),
                    task: local.id,
                    commit: commit.commit(),
                    what: Durable::State { slices },
                }));
                local.unreported =
                    commit.next_commit().expect("the coordinator ends the generation before");
            }
        }
        Ok((notices, self.tasks.iter().map(|local| local.unreported).min()))
    }
}

/// Builds the operator of one bolt component. The order of an activation: close the commits the
/// frontier left and drain the stash; read input; ship; report; only then move capabilities.
pub(crate) fn build<'s>(
    name: &str,
    scope: Scope<'s, u64>,
    (input, route): (Stream<'s, u64, Chunk>, Route),
    edges: usize,
    bolts: impl FnOnce(&[usize]) -> Option<Bolts>,
    shared: &Arc<Shared>,
) -> (Vec<Stream<'s, u64, Chunk>>, Stream<'s, u64, Chunk>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut input = builder.new_input(input, route);
    let mut streams = Vec::with_capacity(edges);
    let mut ports = Vec::with_capacity(edges);
    for _ in 0..edges {
        let (port, stream) = builder.new_output::<Chunk>();
        ports.push(OutputBuilder::from(port));
        streams.push(stream);
    }
    let (reports, report_stream) = builder.new_output::<Chunk>();
    let bolts = bolts(&builder.operator_info().address);
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let report_cap = caps.pop().expect("one capability per output");
        let mut outputs = Outputs::new(ports, caps, shared.first);
        let mut reports =
            Reports::new(OutputBuilder::from(reports), report_cap, shared.first, &shared.budget);
        let mut bolts = bolts;
        if !bolts.as_ref().is_some_and(|b| b.stateful && shared.commits) {
            reports.end();
        }
        if bolts.as_ref().is_none_or(|b| b.tasks.is_empty()) {
            outputs.end();
            bolts = None;
        }
        move |frontiers| {
            let Some(bolts) = bolts.as_mut().filter(|_| !shared.has_failed()) else { return };
            let frontier = frontiers[0].frontier().first().copied().map(Epoch);
            let mut step = || -> Result<(), TaskError> {
                bolts.turn(frontier, &mut outputs)?;
                let mut failed = Ok(());
                input.for_each(|cap, chunk| {
                    let epoch = Epoch(*cap.least().expect("everything is sent under a capability"));
                    if let Some(routed) = bolts.align.admit(epoch, chunk.take())
                        && failed.is_ok()
                    {
                        failed = bolts.execute(epoch, routed, &mut outputs);
                    }
                });
                failed?;
                bolts.ship(&mut outputs);
                let (notices, unreported) = bolts.reports()?;
                if let (Some(commit), true, true) = (unreported, shared.commits, bolts.stateful) {
                    reports.send(notices);
                    reports.advance(commit);
                }
                match frontier {
                    Some(frontier) => outputs.advance(frontier),
                    None => {
                        outputs.end();
                        reports.end();
                    }
                }
                Ok(())
            };
            if let Err(error) = step() {
                shared.fail(error.into());
            }
        }
    });
    (streams, report_stream)
}
