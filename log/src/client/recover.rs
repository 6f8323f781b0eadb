//! Carries out what a [recovery](crate::ledger::recovery) asks for, all bookies at once.
//!
//! Answers come on the transports' threads and wait in a queue until the core takes them, in the order
//! in which they came. A bookie that owes many answers is not asked more: what it does not say proves
//! nothing, and the others are enough.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use egret_schemas::{EntryId, LedgerId, Term};

use super::error::RecoverError;
use super::ledgers::Ledgers;
use crate::ledger::effect::RecoveryEffect;
use crate::ledger::reader::ReadAnswer;
use crate::ledger::recovery::Recovery;
use crate::ledger::writer::AddAnswer;
use crate::ledger::{CloseAt, LedgerMetadata, Member};
use crate::message::{Reply, Request, Unknown};

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

/// Finds the end of a ledger that was taken into recovery; the caller closes it there.
pub(super) fn find_end(
    ledgers: &Ledgers,
    id: LedgerId,
    term: Term,
    taken: LedgerMetadata,
    close: CloseAt,
) -> Result<Option<EntryId>, RecoverError> {
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
    let mut out = Vec::new();
    let mut core = Recovery::start(id, taken, close, &mut out);
    loop {
        for effect in out.drain(..) {
            match effect {
                RecoveryEffect::Fence { slot, to } => {
                    ask(slot, to, Asked::Fence, Request::Fence { ledger: id, term });
                }
                RecoveryEffect::Read { slot, to, entry } => {
                    let request = Request::Read { ledger: id, entry, fence: Some(term) };
                    ask(slot, to, Asked::Read(entry), request);
                }
                RecoveryEffect::Add { slot, to, entry, lac, crc, payload } => {
                    let request = Request::Add { ledger: id, entry, term, lac, crc, payload };
                    ask(slot, to, Asked::Add(entry), request);
                }
                RecoveryEffect::Close { last } => return Ok(last),
                RecoveryEffect::Fail(why) => {
                    return Err(RecoverError::Recovery { ledger: id, why });
                }
            }
        }
        let (slot, asked, reply) = answers.next();
        match asked {
            Asked::Fence => core.on_fence(slot, reply, &mut out),
            Asked::Read(entry) => {
                core.on_read(slot, entry, ReadAnswer::judge(id, entry, reply), &mut out);
            }
            Asked::Add(entry) => {
                let answer = match reply {
                    Reply::Done => AddAnswer::Done,
                    Reply::Refused(refusal) => AddAnswer::Refused(refusal),
                    Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
                    other => unreachable!("an answer to an add: {other:?}"),
                };
                core.on_add(entry, answer, &mut out);
            }
        }
    }
}
