//! Defects that tests switch in, each of which an oracle must find.
//!
//! Each stands as one line where the right thing is done. `integration/docs/mutants.md` says which there are
//! and what finds them.

/// See the [module](self).
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A takeover keeps durable output beyond the last commit instead of cutting it there.
    pub keep_uncommitted_output: bool,
    /// Bolts work on every batch as it comes, whatever commit is open.
    pub no_alignment: bool,
    /// A bolt that closes a commit goes on with all that is stashed, before it closes the next.
    pub stash_drained_while_closing: bool,
    /// A bolt works on what it reads up to where the frontier is, before it closes what the frontier left.
    pub works_before_closing: bool,
    /// A sink reports its output when it handed it to storage, not when it is stored.
    pub reports_before_stored: bool,
    /// A takeover reads where the commit ledger ends and does not shut out whoever writes it.
    pub zombies_commit: bool,
    /// A takeover restores state up to where its ledgers end, not up to where the commit has them.
    pub state_of_zombies: bool,
    /// A takeover cuts output where readers see it, not where the commit has it.
    pub cut_where_published: bool,
    /// A process that stands by takes what lies in state ledgers, not only what commits name.
    pub standby_takes_what_lies: bool,
    /// A generation begins without the watermarks of the commit it goes on from.
    pub forget_watermarks: bool,
    /// A generation begins without the tuples that were on their way round a cycle.
    pub forget_rounds: bool,
    /// A generation begins with the state of its commit and without its source positions.
    pub forget_positions: bool,
    /// A takeover takes a commit record that it cannot read for that of a topology which never began.
    pub unreadable_is_empty: bool,
    /// A commit's record is appended a while after everything it says is durable. Not wrong, only slow: a
    /// kill at any moment then finds output that no commit has, which it otherwise finds by luck.
    pub commits_late: bool,
}
