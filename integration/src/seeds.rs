//! What programs that run seeds of a simulation are told on the command line, and how long they go on.

use std::ops::Range;
use std::str::FromStr;
use std::time::{Duration, Instant};

use egret_log::clock;

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Which seeds, for how long, and what is shown of them.
#[derive(Debug, clap::Args)]
pub struct SeedArgs {
    /// One seed; replays what it does and prints the hash of its trace
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Seeds, as `first..behind the last`
    #[arg(long, default_value = "0..18446744073709551615")]
    seeds: Seeds,
    /// How long to go on, at most; 0 for until the seeds are used up
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Events a violation shows
    #[arg(long, default_value_t = 160)]
    pub lines: usize,
    /// Run every seed twice and compare the traces
    #[arg(long)]
    twice: bool,
}

#[derive(Debug, Clone)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let (first, behind) = text.split_once("..").ok_or("write seeds as 0..1000")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        Ok(Seeds(number(first)?..number(behind)?))
    }
}

impl SeedArgs {
    /// The seeds to run.
    pub fn seeds(&self) -> Range<u64> {
        match self.seed {
            Some(seed) => seed..seed.saturating_add(1),
            None => self.seeds.0.clone(),
        }
    }

    /// What is to be said of a run whose trace has this hash; with `twice` it is run again.
    ///
    /// # Errors
    /// What is wrong: the other time it went another way.
    pub fn check(
        &self,
        seed: u64,
        (hash, events): (u64, u64),
        again: impl FnOnce() -> Option<u64>,
    ) -> Result<Option<String>, String> {
        if self.twice && again() != Some(hash) {
            return Err(format!("seed {seed} is not one run: another time it goes another way"));
        }
        let said = || format!("seed {seed}: trace {hash:016x} of {events} events");
        Ok(self.seed.map(|_| said()))
    }

    /// Begins to count the time.
    pub fn begin(&self) -> Pace {
        let started = clock::now();
        let minutes = Some(self.minutes).filter(|minutes| *minutes > 0);
        let end = minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
        Pace { started, next_line: PROGRESS, end }
    }
}

/// How long it has gone on.
#[derive(Debug)]
pub struct Pace {
    started: Instant,
    next_line: Duration,
    end: Option<Duration>,
}

impl Pace {
    /// For how many seconds.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Whether a line of progress is due.
    pub fn is_due(&mut self) -> bool {
        let elapsed = self.started.elapsed();
        let is_due = elapsed >= self.next_line;
        if is_due {
            self.next_line = elapsed + PROGRESS;
        }
        is_due
    }

    /// Whether it has gone on long enough.
    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.started.elapsed() >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: SeedArgs,
    }

    fn parsed(words: &[&str]) -> SeedArgs {
        Program::try_parse_from(["x"].iter().chain(words)).map(|program| program.args).unwrap()
    }

    #[test]
    fn one_seed_is_told_of_and_several_are_not_and_one_that_differs_is_wrong() {
        let one = parsed(&["--seed", "7"]);
        assert_eq!(one.seeds(), 7..8);
        let said = one.check(7, (0xab, 3), || unreachable!("it is run once"));
        assert_eq!(said, Ok(Some("seed 7: trace 00000000000000ab of 3 events".to_owned())));
        let several = parsed(&["--seeds", "3..9", "--twice"]);
        assert_eq!(several.seeds(), 3..9);
        assert_eq!(several.check(3, (1, 1), || Some(1)), Ok(None));
        assert!(several.check(3, (1, 1), || Some(2)).is_err_and(|why| why.contains("seed 3")));
        assert!(several.check(3, (1, 1), || None).is_err());
        assert!(!several.begin().is_over(), "until the seeds are used up");
        assert!(Program::try_parse_from(["x", "--seeds", "3"]).is_err());
    }
}
