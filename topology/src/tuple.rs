//! What may travel between components.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that travels between components: cloned for fan-out; encoded by `postcard` between workers,
/// and where one call emits much at once.
///
/// Implemented for the usual types; your own take one line:
///
/// ```
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Payment { card: String, cents: u64 }
/// impl egret::Tuple for Payment {}
/// ```
///
/// Types that own large heap buffers should say so in [`weight`](Tuple::weight): flow control counts
/// bytes by it.
pub trait Tuple: Clone + Send + Serialize + DeserializeOwned + 'static {
    /// Bytes this tuple holds, heap included. The default counts the value itself only.
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

macro_rules! plain {
    ($($type:ty),*) => { $(impl Tuple for $type {})* };
}
plain!((), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl Tuple for String {
    fn weight(&self) -> usize {
        size_of::<String>() + self.capacity()
    }
}

impl<T: Tuple> Tuple for Vec<T> {
    fn weight(&self) -> usize {
        size_of::<Vec<T>>() + self.iter().map(Tuple::weight).sum::<usize>()
    }
}

impl<T: Tuple> Tuple for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(size_of::<Option<T>>(), Tuple::weight)
    }
}

impl<A: Tuple, B: Tuple> Tuple for (A, B) {
    fn weight(&self) -> usize {
        self.0.weight() + self.1.weight()
    }
}

impl<A: Tuple, B: Tuple, C: Tuple> Tuple for (A, B, C) {
    fn weight(&self) -> usize {
        self.0.weight() + self.1.weight() + self.2.weight()
    }
}

impl<A: Tuple, B: Tuple, C: Tuple, D: Tuple> Tuple for (A, B, C, D) {
    fn weight(&self) -> usize {
        self.0.weight() + self.1.weight() + self.2.weight() + self.3.weight()
    }
}
