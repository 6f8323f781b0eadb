//! What is between processes and the bookie: requests and answers, each late or lost in its own way, and the
//! bookie's ends and starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use egret_log::message::{Reply, ReplyTo, Request, Transport as _, Unknown, Wake};
use egret_schemas::{EntryId, LedgerId};

use super::storm::Kill;
use super::way::GONE;
use super::world::{BYSTANDER, Event, ProcessId, State, World, here};
use crate::sim::node::Handled;
use crate::sim::words::Asked;

/// A message takes so long, in microseconds.
pub(super) const HOP_US: (u64, u64) = (10, 120);

/// One that is late takes so long.
const LATE_US: (u64, u64) = (3_000, 60_000);

/// On a slow line everything takes so much longer.
const SLOW_US: (u64, u64) = (500, 8_000);

/// How long an answer is waited for that never comes.
pub(super) const DEADLINE_US: u64 = 30_000;

/// How long a bookie that stopped is down: mostly for long enough that whoever needs it gives up.
const DOWN_US: [(u64, u64); 3] = [(20, 200), (500, 20_000), (500, 20_000)];

/// Disk operations after which the power may go in the middle of a request.
const CUT_WITHIN: u64 = 12;
/// What a process and the bookie say to each other about one ledger, one way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// When the last of it arrives.
    last: u64,
    /// How much longer everything takes.
    slow_us: u64,
}

impl World {
    /// Waits for as long as a message takes.
    pub(super) fn hop(&self) {
        let us = {
            let mut state = self.state();
            let late = state.storm.late;
            match state.storm.strikes(late) {
                true => state.storm.dice.between(LATE_US.0, LATE_US.1),
                false => state.dice.between(HOP_US.0, HOP_US.1),
            }
        };
        self.nap(us);
    }

    /// Waits as long as anybody does.
    pub(super) fn waits_in_vain(&self) {
        self.nap(DEADLINE_US);
    }
    /// What becomes of a transaction that gets to the store.
    pub(super) fn fate_of_txn(&self, process: ProcessId) -> Option<Kill> {
        let mut state = self.state();
        let State { storm, .. } = &mut *state;
        if process == BYSTANDER {
            return None;
        }
        let (fatal, lost) = (storm.fatal, storm.lost);
        if storm.strikes(fatal) {
            return Some(storm.dice.one_of(&[Kill::BeforeTxn, Kill::AfterTxn]));
        }
        storm.strikes(lost).then(|| storm.dice.one_of(&[Kill::TxnLost, Kill::TxnAnswerLost]))
    }

    /// Sends a request on its way.
    pub(super) fn send(&self, process: ProcessId, request: Request, reply: ReplyTo) {
        if self.is_gone(process) {
            return reply(Reply::Unknown(GONE));
        }
        let (at, call, late) = {
            let mut state = self.state();
            let rate = state.storm.late;
            let late = state.storm.strikes(rate);
            let us = match late {
                true => state.storm.dice.between(LATE_US.0, LATE_US.1),
                false => state.dice.between(HOP_US.0, HOP_US.1),
            };
            let at = state.in_line((process, request.ledger(), true), us);
            state.next_call += 1;
            let call = state.next_call;
            state.calls.insert(call, (process, reply));
            let now = state.now;
            state.trace.note(now, format_args!("{process} asks to {} ({call})", Asked(&request)));
            (at, call, late)
        };
        if late {
            self.hit(Kill::Late);
        }
        self.at(at, Event::Arrives { call, process, request });
    }

    fn answers(&self, (call, process): (u64, ProcessId), ledger: Option<LedgerId>, reply: Reply) {
        let us = {
            let mut state = self.state();
            state.dice.between(HOP_US.0, HOP_US.1)
        };
        let at = self.state().in_line((process, ledger, false), us);
        self.at(at, Event::Answered { call, process, reply });
    }

    fn unreachable(&self, call: (u64, ProcessId), ledger: Option<LedgerId>) {
        let (to, why) = ("the bookie".to_owned(), "it is down".to_owned());
        self.answers(call, ledger, Reply::Unknown(Unknown::Unreachable { to, why }));
    }

    pub(super) fn watch_lac(
        &self,
        process: ProcessId,
        ledger: LedgerId,
        beyond: Option<EntryId>,
        wake: Wake,
    ) {
        // Told once, by whoever comes first: the bookie, or its end.
        let once = Arc::new(AtomicBool::new(false));
        let told: Wake = Arc::new(move || {
            if !once.swap(true, Ordering::Relaxed) {
                here().after(HOP_US.0, Event::Wakes { process, wake: Arc::clone(&wake) });
            }
        });
        self.state().watches.push((process, Arc::clone(&told)));
        match self.node().bookie() {
            Some(bookie) => bookie.watch_lac(ledger, beyond, told),
            None => told(),
        }
    }
    /// A request is at the bookie.
    pub(super) fn arrive(&self, (call, process): (u64, ProcessId), request: Request) {
        let ledger = request.ledger();
        let ours = process != BYSTANDER;
        let fate = self.fate_of_request(process, &request);
        if let Some(Kill::BeforeAdd) = fate {
            return self.kill(process, Kill::BeforeAdd);
        }
        if let Some(Kill::PowerCutBusy) = fate {
            let within = self.state().storm.dice.roll(CUT_WITHIN);
            let node = self.node();
            node.disk.crash_after(node.disk.operations() + within);
        }
        let entry = match &request {
            Request::Add { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        let to = self.incarnation();
        let handled = self.node.borrow_mut().handle(to, request);
        if let Some(Kill::PowerCutBusy) = fate {
            self.node().disk.crash_after(u64::MAX);
        }
        let reply = match handled {
            Handled::Answer(reply) => reply,
            Handled::PowerCut => {
                self.hit(Kill::PowerCutBusy);
                self.cut_power();
                return self.unreachable((call, process), ledger);
            }
            Handled::Down => return self.unreachable((call, process), ledger),
        };
        let mut is_commit = false;
        if let (Some(entry), Reply::Done) = (&entry, &reply) {
            let told = self.state().oracle.on_stored(entry);
            match told {
                Ok(commit) => is_commit = commit,
                Err(broken) => self.broke(broken),
            }
        }
        let kills = is_commit && ours && {
            let mut state = self.state();
            let rate = state.storm.fatal * 12;
            state.storm.strikes(rate)
        };
        match fate {
            _ if kills => self.kill(process, Kill::AfterCommit),
            Some(Kill::AfterAdd) if entry.is_some() => self.kill(process, Kill::AfterAdd),
            Some(Kill::AnswerLost) => {
                self.hit(Kill::AnswerLost);
                let reply = Reply::Unknown(Unknown::Deadline { ms: DEADLINE_US / 1000 });
                let at = self.state().in_line((process, ledger, false), DEADLINE_US);
                self.at(at, Event::Answered { call, process, reply });
            }
            _ => self.answers((call, process), ledger, reply),
        }
    }

    fn fate_of_request(&self, process: ProcessId, request: &Request) -> Option<Kill> {
        let mut state = self.state();
        let State { storm, .. } = &mut *state;
        if process == BYSTANDER {
            return None;
        }
        let (fatal, lost) = (storm.fatal, storm.lost);
        let add = matches!(request, Request::Add { .. });
        if add && storm.strikes(fatal * 4) {
            return Some(storm.dice.one_of(&[Kill::BeforeAdd, Kill::AfterAdd]));
        }
        if storm.strikes(fatal / 2) {
            return Some(Kill::PowerCutBusy);
        }
        // An append that nobody answers for fails its generation, and its process goes on with another.
        storm.strikes(if add { lost * 4 } else { lost }).then_some(Kill::AnswerLost)
    }

    /// The bookie's process ends; what is on its way to it finds nobody.
    pub(super) fn stop_bookie(&self) {
        self.node.borrow_mut().stop();
        self.bookie_ended();
    }

    pub(super) fn cut_power(&self) {
        self.node.borrow_mut().cut_power();
        self.bookie_ended();
    }

    pub(super) fn checkpoint(&self) {
        self.node().checkpoint();
    }

    pub(super) fn bookie_is_up(&self) -> bool {
        self.node().is_up()
    }

    fn bookie_ended(&self) {
        let watches = std::mem::take(&mut self.state().watches);
        watches.into_iter().for_each(|(_, wake)| wake());
        let us = {
            let dice = &mut self.state().storm.dice;
            let (least, most) = dice.one_of(&DOWN_US);
            dice.between(least, most)
        };
        let boot = self.node().boot;
        self.after(us, Event::BookieStarts { boot });
    }

    pub(super) fn start_bookie(&self, boot: u64) {
        if self.node().boot != boot || self.node().is_up() {
            return;
        }
        let started = self.node.borrow_mut().start();
        match started {
            Ok(()) => self.note(format_args!("the bookie starts")),
            Err(error) => self.broke(("bookie starts", error.to_string())),
        }
    }

    /// Forgets what a process waits for, or, where code of it waits further down the stack, tells it that it
    /// is gone.
    pub(super) fn forget_calls(&self, process: ProcessId, waits: bool) {
        let mut state = self.state();
        let of: Vec<u64> = state
            .calls
            .iter()
            .filter(|(_, (by, _))| *by == process)
            .map(|(call, _)| *call)
            .collect();
        if !waits {
            let gone: Vec<_> = of.iter().filter_map(|call| state.calls.remove(call)).collect();
            drop(state);
            return drop(gone);
        }
        drop(state);
        for call in of {
            self.after(0, Event::Answered { call, process, reply: Reply::Unknown(GONE) });
        }
    }

    /// Drops some of what a process has on its way.
    pub(super) fn lose_some(&self, process: ProcessId) {
        let mut state = self.state();
        let State { queue, storm, .. } = &mut *state;
        queue.retain(|_, event| match event {
            Event::Arrives { process: by, .. } if *by == process => storm.dice.per_mille(500),
            _ => true,
        });
    }
}

impl State {
    /// When something that takes `us` is there, behind what was sent before it.
    fn in_line(&mut self, line: (ProcessId, Option<LedgerId>, bool), us: u64) -> u64 {
        let State { lines, dice, storm, .. } = self;
        let line = lines.entry(line).or_insert_with(|| {
            let slow = storm.blows && dice.per_mille(storm.slow_lines);
            let slow_us = if slow { dice.between(SLOW_US.0, SLOW_US.1) } else { 0 };
            Line { last: 0, slow_us }
        });
        line.last = (self.now + us + line.slow_us).max(line.last + 1);
        line.last
    }
}
