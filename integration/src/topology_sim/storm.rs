//! What goes wrong, how often, and how often each was hit.

use std::collections::BTreeMap;
use std::fmt;

use crate::sim::dice::Dice;

macro_rules! kills {
    ($($name:ident: $text:literal,)*) => {
        /// A way in which something goes wrong; counted when it did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kill {
            $(#[doc = $text] $name,)*
        }

        impl Kill {
            /// All ways, in the order of the report.
            pub const ALL: &[Kill] = &[$(Kill::$name,)*];

            /// Its name in reports.
            pub fn text(self) -> &'static str {
                match self { $(Kill::$name => $text,)* }
            }
        }
    };
}

kills! {
    Process: "process killed between two of its steps",
    InTakeover: "process killed in the middle of a takeover",
    InStep: "process killed while a step of it waits for an answer",
    BeforeTxn: "process killed before a transaction of the metadata store",
    AfterTxn: "process killed after a transaction, before it heard of it",
    BeforeAdd: "process killed when an append arrived, before it is stored",
    AfterAdd: "process killed when an append was stored, before it heard of it",
    AfterCommit: "process killed when its commit record was stored, before it heard of it",
    BookieKilled: "bookie killed, started again",
    PowerCut: "bookie's power cut",
    PowerCutBusy: "bookie's power cut in the middle of a request",
    Paused: "process stands still, goes on later",
    Usurped: "another process takes the topology over while one runs it",
    TxnLost: "transaction lost on its way",
    TxnAnswerLost: "transaction done, answer lost",
    AnswerLost: "bookie's answer lost",
    Late: "request very late",
    Checkpoint: "bookie checkpoints",
    Restarted: "generation failed, another begins in the same process",
    Stopped: "process stopped, or came to an end that was none, while input grew",
    WriterFailed: "lines not written, or not for certain; written again",
    TakenOver: "process found that another had taken over",
}

impl Kill {
    /// Whether something died of it.
    pub fn is_death(self) -> bool {
        self <= Kill::PowerCutBusy
    }
}

/// How often each was hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    counts: BTreeMap<Kill, u64>,
}

impl Hits {
    pub(super) fn hit(&mut self, kill: Kill) {
        *self.counts.entry(kill).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Hits) {
        for (kill, count) in &other.counts {
            *self.counts.entry(*kill).or_default() += count;
        }
    }

    /// How often this was hit.
    pub fn of(&self, kill: Kill) -> u64 {
        self.counts.get(&kill).copied().unwrap_or(0)
    }

    /// How often something died.
    pub fn kills(&self) -> u64 {
        self.counts.iter().filter(|(kill, _)| kill.is_death()).map(|(_, count)| count).sum()
    }

    /// What never came.
    pub fn never(&self) -> Vec<Kill> {
        Kill::ALL.iter().copied().filter(|kill| self.of(*kill) == 0).collect()
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kill in Kill::ALL {
            match self.of(*kill) {
                0 => writeln!(f, "       never  {}", kill.text())?,
                count => writeln!(f, "{count:>12}  {}", kill.text())?,
            }
        }
        Ok(())
    }
}

/// Deaths of one run at most: then it must come to its end.
const DEATHS: (u64, u64) = (3, 14);

/// Between two gusts, in microseconds.
const GUST_US: (u64, u64) = (500, 25_000);

/// How strong this run's storm is.
#[derive(Debug)]
pub(super) struct Storm {
    pub(super) dice: Dice,
    /// Whether anything goes wrong still.
    pub(super) blows: bool,
    deaths_left: u64,
    /// Gusts come this much slower or faster.
    calmness: u64,
    /// Per mille of transactions and requests.
    pub(super) fatal: u64,
    pub(super) lost: u64,
    pub(super) late: u64,
    /// Per mille of lines, each of a process and a ledger.
    pub(super) slow_lines: u64,
}

impl Storm {
    pub(super) fn new(seed: u64, blows: bool) -> Storm {
        let mut dice = Dice::new(seed, "storm");
        let deaths_left = dice.between(DEATHS.0, DEATHS.1);
        let calmness = dice.one_of(&[1, 3, 6, 12]);
        let fatal = dice.one_of(&[0, 1, 2, 4, 8]);
        let lost = dice.one_of(&[0, 0, 5, 20]);
        let late = dice.one_of(&[0, 2, 10]);
        let slow_lines = dice.one_of(&[0, 0, 50, 200]);
        Storm { dice, blows, deaths_left, calmness, fatal, lost, late, slow_lines }
    }

    /// When the next gust comes.
    pub(super) fn next_us(&mut self) -> u64 {
        self.dice.between(GUST_US.0, GUST_US.1) * self.calmness
    }

    /// Whether something that happens `n` times in 1000 goes wrong now.
    pub(super) fn strikes(&mut self, n: u64) -> bool {
        self.blows && self.dice.per_mille(n)
    }

    /// Counts a death; the storm is over with the last.
    pub(super) fn died(&mut self) {
        self.deaths_left = self.deaths_left.saturating_sub(1);
        self.blows &= self.deaths_left > 0;
    }
}
