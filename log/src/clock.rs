//! The only place that reads a clock. Cores are handed time; drivers ask here.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Wall-clock milliseconds since 1970, for people and retention; never for order.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
