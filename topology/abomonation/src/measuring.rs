//! Whole batches, texts and all, as timely once sent them: what the safe codecs are measured against, and nothing else.

pub use abomonation::Abomonation;

/// Appends a batch, addresses of this process among it.
///
/// # Safety
/// `T` has no padding: it would be read.
pub unsafe fn encode<T: Abomonation>(batch: &Vec<T>, out: &mut Vec<u8>) {
    // SAFETY: the caller's word.
    let written = unsafe { abomonation::encode(batch, out) };
    written.expect("a vector takes what is written to it");
}

/// A batch where its bytes lie. They are changed: decoded a second time they are as good.
///
/// # Safety
/// The bytes are what [`encode`] made in this very process, and lie where a `T` may.
pub unsafe fn decode<T: Abomonation>(bytes: &mut [u8]) -> Option<&Vec<T>> {
    // SAFETY: the caller's word.
    unsafe { abomonation::decode::<Vec<T>>(bytes) }.map(|(batch, _)| batch)
}

/// An address that is aligned for whatever `abomonation` casts bytes to: a vector of these as bytes.
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(16))]
pub struct Aligned([u8; 16]);

impl Aligned {
    /// A copy of these bytes that lies so, filled up with zeros.
    pub fn copy(bytes: &[u8]) -> Vec<Aligned> {
        let mut copy = vec![Aligned([0; 16]); bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut(&mut copy)[..bytes.len()].copy_from_slice(bytes);
        copy
    }
}
