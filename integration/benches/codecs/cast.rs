//! `abomonation`, as timely once sent batches and as a user of Egret may choose it.

#![expect(unsafe_code, reason = "what is measured is unsafe")]

use std::cell::RefCell;
use std::hint::black_box;

use egret::{Columns, Tuple};
use egret_abomonation::measuring::{Abomonation, Aligned, decode, encode};

use crate::run::Run;
use crate::tuples::{BATCH, Fixed};

impl Abomonation for Fixed {}

/// A batch that arrived where it may be cast, and its bytes.
type Arrived = (RefCell<Vec<Aligned>>, usize);

fn look<T: Abomonation, R>((bytes, length): &Arrived, at: impl FnOnce(&Vec<T>) -> R) -> R {
    let mut bytes = bytes.borrow_mut();
    let bytes = &mut bytemuck::cast_slice_mut(&mut bytes)[..*length];
    // SAFETY: this process made them, and they lie where they may; what does not hold is what the crate's head says.
    at(unsafe { decode(bytes) }.expect("it decodes"))
}

impl Run {
    /// Those without padding: whole batches.
    pub(crate) fn cast<T: Abomonation + Clone>(self, batches: &[Vec<T>]) -> Run {
        let encode = |batch: &Vec<T>, out: &mut Vec<u8>| {
            // SAFETY: it has no padding.
            unsafe { encode(batch, out) }
        };
        let arrive =
            |bytes: Vec<u8>| -> Arrived { (RefCell::new(Aligned::copy(&bytes)), bytes.len()) };
        self.codec("abomonation", batches, encode, arrive, |arrived| look(arrived, Vec::<T>::clone))
            .codec("abomonation, in place", batches, encode, arrive, |arrived| {
                look(arrived, |batch: &Vec<T>| {
                    for tuple in batch {
                        black_box(tuple);
                    }
                })
            })
    }

    /// What `egret::abomonated!` makes of a type.
    pub(crate) fn abomonated(self, batches: &[Vec<Fixed>]) -> Run {
        let batches: Vec<Vec<Cast>> =
            batches.iter().map(|batch| bytemuck::cast_slice(batch).to_vec()).collect();
        let encode = |batch: &Vec<Cast>, out: &mut Vec<u8>| Cast::encode_column(batch.iter(), out);
        self.codec(
            "abomonated!",
            &batches,
            encode,
            |bytes| bytes,
            |bytes| {
                let mut tuples = Vec::with_capacity(BATCH);
                tuples.extend(
                    Cast::decode_column(&mut Columns::new(bytes), BATCH).expect("it decodes"),
                );
                tuples
            },
        )
    }
}

/// The same struct, with the other column.
#[derive(
    Clone, Copy, Debug, serde::Serialize, serde::Deserialize, bytemuck::Pod, bytemuck::Zeroable,
)]
#[repr(transparent)]
struct Cast(Fixed);
egret::abomonated!(Cast);
