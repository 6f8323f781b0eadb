//! The command line of Egret; later packing, placement, health and the UI.
//!
//! | module | holds |
//! |---|---|
//! | [`backend`] | processes that the command starts |
//! | [`cli`] | `egret`: what is asked on the command line, and how it is answered |

pub mod backend;
pub mod cli;
