//! When to end: the first signal asks, the second insists.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a shell reports of a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 128;

/// Where the first signal arrives. The second ends the process at once.
pub(super) fn asked_to_end() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, asked) = sync_channel(1);
    // Nobody joins it: it ends with the process, which it may end.
    thread::Builder::new().name("egret-signals".to_owned()).spawn(move || {
        let mut insists = false;
        for signal in signals.forever() {
            if insists || sender.send(()).is_err() {
                std::process::exit(ENDED_BY_SIGNAL + signal);
            }
            insists = true;
        }
    })?;
    Ok(asked)
}
