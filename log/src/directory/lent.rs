//! A directory that this process holds for a command, until somebody needs it.
//!
//! Whoever is to keep the directory asks for it over its socket. Then a thread of its own, since the
//! command may be waiting for its reader, ends the wait of the request under way, closes the log once
//! that is answered, and so lets go. What is asked afterwards is told that the holder is going away, as
//! a process that was attached is, and goes to the next holder.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::stream::{Code, StreamReply, StreamRequest};

use super::failure::failure;
use super::{Answerer, LogCloseError};
use crate::clock;
use crate::rpc::bell::Woken;
use crate::rpc::{Answer, Answered, Bell};
use crate::stream::Log;

/// How long at a time the thread waits to be asked; it is woken at the end.
const WAIT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Lent {
    held: Arc<Mutex<Option<Held>>>,
    /// Ends the wait of the request under way.
    bell: Arc<Bell>,
    /// Rung when somebody needs the directory.
    asked: Arc<Bell>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    answerer: Answerer,
    log: Log,
}

impl Held {
    fn close(self) -> Result<(), LogCloseError> {
        drop(self.answerer);
        self.log.close()
    }
}

impl Lent {
    /// Over a log that rings `asked` when somebody needs it.
    pub(super) fn new(log: Log, asked: Arc<Bell>) -> Lent {
        let held = Arc::new(Mutex::new(Some(Held { answerer: Answerer::new(&log), log })));
        let bell = Arc::new(Bell::default());
        let (theirs, waiting, ending) = (Arc::clone(&held), Arc::clone(&asked), Arc::clone(&bell));
        let keeper = thread::Builder::new()
            .name("egret-lent".to_owned())
            .spawn(move || {
                loop {
                    match waiting.wait_until(clock::now() + WAIT) {
                        Woken::Late => {}
                        Woken::Closed => return,
                        Woken::Rung => break,
                    }
                }
                ending.close();
                let held = lock(&theirs).take();
                if let Some(Err(error)) = held.map(Held::close) {
                    tracing::warn!(%error, "the directory was let go");
                }
            })
            // Without it the directory is held until the command ends: worse, and no reason to refuse.
            .inspect_err(|error| tracing::warn!(%error, "no thread to let the directory go"))
            .ok();
        Lent { held, bell, asked, keeper }
    }

    /// Carries out a request, or says that the directory was let go.
    pub(super) fn answer(&self, request: StreamRequest, payload: Bytes) -> Answered {
        match &mut *lock(&self.held) {
            Some(held) => held.answerer.answer(request, payload, &self.bell),
            None => {
                let message = "the directory was let go for a process that needs it";
                StreamReply::Failed(failure(Code::Closing, message)).into()
            }
        }
    }

    /// Lets go, if that was not done already.
    pub(super) fn close(mut self) -> Result<(), LogCloseError> {
        let held = lock(&self.held).take();
        let closed = held.map_or(Ok(()), Held::close);
        self.end();
        closed
    }

    fn end(&mut self) {
        self.asked.close();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the thread that lets the directory go panicked");
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    // A request that panicked is told so by whoever made it; the log closes all the same.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
