//! A thread that waits for sockets and timers, and runs what they wake.
//!
//! Whatever runs here must not block: everybody's connections are on it. It ends, and drops what runs
//! on it, when its owner is dropped.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// See the [module](self).
#[derive(Debug)]
pub struct IoThread {
    handle: Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// When the system gives no thread, or nothing to wait with.
    pub fn start(name: &str) -> io::Result<IoThread> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Ends with an error when the sender is dropped, which is the signal.
            let _ = runtime.block_on(stopped);
            // Somebody may still be looking up a name, which is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(IoThread { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs this here.
    pub(super) fn spawn(&self, what: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(what));
    }

    /// Whether the caller is on this thread.
    pub(super) fn is_current(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| t.thread().id() == thread::current().id())
    }

    /// For registering sockets.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        let here = self.is_current();
        if let Some(thread) = self.thread.take()
            // The last owner may be an answer that runs here: the thread then ends by itself.
            && !here
            && thread.join().is_err()
        {
            tracing::error!("a thread that waits for sockets panicked");
        }
    }
}
