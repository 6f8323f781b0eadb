//! What the cores ask to have done.

use bytes::Bytes;
use egret_schemas::EntryId;

use super::ensemble::{Ensemble, Member};
use super::metadata::Found;
use super::recovery::RecoveryFailure;
use super::writer::WriterFailure;
use crate::outcome::Outcome;

/// What [`Writer`](super::writer::Writer) asks for, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterEffect {
    /// Send an add; tell the answer to `on_answer`.
    Send {
        /// Which slot of the ensemble.
        slot: usize,
        /// Who is in it.
        to: Member,
        /// Since when; the answer is told with it.
        era: u32,
        /// The entry.
        entry: EntryId,
        /// What readers may see.
        lac: Option<EntryId>,
        /// Its bytes.
        payload: Bytes,
    },
    /// The entry and all before it are acknowledged.
    Confirm {
        /// The entry.
        entry: EntryId,
    },
    /// Readers may see up to here; tell the bookies.
    Publish {
        /// The last entry they may see.
        lac: EntryId,
    },
    /// Find bookies in place of those that failed, create the ledger there, commit the ensemble; then
    /// tell `on_ensemble`, `on_no_replacement` or `on_not_changed`.
    ChangeEnsemble {
        /// The first entry the new ensemble holds.
        first: EntryId,
        /// The slots to fill anew.
        failed: Vec<usize>,
    },
    /// The entry will not be acknowledged by this writer.
    Fail {
        /// The entry.
        entry: EntryId,
        /// Why.
        failure: WriterFailure,
        /// Whether it may be there all the same.
        outcome: Outcome,
    },
}

/// What [`Recovery`](super::recovery::Recovery) asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryEffect {
    /// Raise the term there; tell the answer to `on_fence`.
    Fence {
        /// Which slot of the last fragment's ensemble.
        slot: usize,
        /// Who is in it.
        to: Member,
    },
    /// Read with a fence; tell the answer to `on_read`.
    Read {
        /// Which slot of the entry's fragment.
        slot: usize,
        /// Who is in it.
        to: Member,
        /// The entry.
        entry: EntryId,
    },
    /// Write a copy at the recoverer's term; tell the answer to `on_add`.
    Add {
        /// Which slot of the entry's fragment.
        slot: usize,
        /// Who is in it.
        to: Member,
        /// The entry.
        entry: EntryId,
        /// What readers might see when recovery began: a copy moves nothing.
        lac: Option<EntryId>,
        /// The entry's checksum.
        crc: u32,
        /// Its bytes.
        payload: Bytes,
    },
    /// Find bookies in place of those that took no copy, create the ledger there at the recoverer's
    /// term; tell `on_replaced`. Nothing is committed yet.
    Replace {
        /// The entry that wants copies.
        entry: EntryId,
        /// The slots to fill anew.
        failed: Vec<usize>,
        /// Who is in the slots now.
        ensemble: Ensemble,
    },
    /// Close the ledger by compare-and-set, or [leave it open](super::metadata::LedgerMetadata::settle)
    /// if that is what was begun.
    Close(Found),
    /// Give up; the ledger stays in recovery.
    Fail(RecoveryFailure),
}
