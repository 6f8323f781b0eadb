//! The command line of Egret; later packing, placement, health and the UI.
//!
//! | module | holds |
//! |---|---|
//! | [`metadata`] | a cluster's metadata store by its address |
//! | [`cli`] | `egret`: what is asked on the command line, and how it is answered |

pub mod cli;
pub mod metadata;
