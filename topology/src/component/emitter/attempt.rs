//! Calls whose emissions can be taken back.
//!
//! What such a call emits is in the buffer or packed until it stands: none of it is routed before. Neither is what was
//! emitted before it, so a grouping's own code never runs inside the call.

use super::Emitter;
use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES};

/// What there was when a call began.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    tuples: usize,
    bytes: usize,
    packed: usize,
    totals: (u64, usize),
}

impl<T: Tuple> Emitter<T> {
    /// What is emitted from here on, to named outputs too, can be taken back, until it [stands](Self::stands).
    #[inline]
    pub(crate) fn attempt(&mut self) {
        self.attempt = Some(Attempt {
            tuples: self.buffer.len(),
            bytes: self.bytes,
            packed: self.slicing.as_ref().map_or(0, |s| s.packed.len()),
            totals: (self.total_tuples, self.total_bytes),
        });
        self.outputs.iter_mut().for_each(|named| named.outlet.attempt());
    }

    /// What was emitted is good. This may call a grouping's own code.
    #[inline]
    pub(crate) fn stands(&mut self) {
        if let Some(attempt) = self.attempt.take()
            && self.is_batch()
        {
            self.ship_before(attempt);
        }
        for named in &mut self.outputs {
            named.outlet.stands();
            self.output_is_full |= named.outlet.is_full();
        }
    }

    /// What was emitted since the attempt began was not.
    pub(crate) fn take_back(&mut self) {
        let Some(Attempt { tuples, bytes, packed, totals }) = self.attempt.take() else { return };
        self.buffer.truncate(tuples);
        self.bytes = bytes;
        (self.total_tuples, self.total_bytes) = totals;
        if let Some(slicing) = &mut self.slicing {
            for gone in slicing.packed.drain(packed..) {
                slicing.packed_bytes -= gone.tuples.len();
            }
            slicing.overflowed = false;
        }
        self.output_is_full = false;
        for named in &mut self.outputs {
            named.outlet.take_back();
            self.output_is_full |= named.outlet.is_full();
        }
    }

    /// Ships what a call that stands found in the buffer; what is of it is less than a batch, and stays.
    #[cold]
    fn ship_before(&mut self, attempt: Attempt) {
        let of_it = self.buffer.split_off(attempt.tuples);
        let bytes = self.bytes - attempt.bytes;
        self.bytes = attempt.bytes;
        self.ship();
        self.buffer.extend(of_it);
        self.bytes = bytes;
    }

    /// A call that may be taken back emitted into a buffer that is a batch: once what is of it is one, that is packed,
    /// and behind what was there before.
    #[cold]
    pub(super) fn hold(&mut self, attempt: Attempt) {
        let Attempt { tuples, bytes, .. } = attempt;
        if self.buffer.len() - tuples < BATCH_TUPLES && self.bytes - bytes < BATCH_BYTES {
            return;
        }
        let of_it = self.buffer.split_off(tuples);
        let bytes_of_it = self.bytes - bytes;
        self.total_tuples += self.buffer.len() as u64;
        self.total_bytes += bytes;
        if !self.buffer.is_empty() {
            self.pack(bytes);
        }
        let totals = (self.total_tuples, self.total_bytes);
        let packed = self.slicing.as_ref().map_or(0, |s| s.packed.len());
        // Once its first batch is packed, the buffer holds nothing of before.
        if tuples > 0 {
            self.attempt = Some(Attempt { tuples: 0, bytes: 0, packed, totals });
        }
        self.buffer = of_it;
        self.bytes = 0;
        self.total_bytes += bytes_of_it;
        self.total_tuples += self.buffer.len() as u64;
        self.pack(bytes_of_it);
    }
}
