//! Standing by: a process that holds a topology's state while another one runs it, and takes it over when that one
//! is gone.
//!
//! While it stands by it reads what commits name, as a [replica](crate::replica) does, into the very tables
//! that its tasks will work on. When nobody runs the topology any more it claims the next generation, brings the
//! tables to the last commit and goes on. A wrong guess harms nothing: a generation shuts out the one before.
//!
//! | module | holds |
//! |---|---|
//! | `watch` | what to do about what is seen |
//! | `ground` | where the log is, which may be the directory that whoever runs the topology holds |
//! | `tables` | the tables, and the way from commit to commit |
//! | `event` | what there is to say of it |
//! | `outputs` | whether it would write what was written |
//!
//! # What always holds
//! * Tables hold what an acknowledged commit names, and are handed to tasks only at the very commit that the
//!   generation begins with. What is in doubt is read again.
//! * A topology that ended in order is not taken over.

mod event;
mod ground;
mod outputs;
mod tables;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use egret_log::directory::OpenError;
use egret_log::{Log, clock};
use egret_schemas::Generation;
use egret_state::commit::{CommitRecord, check_like};
use egret_state::view::Mark;

pub use event::StandbyEvent;
pub(crate) use tables::Tables;

use crate::builder::Topology;
use crate::runtime::{
    Announcer, Kept, Progress, RunOptions, Summary, announced_run, newest_commit, stored_topology,
};
use crate::task::chain;
use crate::{Error, Result, is_taken_over};
use ground::{Ground, InDirectory, Sight, Stays};
use outputs::Outputs;
use tables::Stuck;
use watch::{Decision, Watch};

/// How soon to look again after something new.
const SOON: Duration = Duration::from_millis(10);
/// How soon to look again when there has been nothing new for long.
const LATE: Duration = Duration::from_millis(80);
/// How soon to look again when one failed time and again.
const AFTER_ERRORS: Duration = Duration::from_millis(500);
/// Looks that fail one after another before it is said: when somebody goes, one or two do.
const ERRORS_TOLD: u32 = 5;

/// Who is told what happens.
pub type Tell = Arc<dyn Fn(&StandbyEvent) + Send + Sync>;

impl Topology {
    /// Stands by for this topology on a log that stays when whoever runs the topology goes: a cluster's, or one
    /// that was [attached](Log::attach) to. Takes it over when nobody runs it any more, and runs it then, in this
    /// process, to its end, as [`run`](Topology::run) does.
    ///
    /// Returns `None` when the topology ended in order while this process stood by, or [`Progress::stop`] was
    /// called.
    ///
    /// # Errors
    /// When the topology that is there is another one: of another graph, number of key groups or guarantee, or with
    /// state that this program does not read. Once it was taken over, those of [`run`](Topology::run).
    pub fn stand_by(
        &self,
        log: &Log,
        options: &RunOptions,
        progress: &Arc<Progress>,
        tell: &Tell,
    ) -> Result<Option<Summary>> {
        let _told = self.tell_metrics(options, progress, 0)?;
        let mut ground = Stays { log, silence: options.silence() };
        Standing::new(self, options, progress, tell)?.until_done(&mut ground)
    }

    /// The same in a data directory, which whoever runs the topology holds: it is taken with the topology.
    ///
    /// # Errors
    /// Those of [`stand_by`](Topology::stand_by), and of opening the directory, which must be there.
    pub fn stand_by_in(
        &self,
        dir: &Path,
        options: &RunOptions,
        progress: &Arc<Progress>,
        tell: &Tell,
    ) -> Result<Option<Summary>> {
        // A name that was mistyped would be stood by in for ever.
        if !dir.is_dir() {
            return Err(OpenError::NoDirectory { dir: dir.to_owned() }.into());
        }
        let _told = self.tell_metrics(options, progress, 0)?;
        let mut ground = InDirectory::new(dir);
        let outcome = Standing::new(self, options, progress, tell)?.until_done(&mut ground);
        let closed = ground.let_go();
        let outcome = outcome?;
        closed.map(|()| outcome)
    }
}

/// Tables that hold nothing yet.
fn empty(topology: &Topology, options: &RunOptions, kept: &Kept) -> Tables {
    Tables::new(topology, kept, options.faults.standby_takes_what_lies)
}

fn ms_since(then: Instant) -> u64 {
    let since = clock::now().saturating_duration_since(then);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Standing<'a> {
    topology: &'a Topology,
    options: &'a RunOptions,
    progress: &'a Arc<Progress>,
    tell: &'a Tell,
    kept: Arc<Kept>,
    tables: Tables,
    watch: Watch,
    /// When it was last seen running.
    seen: Option<Instant>,
    /// What was told of where it is: that nobody runs it, or the generation that is followed.
    told: Option<Told>,
    /// Looks that failed one after another.
    errors: u32,
    /// The generation that is known to write what this program would.
    writes_same: Option<Generation>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Waits,
    Follows(Mark),
}

impl<'a> Standing<'a> {
    fn new(
        topology: &'a Topology,
        options: &'a RunOptions,
        progress: &'a Arc<Progress>,
        tell: &'a Tell,
    ) -> Result<Standing<'a>> {
        options.check()?;
        if options.restore.is_some() || options.from.is_some() {
            let why = "it goes on from the last commit, not from a named one".to_owned();
            return Err(Error::Standby { topology: topology.name().to_owned(), why });
        }
        crate::dataflow::register_messages();
        let kept = options.keep();
        let tables = empty(topology, options, &kept);
        let watch = Watch::new(options.silence());
        Ok(Standing {
            topology,
            options,
            progress,
            tell,
            kept,
            tables,
            watch,
            seen: None,
            told: None,
            errors: 0,
            writes_same: None,
        })
    }

    fn name(&self) -> String {
        self.topology.name().to_owned()
    }

    fn until_done(mut self, ground: &mut dyn Ground) -> Result<Option<Summary>> {
        self.watch = Watch::new(ground.grace());
        let own = thread::current();
        self.progress.wake_with(Arc::new(move || own.unpark()));
        let mut pause = SOON;
        while !self.progress.is_stopping() {
            let sight = ground.look();
            let (log, ours) = match sight {
                Ok(Sight::Log(log)) => (Some(log), false),
                Ok(Sight::Ours(log)) => (Some(log), true),
                Ok(Sight::Nobody) => (None, false),
                Err(error) => {
                    self.failed(ground, chain(&error));
                    thread::park_timeout(AFTER_ERRORS);
                    continue;
                }
            };
            let looked = match &log {
                Some(log) => self.look(log),
                None => Ok((Decision::Wait, false)),
            };
            match looked {
                Ok((Decision::Follow, news)) => {
                    (self.seen, self.errors) = (Some(clock::now()), 0);
                    pause = if news { SOON } else { (pause * 2).min(LATE) };
                }
                Ok((Decision::TakeOver, _)) if ours => {
                    let log = log.expect("a decision is about a log that was seen");
                    if let Some(summary) = self.take_over(&log)? {
                        return Ok(Some(summary));
                    }
                    pause = if self.errors < ERRORS_TOLD { SOON } else { AFTER_ERRORS };
                }
                Ok((Decision::End, _)) => {
                    (self.tell)(&StandbyEvent::Ended { topology: self.name() });
                    return Ok(None);
                }
                Ok((Decision::Wait | Decision::TakeOver, _)) => {
                    self.errors = 0;
                    ground.let_go()?;
                    // Between two holders of a directory there is nobody for a moment.
                    if log.is_some() || self.seen.is_none() {
                        self.waits();
                    }
                    pause = if self.seen.is_some() { SOON } else { LATE };
                }
                Err(Stuck::Read(why)) => {
                    self.failed(ground, why);
                    pause = if self.errors < ERRORS_TOLD { SOON } else { AFTER_ERRORS };
                }
                Err(Stuck::Refused(why)) => {
                    return Err(Error::Standby { topology: self.name(), why });
                }
            }
            thread::park_timeout(pause);
        }
        Ok(None)
    }

    fn waits(&mut self) {
        if self.told != Some(Told::Waits) {
            self.told = Some(Told::Waits);
            (self.tell)(&StandbyEvent::Waits { topology: self.name() });
        }
    }

    fn failed(&mut self, ground: &mut dyn Ground, why: String) {
        ground.lost();
        self.trouble(why);
    }

    fn trouble(&mut self, why: String) {
        self.errors += 1;
        if self.errors == ERRORS_TOLD {
            (self.tell)(&StandbyEvent::Trouble { topology: self.name(), why });
        }
    }

    /// What is to be done, having followed if there is somebody to follow; and whether there was anything new.
    fn look(&mut self, log: &Log) -> Result<(Decision, bool), Stuck> {
        let name = self.topology.name();
        let run = announced_run(log, name)?;
        let stored = stored_topology(log, name)?;
        // One that is being deleted is as good as gone.
        let stored = stored.filter(|(stored, _)| !stored.deleting);
        let decision = self.watch.decide(stored.is_some(), run.map(|run| run.state), clock::now());
        let Some((stored, _)) = stored.filter(|_| decision != Decision::End) else {
            return Ok((decision, false));
        };
        let plan = &self.topology.plan;
        let graph = self.topology.graph();
        check_like(&stored, &graph, plan.key_groups, plan.guarantee)
            .map_err(|why| Stuck::Refused(why.to_string()))?;
        if decision != Decision::Follow {
            return Ok((decision, false));
        }
        let newest = newest_commit(log, &stored).map_err(|error| Stuck::Read(chain(&error)))?;
        let Some(record) = newest else { return Ok((decision, false)) };
        self.check_outputs(log, &record)?;
        let env = self.topology.env(log, &self.kept);
        let news = self.tables.catch_up(&env, &record);
        for (task, why) in self.tables.given_up() {
            let (topology, task) = (self.name(), task.to_string());
            (self.tell)(&StandbyEvent::Cold { topology, task, why });
        }
        let news = news?;
        if let Some(mark) = self.tables.mark() {
            self.progress.follows(mark.last);
            let anew = match self.told {
                Some(Told::Follows(told)) => told.written_by != mark.written_by,
                _ => true,
            };
            if anew {
                self.told = Some(Told::Follows(mark));
                let (of, bytes) = self.tables.held();
                (self.tell)(&StandbyEvent::follows(self.topology.name(), mark, of, bytes));
            }
        }
        Ok((decision, news))
    }

    /// Found at the takeover, it would leave the topology with nobody to run it.
    fn check_outputs(&mut self, log: &Log, record: &CommitRecord) -> Result<(), Stuck> {
        if self.writes_same == Some(record.generation) {
            return Ok(());
        }
        match Outputs::of(self.topology, log, record).map_err(Error::from)? {
            Outputs::Same => self.writes_same = Some(record.generation),
            Outputs::Unwritten => {}
            Outputs::Other { stream } => {
                return Err(Stuck::Refused(format!(
                    "it writes stream `{stream}`, and whoever runs the topology does not: give it the same output"
                )));
            }
        }
        Ok(())
    }

    /// Runs the topology; `None` when another process does.
    fn take_over(&mut self, log: &Log) -> Result<Option<Summary>> {
        let begun = clock::now();
        let mut announcer = Announcer::new(log, self.topology.name(), self.options.silence());
        match announcer.take_vacant() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                self.trouble(chain(&error));
                return Ok(None);
            }
        }
        let topology = self.name();
        let seen_ms = self.seen.map(ms_since);
        (self.tell)(&StandbyEvent::TakesOver { topology: topology.clone(), seen_ms });
        let none = empty(self.topology, self.options, &self.kept);
        let tables = std::mem::replace(&mut self.tables, none);
        let tell = Arc::clone(self.tell);
        let told = topology.clone();
        let took_over = move |generation: Generation, (warm, tasks)| {
            let generation = generation.0;
            let (topology, took_ms) = (told, ms_since(begun));
            tell(&StandbyEvent::TookOver { topology, generation, warm, tasks, took_ms });
        };
        self.kept.stood_by(tables, Box::new(took_over));
        let here = (&mut None, &Arc::clone(&self.kept));
        match self.topology.lead_announced(log, self.options, self.progress, here, announcer) {
            Ok(summary) => Ok(Some(summary)),
            Err(error) if is_taken_over(&error) => {
                (self.tell)(&StandbyEvent::TakenOver { topology });
                // What its tasks left belongs to commits of which some were never made.
                self.kept = self.options.keep();
                self.tables = empty(self.topology, self.options, &self.kept);
                (self.watch, self.seen, self.told) =
                    (Watch::new(self.options.silence()), None, None);
                let own = thread::current();
                self.progress.wake_with(Arc::new(move || own.unpark()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
