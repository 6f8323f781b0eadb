//! A spout that makes its records: tuple number `n` is a function of `n`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_log::clock;

use crate::Tuple;
use crate::builder::SpoutSource;
use crate::component::{ComponentResult, Context, Emitter, Next, Positions, Replay, Spout};

/// Numbers are dealt to so many splits, in turn: fixed, so that any number of tasks can go on with them.
const SPLITS: u64 = 64;

/// Makes tuples out of their numbers, from 0 on: as many as [`count`](Generator::count) says, or for ever; as fast
/// as they are taken, or as [`per_second`](Generator::per_second) says.
///
/// ```
/// use egret::{Generator, LogSink, TopologyBuilder};
///
/// # let mut t = TopologyBuilder::new("numbers");
/// let lines = t.spout("lines", 4, Generator::new(|n| format!("line {n}")).count(1_000_000))?;
/// lines.sink("out", LogSink::to_stream("lines"))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// # What it keeps
///
/// It [can replay](Replay::Positional), so it is fit for every guarantee: the same number makes the same tuple,
/// provided that the function depends on nothing else. Each number is made once by one of the tasks; a task
/// makes its numbers in their order. Up to 64 tasks have something to do.
pub struct Generator<T> {
    make: Arc<dyn Fn(u64) -> T + Send + Sync>,
    end: Option<u64>,
    per_second: Option<f64>,
    /// The next number of each split of this task, the least first.
    next: BinaryHeap<Reverse<u64>>,
    /// When the number it began with was due.
    began: Option<(Instant, u64)>,
}

impl<T> std::fmt::Debug for Generator<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generator(to {:?}, {:?} a second)", self.end, self.per_second)
    }
}

impl<T> Generator<T> {
    /// Makes tuple `n` by `make(n)`.
    pub fn new(make: impl Fn(u64) -> T + Send + Sync + 'static) -> Generator<T> {
        let make = Arc::new(make);
        Generator { make, end: None, per_second: None, next: BinaryHeap::new(), began: None }
    }

    /// Ends after so many.
    #[must_use]
    pub fn count(mut self, count: u64) -> Generator<T> {
        self.end = Some(count);
        self
    }

    /// Makes so many a second, in all tasks together, whether they are taken as fast or not: those that are late
    /// are made as soon as they can be. A restart goes on at that rate; it does not make up for the time between.
    /// A rate that is no positive number is none.
    #[must_use]
    pub fn per_second(mut self, rate: f64) -> Generator<T> {
        self.per_second = (rate.is_finite() && rate > 0.0).then_some(rate);
        self
    }

    /// The first number that is not due yet, and in how long it is: it is looked again within the hour.
    fn due(&self) -> Option<(u64, Duration)> {
        let (rate, (began, first)) = (self.per_second?, self.began?);
        let elapsed = clock::now().duration_since(began).as_secs_f64();
        let made = (elapsed * rate).floor() + 1.0;
        let wait = (made / rate - elapsed).clamp(0.0, 3600.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let made = made as u64;
        Some((first.saturating_add(made), Duration::from_secs_f64(wait)))
    }
}

fn key(split: u64) -> Vec<u8> {
    split.to_string().into_bytes()
}

impl<T: Tuple> Spout<T> for Generator<T> {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        let mut first = u64::MAX;
        for split in 0..SPLITS {
            let next = match committed.get(&key(split)) {
                Some(text) => std::str::from_utf8(text)?.parse()?,
                None => split,
            };
            first = first.min(next);
            if split % u64::from(cx.tasks()) == u64::from(cx.id().task) {
                self.next.push(Reverse(next));
            }
        }
        self.began = Some((clock::now(), first));
        Ok(())
    }

    fn next(&mut self, bytes: usize, out: &mut Emitter<T>, _: &Context) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        let due = self.due();
        while out.bytes() < until {
            let Some(mut least) = self.next.peek_mut() else {
                return Ok(if self.end.is_some() { Next::Done } else { Next::Idle });
            };
            let Reverse(number) = *least;
            if self.end.is_some_and(|end| number >= end) {
                return Ok(Next::Done);
            }
            if let Some((_, wait)) = due.filter(|(due, _)| number >= *due) {
                return Ok(Next::After(wait));
            }
            *least = Reverse(number.checked_add(SPLITS).ok_or("there are no numbers left")?);
            drop(least);
            out.emit((self.make)(number));
        }
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        let position = |Reverse(next): &Reverse<u64>| (key(next % SPLITS), next.to_string().into());
        self.next.iter().map(position).collect()
    }
}

impl<T: Tuple> SpoutSource<T> for Generator<T> {
    type Spout = Generator<T>;

    fn make(&self) -> Generator<T> {
        let (make, next) = (Arc::clone(&self.make), BinaryHeap::new());
        Generator { make, end: self.end, per_second: self.per_second, next, began: None }
    }

    fn detail(&self) -> String {
        let count = self.end.map_or_else(|| "tuples".to_owned(), |end| format!("{end} tuples"));
        let rate = self.per_second.map_or_else(String::new, |rate| format!(", {rate} a second"));
        format!("makes {count}{rate}")
    }
}
