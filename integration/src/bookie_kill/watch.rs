//! Says when a run stands still, and where: a hang is a finding, and must not look like patience.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ends the process when nothing is [begun](Watch::begin) for too long.
#[derive(Debug)]
pub struct Watch {
    steps: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts, with so much patience for one step.
    pub fn start(patience: Duration) -> Watch {
        let (steps, begun) = channel::<String>();
        let watch = move || {
            let mut last = "the start".to_owned();
            loop {
                match begun.recv_timeout(patience) {
                    Ok(step) => last = step,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        println!("stands still for {} s in: {last}", patience.as_secs());
                        std::process::exit(3);
                    }
                }
            }
        };
        let thread = Some(std::thread::spawn(watch));
        Watch { steps: Some(steps), thread }
    }

    /// Something else begins.
    pub fn begin(&self, step: impl Into<String>) {
        if let Some(steps) = &self.steps {
            // It ends the process rather than itself.
            drop(steps.send(step.into()));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.steps = None;
        drop(self.thread.take().map(JoinHandle::join));
    }
}
