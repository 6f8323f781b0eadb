//! The coordinator operator: the driver of [`egret_state::commit`]'s core, on worker 0.
//!
//! It takes no decision. Facts go in: notices of tasks, the two frontiers, acknowledgements of the
//! commit ledger, time. Effects come out: orders to every worker, records for the commit ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_log::message::Wake;
use egret_schemas::Epoch;
use egret_state::commit::{Coordinator, Effect, Input, TaskId};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::scheduling::Activator;

use super::chunk::Chunk;
use super::compile::Shared;
use super::outputs::Port;
use super::pact::Route;
use super::reports::{Control, Notice};
use super::worker::Failure;
use crate::batch::{Routed, typed};
use crate::runtime::CommitLog;

/// The core and what its effects act on.
pub(crate) struct Driver {
    core: Coordinator,
    commits: Option<CommitLog>,
    port: Port,
    /// Held until the topology is finished; dropping it ends the dataflow.
    cap: Option<Capability<u64>>,
    workers: u32,
    started: Instant,
    /// Whether spouts were told to emit last: they do unless they were told anything.
    active: bool,
    /// The last epoch, once spouts were told to drain.
    last: Option<Epoch>,
    processed: Option<Epoch>,
    durable: Option<Epoch>,
    /// Up to where each sink task has published.
    published: BTreeMap<TaskId, Epoch>,
    /// The commit to trim after, once every sink task has published it.
    untrimmed: Option<Epoch>,
    /// The commit whose epochs are open.
    open: Option<u32>,
    /// Since when the commits that are not acknowledged have been ended: a few.
    ended: BTreeMap<u32, Instant>,
    activator: Activator,
    shared: Arc<Shared>,
}

impl Driver {
    fn now_ms(&self) -> u64 {
        let elapsed = clock::now().duration_since(self.started);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    fn step(&mut self, input: Input) -> Result<(), Failure> {
        let mut effects = Vec::new();
        self.core.step(self.now_ms(), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Open(epoch) => {
                    self.ends(Some(epoch));
                    self.broadcast(Control::Open(epoch));
                }
                Effect::Drain => {
                    self.last = self.core.open_epoch();
                    self.ends(None);
                    self.broadcast(Control::Drain);
                }
                Effect::Committed(epoch) => {
                    if let Some(commits) = &mut self.commits {
                        commits.committed(self.core.last_commit());
                        self.untrimmed.get_or_insert(epoch);
                    }
                    let open = self.ended.split_off(&epoch.commit().saturating_add(1));
                    let ended = std::mem::replace(&mut self.ended, open).remove(&epoch.commit());
                    let took = ended.map(|at| clock::now().saturating_duration_since(at));
                    self.shared.committed(epoch, took);
                    self.broadcast(Control::Committed(epoch));
                }
                Effect::AppendCommit(record) => {
                    let commits = self.commits.as_mut();
                    commits.expect("only a guarantee that commits appends").append(&record)?;
                }
                Effect::WakeAt(at) => {
                    let wait = Duration::from_millis(at.saturating_sub(self.now_ms()).max(1));
                    self.activator.activate_after(wait);
                }
                Effect::Finished => {
                    self.shared.finished();
                    self.broadcast(Control::Finish);
                    self.cap = None;
                }
                Effect::Poison { why } => return Err(Failure::poisoned(&why)),
            }
        }
        Ok(())
    }

    /// Nothing more is emitted into the commit that was open, unless what opens is of the same one.
    fn ends(&mut self, opens: Option<Epoch>) {
        let commit = opens.map(Epoch::commit);
        if let Some(ended) = self.open.filter(|open| Some(*open) != commit) {
            self.ended.insert(ended, clock::now());
        }
        self.open = commit;
    }

    /// Trims what a commit left once the world has heard of the commit; at the end all there is, which is waited for.
    fn trim(&mut self) -> Result<(), Failure> {
        let published = |epoch: &Epoch| self.published.values().all(|upto| upto >= epoch);
        let (all, Some(commits)) = (self.cap.is_none(), &mut self.commits) else { return Ok(()) };
        match self.untrimmed.take_if(|epoch| published(epoch)) {
            None if !all => Ok(()),
            _ => commits.trim(all),
        }
    }

    fn broadcast(&mut self, order: Control) {
        let Some(cap) = &self.cap else { return };
        let mut output = self.port.activate();
        let mut session = output.session_with_builder(cap);
        for worker in 0..self.workers {
            session.give_container(&mut Chunk::from(Routed::message(worker, vec![order])));
        }
    }

    fn notice(&mut self, notice: Notice) -> Result<(), Failure> {
        self.step(match notice {
            Notice::Active { task, epoch } => Input::Active { task, epoch },
            Notice::Done { task, epoch } => Input::SpoutDone { task, epoch },
            Notice::Exhausted { task } => Input::SpoutExhausted { task },
            Notice::Held { task, epoch, held } => Input::Held { task, epoch, held },
            Notice::Report(report) => Input::Report(report),
            Notice::Published { task, upto } => {
                self.published.insert(task, upto);
                return Ok(());
            }
        })
    }

    /// One activation: notices, acknowledgements, then what the frontiers and the time allow. What
    /// commits left to trim comes last.
    fn turn(
        &mut self,
        notices: Vec<Notice>,
        durable: Option<Epoch>,
        processed: Option<Epoch>,
    ) -> Result<(), Failure> {
        if self.cap.is_none() {
            return Ok(());
        }
        for notice in notices {
            self.notice(notice)?;
        }
        let acks = self.commits.as_mut().map(CommitLog::acks).unwrap_or_default();
        for ack in acks {
            self.step(match ack {
                Ok(commit) => Input::CommitAcked { commit },
                Err((why, outcome)) => Input::CommitFailed { why, outcome },
            })?;
        }
        if self.active != self.shared.is_active() {
            self.active = !self.active;
            self.broadcast(Control::Active(self.active));
        }
        if self.shared.is_stopping() {
            self.step(Input::Stop)?;
        }
        if processed != self.processed {
            self.processed = processed;
            self.step(Input::Processed(processed))?;
        }
        if durable != self.durable {
            self.durable = durable;
            self.step(Input::DurableFrontier(durable))?;
        }
        self.step(Input::Tick)?;
        self.shared.rests(self.core.is_at_rest());
        self.trim()
    }
}

/// Builds the operator. On worker 0 `driver` gives the core, its commit log and every sink task; elsewhere
/// nothing. Its capability drops when the core says that everything is finished.
pub(crate) fn build<'s>(
    scope: Scope<'s, u64>,
    reports: Stream<'s, u64, Chunk>,
    processed: Stream<'s, u64, Chunk>,
    driver: Option<(Coordinator, Option<CommitLog>, Vec<TaskId>)>,
    shared: &Arc<Shared>,
) -> Stream<'s, u64, Chunk> {
    let mut builder = OperatorBuilder::new("coordinator".to_owned(), scope);
    let mut reports = builder.new_input(reports, Route::ToWorker);
    let mut processed = builder.new_input(processed, Route::Local);
    let no_path = [(0, Antichain::new()), (1, Antichain::new())];
    let (port, control) = builder.new_output_connection::<Chunk, _>(no_path);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let sync = scope.worker().sync_activator_for(address.to_vec());
    let workers = u32::try_from(scope.peers()).expect("workers are counted in u32");
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let cap = caps.pop().expect("one capability per output");
        let mut driver = driver.map(|(core, mut commits, sinks)| {
            // A worker that is gone needs no waking.
            let wake: Wake = Arc::new(move || sync.activate().unwrap_or_default());
            shared.wake_with(Arc::clone(&wake));
            if let Some(commits) = &mut commits {
                commits.wake_with(wake);
            }
            activator.activate();
            Driver {
                core,
                commits,
                port: OutputBuilder::from(port),
                cap: Some(cap),
                workers,
                started: clock::now(),
                active: true,
                last: None,
                processed: Some(Epoch(0)),
                durable: Some(Epoch(0)),
                published: sinks.into_iter().map(|task| (task, Epoch(0))).collect(),
                untrimmed: None,
                open: None,
                ended: BTreeMap::new(),
                activator,
                shared: Arc::clone(&shared),
            }
        });
        move |frontiers| {
            let mut notices = Vec::new();
            reports.for_each(|_, chunk| {
                notices.extend(typed::<Notice>(chunk.take().batch).tuples);
            });
            processed.for_each(|_, _| unreachable!("nothing is sent there"));
            let Some(driver) = driver.as_mut().filter(|_| !shared.has_failed()) else { return };
            let frontier = |input: usize| frontiers[input].frontier().first().copied().map(Epoch);
            let last = driver.last;
            let seen = |f: Option<Epoch>| match f {
                // It has not reached the generation's first epoch yet.
                Some(epoch) if epoch < shared.first => Some(Epoch(0)),
                // It left the last commit: there is nothing more to come.
                Some(epoch) if last.is_some_and(|last| epoch > last.commit_end()) => None,
                other => other,
            };
            let (durable, done) = (seen(frontier(0)), seen(frontier(1)));
            if let Err(failure) = driver.turn(notices, durable, done) {
                shared.fail(failure);
            }
        }
    });
    control
}
