//! An entry that has its number and is on its way to nobody yet.
//!
//! Who waits for one that is alone has a bookie in this process write it on the waiting thread: no other
//! thread is woken. Where more are under way, they all are answered by whoever answers for the bookie, in
//! order, and each waiting thread is woken once, when its own entry is acknowledged: threads that each
//! reported their own answer would wait for those of the entries before, and wake each other for nothing.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use bytes::Bytes;
use egret_schemas::EntryId;

use super::{AppendDone, Sending, Shared};
use crate::client::error::AppendError;
use crate::message::entry_crc;
use crate::simulation;

/// An entry that has its number and was not sent yet. Dropping it without waiting sends it.
#[derive(Debug)]
#[must_use = "an entry that is not sent holds up every later one"]
pub struct Started {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: EntryId,
    pub(super) payload: Bytes,
    pub(super) sends: Vec<Sending>,
    /// Nothing else was under way.
    pub(super) alone: bool,
}

/// Where a waiting thread is told how its entry went.
#[derive(Default)]
struct Slot {
    result: Mutex<Option<Result<EntryId, AppendError>>>,
    told: Condvar,
}

impl Slot {
    fn tell(&self, result: Result<EntryId, AppendError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.told.notify_one();
    }

    fn wait(&self) -> Result<EntryId, AppendError> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match result.take() {
                Some(result) => return result,
                None => result = simulation::wait(&self.told, &self.result, result),
            }
        }
    }
}

impl Started {
    /// Its number.
    pub fn entry(&self) -> EntryId {
        self.entry
    }

    /// Sends it; `done` is told when it, and every entry before it, is acknowledged.
    pub fn send(self, done: AppendDone) {
        let early = self.shared.lock().wait_for(self.entry, done);
        if let Some((done, result)) = early {
            // An earlier entry failed meanwhile, and with it the writer.
            done(result);
        }
        // Dropping sends.
    }

    /// Sends it and waits until it, and every entry before it, is acknowledged. A bookie in this process
    /// may write it on this thread.
    pub fn wait(mut self) -> Result<EntryId, AppendError> {
        if let ([_], true) = (&self.sends[..], self.alone) {
            let sending = self.sends.pop().expect("there is one");
            let crc = entry_crc(self.shared.ledger, self.entry, &self.payload);
            let request = self.shared.add(&sending, crc);
            let reply = sending.way.call(sending.to, request);
            self.shared.on_reply(sending, crc, reply);
            return self.shared.wait_confirmed(self.entry);
        }
        let slot = Arc::new(Slot::default());
        let told = Arc::clone(&slot);
        self.send(Box::new(move |result| told.tell(result)));
        slot.wait()
    }

    fn dispatch(&mut self) {
        if self.sends.is_empty() {
            return;
        }
        let crc = entry_crc(self.shared.ledger, self.entry, &self.payload);
        for sending in self.sends.drain(..) {
            self.shared.dispatch(sending, crc);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.dispatch();
    }
}
