//! The kinds of faults, and how often each was hit: a kind that never came tested nothing.

use std::fmt;

macro_rules! faults {
    ($($name:ident: $text:literal,)*) => {
        /// A kind of fault, counted when it made a difference, not when it was planned.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $text] $name,)*
        }

        impl Fault {
            /// All kinds, in the order of the report.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];

            /// Its name in reports.
            pub fn text(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    RequestLost: "network: request lost",
    AnswerLost: "network: answer lost",
    RequestTwice: "network: request delivered twice",
    AnswerTwice: "network: answer delivered twice",
    Late: "network: late, past younger messages",
    CutBothWays: "network: link cut both ways",
    CutTo: "network: link to a bookie cut, answers pass",
    CutFrom: "network: link from a bookie cut, requests pass",
    ClientAlone: "network: client cut off from all bookies",
    RequestGarbled: "network: byte of a request's entry changed",
    AnswerGarbled: "network: byte of an answer's entry changed",
    Deadline: "network: no answer by the deadline",
    Killed: "bookie: process killed, started again",
    PowerCut: "bookie: power cut at rest",
    PowerCutBusy: "bookie: power cut in the middle of a request",
    PowerCutOpening: "bookie: power cut while it started",
    AllPowerCut: "bookie: power cut of all at once",
    ClosedCleanly: "bookie: closed and started again",
    Checkpoint: "bookie: checkpoint out of turn",
    Scrubbed: "bookie: scrubbed",
    Compacted: "bookie: compacted",
    ReadOnly: "bookie: read-only for a while",
    Limbo: "bookie: in limbo, answered that it may have lost it",
    Replaced: "bookie: disk replaced by an empty one",
    OtherLife: "bookie: request for another life of its disk",
    Full: "disk: full",
    Slow: "disk: slow",
    Stalled: "bookie: stalled, then goes on",
    SyncFailed: "disk: sync failed",
    FlippedExtent: "disk: byte changed in an extent",
    FlippedJournal: "disk: byte changed in the journal",
    FlippedHead: "disk: byte changed in identity or manifest",
    OpenRefused: "bookie: refused to open what was damaged",
    DamagedAnswer: "bookie: answered that an entry is damaged",
    MetaRequestLost: "metadata: request lost",
    MetaAnswerLost: "metadata: done, answer lost",
    MetaLate: "metadata: late",
    MetaDown: "metadata: unavailable for a while",
    MetaConflict: "metadata: lost a compare-and-set",
    MetaOwnFound: "metadata: own proposal found after a lost answer",
    WriterDied: "client: writer died",
    WriterPaused: "client: writer paused, goes on unaware",
    WriterFenced: "client: writer fenced",
    WriterLostQuorum: "client: writer ran out of bookies",
    BookiesChanged: "client: writer went on with other bookies",
    NoOtherBookies: "client: writer found no other bookies",
    CopiesMoved: "client: recovery copied to other bookies",
    Takeover: "client: ledger taken over while its writer lives",
    RecovererDied: "client: recoverer died",
    RecovererPaused: "client: recoverer paused",
    Rivals: "client: several recover one ledger",
    RecoveryGaveUp: "client: recovery gave up and tried again",
    Superseded: "client: recoverer superseded",
    Deleted: "client: ledger deleted",
    Abandoned: "client: open ledger abandoned",
    StaleRecord: "client: reader with an old record",
}

/// How often each kind was hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    counts: std::collections::BTreeMap<Fault, u64>,
}

impl Hits {
    /// Counts one.
    pub fn hit(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Hits) {
        for (fault, count) in &other.counts {
            *self.counts.entry(*fault).or_default() += count;
        }
    }

    /// How often this kind was hit.
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// The kinds that never came.
    pub fn never(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.of(*fault) == 0).collect()
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in Fault::ALL {
            match self.of(*fault) {
                0 => writeln!(f, "       never  {}", fault.text())?,
                count => writeln!(f, "{count:>12}  {}", fault.text())?,
            }
        }
        Ok(())
    }
}
