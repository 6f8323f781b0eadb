//! What a spout may yet read again, noted in its stream so that a truncation stops there.
//!
//! The last two commits are kept, so what is noted are the positions of the one before the last. Whole
//! segments are what a truncation gives back: the note moves at once when a position enters another
//! segment, and otherwise now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use egret_log::stream::User;
use egret_log::{Log, clock};
use egret_schemas::Position;

use crate::component::{ComponentResult, Context};

/// How often a note moves inside a segment: each time costs one write of the metadata store.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Partition → position.
pub(super) type Places = BTreeMap<u32, Position>;

/// One spout task's claim to its partitions.
pub(super) struct Claim {
    log: Log,
    stream: String,
    user: User,
    noted: Places,
    noted_at: Instant,
    /// As of the last commit.
    last: Places,
}

impl Claim {
    /// Notes where a task begins; `None` where nothing is committed, so that nothing is read again.
    pub(super) fn begin(cx: &Context, stream: &str, at: Places) -> ComponentResult<Option<Claim>> {
        if !cx.commits || at.is_empty() {
            return Ok(None);
        }
        let (topology, component) = (cx.topology.to_string(), cx.id().component.to_string());
        let user = User { topology, component };
        cx.log().consume(stream, &user, &at)?;
        Ok(Some(Claim {
            log: cx.log().clone(),
            stream: stream.to_owned(),
            user,
            noted: at.clone(),
            noted_at: clock::now(),
            last: at,
        }))
    }

    /// A commit has the task at these places.
    pub(super) fn committed(&mut self, at: Places) -> ComponentResult {
        let before = std::mem::replace(&mut self.last, at);
        let entered = |(partition, place): (&u32, &Position)| {
            self.noted.get(partition).is_none_or(|noted| noted.segment < place.segment)
        };
        let due = clock::now().duration_since(self.noted_at) >= NOTE_EVERY;
        if before != self.noted && (due || before.iter().any(entered)) {
            self.log.consume(&self.stream, &self.user, &before)?;
            (self.noted, self.noted_at) = (before, clock::now());
        }
        Ok(())
    }
}
