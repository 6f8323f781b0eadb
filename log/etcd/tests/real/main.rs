//! The store on a real etcd, which these tests start, kill, stop and compact.
//!
//! Without etcd they say that they were skipped; with `EGRET_REQUIRE_ETCD` set, they fail.
//!
//! | file | what |
//! |---|---|
//! | `server.rs` | an etcd of our own, on loopback, in a directory that goes with it |
//! | `conformance.rs` | what every store must do |
//! | `crashes.rs` | etcd killed and started again under transactions and watches |
//! | `stalls.rs` | etcd stopped or gone: deadlines hold |
//! | `streams.rs` | streams of many partitions |
//! | `leases.rs` | a client that stops, and what hung on its lease |
//! | `tls.rs` | certificates on both sides |

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]
#![allow(clippy::print_stderr, reason = "a test fails by panicking, and says what it skips")]

mod conformance;
mod crashes;
mod leases;
mod server;
mod stalls;
mod streams;
mod tls;
