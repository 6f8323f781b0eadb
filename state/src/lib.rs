//! State that survives: keyed state with its changelog, and the protocol by which state, source
//! positions and output become durable together.
//!
//! Every result counts each input exactly as if it had been processed once, through any crash,
//! because one append, of one [commit record](commit::record::CommitRecord), makes all of it true at
//! once: up to which position each source was read, from which ledgers each state is restored, and
//! where each output ends. What is durable beyond the last commit record is cut off by the next
//! generation before anyone sees it.
//!
//! | module | holds |
//! |---|---|
//! | [`commit::coordinator`] | opens epochs, gathers reports, decides on commits |
//! | [`commit::record`] | the commit record |
//! | [`commit::topology_record`] | what metadata keeps of a topology |
//! | [`commit::named`] | commits that have names, and what those keep |
//! | [`commit::recovery`] | how a new generation takes over, and every reason to refuse |
//! | [`commit::restore_set`] | which ledgers hold which key groups |
//! | [`keyed::table`] | the table bolts work on |
//! | [`keyed::changelog`], [`keyed::replay`] | state in a ledger, written and read back |
//! | [`keyed::chain`] | one task's ledgers, and how much to rewrite |
//! | [`view`] | the state as of one commit, for who does not run the topology |
//! | [`caps`] | every limit, with its why |
//!
//! Everything here is pure: no clock, randomness, thread, file or socket. Facts come in, effects and
//! bytes go out; what drives it lives with the dataflow.
//!
//! # What always holds
//! 1. A commit needs a positive report of every task, idle ones included; a frontier only says when
//!    to look. Nothing is published before its record is acknowledged.
//! 2. State is captured once per commit, when the input frontier leaves it and before anything of the
//!    next commit is applied.
//! 3. An epoch number is used once: generation ‖ commit ‖ micro-epoch, and every attempt is a new
//!    generation.
//! 4. A topology that ever began is never started empty, and never restored from bytes that do not
//!    check out.
//! 5. Key groups are fixed for a topology's life; tasks own contiguous runs of them, and any number of
//!    tasks restores what any other number wrote.
//!
//! # A task's state, there and back
//! ```
//! use egret_schemas::{EntryAddress, EntryId, Epoch, Generation, LedgerId};
//! use egret_state::keyed::changelog::{Head, schema_id, write_commit};
//! use egret_state::keyed::key::Key;
//! use egret_state::keyed::replay::{Replay, Schema};
//! use egret_state::keyed::schedule::Schedule;
//! use egret_state::keyed::table::KeyedTable;
//!
//! // Nobody sets timers here.
//! let mut schedule = Schedule::default();
//! let mut counts = KeyedTable::<str, u64>::new(4096);
//! for word in ["heron", "egret", "heron"] {
//!     let slot = counts.entry(word.hash64(), word);
//!     *counts.get_mut(slot).1 += 1;
//! }
//!
//! // The input frontier left commit 0: what changed in it becomes one batch of entries.
//! let schema = schema_id("counts v1");
//! let epoch = Epoch::new(Generation(1), 0, 0);
//! let head = Head { component: "count".into(), task: 0, tasks: 1, schema, epoch };
//! let mut ledger = Vec::new();
//! write_commit(&mut counts, &mut schedule, &head, |_changed| 0, |entry| ledger.push(entry))?;
//!
//! let mut restored = KeyedTable::<str, u64>::new(4096);
//! let mut replay = Replay::new("count", Schema::only(schema));
//! let at = EntryAddress { ledger: LedgerId(1), entry: EntryId(0) };
//! replay.apply(at, &ledger[0], |_group| true, &mut restored, &mut schedule)?;
//! replay.end_ledger()?;
//! assert_eq!(restored.find("heron".hash64(), "heron"), Some(&2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod caps;
pub mod commit;
pub mod keyed;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
pub(crate) mod mutants;
pub mod view;

pub use commit::Guarantee;
