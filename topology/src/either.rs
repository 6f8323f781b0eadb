//! A tuple of one of two inputs.

use serde::{Deserialize, Serialize};

/// A tuple of a bolt with two inputs of different types: from the left one, which
/// [`join`](crate::KeyedStream::join) was called on, or from the right one, which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Either<A, B> {
    /// From the left input.
    Left(A),
    /// From the right input.
    Right(B),
}
