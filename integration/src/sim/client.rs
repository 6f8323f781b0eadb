//! Clients of the log: drivers of the shipping cores. Facts come in, actions go out; what the log has
//! to decide the cores decide.
//!
//! | module | drives |
//! |---|---|
//! | [`change`] | a compare-and-set of a ledger's record by one of its transitions |
//! | [`writer`] | [`Writer`](egret_log::ledger::writer::Writer): creates, appends, commits, closes |
//! | [`recoverer`] | [`Recovery`](egret_log::ledger::recovery::Recovery): takes a ledger over |
//! | [`replacement`] | other bookies in place of those that failed, the ledger created there |
//! | [`reader`] | [`EntryRead`](egret_log::ledger::reader::EntryRead): what readers may see, and see |
//! | [`deleter`] | tombstone, bookies, record |

pub(crate) mod change;
pub(crate) mod deleter;
pub(crate) mod reader;
pub(crate) mod recoverer;
pub(crate) mod replacement;
pub(crate) mod writer;

use std::fmt;

use egret_log::client::Candidate;
use egret_log::ledger::Member;
use egret_log::message::{Reply, Request};
use egret_log::metadata::{Compare, Op, TxnOutcome, Versioned};
use egret_schemas::{EntryId, LedgerId};

use super::fact::Fact;
use super::fault::Fault;
use super::options::Defect;

/// What a request was for; comes back with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tag {
    pub(crate) what: What,
    /// Which try; answers to earlier ones are ignored.
    pub(crate) attempt: u64,
    pub(crate) slot: usize,
    pub(crate) entry: EntryId,
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum What {
    #[default]
    Nothing,
    Create,
    Add,
    Fence,
    Read,
    ReadLac,
    Delete,
    /// A create on a bookie that takes another's place.
    Replace,
}

/// What a client asks to have done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a request to a bookie; the answer, or that none came, comes back.
    Ask { to: Member, request: Request, tag: Tag },
    /// Read a key of the metadata store.
    Get(String),
    /// List the bookies that take ledgers.
    ListBookies,
    /// Change it.
    Txn(Vec<Compare>, Vec<Op>),
    /// Call back later.
    Wait { us: u64 },
    /// Tell the oracles.
    Tell(Fact),
    /// Count a fault that made a difference.
    Hit(Fault),
    /// Nothing is left to do.
    Finished,
}

/// What the metadata store answered.
#[derive(Debug)]
pub(crate) enum MetaAnswer {
    Got(Option<Versioned>),
    Txn(TxnOutcome),
    /// Nothing was heard: it may or may not have happened.
    Lost,
}

/// A client's driver.
pub(crate) trait Role: fmt::Debug {
    /// For the trace.
    fn name(&self) -> &'static str;

    /// The ledger it is at work on.
    fn ledger(&self) -> Option<LedgerId>;

    /// Begins.
    fn start(&mut self, out: &mut Vec<Action>);

    /// A bookie answered.
    fn on_answer(&mut self, tag: Tag, reply: Reply, out: &mut Vec<Action>);

    /// The metadata store answered.
    fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>);

    /// The bookies that take ledgers.
    fn on_bookies(&mut self, _candidates: &[Candidate], _out: &mut Vec<Action>) {}

    /// It is time.
    fn on_time(&mut self, out: &mut Vec<Action>);

    /// The world grew calm: finish what is begun and begin nothing new.
    fn calm(&mut self) {}
}

/// Who a client is, and how it goes wrong on purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) process: u128,
    pub(crate) defect: Option<Defect>,
}

impl Who {
    pub(crate) fn does(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

/// Where a ledger's record is.
pub(crate) fn record_key(ledger: LedgerId) -> String {
    format!("/ledgers/{}", ledger.0)
}

/// Where the owner's commits of a transactional ledger are.
pub(crate) fn commit_key(ledger: LedgerId) -> String {
    format!("/commits/{}", ledger.0)
}
