//! The bolt operator, with and without state: what moves capabilities around a [chain](super::chain) of bolts.

use std::sync::Arc;
use std::time::Duration;

use egret_schemas::Epoch;
use egret_state::commit::TaskId;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::alarm::Alarm;
use super::chain::{Bolts, Left};
use super::chunk::Chunk;
use super::compile::Shared;
use super::inputs::{Edge, Inputs, frontier};
use super::marks::Said;
use super::outputs::Outputs;
use super::pact::Route;
use super::reports::{Notice, Reports};
use crate::batch::typed;
use crate::task::TaskError;

/// How long a task whose lane is full waits before it looks again, when its consumers are on other
/// workers: nothing wakes it.
const LANE_FULL: Duration = Duration::from_millis(1);

/// Builds the operator of one bolt component, or of several that are one; `edges` leave it, each as the component's place
/// among them and its edge there. `marks` are those of the spouts that give it event time, if
/// any do. The order of an activation: read input; work on it, close
/// the commits the frontier left and drain their stash, shipping slice by slice; report; only then move
/// capabilities, not past what is left.
pub(crate) fn build<'s>(
    name: &str,
    scope: Scope<'s, u64>,
    (inputs, marks): (Vec<Edge<'s>>, Option<Stream<'s, u64, Chunk>>),
    edges: &[(usize, usize)],
    bolts: impl FnOnce(&[usize]) -> Option<Bolts>,
    shared: &Arc<Shared>,
) -> (Vec<Stream<'s, u64, Chunk>>, Stream<'s, u64, Chunk>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut inputs = Inputs::new(&mut builder, inputs);
    let mut marks = marks.map(|marks| builder.new_input(marks, Route::ToWorker));
    let mut streams = Vec::with_capacity(edges.len());
    let mut ports = Vec::with_capacity(edges.len());
    for from in edges {
        let (port, stream) = builder.new_output::<Chunk>();
        ports.push((*from, OutputBuilder::from(port)));
        streams.push(stream);
    }
    let (reports, report_stream) = builder.new_output::<Chunk>();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let bolts = bolts(&address);
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let report_cap = caps.pop().expect("one capability per output");
        let mut outputs = Outputs::of_chain(ports, caps, shared.first);
        let mut reports = Reports::new(OutputBuilder::from(reports), report_cap, shared.first);
        let mut bolts = bolts;
        let mut alarm = Alarm::default();
        // One without state reports nothing, but that it ticked.
        if !bolts.as_ref().is_some_and(|b| b.is_stateful() || b.ticks()) {
            reports.end();
        }
        if bolts.as_ref().is_none_or(|b| b.is_empty()) {
            outputs.end();
            bolts = None;
        }
        move |frontiers| {
            let mut said: Vec<(Epoch, Vec<Said>)> = Vec::new();
            if let Some(marks) = &mut marks {
                // Every worker is told, also one without a task.
                marks.for_each(|cap, chunk| {
                    let epoch = Epoch(*cap.least().expect("everything is sent under a capability"));
                    said.push((epoch, typed::<Said>(chunk.take().batch).tuples));
                });
            }
            let Some(bolts) = bolts.as_mut().filter(|_| !shared.has_failed()) else { return };
            let frontier = frontier(frontiers);
            let step = || -> Result<(), TaskError> {
                // What the frontier left cannot be in the input: it was read before.
                inputs.for_each(|epoch, routed| bolts.arrived(epoch, routed, frontier));
                said.into_iter().for_each(|(epoch, said)| bolts.said(epoch, &said));
                match bolts.work(frontier, &mut outputs)? {
                    Left::Nothing => {}
                    Left::Filled => activator.activate(),
                    Left::Full => activator.activate_after(LANE_FULL),
                    Left::Waits(wait) => alarm.wake(wait, &activator),
                }
                if reports.are_open() {
                    // Before the reports of the same commits: who hears of a commit knows what is on its way.
                    reports.send(bolts.held());
                }
                let (notices, unreported) = bolts.reports(shared.last_committed())?;
                if let (Some(commit), true, true) =
                    (unreported, shared.commits, bolts.is_stateful())
                {
                    reports.send(notices);
                    reports.advance(commit);
                }
                if let Some((wait, task)) = bolts.until_due().filter(|_| reports.are_open()) {
                    reports.send(alarm.set(wait, task, frontier, &activator).into_iter().collect());
                }
                if let Some(epoch) = bolts.take_ticked().filter(|_| reports.are_open()) {
                    // Any task of the plan may say it.
                    let task = TaskId { component: 0, task: 0 };
                    reports.send(vec![Notice::Active { task, epoch }]);
                }
                if let (Some(wait), true) = (bolts.until_tick(), frontier.is_some()) {
                    // Where they are due already, something held them back.
                    alarm.wake(wait.max(LANE_FULL), &activator);
                }
                match bolts.earliest().into_iter().chain(frontier).min() {
                    Some(epoch) => {
                        outputs.advance(epoch);
                        if !shared.commits || !bolts.is_stateful() {
                            reports.advance(epoch);
                        }
                    }
                    None => {
                        outputs.end();
                        reports.end();
                        bolts.end();
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
