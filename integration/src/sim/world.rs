//! The world of one run: nodes, network, metadata store and clients under one clock and one queue.
//!
//! Nothing here draws from the machine: the next event is the least (time, number), what it does follows
//! from the seed, and the shipping code it calls runs on this thread.

use std::collections::BTreeMap;

use bytes::Bytes;
use egret_log::client::Candidate;
use egret_log::ledger::{LedgerMetadata, Member, metadata_codec};
use egret_log::message::{Reply, Request, Unknown};
use egret_log::metadata::{Compare, MemoryMeta, MetaStore, Op, TxnOutcome};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::client::writer::Commit;
use super::client::{Action, MetaAnswer, Role, Tag};
use super::dice::Dice;
use super::fact::Fact;
use super::fault::{Fault, Hits};
use super::network::{Network, Way};
use super::node::{Handled, Node};
use super::options::{Defect, Options};
use super::oracle::Oracles;
use super::storm::Storm;
use super::trace::Trace;
use super::words::{Answered, Asked};

/// How long a client waits for a bookie, in microseconds.
const DEADLINE_US: u64 = 20_000;

/// How long it waits for the metadata store.
const META_DEADLINE_US: u64 = 30_000;

/// What a bookie takes for a request.
const SERVICE_US: (u64, u64) = (20, 120);

/// A broken rule: which, and how.
pub(crate) type Broken = (&'static str, String);

/// What a client does with what it is told.
pub(crate) type Act<'a> = Box<dyn FnOnce(&mut dyn Role, &mut Vec<Action>) + 'a>;

/// What is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    ToBookie { client: usize, call: u64, node: usize, to: Incarnation, request: Request },
    Leaves { client: usize, call: u64, node: usize, boot: u64, reply: Reply },
    ToClient { client: usize, call: u64, reply: Reply },
    Deadline { client: usize, call: u64 },
    Get { client: usize, call: u64, key: String },
    Txn { client: usize, call: u64, compare: Vec<Compare>, ops: Vec<Op> },
    FromMeta { client: usize, call: u64, answer: MetaAnswer },
    Timer { client: usize },
    Start { node: usize, boot: u64 },
    Mend(Mend),
    Storm,
}

/// A fault that ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mend {
    Link {
        client: usize,
        node: usize,
    },
    Alone {
        client: usize,
    },
    Slow {
        node: usize,
    },
    ReadOnly {
        node: usize,
    },
    Full {
        node: usize,
    },
    /// A bookie that stopped writing, or refused to start, is seen to.
    Operator {
        node: usize,
        boot: u64,
    },
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) role: Box<dyn Role>,
    pub(crate) alive: bool,
    pub(crate) paused_until: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) now: u64,
    next_event: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(crate) trace: Trace,
    pub(crate) hits: Hits,
    pub(crate) oracles: Oracles,
    pub(crate) nodes: Vec<Node>,
    /// Disk operations a node has left in this life of its power, when it is to go.
    pub(crate) cut_in: BTreeMap<usize, u64>,
    pub(crate) network: Network,
    pub(crate) meta: MemoryMeta,
    pub(crate) meta_down_until: u64,
    pub(crate) clients: Vec<Client>,
    calls: BTreeMap<u64, (usize, Tag)>,
    next_call: u64,
    pub(crate) storm: Storm,
    service: Dice,
    /// Events of the storm so far.
    pub(crate) steps: u64,
    pub(crate) confirmed: u64,
    pub(crate) read_back: u64,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> World {
        let storm = Storm::new(seed, &options);
        let lying = options.defect == Some(Defect::LyingDisk);
        let nodes = (1..=storm.nodes).map(|number| Node::new(seed, number, lying)).collect();
        let mut network = Network::new(seed);
        network.weather = storm.weather;
        let trace = Trace::new(options.lines.max(1));
        World {
            seed,
            options,
            now: 0,
            next_event: 0,
            queue: BTreeMap::new(),
            trace,
            hits: Hits::default(),
            oracles: Oracles::new(),
            nodes,
            cut_in: BTreeMap::new(),
            network,
            meta: MemoryMeta::new(),
            meta_down_until: 0,
            clients: Vec::new(),
            calls: BTreeMap::new(),
            next_call: 1,
            storm,
            service: Dice::new(seed, "service"),
            steps: 0,
            confirmed: 0,
            read_back: 0,
        }
    }

    /// All nodes start, then so many events of storm.
    pub(crate) fn run_storm(&mut self, steps: u64) -> Result<(), Broken> {
        for node in 0..self.nodes.len() {
            self.start_node(node)?;
        }
        self.after(0, Event::Storm);
        while self.steps < steps {
            self.steps += 1;
            self.step()?;
        }
        Ok(())
    }

    /// One event; false when there is none.
    pub(crate) fn step(&mut self) -> Result<bool, Broken> {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Ok(false) };
        self.now = at;
        self.happen(event)?;
        Ok(true)
    }

    /// When the next event is.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Drops the storm's own events that are still to come.
    pub(crate) fn forget_storm(&mut self) {
        self.queue.retain(|_, event| !matches!(event, Event::Storm | Event::Mend(_)));
        self.cut_in.clear();
    }

    pub(crate) fn after(&mut self, us: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.now + us, self.next_event), event);
    }

    pub(crate) fn tell(&mut self, fact: Fact) -> Result<(), Broken> {
        match &fact {
            Fact::Confirmed { ledger, entry, .. } => {
                self.confirmed += 1;
                self.trace.note(self.now, format_args!("confirmed {ledger}:{entry}"));
            }
            Fact::Committed { ledger, upto } => {
                self.trace.note(self.now, format_args!("committed {ledger}:{upto}"));
            }
            Fact::Recorded { ledger, after: Some(after) } => {
                let LedgerMetadata { state, term, fragments, .. } = after;
                let firsts: Vec<u64> = fragments.keys().map(|first| first.0).collect();
                self.trace.note(
                    self.now,
                    format_args!("record of {ledger}: {state:?} at {term}, fragments {firsts:?}"),
                );
            }
            Fact::Recorded { ledger, after: None } => {
                self.trace.note(self.now, format_args!("record of {ledger} removed"));
            }
            Fact::Read { ledger, entry, .. } => {
                self.trace.note(self.now, format_args!("read {ledger}:{entry}"));
            }
            _ => {}
        }
        self.oracles.tell(&fact)
    }

    pub(crate) fn hit(&mut self, fault: Fault) {
        self.hits.hit(fault);
    }

    fn happen(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::ToBookie { client, call, node, to, request } => {
                self.deliver(client, call, node, to, request)
            }
            Event::Leaves { client, call, node, boot, reply } => {
                if self.nodes[node].boot == boot {
                    self.send_answer(client, call, node, reply);
                }
                Ok(())
            }
            Event::ToClient { client, call, reply } => {
                if self.defer(client) {
                    self.postpone(client, Event::ToClient { client, call, reply });
                    return Ok(());
                }
                let Some((_, tag)) = self.calls.remove(&call) else { return Ok(()) };
                self.trace.note(
                    self.now,
                    format_args!("#{client} hears of call {call}: {}", Answered(&reply)),
                );
                self.act(client, Box::new(move |role, out| role.on_answer(tag, reply, out)))
            }
            Event::Deadline { client, call } => {
                if !self.calls.contains_key(&call) {
                    return Ok(());
                }
                if self.defer(client) {
                    self.postpone(client, Event::Deadline { client, call });
                    return Ok(());
                }
                let Some((_, tag)) = self.calls.remove(&call) else { return Ok(()) };
                self.trace.note(self.now, format_args!("#{client} gives up call {call}"));
                self.hit(Fault::Deadline);
                let reply = Reply::Unknown(Unknown::Deadline { ms: DEADLINE_US / 1000 });
                self.act(client, Box::new(move |role, out| role.on_answer(tag, reply, out)))
            }
            Event::Get { client, call, key } => {
                if self.meta_is_down() {
                    return Ok(());
                }
                let got = self.meta.get(&key).expect("memory answers");
                self.answer_from_meta(client, call, MetaAnswer::Got(got));
                Ok(())
            }
            Event::Txn { client, call, compare, ops } => {
                if self.meta_is_down() {
                    return Ok(());
                }
                let outcome = self.meta.txn(&compare, &ops).expect("memory answers");
                if let TxnOutcome::Committed { .. } = outcome {
                    self.tell_of_ops(&ops)?;
                }
                self.answer_from_meta(client, call, MetaAnswer::Txn(outcome));
                Ok(())
            }
            Event::FromMeta { client, call, answer } => {
                if !self.calls.contains_key(&call) {
                    return Ok(());
                }
                if self.defer(client) {
                    self.postpone(client, Event::FromMeta { client, call, answer });
                    return Ok(());
                }
                self.calls.remove(&call);
                if let MetaAnswer::Txn(outcome) = &answer {
                    self.trace
                        .note(self.now, format_args!("#{client} hears from metadata: {outcome:?}"));
                }
                self.act(client, Box::new(move |role, out| role.on_meta(answer, out)))
            }
            Event::Timer { client } => {
                if self.defer(client) {
                    self.postpone(client, Event::Timer { client });
                    return Ok(());
                }
                self.act(client, Box::new(|role, out| role.on_time(out)))
            }
            Event::Start { node, boot } => {
                if self.nodes[node].boot == boot && !self.nodes[node].is_up() {
                    return self.start_node(node);
                }
                Ok(())
            }
            Event::Mend(mend) => self.mend(mend),
            Event::Storm => self.blow(),
        }
    }

    /// Whether a client is paused: what comes to it waits.
    fn defer(&self, client: usize) -> bool {
        self.clients[client].alive && self.clients[client].paused_until > self.now
    }

    fn postpone(&mut self, client: usize, event: Event) {
        let us = self.clients[client].paused_until - self.now;
        self.after(us, event);
    }

    fn deliver(
        &mut self,
        client: usize,
        call: u64,
        node: usize,
        to: Incarnation,
        request: Request,
    ) -> Result<(), Broken> {
        let place = &mut self.nodes[node];
        if place.stalled_until > self.now {
            let us = place.stalled_until - self.now;
            self.after(us, Event::ToBookie { client, call, node, to, request });
            return Ok(());
        }
        if let Some(left) = self.cut_in.remove(&node) {
            place.disk.crash_after(place.disk.operations() + left);
        }
        let id = place.id;
        self.trace.note(self.now, format_args!("{id} gets {call}: {}", Asked(&request)));
        let poisoned = self.nodes[node].is_poisoned();
        match self.nodes[node].handle(to, request.clone()) {
            Handled::Down => {
                let (to, why) = (id.to_string(), "nobody listens".to_owned());
                let reply = Reply::Unknown(Unknown::Unreachable { to, why });
                self.send_answer(client, call, node, reply);
                Ok(())
            }
            Handled::PowerCut => {
                self.hit(Fault::PowerCutBusy);
                self.trace.note(self.now, format_args!("{id} loses power meanwhile"));
                self.nodes[node].cut_power();
                self.start_later(node);
                Ok(())
            }
            Handled::Answer(reply) => {
                if !poisoned && self.nodes[node].is_poisoned() {
                    self.on_poisoned(node)?;
                }
                match &reply {
                    Reply::Unknown(Unknown::Damaged { .. }) => self.hit(Fault::DamagedAnswer),
                    Reply::Unknown(Unknown::Incarnation { .. }) => self.hit(Fault::OtherLife),
                    Reply::Unknown(Unknown::Limbo) => self.hit(Fault::Limbo),
                    _ => {}
                }
                let by = self.nodes[node].incarnation;
                self.trace
                    .note(self.now, format_args!("{id} answers {call}: {}", Answered(&reply)));
                // What another life is asked it does not know.
                if by == to {
                    self.tell(Fact::Answered { by, request, reply: reply.clone() })?;
                }
                let service = self.service.between(SERVICE_US.0, SERVICE_US.1);
                let place = &mut self.nodes[node];
                let leaves = place.busy_until.max(self.now) + service + place.slow_us;
                place.busy_until = leaves;
                let boot = place.boot;
                let us = leaves - self.now;
                self.after(us, Event::Leaves { client, call, node, boot, reply });
                Ok(())
            }
        }
    }

    fn send_answer(&mut self, client: usize, call: u64, node: usize, reply: Reply) {
        if self.network.cut_from.contains(&(client, node)) {
            self.hit(Fault::CutFrom);
            return;
        }
        let Way { arrivals, late, garbled } = self.network.send();
        match arrivals.len() {
            0 => self.hit(Fault::AnswerLost),
            1 => {}
            _ => self.hit(Fault::AnswerTwice),
        }
        if late {
            self.hit(Fault::Late);
        }
        let mut reply = reply;
        if garbled && let Reply::Entry { payload, .. } = &mut reply {
            *payload = self.garble(payload);
            self.hit(Fault::AnswerGarbled);
        }
        for us in arrivals {
            self.after(us, Event::ToClient { client, call, reply: reply.clone() });
        }
    }

    fn garble(&mut self, payload: &Bytes) -> Bytes {
        let mut bytes = payload.to_vec();
        let at = self.service.pick(bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x10;
        }
        Bytes::from(bytes)
    }

    /// Has a client act, and carries out what it asks for.
    pub(crate) fn act(&mut self, client: usize, act: Act<'_>) -> Result<(), Broken> {
        if !self.clients[client].alive {
            return Ok(());
        }
        let mut out = Vec::new();
        let mut listed = false;
        act(&mut *self.clients[client].role, &mut out);
        for action in out {
            match action {
                Action::Ask { to, request, tag } => self.ask(client, to, request, tag),
                Action::Get(key) => {
                    let call = self.new_call(client, Tag::default());
                    self.ask_meta(client, call, Event::Get { client, call, key });
                }
                Action::Txn(compare, ops) => {
                    let call = self.new_call(client, Tag::default());
                    self.ask_meta(client, call, Event::Txn { client, call, compare, ops });
                }
                Action::ListBookies => listed = true,
                Action::Wait { us } => self.after(us, Event::Timer { client }),
                Action::Tell(fact) => self.tell(fact)?,
                Action::Hit(fault) => self.hit(fault),
                Action::Finished => self.clients[client].alive = false,
            }
        }
        if !listed {
            return Ok(());
        }
        let candidates = self.candidates();
        let act = Box::new(|role: &mut dyn Role, out: &mut Vec<Action>| {
            role.on_bookies(&candidates, out);
        });
        self.act(client, act)
    }

    /// Bookies as a registry lists them: those that are up, now and then one that is not.
    fn candidates(&mut self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for node in &self.nodes {
            if node.is_up() != self.service.per_mille(50) {
                candidates.push(Candidate { member: node.member(), rack: String::new() });
            }
        }
        candidates
    }

    fn new_call(&mut self, client: usize, tag: Tag) -> u64 {
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, (client, tag));
        call
    }

    fn ask(&mut self, client: usize, to: Member, request: Request, tag: Tag) {
        let call = self.new_call(client, tag);
        self.after(DEADLINE_US, Event::Deadline { client, call });
        let node = self.nodes.iter().position(|node| node.id == to.bookie);
        let node = node.expect("nodes come and go by their disks, not by their names");
        if self.network.cut_to.contains(&(client, node)) {
            self.hit(Fault::CutTo);
            return;
        }
        let Way { arrivals, late, garbled } = self.network.send();
        match arrivals.len() {
            0 => self.hit(Fault::RequestLost),
            1 => {}
            _ => self.hit(Fault::RequestTwice),
        }
        if late {
            self.hit(Fault::Late);
        }
        let mut request = request;
        if garbled
            && let Request::Add { payload, .. } = &mut request
            && !payload.is_empty()
        {
            *payload = self.garble(payload);
            self.hit(Fault::RequestGarbled);
        }
        let to = if self.options.defect == Some(Defect::AsksAnyLife) {
            self.nodes[node].incarnation
        } else {
            to.incarnation
        };
        for us in arrivals {
            let request = request.clone();
            self.after(us, Event::ToBookie { client, call, node, to, request });
        }
    }

    fn meta_is_down(&mut self) -> bool {
        let down = self.meta_down_until > self.now;
        if down {
            self.hit(Fault::MetaDown);
        }
        down
    }

    fn ask_meta(&mut self, client: usize, call: u64, event: Event) {
        let lost = Event::FromMeta { client, call, answer: MetaAnswer::Lost };
        self.after(META_DEADLINE_US, lost);
        let Way { arrivals, late, .. } = self.network.send();
        if late {
            self.hit(Fault::MetaLate);
        }
        match arrivals.first() {
            Some(us) => self.after(*us, event),
            None => self.hit(Fault::MetaRequestLost),
        }
    }

    fn answer_from_meta(&mut self, client: usize, call: u64, answer: MetaAnswer) {
        let Way { arrivals, late, .. } = self.network.send();
        if late {
            self.hit(Fault::MetaLate);
        }
        match arrivals.first() {
            Some(us) => self.after(*us, Event::FromMeta { client, call, answer }),
            None => self.hit(Fault::MetaAnswerLost),
        }
    }

    fn tell_of_ops(&mut self, ops: &[Op]) -> Result<(), Broken> {
        let number = |key: &str, prefix| {
            key.strip_prefix(prefix).and_then(|digits: &str| digits.parse().ok()).map(LedgerId)
        };
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    if let Some(ledger) = number(key, "/ledgers/") {
                        let after = metadata_codec::decode(value).expect("encoded by its codec");
                        self.tell(Fact::Recorded { ledger, after: Some(after) })?;
                    } else if let Some(ledger) = number(key, "/commits/")
                        && let Some(upto) = Commit::decode(value).upto
                    {
                        self.tell(Fact::Committed { ledger, upto })?;
                    }
                }
                // Who is there hangs on leases, and no ledger does.
                Op::PutLeased { .. } => {}
                Op::Delete(key) => {
                    if let Some(ledger) = number(key, "/ledgers/") {
                        self.tell(Fact::Recorded { ledger, after: None })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a client and starts it.
    pub(crate) fn join(&mut self, role: Box<dyn Role>) -> Result<usize, Broken> {
        let client = self.clients.len();
        let (name, ledger) = (role.name(), role.ledger().unwrap_or_default());
        self.trace.note(self.now, format_args!("#{client} is a {name} of {ledger}"));
        self.clients.push(Client { role, alive: true, paused_until: 0 });
        self.act(client, Box::new(|role, out| role.start(out)))?;
        Ok(client)
    }

    /// Clients at work on a ledger in this role.
    pub(crate) fn at_work(&self, role: &str, ledger: LedgerId) -> usize {
        let at = |client: &&Client| {
            client.alive && client.role.name() == role && client.role.ledger() == Some(ledger)
        };
        self.clients.iter().filter(at).count()
    }

    /// Every ledger that was ever recorded.
    pub(crate) fn ledgers(&self) -> Vec<LedgerId> {
        let recorded = self.oracles.book().ledgers().filter(|(_, h)| h.record.is_some());
        recorded.map(|(ledger, _)| ledger).collect()
    }

    /// Entries of a closed ledger, whole.
    pub(crate) fn closed_entries(&self, ledger: LedgerId) -> Vec<EntryId> {
        let end = self.oracles.book().ledger(ledger).and_then(|history| history.closed()).flatten();
        (0..EntryId::after(end).0).map(EntryId).collect()
    }
}
