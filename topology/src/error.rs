//! Everything that can go wrong before, while and after a topology runs.

use std::io;
use std::net::SocketAddr;

use egret_log::client::{AppendError, CreateError, DeleteError, RecoverError};
use egret_log::metadata::MetaError;
use egret_log::stream::FormatMismatch;
use egret_log::stream::error::{CatalogError, CreateStreamError, OpenWriterError, UseError};
use egret_state::Guarantee;
use egret_state::commit::{ChangeError, RecordError, RecoveryError};

use crate::builder::BuildError;
use crate::runtime::MeshError;

/// An error of the engine. The message says what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The wiring cannot run.
    #[error(transparent)]
    Build(Box<BuildError>),
    /// A component whose stream is not there, or not what it needs.
    #[error("component `{component}`: {why}")]
    Component {
        /// The component.
        component: String,
        /// What is wrong.
        #[source]
        why: Box<Error>,
    },
    /// An option out of range.
    #[error("`{what}` cannot be {value}: give {allowed}")]
    Option {
        /// Which one.
        what: &'static str,
        /// What was given.
        value: u64,
        /// What may be given.
        allowed: &'static str,
    },
    /// What the program was called with cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The metrics cannot be told.
    #[error("metrics cannot be told at {listen}: {why}; give --metrics another address")]
    Metrics {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        why: io::Error,
    },
    /// Generation after generation failed.
    #[error(
        "topology `{topology}` failed {tries} time(s) without a commit between: {why}; nothing after its last commit is kept, and running it again goes on from there"
    )]
    Failed {
        /// The topology.
        topology: String,
        /// The last failure.
        why: String,
        /// How many in a row.
        tries: u32,
    },
    /// The topology cannot be taken over.
    #[error("the topology cannot be restored: {0}")]
    Recovery(#[source] Box<RecoveryError>),
    /// Going back was not confirmed.
    #[error(
        "going back to `{name}` forgets what was counted since, and the results written since come again: add --yes if that is meant"
    )]
    Unconfirmed {
        /// The named commit.
        name: String,
    },
    /// Its record in metadata is not readable.
    #[error("the record of topology `{topology}` cannot be read: {why}")]
    TopologyRecord {
        /// The topology.
        topology: String,
        /// Why.
        why: Box<RecordError>,
    },
    /// Another process runs it now.
    #[error("topology `{topology}` was taken over by another process: this one stops")]
    TakenOver {
        /// The topology.
        topology: String,
    },
    /// This process cannot stand by for it.
    #[error("topology `{topology}` cannot be stood by for: {why}")]
    Standby {
        /// The topology.
        topology: String,
        /// Why, and what to do.
        why: String,
    },
    /// Its worker processes do not come together.
    #[error(transparent)]
    Mesh(Box<MeshError>),
    /// A change of its record may not be made.
    #[error(transparent)]
    Superseded(Box<ChangeError>),
    /// A stream of another format.
    #[error(transparent)]
    StreamFormat(#[from] FormatMismatch),
    /// A plain stream cannot take part in commits.
    #[error(
        "stream `{stream}` was created for plain writers and cannot take part in commits: write another stream, or delete this one and let the topology create it"
    )]
    StreamNotTransactional {
        /// The stream.
        stream: String,
    },
    /// Another topology's stream.
    #[error("stream `{stream}` belongs to topology `{owner}`: write another stream")]
    StreamOwned {
        /// The stream.
        stream: String,
        /// Its owner.
        owner: String,
    },
    /// A stream of a stronger guarantee.
    #[error(
        "stream `{stream}` takes part in the commits of topology `{owner}` and cannot be written {guarantee}: write another stream"
    )]
    StreamTransactional {
        /// The stream.
        stream: String,
        /// Its owner.
        owner: String,
        /// What was asked.
        guarantee: Guarantee,
    },
    /// A fork that would write where what it was forked from writes.
    #[error(
        "stream `{stream}` is written by topology `{topology}`, which is forked: have the fork write to a stream of its \
         own"
    )]
    ForkOutput {
        /// The stream.
        stream: String,
        /// What is forked.
        topology: String,
    },
    /// An output stream that is not the one written before.
    #[error(
        "stream `{stream}` is not the one topology `{topology}` wrote: that was deleted, and what was \
         written to it is not in this one; run the topology under another name or in another directory"
    )]
    StreamMadeAgain {
        /// The stream.
        stream: String,
        /// The topology.
        topology: String,
    },
    /// Who uses a stream could not be noted.
    #[error(transparent)]
    Use(Box<UseError>),
    /// A stream that is not there, or whose record cannot be read.
    #[error(transparent)]
    Catalog(Box<CatalogError>),
    /// A stream could not be created.
    #[error(transparent)]
    CreateStream(Box<CreateStreamError>),
    /// A partition could not be taken over.
    #[error(transparent)]
    OpenWriter(Box<OpenWriterError>),
    /// The log could not be opened.
    #[error(transparent)]
    Open(Box<egret_log::OpenError>),
    /// The log of a data directory that another process holds.
    #[error(transparent)]
    Attach(Box<egret_log::AttachError>),
    /// The cluster could not be reached.
    #[error(transparent)]
    Cluster(Box<egret_log_cluster::ClusterError>),
    /// The log was not closed in order.
    #[error(transparent)]
    Close(Box<egret_log::LogCloseError>),
    /// The metadata store.
    #[error(transparent)]
    Meta(Box<MetaError>),
    /// A ledger could not be created.
    #[error(transparent)]
    Create(Box<CreateError>),
    /// A ledger could not be closed where it must be.
    #[error(transparent)]
    Recover(Box<RecoverError>),
    /// An append.
    #[error(transparent)]
    Append(Box<AppendError>),
    /// A ledger could not be deleted.
    #[error(transparent)]
    Delete(Box<DeleteError>),
    /// Something the application's own code reported.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// The causes are boxed, so that a result stays small.
macro_rules! boxed {
    ($($cause:ty => $variant:ident,)*) => {
        $(impl From<$cause> for Error {
            fn from(cause: $cause) -> Error {
                Error::$variant(Box::new(cause))
            }
        })*
    };
}
boxed! {
    CatalogError => Catalog,
    CreateStreamError => CreateStream,
    OpenWriterError => OpenWriter,
    egret_log::OpenError => Open,
    egret_log::AttachError => Attach,
    egret_log_cluster::ClusterError => Cluster,
    egret_log::LogCloseError => Close,
    MetaError => Meta,
    CreateError => Create,
    RecoverError => Recover,
    AppendError => Append,
    DeleteError => Delete,
    UseError => Use,
    BuildError => Build,
    MeshError => Mesh,
}

impl Error {
    /// Whether another process of the same run tells the user: this one has nothing to add.
    pub fn is_said_elsewhere(&self) -> bool {
        matches!(self, Error::Mesh(why) if matches!(**why, MeshError::Stopped { .. }))
    }

    /// What the program was called with cannot be meant: it ends with 2, having said so.
    pub fn usage(why: impl Into<String>) -> Error {
        Error::Usage(why.into())
    }

    /// The same, of a component.
    pub(crate) fn of(self, component: &str) -> Error {
        Error::Component { component: component.to_owned(), why: Box::new(self) }
    }

    /// Wraps an error of the application.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Other(error.into())
    }
}

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;
