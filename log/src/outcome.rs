//! Whether a failed operation may have had its effect.

/// What a caller may assume after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did not happen: trying again cannot repeat it.
    Definite,
    /// It may have happened: read back before trying again.
    Unknown,
}
