//! Where the log is that a topology is followed in, and is then run on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use egret_log::directory::{Attached, Directory, OpenError};
use egret_log::disk::LockError;
use egret_log::{Log, LogConfig};

use crate::{Error, Result};

/// What there is to look at.
pub(crate) enum Sight {
    /// A log that this process can follow in.
    Log(Log),
    /// One that it can run a topology on as well.
    Ours(Log),
    /// Nobody is there.
    Nobody,
}

/// See the [module](self).
pub(crate) trait Ground {
    fn look(&mut self) -> Result<Sight>;
    /// What was seen last could not be read to the end.
    fn lost(&mut self);
    /// How long nobody must have been there before what was never seen running is taken over.
    fn grace(&self) -> Duration;
    /// What is [ours](Sight::Ours) is not needed now.
    fn let_go(&mut self) -> Result<()>;
}

/// A log that is there whoever runs topologies: a cluster's, or that of a directory that another process shares.
pub(crate) struct Stays<'a> {
    pub(crate) log: &'a Log,
    /// How long somebody who is there may say nothing.
    pub(crate) silence: Duration,
}

impl Ground for Stays<'_> {
    fn look(&mut self) -> Result<Sight> {
        Ok(Sight::Ours(self.log.clone()))
    }

    fn lost(&mut self) {}

    fn grace(&self) -> Duration {
        self.silence
    }

    fn let_go(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A data directory that whoever runs the topology holds. While another process holds it, its state is followed
/// beside that one; when none does, this one takes it, to see what became of the topology.
pub(crate) struct InDirectory {
    dir: PathBuf,
    beside: Option<(Arc<Attached>, Log)>,
    held: Option<Log>,
    /// Whether there may be something to see in it although nobody holds it. Once it was looked at there is not,
    /// until somebody held it: whoever is to run the topology must find it free.
    news: bool,
}

impl InDirectory {
    pub(crate) fn new(dir: &Path) -> InDirectory {
        InDirectory { dir: dir.to_owned(), beside: None, held: None, news: true }
    }

    fn hold(&mut self) -> Result<Sight> {
        // Nobody is to find a directory where there was none. Its metadata is made by who holds it.
        if !self.news || !self.dir.join("meta.redb").exists() {
            return Ok(Sight::Nobody);
        }
        match Log::open(&self.dir, LogConfig { serve: true, ..LogConfig::default() }) {
            Ok(log) => {
                self.held = Some(log.clone());
                Ok(Sight::Ours(log))
            }
            // Another one came first, or is still ending.
            Err(OpenError::Lock(LockError::Held { .. })) => Ok(Sight::Nobody),
            Err(error) => Err(error.into()),
        }
    }
}

impl Ground for InDirectory {
    fn look(&mut self) -> Result<Sight> {
        if let Some(held) = &self.held {
            return Ok(Sight::Ours(held.clone()));
        }
        if self.beside.is_none() {
            match Directory::beside(&self.dir).map_err(Error::other)? {
                Some(directory) => {
                    self.beside = Some(Attached::over(directory));
                    self.news = true;
                }
                None => return self.hold(),
            }
        }
        Ok(self.beside.as_ref().map_or(Sight::Nobody, |(_, log)| Sight::Log(log.clone())))
    }

    fn lost(&mut self) {
        self.beside = None;
    }

    /// Whoever holds it is there alone.
    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    fn let_go(&mut self) -> Result<()> {
        let Some(log) = self.held.take() else { return Ok(()) };
        self.news = false;
        Ok(log.close()?)
    }
}
