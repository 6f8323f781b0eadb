//! Has an operator run again, and a commit made, when something is due at a bolt although no tuple comes.

use std::time::{Duration, Instant};

use egret_log::clock;
use egret_schemas::Epoch;
use egret_state::commit::TaskId;
use timely::scheduling::Activator;

use super::reports::Notice;

/// The longest an operator with something due sleeps: the clock may be set forward meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// When the operator runs again for this.
    at: Option<Instant>,
    /// The epoch a commit was last asked for in.
    asked: Option<Epoch>,
}

impl Alarm {
    /// Something is due after `wait` at one of the operator's tasks, say `task`. If it is due now, what to say to the
    /// coordinator: the open commit has something in it, so it is to end. Said again when the frontier moved,
    /// for the coordinator may have opened another one meanwhile.
    pub(crate) fn set(
        &mut self,
        wait: Duration,
        task: TaskId,
        frontier: Option<Epoch>,
        activator: &Activator,
    ) -> Option<Notice> {
        if wait.is_zero() {
            let epoch = frontier.filter(|epoch| self.asked.is_none_or(|asked| asked < *epoch))?;
            self.asked = Some(epoch);
            return Some(Notice::Active { task, epoch });
        }
        self.wake(wait, activator);
        None
    }

    /// Has the operator run again after `wait` at the latest.
    pub(crate) fn wake(&mut self, wait: Duration, activator: &Activator) {
        let now = clock::now();
        let at = now + wait.min(LOOK_AGAIN);
        if self.at.is_none_or(|set| set <= now || at < set) {
            self.at = Some(at);
            activator.activate_after(at - now);
        }
    }
}
