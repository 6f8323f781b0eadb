//! How a bolt makes calls whose answers take a while.

use std::time::Duration;

/// How long a call may take when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How the calls of a bolt are made: see [`Grouped::call`](crate::Grouped::call).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    pub(crate) at_once: u32,
    pub(crate) timeout: Duration,
    pub(crate) ordered: bool,
}

impl Calls {
    /// The most that one task may have under way at once.
    pub(crate) const AT_ONCE_MAX: u32 = 4096;

    /// So many at once in each task, 1 to 4096. What they answer is emitted in the order of the tuples, and each may
    /// take ten seconds.
    pub fn at_once(calls: u32) -> Calls {
        Calls { at_once: calls, timeout: TIMEOUT, ordered: true }
    }

    /// How long a call may take; then it failed.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Calls {
        Calls { timeout, ..self }
    }

    /// What is answered is emitted as it comes: a slow call holds no other back.
    #[must_use]
    pub fn unordered(self) -> Calls {
        Calls { ordered: false, ..self }
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Calls { at_once, timeout, ordered } = self;
        let order = if *ordered { "in order" } else { "as they come" };
        write!(f, "{at_once} calls at once, {} ms each, answers {order}", timeout.as_millis())
    }
}
