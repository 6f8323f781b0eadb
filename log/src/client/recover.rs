//! Carries out what a [recovery](crate::ledger::recovery) asks for, all bookies at once.
//!
//! Answers come on the transports' threads and wait in a queue until the core takes them, in the order
//! in which they came. A bookie that owes many answers is not asked more: what it does not say proves
//! nothing, and the others are enough.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use egret_schemas::{EntryId, LedgerId, Term};

use super::error::RecoverError;
use super::given_up::GivenUp;
use super::ledgers::Ledgers;
use super::{fan_out, placement};
use crate::ledger::effect::RecoveryEffect;
use crate::ledger::reader::ReadAnswer;
use crate::ledger::recovery::Recovery;
use crate::ledger::writer::AddAnswer;
use crate::ledger::{CloseAt, Ensemble, Found, LedgerMetadata, Member};
use crate::message::{Refusal, Reply, Request, Unknown};

/// Requests one bookie may owe an answer for before it is passed over.
const OWED_MAX: usize = 64;

/// What an answer is an answer to.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Fence,
    Read(EntryId),
    Add(EntryId),
}

#[derive(Debug, Default)]
struct Queue {
    answers: VecDeque<(usize, Asked, Reply)>,
    /// By slot. Slots of different fragments are counted as one: it is a bound, no truth.
    owed: Vec<usize>,
}

#[derive(Debug, Default)]
struct Answers {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> (usize, Asked, Reply) {
        let mut queue = self.lock();
        loop {
            if let Some(answer) = queue.answers.pop_front() {
                return answer;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Finds the end of a ledger that was taken into recovery; the caller closes it there, or leaves it open
/// when `close` is none. Bookies an operator gave up are not asked: they have nothing, and take nothing.
pub(super) fn find_end(
    ledgers: &Ledgers,
    id: LedgerId,
    term: Term,
    taken: LedgerMetadata,
    close: Option<CloseAt>,
    gone: &BTreeSet<Member>,
) -> Result<Found, RecoverError> {
    let answers = Arc::new(Answers::default());
    answers.lock().owed.resize(taken.quorum.ensemble(), 0);
    let alone = taken.quorum.ensemble() == 1;
    let ask = |slot: usize, to: Member, asked: Asked, request: Request| {
        let way = ledgers.bookies().transport(to);
        if alone {
            let reply = way.call(to.incarnation, request);
            return answers.lock().answers.push_back((slot, asked, reply));
        }
        {
            let mut queue = answers.lock();
            if queue.owed[slot] >= OWED_MAX {
                let behind = Reply::Unknown(Unknown::Unreachable {
                    to: to.bookie.to_string(),
                    why: format!("it owes {OWED_MAX} answers"),
                });
                return queue.answers.push_back((slot, asked, behind));
            }
            queue.owed[slot] += 1;
        }
        let answers = Arc::clone(&answers);
        let told = move |reply| {
            let mut queue = answers.lock();
            queue.owed[slot] -= 1;
            queue.answers.push_back((slot, asked, reply));
            answers.arrived.notify_one();
        };
        way.send(to.incarnation, request, Box::new(told));
    };
    let mut given_up = GivenUp::new(gone);
    let say = |slot, asked, reply| answers.lock().answers.push_back((slot, asked, reply));
    let mut out = Vec::new();
    let mut core = match close {
        Some(close) => Recovery::start(id, taken.clone(), close, &mut out),
        None => Recovery::leave_open(id, taken.clone(), &mut out),
    };
    loop {
        let mut after = Vec::new();
        for effect in out.drain(..) {
            match effect {
                RecoveryEffect::Fence { slot, to } if given_up.has(to) => {
                    say(slot, Asked::Fence, GivenUp::fenced());
                }
                RecoveryEffect::Add { slot, to, entry, .. } if given_up.has(to) => {
                    say(slot, Asked::Add(entry), GivenUp::silent(to));
                }
                RecoveryEffect::Fence { slot, to } => {
                    ask(slot, to, Asked::Fence, Request::Fence { ledger: id, term });
                }
                RecoveryEffect::Read { slot, to, entry } => {
                    let request = Request::Read { ledger: id, entry, fence: Some(term) };
                    if given_up.on_ask(entry, slot, to) {
                        ask(slot, to, Asked::Read(entry), request);
                    }
                }
                RecoveryEffect::Add { slot, to, entry, lac, crc, payload } => {
                    let request =
                        Request::Add { ledger: id, entry, term, lac, crc, copy: true, payload };
                    ask(slot, to, Asked::Add(entry), request);
                }
                RecoveryEffect::Replace { entry, failed, ensemble } => {
                    let round = id.0.wrapping_add(entry.0);
                    let found = replace(ledgers, id, term, &taken, (&ensemble, &failed), round);
                    core.on_replaced(found, &mut after);
                }
                RecoveryEffect::Close(found) => return Ok(found),
                RecoveryEffect::Fail(why) => {
                    return Err(RecoverError::Recovery { ledger: id, why });
                }
            }
        }
        if !after.is_empty() {
            out = after;
            continue;
        }
        given_up
            .answers()
            .into_iter()
            .for_each(|(slot, e, reply)| say(slot, Asked::Read(e), reply));
        let (slot, asked, reply) = answers.next();
        match asked {
            Asked::Fence => core.on_fence(slot, reply, &mut out),
            Asked::Read(entry) => {
                given_up.on_answer(entry, &reply);
                core.on_read(slot, entry, ReadAnswer::judge(id, entry, reply), &mut out);
            }
            Asked::Add(entry) => {
                let answer = match reply {
                    Reply::Done => AddAnswer::Done,
                    Reply::Refused(refusal) => AddAnswer::Refused(refusal),
                    Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
                    other => unreachable!("an answer to an add: {other:?}"),
                };
                core.on_add(slot, entry, answer, &mut out);
            }
        }
    }
}

/// Bookies in place of those that took no copy, with the ledger created on them.
pub(super) fn replace(
    ledgers: &Ledgers,
    id: LedgerId,
    term: Term,
    taken: &LedgerMetadata,
    (ensemble, failed): (&Ensemble, &[usize]),
    round: u64,
) -> Option<(Ensemble, Vec<usize>)> {
    let candidates = ledgers.bookies().candidates();
    let mut avoid: Vec<Member> = failed.iter().map(|&slot| ensemble.member(slot)).collect();
    loop {
        let chosen = placement::replace(ensemble, failed, &candidates, &avoid, round);
        if chosen.is_empty() {
            return None;
        }
        let question = |&(_, member): &(usize, Member)| {
            let request = Request::Create {
                ledger: id,
                term,
                transactional: taken.kind.is_transactional(),
                replicated: taken.quorum.write() > 1,
            };
            (ledgers.bookies().transport(member), member.incarnation, request)
        };
        let replies = fan_out::ask(chosen.iter().map(question).collect(), chosen.len(), |_| true);
        let mut members = ensemble.members().to_vec();
        let mut renewed = Vec::new();
        for (&(slot, member), reply) in chosen.iter().zip(replies) {
            if let Some(Reply::Done | Reply::Refused(Refusal::Exists)) = reply {
                members[slot] = member;
                renewed.push(slot);
            } else {
                avoid.push(member);
            }
        }
        if !renewed.is_empty() {
            return Some((Ensemble::new(members), renewed));
        }
    }
}
