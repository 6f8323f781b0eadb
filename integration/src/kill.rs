//! A program killed again and again, and what may be said of its output afterwards.
//!
//! * [`program`]: the word count as a real process, killed with `SIGKILL` at chosen moments;
//! * [`input`]: real text, and what coreutils say of it;
//! * [`reader`]: what readers of the output stream saw meanwhile;
//! * [`follower`]: the same of a stream of a cluster;
//! * [`commits`]: what the program committed, generation by generation;
//! * [`every_kind`]: a topology with every kind of state, and what one thread makes of its input;
//! * [`history`]: the output stream as it ended, and the oracles over it.

pub mod commits;
pub mod every_kind;
pub mod follower;
pub mod history;
pub mod input;
pub mod program;
pub mod reader;
pub mod windows;
