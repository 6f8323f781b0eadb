//! [`TopologyTest`]: a topology in a unit test, on one thread, with its own time, under kills.
//!
//! ```
//! # use egret::{ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, TopologyBuilder};
//! # struct Count;
//! # impl KeyedBolt<str, String, (String, u64)> for Count {
//! #     type State = u64;
//! #     fn execute(
//! #         &mut self, _: &str, n: &mut u64, _: String, _: &mut Emitter<(String, u64)>, _: &Context,
//! #     ) -> ComponentResult {
//! #         *n += 1;
//! #         Ok(())
//! #     }
//! #     fn flush(
//! #         &mut self, word: &str, n: &mut u64, out: &mut Emitter<(String, u64)>, _: &Context,
//! #     ) -> ComponentResult {
//! #         out.emit((word.to_owned(), *n));
//! #         Ok(())
//! #     }
//! # }
//! use egret::testing::{TestError, TopologyTest};
//!
//! fn word_count(t: &mut TopologyBuilder) -> egret::Result<()> {
//!     let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
//!     let split = || |line: String, out: &mut Emitter<String>| {
//!         line.split(' ').for_each(|word| out.emit(word.to_owned()));
//!     };
//!     let words = lines.shuffle().bolt("split", 2, split)?;
//!     let counts = words.fields(|word| word.as_str()).keyed("count", 2, || Count)?;
//!     counts.sink("out", LogSink::to_stream("counts"))
//! }
//!
//! for seed in 0..10 {
//!     let mut t = TopologyTest::new(word_count)?.seed(seed);
//!     t.send("lines", ["a b", "b"])?;
//!     t.kill_anywhere();
//!     t.run_until_idle()?; // Somewhere on the way it is killed, and goes on from its last commit.
//!     let counts = t.state::<u64>("count")?;
//!     assert_eq!((counts["a"], counts["b"]), (1, 2), "seed {seed}");
//! }
//! # Ok::<(), TestError>(())
//! ```
//!
//! What runs is what [`Topology::run`](crate::Topology::run) runs: takeover, workers, coordinator, commits, restarts.
//! What is simulated is around it: the log lies in memory; messages to it take a while, and a different while with
//! each seed; workers are stepped one at a time, in an order the seed gives; and time is the test's. The same seed
//! gives the same run.
//!
//! * **Time** passes by itself as far as the topology needs it for its commits, a few milliseconds, and as far as
//!   [`advance`](TopologyTest::advance) says. Event time is in the data, as ever.
//! * **Kills** are those of a process: memory, messages on their way and everything not committed are lost.
//!   [`kill`](TopologyTest::kill) kills between two steps, [`kill_at`](TopologyTest::kill_at) and
//!   [`kill_anywhere`](TopologyTest::kill_anywhere) in the middle of anything: before an append is stored, when it
//!   is and nobody heard, within a takeover, between two changes of a file.
//! * A component with threads, sockets or clocks of its own is outside of this: it is not repeated by a seed.
//!
//! Nothing of it is in a program that does not use it.

mod chance;
mod error;
mod look;
mod prepare;
mod process;
mod way;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use clap::Parser as _;
use egret_log::Log;
use egret_log::stream::error::CatalogError;
use egret_log::stream::{Format, Record, StreamConfig};
use egret_schemas::key;

pub use error::TestError;

use crate::builder::TopologyBuilder;
use crate::connect::ToRecord;
use crate::{Args, ComponentError, Error, Result, RunOptions};
use process::{Process, Round};
use world::{Life, World};

/// Partitions of a stream that nobody said more of.
const PARTITIONS: u32 = 2;

/// Rounds in which nothing happens before a topology counts as idle: what a worker told another one takes a few.
const RESTS: u32 = 6;

/// Rounds before a topology counts as never idle.
const ROUNDS_MAX: u64 = 100_000;

/// How long a round takes while something happens, in microseconds.
const ROUND_US: u64 = 200;

/// What [`TopologyTest::send`] takes.
pub trait Input {
    /// The record, and the format of its value.
    fn into_record(self) -> (Record, Format);
}

impl<T: ToRecord> Input for T {
    fn into_record(self) -> (Record, Format) {
        let mut value = Vec::new();
        self.put_value(&mut value);
        let key = self.key().map(|key| key.into_owned().into());
        (Record { key, ..Record::of(value) }, T::format())
    }
}

impl Input for &str {
    fn into_record(self) -> (Record, Format) {
        (Record::of(self.to_owned()), Format::Utf8)
    }
}

type Build = Box<dyn Fn(&mut TopologyBuilder) -> Result<()>>;

/// See the [module](self).
pub struct TopologyTest {
    build: Build,
    seed: u64,
    options: RunOptions,
    tasks: BTreeMap<String, u32>,
    partitions: BTreeMap<String, u32>,
    world: Option<Rc<World>>,
    /// The test's own.
    log: Option<Log>,
    process: Option<Process>,
    stands: Stands,
    /// The topology's name, the streams it writes, and the components that keep state.
    name: String,
    outputs: BTreeSet<String>,
    stateful: BTreeSet<String>,
    kills: u32,
    failures: Vec<String>,
    turn: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// There is a process, or one is started when it is to go on.
    Up,
    Killed,
    Finished,
}

impl std::fmt::Debug for TopologyTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopologyTest({}, seed {}, {:?})", self.name, self.seed, self.stands)
    }
}

impl TopologyTest {
    /// Of what `build` builds, as often as a process starts. Nothing runs before it is asked to.
    ///
    /// # Errors
    /// When the wiring cannot run.
    pub fn new(
        build: impl Fn(&mut TopologyBuilder) -> Result<()> + 'static,
    ) -> Result<TopologyTest, TestError> {
        let options =
            RunOptions { workers: 2, commit_ms: 10, epoch_ms: 1, ..RunOptions::default() };
        let mut test = TopologyTest {
            build: Box::new(build),
            seed: 0,
            options,
            tasks: BTreeMap::new(),
            partitions: BTreeMap::new(),
            world: None,
            log: None,
            process: None,
            stands: Stands::Up,
            name: String::new(),
            outputs: BTreeSet::new(),
            stateful: BTreeSet::new(),
            kills: 0,
            failures: Vec::new(),
            turn: 0,
        };
        test.topology()?;
        Ok(test)
    }

    /// The same of what is given to [`egret::main`](crate::main), called with these arguments.
    ///
    /// # Errors
    /// When the arguments are none, or the wiring cannot run.
    pub fn with_args(
        build: impl Fn(&mut TopologyBuilder, &Args) -> Result<()> + 'static,
        args: &[&str],
    ) -> Result<TopologyTest, TestError> {
        let words = ["test"].iter().chain(args);
        let args = Args::try_parse_from(words).map_err(|why| Error::usage(why.to_string()))?;
        TopologyTest::new(move |t| {
            t.guarantee(args.run.guarantee);
            build(t, &args)
        })
    }

    /// The seed, 0 unless it is said: to be said before anything runs.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> TopologyTest {
        self.seed = seed;
        self
    }

    /// How many partitions a stream has that the topology reads; 2 unless it is said, before anything runs.
    pub fn partitions(&mut self, stream: &str, partitions: u32) -> &mut TopologyTest {
        self.partitions.insert(stream.to_owned(), partitions);
        self
    }

    /// How many workers the next process has; 2 unless it is said.
    pub fn workers(&mut self, workers: u32) -> &mut TopologyTest {
        self.options.workers = workers;
        self
    }

    /// How many tasks a component has in the next process, whatever is built.
    pub fn tasks(&mut self, component: &str, tasks: u32) -> &mut TopologyTest {
        self.tasks.insert(component.to_owned(), tasks);
        self
    }

    /// Changes how the next process runs the topology. Commits are 10 ms apart unless it is said.
    pub fn options(&mut self, change: impl FnOnce(&mut RunOptions)) -> &mut TopologyTest {
        change(&mut self.options);
        self
    }

    /// Builds the next process of something else: changed code, or another graph.
    pub fn rebuild(
        &mut self,
        build: impl Fn(&mut TopologyBuilder) -> Result<()> + 'static,
    ) -> &mut TopologyTest {
        self.build = Box::new(build);
        self
    }

    /// Appends records to a stream: texts, or whatever a [`LogSink`](crate::LogSink) takes. It is made if it is
    /// not there. A record with a key goes to the key's partition, others to each in turn.
    ///
    /// # Errors
    /// When the stream cannot be written.
    pub fn send<I: Input>(
        &mut self,
        stream: &str,
        records: impl IntoIterator<Item = I>,
    ) -> Result<(), TestError> {
        let topology = self.topology()?;
        self.make_streams(&topology)?;
        let records: Vec<_> = records.into_iter().map(I::into_record).collect();
        let Some(format) = records.first().map(|(_, format)| format.clone()) else { return Ok(()) };
        let config = StreamConfig { format, ..self.config(stream) };
        let mut turn = self.turn;
        self.on_log(stream, |log| {
            if matches!(log.stream(stream), Err(CatalogError::NoStream { .. })) {
                log.create_stream(stream, config)?;
            }
            let StreamConfig { partitions, format, .. } = log.stream(stream)?.config;
            for (record, _) in records {
                let partition = match &record.key {
                    Some(key) => key::partition(key::hash(key), partitions),
                    None => turn % partitions,
                };
                turn = turn.wrapping_add(1);
                log.writer_of(stream, partition, &format)?.append_wait(&[record])?;
            }
            Ok(())
        })?;
        self.turn = turn;
        self.process.as_mut().map_or(Ok(()), Process::hear)
    }

    /// Runs until everything that can be read is read, and everything that came of it is committed; or until the
    /// topology finishes. A death that is due comes on the way, and the topology is restored from it.
    ///
    /// # Errors
    /// When the topology fails for good, or always has something to do.
    pub fn run_until_idle(&mut self) -> Result<(), TestError> {
        let mut rests = 0;
        for _ in 0..ROUNDS_MAX {
            match self.round(None)? {
                None => return Ok(()),
                Some(Round::Rests) if rests < RESTS => rests += 1,
                Some(Round::Rests) if self.dies_anywhere() => self.die(),
                Some(Round::Rests) => return Ok(()),
                Some(_) => rests = 0,
            }
        }
        Err(TestError::NeverIdle { rounds: ROUNDS_MAX })
    }

    /// Lets so much time pass while the topology runs. Where nothing happens it passes in steps of up to a
    /// hundredth of that, and at least a millisecond.
    ///
    /// # Errors
    /// When the topology fails for good.
    pub fn advance(&mut self, time: Duration) -> Result<(), TestError> {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2);
        let world = self.world();
        let end = world.now_us().saturating_add(us);
        let mut step = ROUND_US;
        while world.now_us() < end {
            let left = end - world.now_us();
            step = match self.round(Some(step.min(left)))? {
                None => {
                    world.run(Life::Bystander, || world.pass(left));
                    return Ok(());
                }
                Some(Round::Rests) => (step * 2).min((us / 100).max(1000)),
                Some(_) => ROUND_US,
            };
        }
        // What is due at the end of it is done.
        self.round(Some(1)).map(drop)
    }

    /// Kills the process, as `kill -9` does: everything not committed is lost.
    pub fn kill(&mut self) {
        if self.process.is_some() {
            self.die();
            self.stands = Stands::Killed;
        }
    }

    /// Starts another process, which takes the topology over from its last commit: with other
    /// [workers](TopologyTest::workers) or [tasks](TopologyTest::tasks) if they were said. One that runs is killed.
    ///
    /// # Errors
    /// When the topology cannot be restored.
    pub fn restore(&mut self) -> Result<(), TestError> {
        self.kill();
        self.stands = Stands::Up;
        self.start()
    }

    /// Has the process killed once, at a place of chance among all those in which it could be, and restored.
    /// One that comes to rest before is killed then.
    pub fn kill_anywhere(&mut self) -> &mut TopologyTest {
        self.world().dies_anywhere();
        self
    }

    /// Has the process killed, and restored, at the failpoint of this number, of all that are passed from the
    /// beginning of the test: `kill_at(n)` for each `n` below what [`failpoints`](TopologyTest::failpoints) says
    /// of a run that nothing happened to is a kill at every place there is.
    pub fn kill_at(&mut self, failpoint: u64) -> &mut TopologyTest {
        self.world().dies_at(failpoint);
        self
    }

    /// How many failpoints were passed.
    pub fn failpoints(&mut self) -> u64 {
        self.world().failpoints()
    }

    /// How often it was killed.
    pub fn kills(&self) -> u32 {
        self.kills
    }

    /// Why generations failed by themselves, each followed by another one.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The generation under way.
    pub fn generation(&self) -> Option<u32> {
        self.process.as_ref()?.generation()
    }

    /// Whether the topology finished: all its sources are bounded, and were read to their ends.
    pub fn is_finished(&self) -> bool {
        self.stands == Stands::Finished
    }

    fn world(&mut self) -> Rc<World> {
        Rc::clone(self.world.get_or_insert_with(|| World::new(self.seed)))
    }

    /// The test's own log.
    fn log(&mut self) -> Result<Log, TestError> {
        if self.log.is_none() {
            let world = self.world();
            self.log = Some(world.run(Life::Bystander, || world.log_of(Life::Bystander))?);
        }
        Ok(self.log.clone().expect("opened above"))
    }

    /// Does something with a stream that others do not see done.
    fn on_log<R>(
        &mut self,
        stream: &str,
        what: impl FnOnce(&Log) -> Result<R, ComponentError>,
    ) -> Result<R, TestError> {
        let (world, log) = (self.world(), self.log()?);
        let done = world.run(Life::Bystander, || what(&log));
        done.map_err(|why| TestError::Stream { stream: stream.to_owned(), why })
    }

    fn dies_anywhere(&mut self) -> bool {
        self.world().is_doomed_anywhere()
    }

    fn die(&mut self) {
        self.world().kill();
        self.process = None;
        self.kills += 1;
    }

    /// Steps every worker once, after starting a process if there is none. `None`: the topology has finished.
    fn round(&mut self, us: Option<u64>) -> Result<Option<Round>, TestError> {
        match self.stands {
            Stands::Finished => return Ok(None),
            Stands::Killed => return Err(TestError::Killed),
            Stands::Up => {}
        }
        let Some(process) = &mut self.process else {
            self.start()?;
            return Ok(Some(Round::GoesOn));
        };
        let round = process.round(us);
        match &round {
            Ok(Round::Died) => {
                self.process = None;
                self.kills += 1;
            }
            Ok(Round::Finished) => {
                self.process = None;
                self.stands = Stands::Finished;
                return Ok(None);
            }
            Ok(Round::Failed(why)) => self.failures.push(why.clone()),
            Ok(_) => {}
            Err(_) => {
                self.process = None;
                self.stands = Stands::Killed;
            }
        }
        round.map(Some)
    }
}

impl Drop for TopologyTest {
    fn drop(&mut self) {
        self.process = None;
        if let (Some(world), Some(log)) = (&self.world, self.log.take()) {
            world.run(Life::Bystander, || drop(log));
        }
    }
}
