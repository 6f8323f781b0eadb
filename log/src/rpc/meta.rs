//! The metadata of a data directory that another process holds: a [`MetaStore`] there, and the same store
//! here.
//!
//! The story is told at the top of `schemas/schema/metadata.capnp`. What always holds:
//! * A request has one answer within its deadline: the store's, or an error whose outcome is unknown once
//!   anything of it was sent, and definite when the holder was found to be gone before.
//! * Who is attached is attached to one *life*, one holding of the directory. Leases end with it, so nobody
//!   is led on to the next: everything is [`Gone`](crate::metadata::MetaError::Gone) then.
//! * Nothing piles up: a connection carries one request at a time, a process has a bound to those under way,
//!   and a watch is asked for its next events when whoever watches wants them.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the holder's side: hello, and goodbye |
//! | `teller` | the holder's answers |
//! | `client` | the other side: the store, and connections for as many requests as are under way |
//! | `line` | one connection: hello, then a request and its reply |
//! | `watch` | a watch that survives its connection |
//! | `convert` | values and errors to headers and back |
//!
//! [`MetaStore`]: crate::metadata::MetaStore

mod client;
pub(crate) mod convert;
mod line;
mod server;
pub(crate) mod teller;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use client::AttachedMeta;
pub(crate) use line::NotOpened;
pub(crate) use server::serve;
