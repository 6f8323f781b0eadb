//! After the storm: everything heals, and then everything must be closable and readable, except what
//! media destroyed beyond a quorum. That must be answered as in doubt, never as absent.

use egret_log::ledger::reader::{EntryRead, ReadAnswer, ReadStep};
use egret_log::ledger::{LedgerState, Member};
use egret_log::message::{Reply, Request, Unknown};
use egret_schemas::{EntryId, LedgerId};

use super::fact::Fact;
use super::node::Handled;
use super::oracle::Book;
use super::words::{Answered, Asked};
use super::world::{Broken, World};

/// How long clients may take to end what they are at, in microseconds.
const SETTLE_US: u64 = 3_000_000;

/// Rounds of recovery before a ledger counts as one that does not close.
const ROUNDS: usize = 4;

/// What the calm found.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    pub(crate) destroyed: u64,
    pub(crate) unrecoverable: u64,
}

impl World {
    /// Heals, settles, closes, deletes, reads everything; then once more after a power cut of all.
    pub(crate) fn run_calm(&mut self) -> Result<Calm, Broken> {
        self.trace.note(self.now, format_args!("calm"));
        self.heal()?;
        self.settle()?;
        for _ in 0..ROUNDS {
            for ledger in self.ledgers_that(|state| state == LedgerState::Deleting) {
                self.new_deleter(ledger, false)?;
            }
            let open = |state| matches!(state, LedgerState::Open | LedgerState::InRecovery);
            for ledger in self.ledgers_that(open) {
                self.new_recoverer(ledger)?;
            }
            self.settle()?;
        }
        let mut calm = Calm { unrecoverable: self.check_closed()?, destroyed: 0 };
        calm.destroyed = self.read_everything()?;
        for node in 0..self.nodes.len() {
            self.nodes[node].cut_power();
            self.start_in_calm(node)?;
        }
        self.read_everything()?;
        Ok(calm)
    }

    fn heal(&mut self) -> Result<(), Broken> {
        self.forget_storm();
        self.storm.abate();
        self.network.heal();
        self.meta_down_until = 0;
        for client in &mut self.clients {
            client.paused_until = 0;
            client.role.calm();
        }
        for node in 0..self.nodes.len() {
            let place = &mut self.nodes[node];
            place.slow_us = 0;
            place.stalled_until = 0;
            place.disk.space_limit(u64::MAX);
            place.set_read_only(false);
            // Power that was about to go stays.
            if !place.disk.is_cut() {
                place.disk.crash_after(u64::MAX);
            }
            if place.is_up() && (place.is_poisoned() || place.sync_failed) {
                place.cut_power();
            }
            if !place.is_up() {
                self.start_in_calm(node)?;
            }
        }
        Ok(())
    }

    /// Starts a bookie; one that cannot on a damaged disk gets another disk.
    fn start_in_calm(&mut self, node: usize) -> Result<(), Broken> {
        self.start_node(node)?;
        if !self.nodes[node].is_up() {
            self.replace_disk(node)?;
            self.start_node(node)?;
        }
        Ok(())
    }

    /// Lets everyone finish.
    fn settle(&mut self) -> Result<(), Broken> {
        let until = self.now + SETTLE_US;
        while self.next_at().is_some_and(|at| at <= until) {
            self.step()?;
            if !self.clients.iter().any(|client| client.alive) {
                break;
            }
        }
        if let Some(number) = self.clients.iter().position(|client| client.alive) {
            let role = &self.clients[number].role;
            let what = format!("#{number}, a {}, does not end: {role:?}", role.name());
            return Err(("liveness", what));
        }
        Ok(())
    }

    fn ledgers_that(&self, fits: impl Fn(LedgerState) -> bool) -> Vec<LedgerId> {
        let book = self.oracles.book();
        let those = book
            .ledgers()
            .filter(|(_, history)| history.record.as_ref().is_some_and(|r| fits(r.state)));
        those.map(|(ledger, _)| ledger).collect()
    }

    /// Counts ledgers that rightly could not be closed.
    fn check_closed(&self) -> Result<u64, Broken> {
        let book = self.oracles.book();
        let mut unrecoverable = 0;
        for ledger in
            self.ledgers_that(|s| matches!(s, LedgerState::Open | LedgerState::InRecovery))
        {
            if must_close(book, ledger) {
                return Err(("liveness", format!("{ledger} does not close")));
            }
            unrecoverable += 1;
        }
        Ok(unrecoverable)
    }

    /// Reads every entry of every closed ledger; how many are destroyed.
    fn read_everything(&mut self) -> Result<u64, Broken> {
        let mut destroyed = 0;
        for ledger in self.ledgers_that(|state| matches!(state, LedgerState::Closed { .. })) {
            for entry in self.closed_entries(ledger) {
                destroyed += u64::from(!self.read_back(ledger, entry)?);
            }
        }
        Ok(destroyed)
    }

    /// Whether the entry is there.
    fn read_back(&mut self, ledger: LedgerId, entry: EntryId) -> Result<bool, Broken> {
        let replicas = self.oracles.book().replicas(ledger, entry);
        let (mut read, mut step) = EntryRead::new(0..replicas.len());
        loop {
            step = match step {
                ReadStep::Ask(slot) => {
                    let request = Request::Read { ledger, entry, fence: None };
                    let reply = self.ask_now(replicas[slot], request)?;
                    read.on_answer(ReadAnswer::judge(ledger, entry, reply))
                }
                ReadStep::Found(payload) => {
                    self.read_back += 1;
                    self.tell(Fact::Read { ledger, entry, payload })?;
                    return Ok(true);
                }
                ReadStep::Wait => unreachable!("every replica is asked and heard in turn"),
                ReadStep::Missing => {
                    self.tell(Fact::ReadMissing { ledger, entry })?;
                    return Ok(false);
                }
                ReadStep::Doubtful(doubt) => {
                    let copies = self.oracles.book().intact_copies(ledger, entry);
                    if copies > 0 {
                        let what = format!(
                            "{ledger}:{entry} has {copies} intact copies and is not readable: {doubt}"
                        );
                        return Err(("acknowledged", what));
                    }
                    return Ok(false);
                }
            }
        }
    }

    fn ask_now(&mut self, to: Member, request: Request) -> Result<Reply, Broken> {
        let node = self.nodes.iter_mut().find(|node| node.id == to.bookie);
        let node = node.expect("nodes come and go by their disks, not by their names");
        let (id, by) = (node.id, node.incarnation);
        self.trace.note(self.now, format_args!("{id} is asked: {}", Asked(&request)));
        let reply = match node.handle(to.incarnation, request.clone()) {
            Handled::Answer(reply) => reply,
            Handled::Down | Handled::PowerCut => Reply::Unknown(Unknown::Closing),
        };
        self.trace.note(self.now, format_args!("{id} answers: {}", Answered(&reply)));
        if by == to.incarnation {
            self.tell(Fact::Answered { by, request, reply: reply.clone() })?;
        }
        Ok(reply)
    }
}

/// Whether what is left of a ledger's bookies is enough to close it: so many of every ensemble are
/// there, undamaged and know the ledger, that fences, absences and copies can all be covered.
fn must_close(book: &Book, ledger: LedgerId) -> bool {
    let Some(history) = book.ledger(ledger) else { return false };
    let Some(record) = &history.record else { return false };
    let (write, ack) = (record.quorum.write(), record.quorum.ack());
    let needed = ack.max(write - ack + 1);
    record.fragments.values().all(|ensemble| {
        let size = ensemble.members().len();
        (0..size).all(|first| {
            let set = (0..write).map(|i| ensemble.member((first + i) % size).incarnation);
            let works = |who: &_| book.is_intact(*who) && history.created.contains(who);
            set.filter(works).count() >= needed
        })
    })
}
