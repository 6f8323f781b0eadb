//! Windows that cannot be. The builder names the component.

/// Why a component cannot have such windows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No length, slide or gap.
    #[error("windows of no length: give them a length, and a slide, of 1 ms or one tuple at least")]
    NoLength,
    /// Tuples would be in no window.
    #[error(
        "a window of {size} begins every {slide}, so what comes between two is in none: let them begin every {size} or sooner, or filter what is not wanted before"
    )]
    Gaps {
        /// Its length, in ms or tuples.
        size: i64,
        /// How often one begins.
        slide: i64,
    },
    /// A tuple would be in too many windows.
    #[error(
        "a tuple is in {windows} windows at once, each told of by itself: let them begin less often, so that it is in {max} at most"
    )]
    Overlap {
        /// In how many.
        windows: i64,
        /// In how many it may be.
        max: i64,
    },
    /// Windows by time, and no time.
    #[error(
        "its windows are by time, and nothing says which: add `.event_time(|tuple| ms)`, or `.processing_time()` for the time it is"
    )]
    NoTime,
    /// Event time, and no watermark.
    #[error(
        "its windows are by event time, and no spout it is reached from says that: call `Stream::event_time` on the stream of a spout, or let windows go by `.processing_time()`"
    )]
    NoEventTime,
    /// A window that never ends, and is never told of.
    #[error(
        "a global window never ends, and nothing else says when it is told of: add `.trigger(..)`, such as `EveryTuples(100)`"
    )]
    NeverTold,
    /// Lateness by another time than event time.
    #[error(
        "only by event time is anything late: leave `.allowed_lateness(..)` out, or let windows go by `.event_time(..)`"
    )]
    LatenessWithoutEventTime,
    /// A trigger that cannot be.
    #[error("{0}")]
    Trigger(&'static str),
    /// Windows that share tuples, some of which would let go of them.
    #[error(
        "its windows overlap and share their tuples, so none of them can let go of what was told: leave `.discarding()` out, or let windows not overlap"
    )]
    DiscardsShared,
    /// An evictor where tuples are not kept.
    #[error(
        "an evictor leaves out tuples, and an aggregate keeps none: use `.contents(..)` in its place, or leave `.evict(..)` out"
    )]
    EvictsAggregate,
    /// More tasks than keys.
    #[error("all tuples meet in one window at one task: give it 1 task, not {tasks}")]
    OneTask {
        /// How many there were to be.
        tasks: u32,
    },
}
