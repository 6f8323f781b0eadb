//! What the Cap'n Proto compiler made of `schema/*.capnp`. Nobody edits it: `just schemas` makes it again.
//!
//! It stays inside this package: readers and builders are converted to typed values beside it.

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "written by a program; its style is the program's"
)]
pub(crate) mod below_capnp;

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "written by a program; its style is the program's"
)]
pub(crate) mod bookie_capnp;

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "written by a program; its style is the program's"
)]
pub(crate) mod metadata_capnp;

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "written by a program; its style is the program's"
)]
pub(crate) mod state_capnp;

#[rustfmt::skip]
#[allow(
    warnings,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "written by a program; its style is the program's"
)]
pub(crate) mod stream_capnp;
