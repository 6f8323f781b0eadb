//! What a test of a topology may end with.

use crate::replica::ReplicaError;
use crate::{ComponentError, Error};

/// Why a step of a test could not be done.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The topology cannot be built, was refused, or failed too often in a row.
    #[error(transparent)]
    Topology(#[from] Error),
    /// It was killed, and nobody restored it.
    #[error("the topology was killed: call `restore` before it is to go on")]
    Killed,
    /// It always has something to do.
    #[error(
        "the topology did not come to rest in {rounds} rounds: a source that goes on for ever is run for a while with `advance`"
    )]
    NeverIdle {
        /// How often every worker was stepped.
        rounds: u64,
    },
    /// There is no component of this name.
    #[error("the topology has no component `{name}`: it has {known}")]
    NoComponent {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Code of the engine or of a component panicked outside of a call that is guarded.
    #[error("the process that runs the topology panicked: {why}")]
    Panicked {
        /// What it said.
        why: String,
    },
    /// A stream could not be written or read.
    #[error("stream `{stream}`: {why}")]
    Stream {
        /// The stream.
        stream: String,
        /// Why.
        #[source]
        why: ComponentError,
    },
    /// A state of another type than asked for.
    #[error("the state of {key} in `{component}` is of another type: {why}")]
    StateType {
        /// The component.
        component: String,
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] ReplicaError),
}

impl From<TestError> for Error {
    fn from(error: TestError) -> Error {
        match error {
            TestError::Topology(error) => error,
            other => Error::other(other),
        }
    }
}
