//! Streamlets that cannot be. The builder names the component.

/// Why a step cannot be wired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamletError {
    /// Two names for one component.
    #[error(
        "it is named `{second}` as well: steps without state that follow one another are one component, so leave one name out, or put `.shared()` between the steps"
    )]
    NamedTwice {
        /// The later name.
        second: String,
    },
    /// Two numbers of tasks for one component.
    #[error(
        "it is to have {first} tasks and {second} as well: say one of them, or begin another component with `.repartition({second})` between the steps"
    )]
    TasksTwice {
        /// What was said first.
        first: u32,
        /// What was said then.
        second: u32,
    },
    /// State under a name that says when it was wired.
    #[error(
        "it keeps state and was given no name, and this one has a number in it that goes by the order in which steps are wired, so it could find another one's state when that changes: say `.named(…)` of it"
    )]
    Unnamed,
    /// A name that was given, of too many steps.
    #[error(
        "it was given this name, of those before it, and it is over {max} bytes: say `.named(…)` of it, or of one before it"
    )]
    LongName {
        /// The longest there may be, in bytes.
        max: usize,
    },
    /// A name or tasks for something that is no component.
    #[error(
        "a streamlet made of a stream, or of several, is no component of its own, so it has neither name nor tasks to give: say them of a step"
    )]
    NoComponent,
    /// Something said of a step that is wired.
    #[error(
        "something was attached to it before its name or tasks were said: say them right after the step"
    )]
    Wired,
    /// Tuples dealt out to nobody.
    #[error(
        "it says how its tuples are dealt out, and what comes next {0}: say it right before a step that takes them, or leave it out"
    )]
    DealtOut(&'static str),
    /// An interval in which nothing lies.
    #[error("its interval ends at {to} ms, before it begins at {from} ms: turn the two round")]
    Interval {
        /// Where it begins.
        from: i64,
        /// Where it ends.
        to: i64,
    },
    /// Repetitions within no time.
    #[error("it lets repetitions through after no time: give it a millisecond or more")]
    NoTime,
}
