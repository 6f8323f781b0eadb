//! How an error ends a program. Like errors end alike, whatever program meets them, the `egret` command or a
//! topology: which is which is decided here alone, by [`Ends`].
//!
//! | code | |
//! |---|---|
//! | 0 | done, or nobody reads standard output any more |
//! | 1 | failed: it was not done, or not wholly |
//! | 2 | wrong usage: the command line, or a configuration file, cannot be meant |
//! | 3 | refused: nothing was done, and the same question gets the same answer |

use std::error::Error;
use std::{fmt, io};

use egret_log::bookie::damage::FileError;
use egret_log::bookie::identity::IdentityError;
use egret_log::bookie::{self, CheckpointError};
use egret_log::client::error::RecordError;
use egret_log::client::loss::LossError;
use egret_log::client::{self, ReadError, RecoverError};
use egret_log::directory::{DirectoryError, HalvesError, OpenError};
use egret_log::disk::LockError;
use egret_log::metadata::MetaError;
use egret_log::registry::{NoState, RegistryError};
use egret_log::rpc::bookie::{ServeError, TlsError};
use egret_log::stream::error as stream;

use super::{ClusterError, MetadataUrlError, TlsFileError};

/// How an error ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nobody reads what is written any more: a quiet end.
    Pipe,
    /// It was not done, or not wholly.
    Failed,
    /// The question makes no sense.
    Usage,
    /// The answer is no, and nothing was done.
    Refused,
}

impl How {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            How::Pipe => 0,
            How::Failed => 1,
            How::Usage => 2,
            How::Refused => 3,
        }
    }
}

/// An error that ends a program.
pub trait Ends: fmt::Display {
    /// How.
    fn how(&self) -> How;
}

impl<E: Ends> Ends for &E {
    fn how(&self) -> How {
        (**self).how()
    }
}

/// How an error ends a program, if it is one of the log's or of a cluster's; its causes are not looked at.
pub fn of(error: &(dyn Error + 'static)) -> Option<How> {
    macro_rules! first_of {
        ($($kind:ty,)*) => {
            None$(.or_else(|| error.downcast_ref::<$kind>().map(Ends::how)))*
        };
    }
    first_of![
        io::Error,
        OpenError,
        ClusterError,
        MetaError,
        RegistryError,
        RecordError,
        ReadError,
        RecoverError,
        stream::CatalogError,
        stream::CreateStreamError,
        stream::OpenWriterError,
        stream::AppendError,
        stream::ReadError,
        stream::TruncateError,
    ]
}

impl Ends for io::Error {
    fn how(&self) -> How {
        match self.kind() {
            io::ErrorKind::BrokenPipe => How::Pipe,
            _ => How::Failed,
        }
    }
}

impl Ends for DirectoryError {
    fn how(&self) -> How {
        match self {
            DirectoryError::Open(error) => error.how(),
            other if other.is_refusal() => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for OpenError {
    fn how(&self) -> How {
        match self {
            OpenError::Lock(error) => error.how(),
            OpenError::Bookie(error) => error.how(),
            OpenError::Halves(HalvesError::Strangers { .. }) | OpenError::NoDirectory { .. } => {
                How::Refused
            }
            OpenError::Metadata(error) => error.how(),
            OpenError::Halves(_)
            | OpenError::Directory { .. }
            | OpenError::Streams(_)
            | OpenError::Serve(_) => How::Failed,
        }
    }
}

impl Ends for bookie::OpenError {
    fn how(&self) -> How {
        match self {
            bookie::OpenError::File(error) => error.how(),
            bookie::OpenError::Identity(error) => error.how(),
            bookie::OpenError::Damaged(_)
            | bookie::OpenError::Full(_)
            | bookie::OpenError::Io { .. } => How::Failed,
        }
    }
}

impl Ends for FileError {
    fn how(&self) -> How {
        match self {
            FileError::Damaged(_) | FileError::Io(_) => How::Failed,
            FileError::Version { .. } | FileError::Foreign { .. } => How::Refused,
        }
    }
}

impl Ends for IdentityError {
    fn how(&self) -> How {
        match self {
            IdentityError::File(error) => error.how(),
            // As any other file of it that is not there.
            IdentityError::Missing { .. } => How::Failed,
            IdentityError::Another { .. } | IdentityError::Shards { .. } => How::Refused,
        }
    }
}

impl Ends for CheckpointError {
    fn how(&self) -> How {
        How::Failed
    }
}

impl Ends for LockError {
    fn how(&self) -> How {
        match self {
            LockError::Held { .. } => How::Refused,
            LockError::Io { .. } => How::Failed,
        }
    }
}

impl Ends for MetadataUrlError {
    fn how(&self) -> How {
        match self {
            MetadataUrlError::Scheme { .. }
            | MetadataUrlError::Etcd { .. }
            | MetadataUrlError::Option { .. }
            | MetadataUrlError::Cluster { .. }
            | MetadataUrlError::Certificate { .. } => How::Usage,
            MetadataUrlError::NotBuilt => How::Refused,
            MetadataUrlError::Redb(error) => error.how(),
            MetadataUrlError::Store(error) => error.how(),
        }
    }
}

impl Ends for MetaError {
    fn how(&self) -> How {
        match self {
            MetaError::Refused { .. } => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for RegistryError {
    fn how(&self) -> How {
        match self {
            RegistryError::Metadata(error) => error.how(),
            RegistryError::Another { .. }
            | RegistryError::AnotherCluster { .. }
            | RegistryError::Up { .. }
            | RegistryError::UpElsewhere { .. }
            | RegistryError::Twice { .. }
            | RegistryError::OlderDirectory { .. }
            | RegistryError::OlderMetadata { .. }
            | RegistryError::Decommissioned { .. }
            | RegistryError::CalledBack { .. }
            | RegistryError::Nobody { .. } => How::Refused,
            RegistryError::Decode { .. }
            | RegistryError::Contended { .. }
            | RegistryError::ClusterContended => How::Failed,
        }
    }
}

impl Ends for NoState {
    fn how(&self) -> How {
        How::Usage
    }
}

impl Ends for ServeError {
    fn how(&self) -> How {
        match self {
            ServeError::ClusterName { .. } => How::Usage,
            ServeError::Plain { .. } | ServeError::Certificate { .. } => How::Refused,
            ServeError::Listen { .. } | ServeError::Thread(_) => How::Failed,
        }
    }
}

impl Ends for TlsError {
    fn how(&self) -> How {
        match self {
            TlsError::Pem { .. } => How::Usage,
            TlsError::Refused(_) | TlsError::Nameless => How::Refused,
        }
    }
}

impl Ends for TlsFileError {
    fn how(&self) -> How {
        match self {
            TlsFileError::Read { .. } => How::Usage,
            TlsFileError::Tls(error) => error.how(),
            TlsFileError::Another(_) | TlsFileError::Useless(_) => How::Refused,
        }
    }
}

impl Ends for ClusterError {
    fn how(&self) -> How {
        match self {
            ClusterError::Read { .. } | ClusterError::File { .. } => How::Usage,
            ClusterError::Tls(error) => error.how(),
            ClusterError::Metadata(error) => error.how(),
            ClusterError::Registry(error) => error.how(),
            ClusterError::NoWorkerTls { .. } => How::Usage,
            ClusterError::Thread(_) => How::Failed,
        }
    }
}

impl Ends for RecordError {
    fn how(&self) -> How {
        match self {
            RecordError::Meta(error) => error.how(),
            RecordError::NoLedger { .. } | RecordError::Transition { .. } => How::Refused,
            RecordError::Decode { .. } => How::Failed,
        }
    }
}

impl Ends for ReadError {
    fn how(&self) -> How {
        match self {
            ReadError::Record(error) => error.how(),
            ReadError::Beyond { .. } | ReadError::Lost { .. } => How::Refused,
            ReadError::Missing { .. } | ReadError::Doubtful { .. } | ReadError::NoEnd { .. } => {
                How::Failed
            }
        }
    }
}

impl Ends for RecoverError {
    fn how(&self) -> How {
        match self {
            RecoverError::Record(error) => error.how(),
            RecoverError::Owned { .. } => How::Refused,
            RecoverError::Recovery { .. } | RecoverError::CommittedButAbsent { .. } => How::Failed,
        }
    }
}

impl Ends for LossError {
    fn how(&self) -> How {
        match self {
            LossError::Record(error) => error.how(),
            LossError::Recover(error) => error.how(),
            // As whatever else a bookie is needed for that does not answer.
            LossError::Unheard { .. } | LossError::NotDecided { .. } => How::Failed,
            LossError::NothingLost { .. }
            | LossError::Answers { .. }
            | LossError::ShutOut { .. }
            | LossError::There { .. }
            | LossError::NobodyGone { .. }
            | LossError::Deleting { .. } => How::Refused,
        }
    }
}

impl Ends for stream::CatalogError {
    fn how(&self) -> How {
        use stream::CatalogError;
        match self {
            CatalogError::Meta(error) => error.how(),
            CatalogError::NoStream { .. }
            | CatalogError::NoPartition { .. }
            | CatalogError::TakenOver { .. } => How::Refused,
            CatalogError::Decode { .. }
            | CatalogError::Contended { .. }
            | CatalogError::PageGone { .. }
            | CatalogError::Closed => How::Failed,
        }
    }
}

impl Ends for stream::CreateStreamError {
    fn how(&self) -> How {
        use stream::CreateStreamError;
        match self {
            CreateStreamError::Unfinished { why } => why.how(),
            CreateStreamError::Catalog(error) => error.how(),
            CreateStreamError::Name(_)
            | CreateStreamError::Partitions { .. }
            | CreateStreamError::NothingKept
            | CreateStreamError::OwnedRetention { .. }
            | CreateStreamError::Exists { .. } => How::Refused,
        }
    }
}

impl Ends for stream::OpenWriterError {
    fn how(&self) -> How {
        use stream::OpenWriterError;
        match self {
            OpenWriterError::Catalog(error) => error.how(),
            OpenWriterError::Recover(error) => error.how(),
            OpenWriterError::Read(error) => error.how(),
            OpenWriterError::Format(_)
            | OpenWriterError::Owned { .. }
            | OpenWriterError::NotTransactional { .. }
            | OpenWriterError::Superseded { .. } => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for client::AppendError {
    fn how(&self) -> How {
        match self {
            client::AppendError::TooLarge { .. } => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for stream::AppendError {
    fn how(&self) -> How {
        use stream::AppendError;
        match self {
            AppendError::Open(error) => error.how(),
            AppendError::Ledger(error) => error.how(),
            AppendError::RecordTooLarge { .. }
            | AppendError::ProducerTooLarge { .. }
            | AppendError::TooManyProducers { .. } => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for stream::ReadError {
    fn how(&self) -> How {
        use stream::ReadError;
        match self {
            ReadError::Catalog(error) => error.how(),
            ReadError::Truncated { .. }
            | ReadError::NoSuchPosition { .. }
            | ReadError::Format(_) => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for stream::TruncateError {
    fn how(&self) -> How {
        use stream::{TruncateError, UseError};
        match self {
            TruncateError::Catalog(error) | TruncateError::Use(UseError::Catalog(error)) => {
                error.how()
            }
            TruncateError::Read(error) => error.how(),
            TruncateError::BeyondEnd { .. }
            | TruncateError::Needed { .. }
            | TruncateError::Used { .. }
            | TruncateError::Use(UseError::TooMany { .. }) => How::Refused,
            TruncateError::Delete(_) => How::Failed,
        }
    }
}
