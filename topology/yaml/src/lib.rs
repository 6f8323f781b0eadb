//! Topologies as data: a YAML file that wires components registered under names.
//!
//! ```yaml
//! name: word-count                    # the topology's identity: its state is found under it
//! program: ../target/release/words    # whose components these are, for `egret topology explain`
//! config:                             # the command line goes before it
//!   guarantee: effectively-once
//!   commit_interval: 100ms
//!   workers: 2
//! properties:                         # what ${NAME} stands for; --property NAME=VALUE goes before it
//!   input: lines
//! spouts:
//!   - id: lines
//!     type: stream                    # in the box, or registered by the program
//!     parallelism: 2
//!     args: {stream: "${input}"}      # read as the type the component was registered with
//! bolts:
//!   - id: split
//!     type: split
//!     parallelism: 2
//!     inputs: [lines]                 # shuffled, unless it is said
//!     args: {shortest: 3}
//!     on_error: dead-letter           # or fail, or {retry: {times: 3, backoff: 10ms, then: dead-letter}}
//!   - id: count
//!     type: count
//!     parallelism: 2
//!     inputs:
//!       - from: split
//!         grouping: {type: fields, key: text}
//!     settings: {most: 1000000}       # what --set COMPONENT.KEY=VALUE may change
//! sinks:
//!   - id: out
//!     type: stream
//!     inputs: [count]
//!     args: {stream: counts}
//!   - id: bad
//!     type: stream
//!     inputs: [{from: split, output: dead-letters}]
//!     args: {stream: "${ENV-USER}-bad"}
//! ```
//!
//! A program registers what it has in a [`Registry`] and calls [`main`]; the file is its argument. It becomes the same
//! plan as a wiring in Rust: types meet or are refused, before anything runs, and whatever is wrong is said at once,
//! each with file, line and column, the component, and what to do.
//!
//! # What may stand in a file
//!
//! | | |
//! |---|---|
//! | spouts | `id`, `type`, `parallelism`, `args`, `rate` (tuples a second), `event_time`, `settings` |
//! | bolts | `id`, `type`, `parallelism`, `inputs`, `args`, `on_error`, `tick`, `settings` |
//! | sinks | `id`, `type`, `parallelism`, `inputs`, `args` |
//! | an input | a component, or `from`, `output`, `grouping`, `side` (of what takes two: `left` or `right`) |
//! | groupings | `shuffle`, `none`, `rebalance`, `all`, `global`, `local-or-shuffle`; `fields` and `partial-key` with a `key`; `direct` with a `task`; `custom` with a `by` |
//! | `event_time` | a registered time, or `of`, `out_of_order`, `idle` |
//! | `config` | `guarantee`, `commit_interval`, `commit_interval_max`, `key_groups`, `workers`, `processes`, `state_mb` |
//!
//! In the box, for lines of text:
//!
//! | | `args` |
//! |---|---|
//! | spout `stream` | `stream`, `bounded` |
//! | spout `file` | `path`, `follow`, `record_bytes_max` |
//! | spout `generator` | `line` (`{n}` in it is the number), `count`, `per_second` |
//! | spout `socket` | `address` |
//! | sink `stream` | `stream`, `partitions`; of text, or of what is registered with [`Registry::records`] |
//! | sink `file` | `dir`, `format` (`text`, `json` or `csv`), `roll_bytes`, `roll_every` |
//! | sink `stdout` | `format` (`text` or `json`) |
//! | sink `socket` | `address`, `format` (`text` or `json`) |
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | `read` | YAML to a tree with places; `saphyr-parser` is known there only |
//! | `substitute` | `${NAME}` |
//! | `spec`, `reader` | what a file says by itself |
//! | `registry`, `entry`, `any` | components under names, their types put away |
//! | `args` | a part of the tree as a value of the user's type |
//! | `boxed`, `put` | what is in the box |
//! | `check` | everything looked up, nothing built |
//! | `wire` | what was checked, said to `egret::TopologyBuilder` |

mod any;
mod app;
mod args;
mod boxed;
mod check;
mod entry;
mod fault;
mod file;
mod meant;
mod node;
mod put;
mod read;
mod reader;
mod registry;
mod span;
mod spec;
mod substitute;
mod wire;

pub use app::{explain, main};
pub use fault::{Fault, WiringError};
pub use file::TopologyFile;
pub use registry::{Registered, Registry};
pub use substitute::Properties;

/// What the guide shows compiles, and runs where it says so.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/from-heron-storm-or-flink.md")]
struct Guide;
