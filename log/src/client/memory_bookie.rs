//! A faithful bookie in memory, for tests: terms, durable fences, LAC, three-valued answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use crate::message::{
    RangeEntry, Refusal, Reply, ReplyTo, Request, Transport, Unknown, Wake, entry_crc,
};

#[derive(Default)]
struct Ledger {
    created: bool,
    deleted: bool,
    term: Term,
    transactional: bool,
    entries: BTreeMap<EntryId, (Term, u32, Bytes)>,
    lac: Option<EntryId>,
    watchers: Vec<(Option<EntryId>, Wake)>,
}

#[derive(Default)]
struct State {
    ledgers: BTreeMap<LedgerId, Ledger>,
    /// Adds are held back while set, then answered in reverse: late and out of order.
    hold: bool,
    held: Vec<(Request, ReplyTo)>,
    refuse_adds: Option<Refusal>,
    refuse_creates: Option<Refusal>,
    /// Nothing is done, and everything is answered at once with this.
    down: Option<Unknown>,
    /// Its word on what it lacks is worth nothing.
    limbo: bool,
    /// Nothing is answered; what was asked meanwhile is done and answered afterwards.
    silent: Option<Vec<(Request, ReplyTo)>>,
    adds: usize,
    reads: ReadCount,
    /// It is down after so many reads more.
    dies_after: Option<usize>,
    /// A disk whose power is this bookie's; one operation on it for each request that changes
    /// something, so that the power can go before and after each.
    power: Option<Arc<dyn crate::disk::DiskFile>>,
}

/// What was read, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadCount {
    /// Entries alone.
    pub(crate) alone: usize,
    /// Rows.
    pub(crate) rows: usize,
    /// Bytes of the largest row.
    pub(crate) row_bytes_max: usize,
    /// The last entry of what was asked for.
    pub(crate) highest: Option<EntryId>,
}

#[derive(Default)]
pub(crate) struct MemoryBookie {
    state: Mutex<State>,
    arrived: Condvar,
}

impl fmt::Debug for MemoryBookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryBookie")
    }
}

impl Ledger {
    fn raise(&mut self, term: Term) -> Result<(), Reply> {
        if self.deleted {
            return Err(Reply::Refused(Refusal::Deleted));
        }
        if term < self.term {
            return Err(Reply::Refused(Refusal::StaleTerm { held: self.term }));
        }
        self.term = term;
        Ok(())
    }

    fn woken(&mut self, all: bool) -> Vec<Wake> {
        let lac = self.lac;
        let watchers = std::mem::take(&mut self.watchers);
        let (wake, keep) = watchers.into_iter().partition(|(beyond, _)| all || lac > *beyond);
        self.watchers = keep;
        let wake: Vec<(Option<EntryId>, Wake)> = wake;
        wake.into_iter().map(|(_, wake)| wake).collect()
    }
}

impl State {
    fn count_down(&mut self, request: &Request) {
        let reads = matches!(request, Request::Read { .. } | Request::ReadRange { .. });
        match &mut self.dies_after {
            Some(0) if reads => self.down = Some(Unknown::Closing),
            Some(left) if reads => *left -= 1,
            _ => {}
        }
    }

    fn handle_powered(&mut self, request: Request, wakes: &mut Vec<Wake>) -> Reply {
        let changes = !matches!(
            request,
            Request::Read { fence: None, .. } | Request::ReadRange { .. } | Request::ReadLac { .. }
        );
        let power = self.power.clone();
        let on = || match &power {
            Some(file) if changes => file.write_all_at(&[0], 0).is_ok(),
            Some(file) => file.len().is_ok(),
            None => true,
        };
        let cut = || Reply::Unknown(Unknown::Closing);
        if !on() {
            return cut();
        }
        let reads = matches!(request, Request::Read { .. } | Request::ReadRange { .. });
        let reply = match self.handle(request, wakes) {
            Reply::NoEntry { .. } if reads && self.limbo => Reply::Unknown(Unknown::Limbo),
            reply => reply,
        };
        if on() { reply } else { cut() }
    }

    fn handle(&mut self, request: Request, wakes: &mut Vec<Wake>) -> Reply {
        match self.try_handle(request, wakes) {
            Ok(reply) | Err(reply) => reply,
        }
    }

    fn known(&mut self, id: LedgerId) -> Result<&mut Ledger, Reply> {
        match self.ledgers.get_mut(&id) {
            Some(ledger) if ledger.deleted => Err(Reply::Refused(Refusal::Deleted)),
            Some(ledger) if ledger.created => Ok(ledger),
            _ => Err(Reply::Refused(Refusal::NoLedger)),
        }
    }

    fn try_handle(&mut self, request: Request, wakes: &mut Vec<Wake>) -> Result<Reply, Reply> {
        match request {
            Request::Create { ledger, term, transactional, .. } => {
                if let Some(refusal) = &self.refuse_creates {
                    return Err(Reply::Refused(refusal.clone()));
                }
                let ledger = self.ledgers.entry(ledger).or_default();
                if ledger.created {
                    return Err(Reply::Refused(Refusal::Exists));
                }
                ledger.raise(term)?;
                (ledger.created, ledger.transactional) = (true, transactional);
                Ok(Reply::Done)
            }
            Request::Add { ledger, entry, term, lac, crc, payload, .. } => {
                if let Some(refusal) = &self.refuse_adds {
                    return Err(Reply::Refused(refusal.clone()));
                }
                self.adds += 1;
                let id = ledger;
                let ledger = self.known(ledger)?;
                ledger.raise(term)?;
                if entry_crc(id, entry, &payload) != crc {
                    return Err(Reply::Refused(Refusal::BadCrc));
                }
                if ledger.entries.get(&entry).is_some_and(|held| held.1 != crc) {
                    return Err(Reply::Refused(Refusal::Conflict));
                }
                ledger.entries.insert(entry, (term, crc, payload));
                ledger.lac = ledger.lac.max(lac);
                wakes.extend(ledger.woken(false));
                Ok(Reply::Done)
            }
            Request::Read { ledger, entry, fence } => {
                self.reads.alone += 1;
                self.reads.highest = self.reads.highest.max(Some(entry));
                if let Some(term) = fence {
                    let ledger = self.ledgers.entry(ledger).or_default();
                    ledger.raise(term)?;
                    wakes.extend(ledger.woken(true));
                }
                let Some(ledger) = self.ledgers.get(&ledger) else {
                    return Err(Reply::Refused(Refusal::NoLedger));
                };
                if ledger.deleted {
                    return Err(Reply::Refused(Refusal::Deleted));
                }
                let lac = ledger.lac;
                Ok(match ledger.entries.get(&entry).cloned() {
                    None => Reply::NoEntry { lac },
                    Some((term, crc, payload)) => Reply::Entry { entry, term, crc, lac, payload },
                })
            }
            Request::ReadRange { ledger, from, entries_max, bytes_max } => {
                let highest = EntryId(from.0 + u64::from(entries_max)).before();
                self.reads.highest = self.reads.highest.max(highest);
                let ledger = self.known(ledger)?;
                let (lac, mut bytes) = (ledger.lac, 0);
                let row = (from.0..).map_while(|entry| {
                    let (term, crc, payload) = ledger.entries.get(&EntryId(entry))?.clone();
                    bytes += payload.len();
                    let fits = bytes <= bytes_max as usize || EntryId(entry) == from;
                    fits.then_some(RangeEntry { entry: EntryId(entry), term, crc, payload })
                });
                let entries: Vec<_> = row.take(entries_max as usize).collect();
                let bytes = entries.iter().map(|found| found.payload.len()).sum();
                self.reads.rows += 1;
                self.reads.row_bytes_max = self.reads.row_bytes_max.max(bytes);
                Ok(if entries.is_empty() {
                    Reply::NoEntry { lac }
                } else {
                    Reply::Entries { lac, entries }
                })
            }
            Request::Fence { ledger, term } => {
                let ledger = self.ledgers.entry(ledger).or_default();
                ledger.raise(term)?;
                wakes.extend(ledger.woken(true));
                let last = ledger.entries.last_key_value().map(|(entry, _)| *entry);
                Ok(Reply::Fenced { lac: ledger.lac, last })
            }
            Request::WriteLac { ledger, term, lac } => {
                let ledger = self.known(ledger)?;
                ledger.raise(term)?;
                ledger.lac = ledger.lac.max(Some(lac));
                wakes.extend(ledger.woken(false));
                Ok(Reply::Done)
            }
            Request::ReadLac { ledger } => {
                let ledger = self.known(ledger)?;
                let last = ledger.entries.last_key_value().map(|(entry, _)| *entry);
                Ok(Reply::Lac { lac: ledger.lac, last })
            }
            Request::ClearLimbo { .. } | Request::LimboBound { .. } => Ok(Reply::Done),
            Request::Delete { ledger } => {
                let ledger = self.ledgers.entry(ledger).or_default();
                wakes.extend(ledger.woken(true));
                *ledger = Ledger { deleted: true, ..Ledger::default() };
                Ok(Reply::Done)
            }
        }
    }
}

impl MemoryBookie {
    pub(crate) fn hold_adds(&self) {
        self.state.lock().unwrap().hold = true;
    }

    /// Waits until `n` adds are held, then lets them through, the last first.
    pub(crate) fn release_in_reverse(&self, n: usize) {
        let mut state = self.state.lock().unwrap();
        while state.held.len() < n {
            state = self.arrived.wait(state).unwrap();
        }
        assert_eq!(state.held.len(), n, "no more are under way than that");
        state.hold = false;
        let held = std::mem::take(&mut state.held);
        drop(state);
        for (request, reply) in held.into_iter().rev() {
            self.send(Incarnation(1), request, reply);
        }
    }

    pub(crate) fn refuse_adds(&self, refusal: Option<Refusal>) {
        self.state.lock().unwrap().refuse_adds = refusal;
    }

    pub(crate) fn refuse_creates(&self, refusal: Option<Refusal>) {
        self.state.lock().unwrap().refuse_creates = refusal;
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state.lock().unwrap().down.is_some()
    }

    pub(crate) fn set_down(&self, down: bool) {
        let lost = || Unknown::Unreachable { to: "a bookie".to_owned(), why: "down".to_owned() };
        let mut state = self.state.lock().unwrap();
        (state.down, state.dies_after) = (down.then(lost), None);
    }

    /// It is there, and lets nobody in.
    pub(crate) fn turn_away(&self) {
        let (to, why) = ("a bookie".to_owned(), "received fatal alert: UnknownCA".to_owned());
        self.state.lock().unwrap().down = Some(Unknown::TurnedAway { to, why });
    }

    /// It may have lost what it does not have.
    pub(crate) fn set_limbo(&self, limbo: bool) {
        self.state.lock().unwrap().limbo = limbo;
    }

    /// Says nothing for a while, or takes up what was asked meanwhile.
    pub(crate) fn set_silent(&self, silent: bool) {
        let mut state = self.state.lock().unwrap();
        let later = match silent {
            true => state.silent.replace(Vec::new()),
            false => state.silent.take(),
        };
        drop(state);
        for (request, reply) in later.into_iter().flatten() {
            self.send(Incarnation(1), request, reply);
        }
    }

    pub(crate) fn holds(&self, ledger: LedgerId, entry: EntryId) -> bool {
        let state = self.state.lock().unwrap();
        state.ledgers.get(&ledger).is_some_and(|ledger| ledger.entries.contains_key(&entry))
    }

    pub(crate) fn power(&self, file: Arc<dyn crate::disk::DiskFile>) {
        let mut state = self.state.lock().unwrap();
        state.power = Some(file);
        // A new process: nobody of the old one waits any more.
        state.ledgers.values_mut().for_each(|ledger| ledger.watchers.clear());
    }

    pub(crate) fn copy(&self) -> MemoryBookie {
        let state = self.state.lock().unwrap();
        let copied = |ledger: &Ledger| Ledger {
            entries: ledger.entries.clone(),
            watchers: Vec::new(),
            ..*ledger
        };
        let ledgers = state.ledgers.iter().map(|(id, ledger)| (*id, copied(ledger))).collect();
        let state = Mutex::new(State { ledgers, ..State::default() });
        MemoryBookie { state, arrived: Condvar::new() }
    }

    pub(crate) fn lose(&self, ledger: LedgerId, entry: EntryId) {
        let mut state = self.state.lock().unwrap();
        state.ledgers.get_mut(&ledger).unwrap().entries.remove(&entry).unwrap();
    }

    /// Whoever watches is called, for nothing.
    pub(crate) fn call_watchers(&self) {
        let mut state = self.state.lock().unwrap();
        let watchers: Vec<_> =
            state.ledgers.values_mut().flat_map(|ledger| ledger.watchers.drain(..)).collect();
        drop(state);
        watchers.into_iter().for_each(|(_, wake)| wake());
    }

    /// It was never told what readers may see.
    pub(crate) fn forget_lac(&self, ledger: LedgerId) {
        self.state.lock().unwrap().ledgers.get_mut(&ledger).unwrap().lac = None;
    }

    pub(crate) fn adds(&self) -> usize {
        self.state.lock().unwrap().adds
    }

    /// What was read since this was last asked.
    pub(crate) fn take_reads(&self) -> ReadCount {
        std::mem::take(&mut self.state.lock().unwrap().reads)
    }

    /// So many reads are answered, and then it is down.
    pub(crate) fn die_after(&self, reads: usize) {
        self.state.lock().unwrap().dies_after = Some(reads);
    }

    /// From now on it hands out other bytes than were written.
    pub(crate) fn flip(&self, ledger: LedgerId, entry: EntryId) {
        let mut state = self.state.lock().unwrap();
        let held = state.ledgers.get_mut(&ledger).unwrap().entries.get_mut(&entry).unwrap();
        held.2 = Bytes::from_static(b"flipped");
    }
}

impl Transport for MemoryBookie {
    fn send(&self, _to: Incarnation, request: Request, reply: ReplyTo) {
        let mut wakes = Vec::new();
        let answer = {
            let mut state = self.state.lock().unwrap();
            state.count_down(&request);
            if let Some(down) = &state.down {
                let answer = Reply::Unknown(down.clone());
                drop(state);
                return reply(answer);
            }
            if let Some(later) = &mut state.silent {
                return later.push((request, reply));
            }
            if state.hold && matches!(request, Request::Add { .. }) {
                state.held.push((request, reply));
                self.arrived.notify_all();
                return;
            }
            state.handle_powered(request, &mut wakes)
        };
        reply(answer);
        wakes.iter().for_each(|wake| wake());
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        // Whoever asked may have gone on without this answer.
        self.send(to, request, Box::new(move |reply| drop(sender.send(reply))));
        receiver.recv().unwrap()
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(1)
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        let mut state = self.state.lock().unwrap();
        let held = state.ledgers.entry(ledger).or_default();
        if held.lac > beyond || held.deleted {
            drop(state);
            return wake();
        }
        held.watchers.push((beyond, wake));
    }
}

/// What tests open ledgers over.
pub(crate) fn ledgers() -> (Arc<MemoryBookie>, super::Ledgers) {
    let bookie = Arc::new(MemoryBookie::default());
    let meta = Arc::new(crate::metadata::MemoryMeta::new());
    (bookie.clone(), super::Ledgers::on_one(bookie, meta))
}
