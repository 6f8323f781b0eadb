//! Wirings that cannot run. Each names the component and the fix.

use egret_state::Guarantee;

use crate::component::in_words;
use crate::plan::Kind;
use crate::streamlet::StreamletError;
use crate::window::WindowError;

/// Why a topology cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A name that cannot be part of paths and keys.
    #[error(
        "`{name}` cannot name a {what}: use 1 to 255 letters, digits, `-`, `_` or `.`, not beginning with `.`"
    )]
    Name {
        /// What was to be named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two components of one name.
    #[error("there are two components named `{name}`: give one of them another name")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// No task, or too many.
    #[error("component `{name}` has a parallelism of {parallelism}: give it 1 to {max} tasks")]
    Parallelism {
        /// The component.
        name: String,
        /// What was asked.
        parallelism: u32,
        /// The most there may be.
        max: u32,
    },
    /// Key groups out of range.
    #[error("topology `{name}` has {key_groups} key groups: give it 1 to 65536")]
    KeyGroups {
        /// The topology.
        name: String,
        /// What was asked.
        key_groups: u32,
    },
    /// Tasks that would own no key group.
    #[error(
        "{kind} `{name}` has {parallelism} tasks but the topology only {key_groups} key groups: lower its parallelism or raise `key_groups` before the first run"
    )]
    MoreTasksThanKeyGroups {
        /// What the component is.
        kind: Kind,
        /// The component.
        name: String,
        /// Its tasks.
        parallelism: u32,
        /// The topology's key groups.
        key_groups: u32,
    },
    /// Nothing enters.
    #[error("topology `{name}` has no spout: add one with `TopologyBuilder::spout`")]
    NoSpout {
        /// The topology.
        name: String,
    },
    /// Output nobody takes.
    #[error(
        "the output of `{name}` goes nowhere: attach a bolt or a sink to it, or make it a sink"
    )]
    Unused {
        /// The component.
        name: String,
    },
    /// A spout too weak for the guarantee.
    #[error(
        "spout `{name}` cannot replay, so the topology cannot be {guarantee}: write its input to a stream first and read that with `LogSpout`, or choose at-most-once"
    )]
    CannotReplay {
        /// The spout.
        name: String,
        /// What was asked.
        guarantee: Guarantee,
    },
    /// A spout of a queue, which is too weak for effectively-once.
    #[error(
        "spout `{name}` reads a queue that hands out again what was not acknowledged, so the topology cannot be effectively-once: have one that is at-least-once write the messages to a stream, and read that with `LogSpout`, telling repeated messages apart by their ids; or choose at-least-once"
    )]
    OnlyAcknowledges {
        /// The spout.
        name: String,
    },
    /// A sink too weak for the guarantee.
    #[error(
        "sink `{name}` writes outside of the commit, so the topology cannot be effectively-once: write to a stream with `LogSink` and deliver from there, or choose at-least-once"
    )]
    ExternalSink {
        /// The sink.
        name: String,
    },
    /// Two sinks into one stream.
    #[error(
        "sinks `{first}` and `{second}` both write stream `{stream}`: a stream has one writer, so let one of them write another stream"
    )]
    TwoWriters {
        /// The earlier sink.
        first: String,
        /// The later sink.
        second: String,
        /// The stream.
        stream: String,
    },
    /// Two streams of two builders for one consumer.
    #[error(
        "the streams of `{first}` and `{second}` are of two topologies: build both with one `TopologyBuilder`"
    )]
    OtherBuilder {
        /// A component the one comes from.
        first: String,
        /// A component the other comes from.
        second: String,
    },
    /// A feedback to which nothing leads.
    #[error(
        "nothing comes back at feedback `{name}`: connect what is to come back to the end that `feedback` gave, or leave it out"
    )]
    NotConnected {
        /// The feedback.
        name: String,
    },
    /// A feedback of tuples that have nothing to do with what came back.
    #[error(
        "feedback `{name}` is no cycle: `{from}` takes nothing that came back there, so attach it to the stream that `feedback` gave, or to what comes of that"
    )]
    NoCycle {
        /// The feedback.
        name: String,
        /// What was connected.
        from: String,
    },
    /// What goes by event time in a cycle, or behind one.
    #[error(
        "`{name}` goes by event time and is behind feedback `{feedback}`: what comes back is older than the watermark says, and would be late; let it go by processing time or by count, or take the tuples before the cycle"
    )]
    TimeBehindFeedback {
        /// The component.
        name: String,
        /// Where tuples come back that reach it.
        feedback: String,
    },
    /// Two named outputs of one name.
    #[error("`{component}` has two outputs named `{name}`: give one of them another name")]
    DuplicateOutput {
        /// The component.
        component: String,
        /// The output.
        name: String,
    },
    /// An output that was not declared.
    #[error(
        "`{component}` has no output `{name}` ({}): take one that is there, or declare it with `Stream::with_output`",
        in_words(.there)
    )]
    UnknownOutput {
        /// The component.
        component: String,
        /// What was asked for.
        name: String,
        /// The outputs it has.
        there: Vec<String>,
    },
    /// An output taken as one of another type.
    #[error(
        "output `{name}` of `{component}` is of {declared} and was taken as one of {asked}: use one `Output` for both"
    )]
    OutputType {
        /// The component.
        component: String,
        /// The output.
        name: String,
        /// What it was declared to be of.
        declared: String,
        /// What it was taken as.
        asked: String,
    },
    /// Outputs of something else than a component.
    #[error(
        "named outputs are those of one component: declare and take them of the stream that attaching it gave, not of a part or a union of such, here of `{name}`"
    )]
    OutputsOf {
        /// The component, or components.
        name: String,
    },
    /// Event time said of something else than a spout's stream.
    #[error(
        "the event time of tuples is said of the stream that `TopologyBuilder::spout` gave, not of that of `{name}`: what a spout reaches has its watermark"
    )]
    EventTimeOfBolt {
        /// The component, or components.
        name: String,
    },
    /// Event time said twice.
    #[error(
        "the event time of the tuples of spout `{name}` is said twice: its tuples have one event time, so say it once, before the stream is used"
    )]
    EventTimeTwice {
        /// The spout.
        name: String,
    },
    /// Something of bolts, said of a spout.
    #[error(
        "`{name}` is a spout, and this is said of a bolt: say it of the stream that attaching one gave"
    )]
    NotABolt {
        /// The component.
        name: String,
    },
    /// Something of spouts, said of something else.
    #[error(
        "`{name}` is no spout, and this is said of one: say it of the stream that `TopologyBuilder::spout` gave"
    )]
    NotASpout {
        /// The component.
        name: String,
    },
    /// A rate at which nothing is emitted.
    #[error("spout `{name}` cannot emit {rate} tuples a second: give it a thousandth or more")]
    Rate {
        /// The spout.
        name: String,
        /// What was asked.
        rate: String,
    },
    /// Calls that cannot be.
    #[error(
        "bolt `{name}` cannot make such calls: have it make 1 to {max} at once, each of a millisecond or more"
    )]
    Calls {
        /// The bolt.
        name: String,
        /// The most there may be at once.
        max: u32,
    },
    /// Ticks all the time.
    #[error(
        "bolt `{name}` is to tick every time there is any: give it a millisecond or more between two ticks"
    )]
    Tick {
        /// The bolt.
        name: String,
    },
    /// Said of the stream of several components.
    #[error(
        "this is said of one component, and the stream is that of `{names}`: say it of the stream that attaching the component gave"
    )]
    NotOne {
        /// The components.
        names: String,
    },
    /// Dead letters of a component that makes none.
    #[error(
        "bolt `{name}` has no dead letters: say `on_error(OnError::DeadLetter)` of it before its dead letters are taken"
    )]
    NoDeadLetters {
        /// The bolt.
        name: String,
    },
    /// Dead letters of another type.
    #[error(
        "bolt `{name}` takes tuples of `{takes}`, so its dead letters are not of `{wanted}`: take `dead_letters::<{takes}>()`"
    )]
    OtherTuples {
        /// The bolt.
        name: String,
        /// What it takes.
        takes: String,
        /// What was asked for.
        wanted: String,
    },
    /// Dead letters that nobody takes.
    #[error(
        "the dead letters of bolt `{name}` go nowhere: attach a bolt or a sink to its `dead_letters`, or have it fail"
    )]
    DeadLettersUnused {
        /// The bolt.
        name: String,
    },
    /// Windows that cannot be.
    #[error("window bolt `{name}`: {why}")]
    Window {
        /// The component.
        name: String,
        /// Why not.
        why: WindowError,
    },
    /// Streamlets that cannot be.
    #[error("`{name}`: {why}")]
    Streamlet {
        /// The component.
        name: String,
        /// Why not.
        why: StreamletError,
    },
    /// Event time, and no watermark.
    #[error(
        "`{name}` goes by event time, and no spout it is reached from says that: call `Stream::event_time` on the stream of a spout"
    )]
    NoEventTime {
        /// The component.
        name: String,
    },
    /// Something more for a topology that is built.
    #[error(
        "`{name}` is for a topology that is finished: attach and declare everything before `finish`"
    )]
    Finished {
        /// The component, or the output.
        name: String,
    },
}
