//! When to end: the first signal asks, the second insists.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a shell reports of a process that a signal ended.
const ENDED_BY_SIGNAL: i32 = 128;

/// Calls `ask` at the first `SIGTERM` or `SIGINT`. The second ends the process at once.
///
/// # Errors
/// When the system lets nobody listen to signals.
pub fn when_asked_to_end(ask: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let mut ask = Some(ask);
    // Nobody joins it: it ends with the process, which it may end.
    thread::Builder::new().name("egret-signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            match ask.take() {
                Some(ask) => ask(),
                None => std::process::exit(ENDED_BY_SIGNAL + signal),
            }
        }
    })?;
    Ok(())
}
