//! How an error ends a topology program: with the codes of the `egret` command, and with one word for all the
//! ways in which a process finds out that another one took over what it was doing.

use std::error::Error as StdError;
use std::iter::successors;
use std::process::ExitCode;

use egret_log::client::{self, CreateError};
use egret_log::ledger::TransitionError;
use egret_log::ledger::recovery::RecoveryFailure;
use egret_log::ledger::writer::WriterFailure;
use egret_log::message::Refusal;
use egret_log::stream::error::{AppendError, CatalogError, OpenWriterError, UseError};
use egret_log_cluster::ends::{self, Ends, How};
use egret_state::commit::{ChangeError, RecoveryError};

use crate::Error;
use crate::replica::ReplicaError;
use crate::runtime::NamedError;
use crate::runtime::named::NameError;
use crate::runtime::topologies::TopologyError;

impl Ends for Error {
    fn how(&self) -> How {
        match self {
            Error::Option { .. } | Error::Usage(_) => How::Usage,
            Error::Component { why, .. } => why.how(),
            Error::Build(_)
            | Error::StreamFormat(_)
            | Error::StreamNotTransactional { .. }
            | Error::StreamOwned { .. }
            | Error::StreamTransactional { .. }
            | Error::StreamMadeAgain { .. }
            | Error::ForkOutput { .. }
            | Error::Unconfirmed { .. }
            | Error::Standby { .. } => How::Refused,
            Error::Recovery(why) => match &**why {
                RecoveryError::Name(NameError::Wrong { .. }) => How::Usage,
                RecoveryError::Name(_) => How::Refused,
                RecoveryError::Graph { .. }
                | RecoveryError::KeyGroups { .. }
                | RecoveryError::Guarantee { .. }
                | RecoveryError::NothingNamed { .. }
                | RecoveryError::BeingDeleted
                | RecoveryError::Lost { .. }
                | RecoveryError::NoFork { .. }
                | RecoveryError::OwnFork { .. }
                | RecoveryError::NoParent { .. }
                | RecoveryError::UnlikeParent { .. }
                | RecoveryError::LostParent { .. } => How::Refused,
                _ => How::Failed,
            },
            Error::Use(why) => match &**why {
                UseError::Catalog(error) => error.how(),
                UseError::TooMany { .. } => How::Refused,
            },
            Error::Catalog(error) => error.how(),
            Error::CreateStream(error) => error.how(),
            Error::OpenWriter(error) => error.how(),
            Error::Open(error) => error.how(),
            Error::Cluster(error) => error.how(),
            Error::Meta(error) => error.how(),
            Error::Recover(error) => error.how(),
            Error::Append(error) => error.how(),
            _ => How::Failed,
        }
    }
}

impl Ends for NamedError {
    fn how(&self) -> How {
        match self {
            NamedError::Name(NameError::Wrong { .. }) => How::Usage,
            NamedError::Meta(error) => error.how(),
            refusal if refusal.is_refusal() => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for TopologyError {
    fn how(&self) -> How {
        match self {
            TopologyError::Meta(error) => error.how(),
            TopologyError::Catalog(error) => error.how(),
            refusal if refusal.is_refusal() => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for ReplicaError {
    fn how(&self) -> How {
        match self {
            ReplicaError::Key(_) => How::Usage,
            ReplicaError::Meta(error) => error.how(),
            ReplicaError::Place(error) => error.how(),
            refusal if refusal.is_refusal() => How::Refused,
            _ => How::Failed,
        }
    }
}

/// The code with which an error ends a topology program, decided by the first of it and its causes that is
/// an error of Egret's; 1 when there is none. The codes are those of the `egret` command:
///
/// | code | |
/// |---|---|
/// | 0 | done |
/// | 1 | failed: it was not done, or not wholly; or another process took it over |
/// | 2 | wrong usage: the command line, or a configuration file, cannot be meant |
/// | 3 | refused: nothing was done, and the same question gets the same answer |
pub fn exit_code(error: &(dyn StdError + 'static)) -> ExitCode {
    ExitCode::from(how(error).code())
}

fn how(error: &(dyn StdError + 'static)) -> How {
    if is_taken_over(error) {
        return How::Failed;
    }
    let of = |error: &(dyn StdError + 'static)| match error.downcast_ref::<Error>() {
        Some(error) => Some(error.how()),
        None => ends::of(error),
    };
    successors(Some(error), |&error| error.source()).find_map(of).unwrap_or(How::Failed)
}

/// Whether it is the doing of another process that took over what this one was doing: the topology, or a
/// partition that it wrote.
pub fn is_taken_over(error: &(dyn StdError + 'static)) -> bool {
    successors(Some(error), |&error| error.source()).any(is_taken_over_itself)
}

fn is_taken_over_itself(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<Error>() {
        return match error {
            Error::TakenOver { .. } => true,
            Error::Component { why, .. } => is_taken_over(&**why),
            Error::Superseded(why) => matches!(**why, ChangeError::Superseded { .. }),
            Error::Recovery(why) => matches!(
                **why,
                RecoveryError::TakenOver { .. }
                    | RecoveryError::Change(ChangeError::Superseded { .. })
            ),
            Error::Catalog(error) => catalog(error),
            Error::OpenWriter(error) => open_writer(error),
            Error::Append(error) => fenced(error),
            Error::Create(error) => matches!(**error, CreateError::Exists { .. }),
            _ => false,
        };
    }
    error.downcast_ref::<CatalogError>().is_some_and(catalog)
        || error.downcast_ref::<OpenWriterError>().is_some_and(open_writer)
        || error.downcast_ref::<AppendError>().is_some_and(append)
        || error.downcast_ref::<client::AppendError>().is_some_and(fenced)
}

fn catalog(error: &CatalogError) -> bool {
    matches!(error, CatalogError::TakenOver { .. })
}

fn open_writer(error: &OpenWriterError) -> bool {
    match error {
        OpenWriterError::Superseded { .. } => true,
        OpenWriterError::Catalog(error) => catalog(error),
        OpenWriterError::Create(error) => matches!(error, CreateError::Exists { .. }),
        OpenWriterError::Recover(error) => match error {
            client::RecoverError::Record(client::error::RecordError::Transition {
                why, ..
            }) => {
                matches!(why, TransitionError::StaleTerm { .. })
            }
            client::RecoverError::Recovery { why, .. } => {
                matches!(why, RecoveryFailure::Superseded { .. })
            }
            _ => false,
        },
        _ => false,
    }
}

fn append(error: &AppendError) -> bool {
    match error {
        AppendError::Ledger(error) => fenced(error),
        AppendError::Open(error) => open_writer(error),
        _ => false,
    }
}

fn fenced(error: &client::AppendError) -> bool {
    match error {
        client::AppendError::Ended { why, .. } | client::AppendError::Failed { why, .. } => {
            matches!(
                why,
                WriterFailure::Fenced { .. } | WriterFailure::Refused(Refusal::StaleTerm { .. })
            )
        }
        client::AppendError::TooLarge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::stream::error::CreateStreamError;
    use egret_log::{Log, LogConfig};
    use egret_log_cluster::ClusterError;
    use egret_state::Guarantee;
    use std::fmt;

    /// Said about an error, as programs do.
    #[derive(Debug)]
    struct While(Box<dyn StdError>);

    impl fmt::Display for While {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("while something was done")
        }
    }

    impl StdError for While {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    fn taken_over() -> Error {
        Error::TakenOver { topology: "t".to_owned() }
    }

    /// A directory that another holds was refused by the one program, and failed in the other.
    #[test]
    fn like_errors_end_alike_whoever_meets_them_and_whatever_is_said_about_them() {
        let dir = tempfile::tempdir().unwrap();
        let held = Log::open(dir.path(), LogConfig::default()).unwrap();
        let second = || Log::open(dir.path(), LogConfig::default()).unwrap_err();
        let (stored, wanted) = (Guarantee::EffectivelyOnce, Guarantee::AtLeastOnce);
        let stream = || "s".to_owned();
        let file = || {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            ClusterError::Read { file: "none.toml".into(), source }
        };
        let named = |why| Error::Recovery(Box::new(RecoveryError::Name(why)));
        let cases: Vec<(Box<dyn StdError>, How)> = vec![
            (Box::new(second()), How::Refused),
            (Box::new(Error::from(second())), How::Refused),
            (Box::new(file()), How::Usage),
            (Box::new(Error::from(file())), How::Usage),
            (Box::new(CatalogError::NoStream { stream: stream() }), How::Refused),
            (Box::new(Error::from(CatalogError::NoStream { stream: stream() })), How::Refused),
            (
                Box::new(Error::from(CatalogError::NoStream { stream: stream() }).of("lines")),
                How::Refused,
            ),
            (Box::new(CatalogError::Closed), How::Failed),
            (Box::new(CreateStreamError::Exists { stream: stream() }), How::Refused),
            (
                Box::new(Error::Recovery(Box::new(RecoveryError::Guarantee { stored, wanted }))),
                How::Refused,
            ),
            (
                Box::new(Error::Failed { topology: "t".into(), why: "w".into(), tries: 3 }),
                How::Failed,
            ),
            (Box::new(Error::Option { what: "workers", value: 0, allowed: "1" }), How::Usage),
            (Box::new(Error::usage("which word?")), How::Usage),
            // As `egret checkpoint restore` says them.
            (Box::new(Error::Unconfirmed { name: "n".into() }), How::Refused),
            (
                Box::new(named(NameError::Unknown { name: "n".into(), names: Vec::new() })),
                How::Refused,
            ),
            (Box::new(named(NameError::Wrong { name: "a/b".into() })), How::Usage),
            (Box::new(taken_over()), How::Failed),
            (Box::new(fmt::Error), How::Failed),
        ];
        for (error, wanted) in cases {
            assert_eq!(how(&*error), wanted, "{error}");
            let told = error.to_string();
            assert_eq!(how(&While(Box::new(While(error)))), wanted, "{told}");
        }
        held.close().unwrap();
    }

    #[test]
    fn who_was_taken_over_is_known_by_any_of_the_ways_in_which_it_is_told() {
        let (stream, partition) = ("lines".to_owned(), 2);
        let told = CatalogError::TakenOver { stream, partition };
        assert!(is_taken_over(&taken_over()));
        assert!(is_taken_over(&told));
        assert!(is_taken_over(&Error::from(told.clone())));
        assert!(is_taken_over(&Error::from(told.clone()).of("lines")));
        assert!(is_taken_over(&While(Box::new(OpenWriterError::Catalog(told.clone())))));
        assert_eq!(how(&AppendError::Open(told.into())), How::Failed, "it may go on elsewhere");
        assert!(!is_taken_over(&CatalogError::Closed));
    }
}
