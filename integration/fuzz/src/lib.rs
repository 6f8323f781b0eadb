//! Fuzzing: every decoder of bytes from disk or wire is handed bytes that nobody wrote.
//!
//! A [`Target`] is a plain function of bytes (`egret_log::fuzzing` says what it promises). One table has
//! them all, and three ways use it: the tests here, which run in every build; the program `fuzz`, which
//! searches for as long as wanted; and `libfuzzer/`, which cargo-fuzz builds so that coverage guides
//! the search.
//!
//! ```text
//! cargo test -p egret-fuzz                                    every target, some thousand inputs each
//! UPDATE=1 cargo test -p egret-fuzz                           writes the corpus the encoders make now
//! just fuzz --seconds 600 --seed 7 [--target manifest]        searches; saves what breaks a promise
//! just fuzz --target manifest FILE…                           tries these inputs
//! cargo fuzz run --fuzz-dir integration/fuzz/libfuzzer manifest integration/fuzz/corpus/manifest
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`corpus`] | the inputs kept in the repository: what the encoders write, and what once broke a promise |
//! | [`mutate`] | new inputs from old ones, the same for the same seed |
//! | [`search`] | one target and many inputs; memory and panics are watched |
//! | [`counting`] | an allocator that counts |
//! | `state` | the targets of `egret-state`, whose decoders are public |

pub mod corpus;
pub mod counting;
pub mod mutate;
pub mod search;
mod state;

pub use egret_log::fuzzing::{Sample, Target};

/// Every target, in order of names.
pub fn targets() -> Vec<Target> {
    let mut all = [
        egret_log::fuzzing::targets(),
        state::targets(),
        egret::fuzzing::targets(),
        egret_scheduler::cli::fuzzing::targets(),
    ]
    .concat();
    all.sort_by_key(|target| target.name);
    all
}

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    targets().into_iter().find(|target| target.name == name)
}
