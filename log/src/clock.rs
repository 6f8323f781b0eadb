//! The only place that reads a clock. Cores are handed time; drivers ask here.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    crate::simulation::now().unwrap_or_else(Instant::now)
}

/// Wall-clock milliseconds since 1970, for people and retention; never for order.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_ms() -> u64 {
    if let Some(ms) = crate::simulation::wall_ms() {
        return ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where drivers get wall-clock time from: [`wall_ms`], or what a test says the time is.
#[derive(Clone)]
pub struct Wall(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Wall {
    /// Another clock, of milliseconds since 1970.
    pub fn of(ms: impl Fn() -> u64 + Send + Sync + 'static) -> Wall {
        Wall(Arc::new(ms))
    }

    /// Milliseconds since 1970.
    pub fn ms(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Wall {
    fn default() -> Wall {
        Wall::of(wall_ms)
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wall")
    }
}
