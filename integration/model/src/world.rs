//! A writer, its recoverers, the ledger's record and the bookies, with every request between them.
//!
//! The cores decide; this carries out what they ask for and keeps the promises of a driver: each request
//! is answered once, the record changes by compare-and-set. Requests and answers are late, out of order,
//! repeated or never there; processes die; directories are formatted anew.
//!
//! A world is a value: equal worlds have equal futures. What can have no effect any more is dropped, so
//! that worlds which differ in nothing else are one. An answer counts only in the phase of recovery that
//! asked, and phases do not come back; a request of a term that is shut out changes nothing, for ever.

mod recoverer;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use egret_log::ledger::reader::ReadAnswer;
use egret_log::ledger::writer::{AddAnswer, Writer};
use egret_log::ledger::{Ensemble, LedgerKind, LedgerMetadata, LedgerState, Member, Proposal};
use egret_log::message::{Refusal, Reply, Request, Unknown};
use egret_schemas::{BookieId, EntryId, Incarnation, Term};

use self::recoverer::{Recoverer, Turn};
use crate::action::Action;
use crate::call::{Ask, Call, LEDGER, Stage, Who, payload};
use crate::contract::LedgerContract;
use crate::explore::Explored;
use crate::promises;
use crate::scope::Scope;

/// One bookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Which life of its directory this is.
    pub incarnation: Incarnation,
    /// What it holds.
    pub ledger: Arc<LedgerContract>,
}

/// Faults that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    silences: u8,
    repeats: u8,
    crashes: u8,
    unheard: u8,
    wipes: u8,
    losses: u8,
}

/// Everything there is; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    writer: Option<Arc<Writer>>,
    appended: u64,
    recoverers: Vec<Recoverer>,
    record: Arc<LedgerMetadata>,
    changes: u64,
    nodes: Vec<Node>,
    calls: Vec<Call>,
    /// The slots a writer asked to have filled anew, and the first entry this is for.
    asked: Option<(EntryId, Vec<usize>)>,
    /// Acknowledged to the caller.
    acked: Option<EntryId>,
    /// The topology's last commit.
    committed: Option<EntryId>,
    /// Told to be definitely not stored.
    refused: Vec<EntryId>,
    /// Where it was closed first.
    closed: Option<Option<EntryId>>,
    left: Left,
    fault: Option<String>,
}

fn no_answer() -> Unknown {
    Unknown::Deadline { ms: 1 }
}

fn add_answer(reply: Reply) -> AddAnswer {
    match reply {
        Reply::Done => AddAnswer::Done,
        Reply::Refused(refusal) => AddAnswer::Refused(refusal),
        Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
        other => unreachable!("an answer to an add: {other:?}"),
    }
}

impl World {
    /// A ledger just created, on bookies that know it.
    pub fn new(scope: &Scope) -> World {
        let quorum = scope.sizes();
        let bookies = u64::try_from(quorum.ensemble()).expect("a few");
        let members = (1..=bookies)
            .map(|n| Member { bookie: BookieId(n), incarnation: Incarnation(u128::from(n)) });
        let kind = match scope.transactional {
            true => LedgerKind::Transactional { owner: "t".to_owned() },
            false => LedgerKind::Plain,
        };
        let ensemble = Ensemble::new(members.clone().collect());
        let record = LedgerMetadata::open(kind, quorum, ensemble, Term(1), Proposal::default());
        let recoverer = |n: u8| Recoverer {
            term: if scope.careless && n == 0 { Term(1) } else { Term(2 + u64::from(n)) },
            turn: Turn::Idle,
            tries: scope.attempts,
            heard: None,
            unheard: None,
        };
        let node = |member: Member| Node {
            incarnation: member.incarnation,
            ledger: Arc::new(LedgerContract::created(Term(1))),
        };
        // Nothing is created on these yet.
        let spares = (1..=u64::from(scope.spares)).map(|n| Node {
            incarnation: Incarnation(u128::from(bookies + n)),
            ledger: Arc::default(),
        });
        World {
            writer: Some(Arc::new(Writer::new(LEDGER, &record))),
            appended: 0,
            recoverers: (0..scope.recoverers).map(recoverer).collect(),
            record: Arc::new(record),
            changes: 0,
            nodes: members.map(node).chain(spares).collect(),
            calls: Vec::new(),
            asked: None,
            acked: None,
            committed: None,
            refused: Vec::new(),
            closed: None,
            left: Left {
                silences: scope.silences,
                repeats: scope.repeats,
                crashes: scope.crashes,
                unheard: scope.unheard,
                wipes: scope.wipes,
                losses: scope.losses,
            },
            fault: None,
        }
    }

    /// The promise that was broken, once one was.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// The last entry acknowledged.
    pub fn acked(&self) -> Option<EntryId> {
        self.acked
    }

    /// The last entry committed.
    pub fn committed(&self) -> Option<EntryId> {
        self.committed
    }

    /// Where it is closed, once it is.
    pub fn closed(&self) -> Option<Option<EntryId>> {
        self.closed
    }

    /// The ledger's record.
    pub fn record(&self) -> &LedgerMetadata {
        &self.record
    }

    /// The bookies.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Entries told to be definitely not stored.
    pub fn refused(&self) -> &[EntryId] {
        &self.refused
    }

    /// Copies that faults may have taken.
    pub fn copies_taken(&self, scope: &Scope) -> usize {
        usize::from(scope.wipes - self.left.wipes + scope.losses - self.left.losses)
    }

    /// How many bookies of the entry's fragment hold it as it was written.
    pub fn copies(&self, entry: EntryId) -> usize {
        let ensemble = self.record.fragment_of(entry).1;
        ensemble.members().iter().filter(|member| self.holds(**member, entry)).count()
    }

    /// Whether this life of a bookie holds an entry as it was written.
    pub fn holds(&self, member: Member, entry: EntryId) -> bool {
        let node = &self.nodes[place(member)];
        node.incarnation == member.incarnation
            && node.ledger.entries.get(&entry).is_some_and(|(_, held)| *held == payload(entry))
    }

    /// What may happen next.
    pub fn actions(&self, scope: &Scope) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.fault.is_some() {
            return actions;
        }
        self.writer_actions(scope, &mut actions);
        for (n, recoverer) in (0u8..).zip(&self.recoverers) {
            let who = Who::Recoverer(n);
            let changes = match recoverer.turn {
                Turn::Idle => recoverer.tries > 0 && recoverer.unheard.is_none(),
                Turn::Closing(_) => recoverer.unheard.is_none(),
                Turn::Running(..) | Turn::Done => false,
            };
            if changes {
                actions.push(Action::Change(who));
                if self.left.unheard > 0 {
                    actions.push(Action::ChangeUnheard(who));
                }
            }
            if recoverer.unheard.is_some() {
                actions.push(Action::ReadBack(who));
            }
            if self.left.crashes > 0
                && matches!(recoverer.turn, Turn::Running(..) | Turn::Closing(_))
            {
                actions.push(Action::Crash(who));
            }
        }
        for (at, call) in self.calls.iter().enumerate() {
            if matches!(call.stage, Stage::Answered(_)) {
                actions.push(Action::Answer(at));
            } else {
                actions.push(Action::Arrive(at));
                if self.left.repeats > 0 {
                    actions.push(Action::ArriveTwice(at));
                }
            }
            if self.left.silences > 0 && call.stage != Stage::Abandoned {
                actions.push(Action::Silence(at));
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if self.left.wipes > 0 {
                actions.push(Action::Wipe(at));
            }
            if self.left.losses > 0 {
                let committed = node.ledger.entries.keys().filter(|e| Some(**e) <= self.committed);
                actions.extend(committed.map(|entry| Action::Lose(at, *entry)));
            }
        }
        actions
    }

    fn writer_actions(&self, scope: &Scope, actions: &mut Vec<Action>) {
        let Some(writer) = &self.writer else { return };
        if self.appended < scope.appends {
            actions.push(Action::Append);
        }
        if self.asked.is_some() {
            actions.push(Action::Replace);
        }
        if scope.writer_closes && writer.is_idle() && !writer.is_changing() {
            actions.push(Action::Change(Who::Writer));
        }
        if self.left.crashes > 0 {
            actions.push(Action::Crash(Who::Writer));
        }
        let open = self.record.state == LedgerState::Open;
        if scope.transactional && open && self.acked > self.committed {
            actions.push(Action::Publish);
        }
    }

    /// Lets it happen. A promise broken, or an assertion of a core, becomes the world's fault.
    pub fn apply(&mut self, scope: &Scope, action: Action) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.step(scope, action);
            self.drop_the_dead();
            promises::check(self, scope)
        }));
        let broken = match done {
            Ok(Ok(())) => return,
            Ok(Err(broken)) => broken,
            Err(panic) => match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => panic
                    .downcast::<&'static str>()
                    .map_or_else(|_| "a panic".to_owned(), |text| (*text).to_owned()),
            },
        };
        self.fault.get_or_insert(broken);
    }

    fn broken(&mut self, what: impl Into<String>) {
        self.fault.get_or_insert(what.into());
    }

    fn step(&mut self, scope: &Scope, action: Action) {
        match action {
            Action::Append => self.append(),
            Action::Publish => {
                self.committed = self.acked;
                let upto = self.acked.expect("something is acknowledged");
                self.with_writer(|writer, out| writer.publish(upto, out));
            }
            Action::Replace => self.replace(),
            Action::Change(Who::Writer) => self.close_by_writer(),
            Action::Change(Who::Recoverer(n)) => self.change(scope, n, true),
            Action::ChangeUnheard(Who::Recoverer(n)) => {
                self.left.unheard -= 1;
                self.change(scope, n, false);
            }
            Action::ReadBack(Who::Recoverer(n)) => self.read_back(scope, n),
            Action::ChangeUnheard(Who::Writer) | Action::ReadBack(Who::Writer) => {
                unreachable!("a writer hears")
            }
            Action::Arrive(at) => self.arrive(at, false),
            Action::ArriveTwice(at) => {
                self.left.repeats -= 1;
                self.arrive(at, true);
            }
            Action::Answer(at) => {
                let call = self.calls.remove(at);
                let Stage::Answered(reply) = call.stage else { unreachable!("it is answered") };
                self.answer(call.who, call.ask, (call.slot, call.era), reply);
            }
            Action::Silence(at) => {
                self.left.silences -= 1;
                let call = &mut self.calls[at];
                let (who, ask, slot) = (call.who, call.ask, (call.slot, call.era));
                if call.stage == Stage::Sent {
                    call.stage = Stage::Abandoned;
                } else {
                    self.calls.remove(at);
                }
                self.answer(who, ask, slot, Reply::Unknown(no_answer()));
            }
            Action::Crash(who) => self.crash(who),
            Action::Wipe(at) => {
                self.left.wipes -= 1;
                let incarnation = Incarnation(self.nodes[at].incarnation.0 + 100);
                self.nodes[at] = Node { incarnation, ledger: Arc::default() };
            }
            Action::Lose(at, entry) => {
                self.left.losses -= 1;
                Arc::make_mut(&mut self.nodes[at].ledger).entries.remove(&entry);
            }
        }
    }

    /// A spare bookie that takes the ledger at this term.
    fn created_on_spare(&mut self, term: Term, members: &[Member]) -> Option<Member> {
        let mut avoid = members.to_vec();
        loop {
            let spare = self.spare(&avoid)?;
            let request = Request::Create {
                ledger: LEDGER,
                term,
                transactional: self.record.kind.is_transactional(),
                replicated: true,
            };
            let node = &mut self.nodes[place(spare)];
            match Arc::make_mut(&mut node.ledger).answer(&request) {
                Reply::Done | Reply::Refused(Refusal::Exists) => return Some(spare),
                _ => avoid.push(spare),
            }
        }
    }

    /// A bookie beside these members that was never one of the ledger.
    fn spare(&self, members: &[Member]) -> Option<Member> {
        let member = |at: usize| Member {
            bookie: BookieId(at as u64 + 1),
            incarnation: self.nodes[at].incarnation,
        };
        let used = |bookie| {
            let was = |ensemble: &Ensemble| ensemble.members().iter().any(|m| m.bookie == bookie);
            members.iter().any(|m| m.bookie == bookie) || self.record.fragments.values().any(was)
        };
        (0..self.nodes.len()).map(member).find(|member| !used(member.bookie))
    }

    fn proposal(&self, process: u128) -> Proposal {
        Proposal { process, operation: self.changes }
    }

    fn install(&mut self, next: LedgerMetadata) {
        if *self.record == next {
            return;
        }
        self.changes += 1;
        if let LedgerState::Closed { last } = next.state {
            match self.closed {
                None => self.closed = Some(last),
                Some(first) if first == last => {}
                Some(first) => self.broken(format!("closed at {first:?}, then at {last:?}")),
            }
        }
        self.record = Arc::new(next);
    }

    fn arrive(&mut self, at: usize, again: bool) {
        let call = &mut self.calls[at];
        let node = &mut self.nodes[place(call.to)];
        let reply = if node.incarnation == call.to.incarnation {
            Arc::make_mut(&mut node.ledger).answer(&call.request())
        } else {
            let (asked, own) = (call.to.incarnation, node.incarnation);
            Reply::Unknown(Unknown::Incarnation { asked, own })
        };
        let mut late = call.clone();
        late.stage = Stage::Abandoned;
        if call.stage == Stage::Sent {
            call.stage = Stage::Answered(reply);
        } else {
            self.calls.remove(at);
        }
        if again {
            self.calls.push(late);
        }
    }

    fn answer(&mut self, who: Who, ask: Ask, (slot, era): (usize, u32), reply: Reply) {
        let n = match (who, ask) {
            (Who::Writer, Ask::Add { entry, .. }) => {
                let answer = add_answer(reply);
                return self.with_writer(|writer, out| {
                    writer.on_answer(slot, era, entry, answer, out);
                });
            }
            (Who::Writer, _) => unreachable!("a writer adds"),
            (Who::Recoverer(n), _) => n,
        };
        let recoverer = &mut self.recoverers[usize::from(n)];
        let Turn::Running(core, _) = &mut recoverer.turn else { return };
        let core = Arc::make_mut(core);
        let mut out = Vec::new();
        match ask {
            Ask::Fence => {
                if let Reply::Fenced { lac, .. } = &reply {
                    recoverer.heard = recoverer.heard.max(*lac);
                }
                core.on_fence(slot, reply, &mut out);
            }
            Ask::Read { entry } => {
                let answer = ReadAnswer::judge(LEDGER, entry, reply);
                core.on_read(slot, entry, answer, &mut out);
            }
            Ask::Add { entry, .. } => core.on_add(slot, entry, add_answer(reply), &mut out),
        }
        self.carry_recovery(n, out);
    }

    fn crash(&mut self, who: Who) {
        self.left.crashes -= 1;
        match who {
            Who::Writer => (self.writer, self.asked) = (None, None),
            Who::Recoverer(n) => {
                let term = self.next_term();
                let recoverer = &mut self.recoverers[usize::from(n)];
                let turn = if recoverer.tries > 0 { Turn::Idle } else { Turn::Done };
                (recoverer.term, recoverer.turn, recoverer.unheard) = (term, turn, None);
            }
        }
    }

    fn next_term(&self) -> Term {
        let highest = self.recoverers.iter().map(|r| r.term).max();
        Term(highest.max(Some(self.record.term)).expect("there is one").0 + 1)
    }

    /// Drops what can have no effect any more.
    fn drop_the_dead(&mut self) {
        let World { calls, nodes, recoverers, writer, .. } = self;
        let (nodes, recoverers) = (&*nodes, &*recoverers);
        calls.retain_mut(|call| {
            let heard = match call.who {
                Who::Writer => writer.is_some(),
                Who::Recoverer(n) => match &recoverers[usize::from(n)] {
                    Recoverer { turn: Turn::Running(_, asking), term, .. } => {
                        *asking == call.ask && *term == call.term
                    }
                    _ => false,
                },
            };
            // A copy beyond the ack quorum moves nothing but the writer's count of who is behind.
            if let (Stage::Answered(Reply::Done), Ask::Add { entry, .. }, Some(writer)) =
                (&call.stage, call.ask, &mut *writer)
                && call.who == Who::Writer
                && Some(entry) <= writer.confirmed()
            {
                let writer = Arc::make_mut(writer);
                let mut out = Vec::new();
                writer.on_answer(call.slot, call.era, entry, AddAnswer::Done, &mut out);
                assert!(out.is_empty(), "{out:?} for a copy of {entry}, which is confirmed");
                return false;
            }
            match call.stage {
                Stage::Answered(_) => return heard,
                Stage::Sent if heard => return true,
                Stage::Sent => call.stage = Stage::Abandoned,
                Stage::Abandoned => {}
            }
            let node = &nodes[place(call.to)];
            let ledger = &node.ledger;
            let same_life = node.incarnation == call.to.incarnation;
            let changes = match call.ask {
                Ask::Fence | Ask::Read { .. } => call.term > ledger.term,
                Ask::Add { entry, lac } => {
                    let adds = call.term > ledger.term
                        || lac > ledger.lac
                        || !ledger.entries.contains_key(&entry);
                    call.term >= ledger.term && adds
                }
            };
            same_life && changes
        });
        calls.sort_by_key(Call::key);
        calls.dedup_by_key(|call| call.key());
    }

    /// Whether a writer has entries to acknowledge and nothing to wait for.
    pub fn writer_hangs(&self) -> bool {
        let waits = self.asked.is_some() || self.calls.iter().any(|call| call.who == Who::Writer);
        self.writer.as_ref().is_some_and(|writer| !writer.is_idle() && !waits)
    }

    /// Everything heals and one more recoverer comes: whether the ledger is closed then.
    pub fn can_be_closed(&self, scope: &Scope) -> Result<(), String> {
        if self.writer_hangs() {
            return Err("the writer waits for nothing and acknowledges nothing".to_owned());
        }
        let mut world = self.clone();
        world.left = Left { silences: 0, repeats: 0, crashes: 0, unheard: 0, wipes: 0, losses: 0 };
        let term = world.next_term();
        let (turn, heard, unheard) = (Turn::Idle, None, None);
        world.recoverers.push(Recoverer { term, turn, tries: 3, heard, unheard });
        for _ in 0..400 {
            if world.closed.is_some() {
                return world.fault.map_or(Ok(()), Err);
            }
            let actions = world.actions(scope);
            let next = actions.into_iter().find(|action| *action != Action::Append);
            let Some(next) = next else { break };
            world.apply(scope, next);
        }
        let whole =
            (0..EntryId::after(self.committed).0).all(|entry| self.copies(EntryId(entry)) > 0);
        if scope.stale_commit || !whole {
            return world.fault.map_or(Ok(()), Err);
        }
        Err(world.fault.unwrap_or_else(|| "nobody can close it any more".to_owned()))
    }
}

fn place(member: Member) -> usize {
    usize::try_from(member.bookie.0 - 1).expect("a few bookies")
}

impl Explored for World {
    type Scope = Scope;
    type Action = Action;

    fn new(scope: &Scope) -> World {
        World::new(scope)
    }

    fn actions(&self, scope: &Scope) -> Vec<Action> {
        World::actions(self, scope)
    }

    fn apply(&mut self, scope: &Scope, action: Action) {
        World::apply(self, scope, action);
    }

    fn fault(&self) -> Option<&str> {
        World::fault(self)
    }

    fn at_rest(&self, scope: &Scope) -> Result<(), String> {
        self.can_be_closed(scope)
    }

    fn is_useful(&self) -> bool {
        self.acked().is_some() && self.closed().is_some()
    }

    fn is_fault(action: Action) -> bool {
        action.is_fault()
    }
}
