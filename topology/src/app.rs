//! `egret::main`: a topology as a program.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use egret_log::{Log, LogConfig};
use egret_log_cluster::signals::when_asked_to_end;
use egret_log_cluster::{Cluster, Place, worker_tls};
use egret_schemas::bookie::Role;
use egret_state::Guarantee;
use egret_state::commit::Origin;

use crate::metrics::MetricsAddress;
use crate::plan::Form;
use crate::runtime::{Children, Placed, Processes, Progress, RunOptions, Summary};
use crate::standby::Tell;
use crate::{Error, Result, Topology, TopologyBuilder, exit_code, is_taken_over};

/// The options every topology program has.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The data directory; created if it does not exist, unless the topology reads streams that have to be there, or
    /// stands by [env: EGRET_DATA] [default: egret-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run on the streams of a cluster instead of a data directory; the file that says where it is [env:
    /// EGRET_CLUSTER]
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub cluster: Option<PathBuf>,
    /// Worker threads, in each process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub workers: u32,
    /// Worker processes, this one included. Without --rank they are on this machine: this one starts the others,
    /// and again when they end
    #[arg(long, value_name = "N", default_value_t = 1, env = "EGRET_PROCESSES", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub processes: u32,
    /// Memory for keyed state, in each process, in MiB [default: half of the host's]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub state_mb: Option<u32>,
    /// Which of the --processes this is, from 0 on, where each was placed on some host and is started again
    /// there when it ends. They know each other by certificates of role `worker`, which the cluster's file names
    #[arg(long, value_name = "R", env = "EGRET_RANK", requires = "leader")]
    pub rank: Option<u32>,
    /// Where the process of rank 0 is reached
    #[arg(long, value_name = "HOST:PORT", env = "EGRET_LEADER", requires = "rank")]
    pub leader: Option<String>,
    /// Where this process listens; without it that of rank 0 at --leader, and another at the address from which it
    /// reached that, at a port of its own
    #[arg(long, value_name = "HOST[:PORT]", env = "EGRET_LISTEN", requires = "rank")]
    pub listen: Option<String>,
    /// How long the processes may take to come together, in seconds
    #[arg(long, value_name = "S", default_value_t = 60, env = "EGRET_JOIN_WAIT", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub join_wait: u32,
    /// How long after the one before a commit ends, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub commit_ms: u64,
    /// How long after the one before a commit ends at the latest, in milliseconds: it is longer than --commit-ms where
    /// ends of commits would take more than a tenth of the time
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub commit_ms_max: Option<u64>,
    /// at-most-once, at-least-once or effectively-once
    #[arg(long, value_name = "GUARANTEE", default_value_t = Guarantee::EffectivelyOnce)]
    pub guarantee: Guarantee,
    /// Go back to this named commit first (`egret checkpoint list` shows them): state and source positions
    /// become those it names. Output written since stays, and this run's follows it, so results come again.
    /// Give it once: every start with it goes back again. Needs --yes
    #[arg(long, value_name = "NAME")]
    pub restore: Option<String>,
    /// Begin with this named commit of another topology if this one is not there yet (`egret checkpoint list`
    /// shows them): with its state, and its source positions. Needs a --name, and output streams, of its own
    #[arg(long, value_name = "TOPOLOGY:NAME", conflicts_with = "restore")]
    pub from: Option<Origin>,
    /// What the topology is called, in place of the program's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Tell over HTTP, while it runs, what the process's tasks do in numbers: http://IP:PORT/metrics for Prometheus,
    /// /v1/metrics as JSON. Of --processes on this machine each listens as many ports further as its rank is; port 0
    /// takes any. Says on standard error where
    #[arg(long, value_name = "IP:PORT", env = "EGRET_METRICS")]
    pub metrics: Option<SocketAddr>,
    /// Tell them to everybody although --metrics can be reached from other hosts
    #[arg(long, requires = "metrics")]
    pub metrics_in_the_open: bool,
    /// Stand by: while another process runs the topology, hold its state; run it, from its last commit on, when that
    /// one is gone. Ends when the topology ends in order. Refused by a program that opens the log itself, as one does
    /// that writes its own input
    #[arg(long, conflicts_with_all = ["rank", "restore", "from"])]
    pub standby: bool,
    /// Go back although what was counted since the named commit is counted again
    #[arg(long, requires = "restore")]
    pub yes: bool,
}

impl RunArgs {
    /// Where the streams are: as the flags say, or the variables where none does.
    pub fn place(&self) -> Place {
        Place::of(self.data.as_deref(), self.cluster.as_deref())
    }

    /// How the `egret` command is told of the streams: `--cluster FILE`, or `--data DIR`.
    pub fn place_flags(&self) -> String {
        match self.place() {
            Place::Cluster(file) => format!("--cluster {}", file.display()),
            Place::Directory(dir) => format!("--data {}", dir.display()),
        }
    }

    /// Worker threads in all processes: as many tasks of a component keep every one of them busy.
    pub fn tasks(&self) -> u32 {
        self.workers * self.processes
    }

    /// How the run is spread over processes, for [`Topology::run_among`](crate::Topology::run_among); to be
    /// asked once. [`Processes::Other`] is what a process gets that another one started, with the same
    /// arguments: such a one only runs the topology.
    ///
    /// # Errors
    /// When this process was started to be one of several, and not told which; when it has no certificate to show
    /// to the others.
    pub fn spread(&self) -> Result<Processes> {
        if let (Some(rank), Place::Cluster(cluster), Some(leader)) =
            (self.rank, self.place(), &self.leader)
        {
            if rank >= self.processes {
                let (what, value) = ("rank", u64::from(rank));
                return Err(Error::Option { what, value, allowed: "below --processes" });
            }
            return Ok(Processes::Placed(Placed {
                rank,
                count: self.processes,
                leader: leader.clone(),
                listen: self.listen.clone(),
                tls: worker_tls(&cluster)?,
                tell: say,
            }));
        }
        // Running alone instead would count everything on every host.
        if let Some(rank) = self.rank {
            let allowed = "a --rank only with --cluster and --leader, and without --data: processes on several hosts \
                           share a cluster's streams";
            return Err(Error::Option { what: "rank", value: u64::from(rank), allowed });
        }
        let seat = Children::seat().map_err(Error::other)?;
        Ok(match (seat, self.processes) {
            (Some(seat), _) => Processes::Other(seat),
            (None, 1) => Processes::One,
            (None, count) => Processes::First { count, starter: Arc::new(Children) },
        })
    }

    /// The run options they stand for.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            workers: self.workers,
            commit_ms: self.commit_ms,
            commit_ms_max: self.commit_ms_max,
            state_bytes_max: self.state_mb.map(|mib| (mib as usize) << 20),
            join_wait_ms: u64::from(self.join_wait) * 1000,
            restore: self.restore.clone(),
            from: self.from.clone(),
            metrics: self
                .metrics
                .map(|listen| MetricsAddress { listen, in_the_open: self.metrics_in_the_open }),
            ..RunOptions::default()
        }
    }

    /// Stands by for a topology, in the cluster or in the data directory; see
    /// [`Topology::stand_by`](crate::Topology::stand_by). For programs that are called with `--standby`.
    ///
    /// # Errors
    /// Those of [`Topology::stand_by`](crate::Topology::stand_by); when the cluster cannot be reached.
    pub fn stand_by(
        &self,
        topology: &Topology,
        progress: &Arc<Progress>,
        tell: &Tell,
    ) -> Result<Option<Summary>> {
        if self.processes > 1 {
            let (what, value) = ("processes", u64::from(self.processes));
            return Err(Error::Option { what, value, allowed: "1 where it stands by" });
        }
        let file = match self.place() {
            Place::Cluster(file) => file,
            Place::Directory(dir) => {
                return topology.stand_by_in(&dir, &self.options(), progress, tell);
            }
        };
        let log = Cluster::open(&file, Role::Client)?.log()?;
        let outcome = topology.stand_by(&log, &self.options(), progress, tell)?;
        log.close()?;
        Ok(outcome)
    }

    /// Refuses to go back unless that was meant.
    fn check_restore(&self) -> Result<()> {
        match &self.restore {
            Some(name) if !self.yes => Err(Error::Unconfirmed { name: name.clone() }),
            _ => Ok(()),
        }
    }

    /// Reaches the cluster; without one opens the data directory and serves it to the `egret` command
    /// while it is held.
    ///
    /// # Errors
    /// When the cluster cannot be reached; when the directory is held by another process, damaged, or not
    /// writable. When a named commit is to be gone back to, and `--yes` is missing.
    pub fn open_log(&self) -> Result<Log> {
        self.open_log_of(false)
    }

    /// As [`open_log`](RunArgs::open_log); where the directory has to be an `existing` one, none is made.
    fn open_log_of(&self, existing: bool) -> Result<Log> {
        self.check_restore()?;
        if self.standby {
            let topology = self.name.clone().or_else(program).unwrap_or_default();
            let why = "this program opens the log itself: start it without --standby".to_owned();
            return Err(Error::Standby { topology, why });
        }
        let dir = match self.place() {
            Place::Cluster(file) => return Ok(Cluster::open(&file, Role::Client)?.log()?),
            Place::Directory(dir) => dir,
        };
        if Children::is_one() {
            return Ok(Log::attach(&dir)?);
        }
        let shared = self.processes > 1;
        let config = LogConfig { serve: true, shared, existing, ..LogConfig::default() };
        Ok(Log::open(&dir, config)?)
    }
}

/// What a topology program is called with.
#[derive(Debug, Parser)]
#[command(after_help = "Exit codes:
  0  the topology finished, or was asked to end and did after a commit
  1  failed: it was not done, or not wholly; or another process took it over
  2  wrong usage: the command line, or a configuration file, cannot be meant
  3  refused: nothing was done, and the same question gets the same answer")]
pub struct Args {
    /// Options of the engine.
    #[command(flatten)]
    pub run: RunArgs,
    /// Print the plan and leave: as text, json, dot (for Graphviz) or svg
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub explain: Option<Form>,
    /// Give a component's value another one than the topology does; may be said several times
    #[arg(long, value_name = "COMPONENT.KEY=VALUE")]
    pub set: Vec<String>,
    /// What is left for the topology itself; options may follow, and what begins like one comes behind `--`
    #[arg(value_name = "ARG")]
    pub rest: Vec<String>,
}

/// Runs a topology as a program: parses arguments, builds, opens the data directory, runs until the
/// topology finishes, is asked to end (`SIGTERM` or `SIGINT`: after the commit under way) or is killed. All
/// are safe at any moment.
///
/// Returns 0 when the topology finished; else as [`exit_code`](crate::exit_code) says, like the `egret` command: 1 when it failed or
/// another process took it over, 2 for wrong arguments or a wrong configuration file, 3 when it was refused.
pub fn main(build: impl FnOnce(&mut TopologyBuilder, &Args) -> Result<()>) -> ExitCode {
    main_with(&Args::parse(), build)
}

/// The same for a program with options of its own: it flattens [`Args`] into what it parses.
///
/// ```no_run
/// use clap::Parser as _;
///
/// #[derive(clap::Parser)]
/// struct Own {
///     #[command(flatten)]
///     args: egret::Args,
///     /// Words shorter than this are left out.
///     #[arg(long, default_value_t = 1)]
///     shortest: usize,
/// }
///
/// fn main() -> std::process::ExitCode {
///     let own = Own::parse();
///     egret::main_with(&own.args, |t, _| {
/// #       let _ = (t, own.shortest);
///         // ...
///         Ok(())
///     })
/// }
/// ```
pub fn main_with(
    args: &Args,
    build: impl FnOnce(&mut TopologyBuilder, &Args) -> Result<()>,
) -> ExitCode {
    match run(build, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_said_elsewhere() {
                // Where nobody can be told, nobody is: `eprintln!` would panic.
                let _ = writeln!(std::io::stderr(), "error: {}", crate::task::chain(&error));
            }
            exit_code(&error)
        }
    }
}

/// Tells the user; where nobody can be told, nobody is: `eprintln!` would panic.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The program's name, after which its topology is called.
fn program() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_stem()?.to_str()?;
    // So Linux says it of a program whose file was replaced since it started.
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

fn run(build: impl FnOnce(&mut TopologyBuilder, &Args) -> Result<()>, args: &Args) -> Result<()> {
    let name = args.run.name.clone().or_else(program);
    let mut builder = TopologyBuilder::new(name.as_deref().unwrap_or("topology"));
    builder.guarantee(args.run.guarantee);
    build(&mut builder, args)?;
    let mut topology = builder.finish()?;
    for text in &args.set {
        topology.set(text).map_err(|why| Error::usage(why.to_string()))?;
    }
    if let Some(form) = args.explain {
        let plan = topology.explain_as(form, args.run.processes, args.run.workers);
        // Nobody may read all of it: `print!` would panic.
        return match std::io::stdout().write_all(plan.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::other(error))
            }
            _ => Ok(()),
        };
    }
    if args.run.standby {
        let progress = Arc::new(Progress::default());
        let asked = Arc::clone(&progress);
        when_asked_to_end(move || asked.stop()).map_err(Error::other)?;
        let tell: Tell = Arc::new(|event| say(&event.to_string()));
        return args.run.stand_by(&topology, &progress, &tell).map(|_| ());
    }
    let processes = args.run.spread()?;
    let progress = Arc::new(Progress::default());
    let asked = Arc::clone(&progress);
    // What the others do, the first one tells them.
    if processes.leads() {
        when_asked_to_end(move || asked.stop()).map_err(Error::other)?;
    }
    let log = args.run.open_log_of(topology.needs_streams())?;
    let ran = topology.run_among(&log, &args.run.options(), &progress, &processes);
    if let Err(error) = ran {
        let topology = topology.name().to_owned();
        // By whatever this process was shut out first.
        return Err(if is_taken_over(&error) { Error::TakenOver { topology } } else { error });
    }
    log.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn args(words: &[&str]) -> std::result::Result<Args, clap::Error> {
        Args::try_parse_from(["x"].iter().chain(words))
    }

    /// It ran alone, and so on every host, each of which counted everything.
    #[test]
    fn a_rank_without_a_cluster_is_refused_wherever_the_data_directory_is_said() {
        let rank = ["--rank", "1", "--processes", "2", "--leader", "a:7600"];
        for place in [&["--data", "d"][..], &[]] {
            let refused = match args(&[place, &rank].concat()) {
                Ok(args) => exit_code(&args.run.spread().unwrap_err()) == ExitCode::from(2),
                Err(error) => error.exit_code() == 2,
            };
            assert!(refused, "{place:?}");
        }
    }

    /// The help offered it there, too.
    #[test]
    fn a_program_that_opens_the_log_itself_says_that_it_does_not_stand_by() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("none");
        let run = args(&["--standby", "--data", dir.to_str().unwrap()]).unwrap().run;
        let error = run.open_log().unwrap_err();
        assert_eq!(exit_code(&error), ExitCode::from(3));
        let said = format!(
            "topology `{}` cannot be stood by for: this program opens the log itself: start it without --standby",
            program().unwrap()
        );
        assert_eq!((error.to_string(), dir.exists()), (said, false));
        let help = Args::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("Refused by a program that opens the log itself"), "{help}");
    }

    #[test]
    fn a_plan_is_asked_for_in_a_form_and_what_follows_is_not_one() {
        let form = |words: &[&str]| args(words).unwrap().explain;
        assert_eq!(form(&[]), None);
        assert_eq!(form(&["--explain"]), Some(Form::Text));
        assert_eq!(form(&["--explain", "json"]), Some(Form::Text), "that is the topology's");
        for wanted in Form::ALL {
            assert_eq!(form(&[&format!("--explain={wanted}")]), Some(wanted));
        }
        let error = args(&["--explain=png"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("write text, json, dot or svg"), "{error}");
    }

    #[test]
    fn both_places_are_a_usage_error_only_when_both_are_said_here() {
        assert_eq!(args(&["--data", "d", "--cluster", "c"]).unwrap_err().exit_code(), 2);
        let on = args(&["--cluster", "c"]).unwrap().run;
        assert_eq!(on.place(), Place::Cluster("c".into()));
        let here = args(&["--data", "d"]).unwrap().run;
        assert_eq!(here.place(), Place::Directory("d".into()));
        assert_eq!(here.place_flags(), "--data d");
    }

    /// It was said to be created by everybody.
    #[test]
    fn a_directory_is_created_by_who_needs_no_stream_that_is_there_and_its_help_says_so() {
        let help = Args::command().render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let unless = "created if it does not exist, unless the topology reads streams that have to be there, or stands by";
        assert!(help.contains(unless), "{help}");
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("none");
        let run = args(&["--data", dir.to_str().unwrap()]).unwrap().run;
        assert!(run.open_log_of(true).is_err() && !dir.exists());
        run.open_log_of(false).unwrap().close().unwrap();
        assert!(dir.is_dir());
    }

    /// They were words for the topology, and nobody said so.
    #[test]
    fn options_behind_a_word_are_options() {
        let words = args(&["error", "--workers", "3", "--", "--data"]).unwrap();
        assert_eq!(
            (words.run.workers, &words.rest[..]),
            (3, &["error".into(), "--data".into()][..])
        );
        assert!(args(&["error", "--no-such-option"]).is_err());
    }
}
