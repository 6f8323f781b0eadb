//! What goes wrong, and what work there is for it to go wrong in.
//!
//! Each seed draws which kinds of faults it has and how strong: a run with everything at once finds
//! other things than one with a single kind.

use egret_log::ledger::{Ensemble, LedgerState, Quorum};
use egret_schemas::LedgerId;

use super::client::Who;
use super::client::deleter::Deleter;
use super::client::reader::ReaderRole;
use super::client::recoverer::Recoverer;
use super::client::writer::{Plan, WriterRole};
use super::dice::Dice;
use super::fact::Fact;
use super::fault::Fault;
use super::network::Weather;
use super::options::Options;
use super::world::{Broken, Event, Mend, World};

/// Between two gusts, in microseconds.
const GUST_US: (u64, u64) = (100, 2_500);

/// How long a fault lasts that ends by itself.
const LASTS_US: (u64, u64) = (1_000, 80_000);

/// Ledgers of one run, at most.
const LEDGERS_MAX: u64 = 10;

/// Writers at once, at most.
const WRITERS_MAX: usize = 3;

/// Faults a gust may bring; the network's own come with its weather.
const GUSTS: &[Fault] = &[
    Fault::CutBothWays,
    Fault::CutTo,
    Fault::CutFrom,
    Fault::ClientAlone,
    Fault::Killed,
    Fault::PowerCut,
    Fault::PowerCutBusy,
    Fault::PowerCutOpening,
    Fault::AllPowerCut,
    Fault::ClosedCleanly,
    Fault::Checkpoint,
    Fault::Scrubbed,
    Fault::Compacted,
    Fault::ReadOnly,
    Fault::Replaced,
    Fault::Full,
    Fault::Slow,
    Fault::Stalled,
    Fault::SyncFailed,
    Fault::FlippedExtent,
    Fault::FlippedJournal,
    Fault::FlippedHead,
    Fault::MetaDown,
    Fault::WriterDied,
    Fault::WriterPaused,
    Fault::Takeover,
    Fault::RecovererDied,
    Fault::RecovererPaused,
    Fault::Rivals,
    Fault::Deleted,
    Fault::Abandoned,
];

/// What one seed brings.
#[derive(Debug)]
pub(crate) struct Storm {
    pub(crate) nodes: u64,
    pub(crate) weather: Weather,
    quorums: Vec<Quorum>,
    gusts: Vec<Fault>,
    /// How often a gust brings a fault instead of work, in thousandths.
    fury: u64,
    next_ledger: u64,
    pub(crate) dice: Dice,
}

impl Storm {
    pub(crate) fn new(seed: u64, options: &Options) -> Storm {
        let mut dice = Dice::new(seed, "storm");
        let nodes = dice.between(3, 5);
        let level = |dice: &mut Dice, high: u64| match dice.roll(3) {
            0 => 0,
            1 => high / 10,
            _ => high,
        };
        let mut weather = Weather {
            lost: level(&mut dice, 150),
            twice: level(&mut dice, 100),
            late: level(&mut dice, 100),
            garbled: level(&mut dice, 30),
        };
        let without = |fault: Fault| options.without.contains(&fault);
        if without(Fault::RequestLost) || without(Fault::AnswerLost) {
            weather.lost = 0;
        }
        if without(Fault::RequestTwice) || without(Fault::AnswerTwice) {
            weather.twice = 0;
        }
        if without(Fault::Late) {
            weather.late = 0;
        }
        if without(Fault::RequestGarbled) || without(Fault::AnswerGarbled) {
            weather.garbled = 0;
        }
        let share = dice.one_of(&[150, 400, 700, 1000]);
        let drawn =
            |dice: &mut Dice| GUSTS.iter().copied().filter(|_| dice.per_mille(share)).collect();
        let mut gusts: Vec<Fault> = drawn(&mut dice);
        gusts.retain(|fault| !without(*fault));
        let quorum = |ensemble, write, ack| {
            Quorum::new(ensemble, write, ack).expect("sizes that work together")
        };
        let mut quorums = vec![quorum(3, 3, 2)];
        if dice.per_mille(400) {
            quorums.push(dice.one_of(&[
                quorum(1, 1, 1),
                quorum(2, 2, 2),
                quorum(3, 2, 2),
                quorum(3, 3, 3),
            ]));
        }
        if nodes >= 4 && dice.per_mille(300) {
            quorums.push(quorum(4, 3, 2));
        }
        if nodes == 5 && dice.per_mille(300) {
            quorums.push(dice.one_of(&[quorum(5, 3, 2), quorum(5, 5, 3)]));
        }
        let fury = dice.one_of(&[50, 150, 350]);
        Storm { nodes, weather, quorums, gusts, fury, next_ledger: 1, dice }
    }

    /// After how many operations of a start the power goes, if it does.
    pub(crate) fn cuts_opening(&mut self, options: &Options) -> Option<u64> {
        let may = self.gusts.contains(&Fault::PowerCutOpening)
            && !options.without.contains(&Fault::PowerCutOpening);
        (self.dice.per_mille(150) && may).then(|| self.dice.draw())
    }

    /// No more faults; work goes on being drawn from the same numbers.
    pub(crate) fn abate(&mut self) {
        self.gusts.clear();
    }
}

impl World {
    /// One gust, and the next one planned.
    pub(crate) fn blow(&mut self) -> Result<(), Broken> {
        let us = self.storm.dice.between(GUST_US.0, GUST_US.1);
        self.after(us, Event::Storm);
        let fury = self.storm.fury;
        if self.storm.dice.per_mille(fury) && !self.storm.gusts.is_empty() {
            let which = self.storm.dice.pick(self.storm.gusts.len());
            self.strike(self.storm.gusts[which])
        } else {
            self.employ()
        }
    }

    fn who(&mut self) -> Who {
        let process = u128::from(self.seed) << 64 | (self.clients.len() as u128 + 1);
        Who { process, defect: self.options.defect }
    }

    fn dice_of_client(&self) -> Dice {
        Dice::new(self.seed, &format!("client {}", self.clients.len()))
    }

    fn some_node(&mut self) -> usize {
        self.storm.dice.pick(self.nodes.len())
    }

    fn some_client(&mut self, role: &str) -> Option<usize> {
        let fits = |(_, client): &(usize, &super::world::Client)| {
            client.alive && (role.is_empty() || client.role.name() == role)
        };
        let those: Vec<usize> =
            self.clients.iter().enumerate().filter(fits).map(|(number, _)| number).collect();
        if those.is_empty() { None } else { Some(self.storm.dice.one_of(&those)) }
    }

    /// A ledger whose record fits.
    fn some_ledger(&mut self, fits: impl Fn(LedgerState) -> bool) -> Option<LedgerId> {
        let book = self.oracles.book();
        let those: Vec<LedgerId> = book
            .ledgers()
            .filter(|(_, history)| history.record.as_ref().is_some_and(|r| fits(r.state)))
            .map(|(ledger, _)| ledger)
            .collect();
        if those.is_empty() { None } else { Some(self.storm.dice.one_of(&those)) }
    }

    /// Gives somebody work.
    fn employ(&mut self) -> Result<(), Broken> {
        let writers = self.clients.iter().filter(|c| c.alive && c.role.name() == "writer").count();
        match self.storm.dice.roll(10) {
            0..3 if writers < WRITERS_MAX && self.storm.next_ledger <= LEDGERS_MAX => {
                self.new_writer()
            }
            3..6 => match self.some_ledger(|state| state != LedgerState::Deleting) {
                Some(ledger) => self.new_reader(ledger),
                None => Ok(()),
            },
            6..8 => {
                let open = |state| matches!(state, LedgerState::Open | LedgerState::InRecovery);
                let Some(ledger) = self.some_ledger(open) else { return Ok(()) };
                let left = self.at_work("writer", ledger) == 0;
                let rivals = self.at_work("recoverer", ledger);
                if left && rivals == 0 { self.new_recoverer(ledger).map(drop) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn new_writer(&mut self) -> Result<(), Broken> {
        let quorum = self.storm.dice.one_of(&self.storm.quorums.clone());
        // Whoever lists bookies lists those that are up, mostly.
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        self.storm.dice.shuffle(&mut order);
        order.sort_by_key(|node| !self.nodes[*node].is_up());
        let members = order.iter().take(quorum.ensemble()).map(|node| self.nodes[*node].member());
        let ensemble = Ensemble::new(members.collect());
        let ledger = LedgerId(self.storm.next_ledger);
        self.storm.next_ledger += 1;
        let transactional = self.storm.dice.per_mille(300);
        let plan = Plan { ledger, transactional, quorum, ensemble };
        let role = WriterRole::new(self.who(), plan, self.dice_of_client());
        self.join(Box::new(role)).map(drop)
    }

    pub(crate) fn new_reader(&mut self, ledger: LedgerId) -> Result<(), Broken> {
        let role = ReaderRole::new(self.who(), ledger, self.dice_of_client());
        self.join(Box::new(role)).map(drop)
    }

    pub(crate) fn new_recoverer(&mut self, ledger: LedgerId) -> Result<usize, Broken> {
        let role = Recoverer::new(self.who(), ledger, self.dice_of_client());
        self.join(Box::new(role))
    }

    pub(crate) fn new_deleter(&mut self, ledger: LedgerId, abandon: bool) -> Result<(), Broken> {
        let role = Deleter::new(self.who(), ledger, abandon, self.dice_of_client());
        self.join(Box::new(role)).map(drop)
    }

    fn lasts(&mut self) -> u64 {
        self.storm.dice.between(LASTS_US.0, LASTS_US.1)
    }

    fn strike(&mut self, fault: Fault) -> Result<(), Broken> {
        self.trace.note(self.now, format_args!("storm: {}", fault.text()));
        let node = self.some_node();
        match fault {
            Fault::CutBothWays | Fault::CutTo | Fault::CutFrom | Fault::ClientAlone => {
                self.strike_links(fault, node);
            }
            Fault::WriterDied
            | Fault::WriterPaused
            | Fault::RecovererDied
            | Fault::RecovererPaused => self.strike_client(fault),
            Fault::Takeover | Fault::Rivals | Fault::Deleted | Fault::Abandoned => {
                return self.strike_owner(fault);
            }
            Fault::FlippedExtent | Fault::FlippedHead | Fault::FlippedJournal => {
                return self.flip(fault, node);
            }
            Fault::MetaDown => {
                let us = self.lasts();
                self.meta_down_until = self.now + us;
            }
            _ => return self.strike_node(fault, node),
        }
        Ok(())
    }

    fn strike_links(&mut self, fault: Fault, node: usize) {
        let Some(client) = self.some_client("") else { return };
        let us = self.lasts();
        if fault == Fault::ClientAlone {
            self.hit(fault);
            for node in 0..self.nodes.len() {
                self.network.cut_to.insert((client, node));
                self.network.cut_from.insert((client, node));
            }
            return self.after(us, Event::Mend(Mend::Alone { client }));
        }
        if fault != Fault::CutFrom {
            self.network.cut_to.insert((client, node));
        }
        if fault != Fault::CutTo {
            self.network.cut_from.insert((client, node));
        }
        if fault == Fault::CutBothWays {
            self.hit(fault);
        }
        self.after(us, Event::Mend(Mend::Link { client, node }));
    }

    fn strike_client(&mut self, fault: Fault) {
        let writer = matches!(fault, Fault::WriterDied | Fault::WriterPaused);
        let Some(client) = self.some_client(if writer { "writer" } else { "recoverer" }) else {
            return;
        };
        self.hit(fault);
        self.trace.note(self.now, format_args!("storm: it is #{client}"));
        if matches!(fault, Fault::WriterDied | Fault::RecovererDied) {
            self.clients[client].alive = false;
        } else {
            let us = self.lasts();
            self.clients[client].paused_until = self.now + us;
        }
    }

    fn strike_owner(&mut self, fault: Fault) -> Result<(), Broken> {
        let open = |state| matches!(state, LedgerState::Open | LedgerState::InRecovery);
        match fault {
            Fault::Takeover => {
                let Some(client) = self.some_client("writer") else { return Ok(()) };
                let Some(ledger) = self.clients[client].role.ledger() else { return Ok(()) };
                if !self.ledgers().contains(&ledger) {
                    return Ok(());
                }
                self.hit(fault);
                self.new_recoverer(ledger).map(drop)
            }
            Fault::Rivals => {
                let Some(ledger) = self.some_ledger(open) else { return Ok(()) };
                self.hit(fault);
                self.new_recoverer(ledger)?;
                self.new_recoverer(ledger).map(drop)
            }
            Fault::Abandoned => {
                let Some(ledger) = self.some_ledger(open) else { return Ok(()) };
                self.new_deleter(ledger, true)
            }
            _ => {
                let closed = |state| matches!(state, LedgerState::Closed { .. });
                let Some(ledger) = self.some_ledger(closed) else { return Ok(()) };
                self.new_deleter(ledger, false)
            }
        }
    }

    fn strike_node(&mut self, fault: Fault, node: usize) -> Result<(), Broken> {
        let up = self.nodes[node].is_up();
        match fault {
            Fault::AllPowerCut => {
                self.hit(fault);
                for node in 0..self.nodes.len() {
                    self.nodes[node].cut_power();
                    self.start_later(node);
                }
            }
            Fault::Replaced => {
                self.replace_disk(node)?;
                self.start_later(node);
            }
            _ if !up => {}
            Fault::Killed => {
                self.hit(fault);
                // A process that dies with a failed sync behind it leaves memory that lies.
                if self.nodes[node].sync_failed {
                    self.nodes[node].cut_power();
                } else {
                    self.nodes[node].stop();
                }
                self.start_later(node);
            }
            Fault::PowerCut => {
                self.hit(fault);
                self.nodes[node].cut_power();
                self.start_later(node);
            }
            Fault::PowerCutBusy => {
                let left = self.storm.dice.roll(6);
                self.cut_in.insert(node, left);
            }
            Fault::ClosedCleanly => {
                self.hit(fault);
                self.nodes[node].close();
                self.start_later(node);
            }
            Fault::Checkpoint => {
                self.hit(fault);
                self.nodes[node].checkpoint();
                if self.nodes[node].is_poisoned() {
                    self.on_poisoned(node)?;
                }
            }
            Fault::Compacted => {
                self.hit(fault);
                self.nodes[node].compact();
                if self.nodes[node].is_poisoned() {
                    self.on_poisoned(node)?;
                }
            }
            Fault::ReadOnly => {
                self.hit(fault);
                self.nodes[node].set_read_only(true);
                let us = self.lasts();
                self.after(us, Event::Mend(Mend::ReadOnly { node }));
            }
            Fault::Scrubbed => {
                self.hit(fault);
                let (bookie, found) = (self.nodes[node].incarnation, self.nodes[node].scrub());
                if let Some(why) = found.into_iter().next() {
                    self.tell(Fact::ScrubFound { bookie, why })?;
                }
            }
            Fault::Full => {
                self.hit(fault);
                let used: u64 = self.nodes[node].disk.files().iter().map(|(_, len)| len).sum();
                let room = self.storm.dice.roll(160 << 10);
                self.nodes[node].disk.space_limit(used + room);
                let us = self.lasts();
                self.after(us, Event::Mend(Mend::Full { node }));
            }
            Fault::Slow => {
                self.hit(fault);
                self.nodes[node].slow_us = self.storm.dice.between(500, 15_000);
                let us = self.lasts();
                self.after(us, Event::Mend(Mend::Slow { node }));
            }
            Fault::Stalled => {
                self.hit(fault);
                let us = self.lasts();
                self.nodes[node].stalled_until = self.now + us;
            }
            Fault::SyncFailed => {
                self.nodes[node].sync_failed = true;
                self.nodes[node].disk.fail_next_sync();
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes a byte somewhere it means something, if there is one.
    fn flip(&mut self, fault: Fault, node: usize) -> Result<(), Broken> {
        let part = match fault {
            Fault::FlippedExtent => "extents",
            Fault::FlippedJournal => "journal",
            _ => "",
        };
        let mut files = self.nodes[node].files(part);
        if fault == Fault::FlippedJournal {
            // The end of a journal cannot be told from a torn write by one bookie, and is cut: the
            // last file stays as it is.
            let numbered = |path: &std::path::Path| {
                path.extension().is_none()
                    && path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'J')
            };
            files.retain(|(path, _)| numbered(path));
            files.pop();
        }
        if files.is_empty() {
            return Ok(());
        }
        let (path, len) = files[self.storm.dice.pick(files.len())].clone();
        let bytes = self.nodes[node].disk.bytes(&path).unwrap_or_default();
        // Most of a journal file is zeros nobody reads.
        let mut at = self.storm.dice.roll(len);
        for _ in 0..30 {
            let here = usize::try_from(at).ok().and_then(|at| bytes.get(at));
            if here.is_some_and(|byte| *byte != 0) {
                break;
            }
            at = self.storm.dice.roll(len);
        }
        let mask = 1 << self.storm.dice.roll(8);
        self.hit(fault);
        self.trace.note(self.now, format_args!("storm: {} at {at}", path.display()));
        self.tell(Fact::Suspect { bookie: self.nodes[node].incarnation })?;
        self.nodes[node].disk.flip(&path, at, mask);
        Ok(())
    }
}
