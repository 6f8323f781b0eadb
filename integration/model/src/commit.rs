//! The commit protocol that ships, taken through every order of events there is: two workers, a coordinator,
//! takeovers at any moment, whoever was taken over going on as if nothing had been.
//!
//! Nothing here is a second protocol: `egret_state::commit`'s coordinator and recovery decide. What is around them
//! keeps the promises of a driver and no more: the topology's record changes by compare-and-set, a closed ledger
//! takes nothing, an answer may get lost with what it answers done or not.
//!
//! ```text
//! process: Recovery ─ steps ─▶ store            (record, commit ledgers, state ledgers, two partitions)
//!          Coordinator ◀─ reports ─ two workers ─ writes ─▶ store
//! ```
//! Worker `w` reads split `w`, whose number `n` goes to worker `(w + n) mod 2`; that one counts it in its state and
//! writes it to partition `(w + n) mod 2`. So what a commit covers says what each state and each partition must have.
//!
//! | module | holds |
//! |---|---|
//! | [`scope`] | how many numbers, takeovers and faults of each kind |
//! | [`store`] | what is durable, and what must hold of every commit record that becomes so |
//! | [`run`] | one generation: coordinator and workers |
//! | [`world`] | processes, the store, what may happen next |

pub mod run;
pub mod scope;
pub mod store;
pub mod world;
