//! `egret_yaml::main`: a topology file, and the components of a program, as a topology program.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};
use egret::exit_code;
use egret::plan::Form;

use crate::file::TopologyFile;
use crate::registry::Registry;
use crate::substitute::Properties;

/// What such a program is called with: what every topology program is, and the file.
#[derive(Debug, clap::Parser)]
struct FileArgs {
    #[command(flatten)]
    args: egret::Args,
    /// What `${NAME}` in the file stands for; may be said several times
    #[arg(long, value_name = "NAME=VALUE")]
    property: Vec<String>,
}

/// Runs the topology that a file says, with these components: a program whose first argument is the file, and that is
/// otherwise as [`egret::main`]. What the command line says goes before what the file says.
///
/// ```no_run
/// use egret::Emitter;
///
/// fn main() -> std::process::ExitCode {
///     let mut registry = egret_yaml::Registry::new();
///     registry.bolt("upper", |()| || |line: String, out: &mut Emitter<String>| out.emit(line.to_uppercase()));
///     egret_yaml::main(&registry)
/// }
/// ```
pub fn main(registry: &Registry) -> ExitCode {
    let said = parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match prepare(registry, said) {
        Ok((args, file)) => egret::main_with(&args, |t, _| Ok(file.wire(registry, t)?)),
        Err(error) => {
            // Where nobody can be told, nobody is: `eprintln!` would panic.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            exit_code(&error)
        }
    }
}

/// The plan of the topology that a file says, as a program with these components would say it when it is called with
/// these words behind its name: the file, and options.
///
/// # Errors
/// [`egret::Error::Usage`] when the file or the words cannot be meant.
pub fn explain(
    registry: &Registry,
    form: Form,
    words: impl IntoIterator<Item = OsString>,
) -> egret::Result<String> {
    let words = [OsString::from("egret topology explain")].into_iter().chain(words);
    let said = parse(words).map_err(|error| egret::Error::Usage(error.to_string()))?;
    let (args, file) = prepare(registry, said)?;
    let (name, guarantee) = (args.run.name.as_deref(), args.run.guarantee);
    let mut topology = file.topology_as(registry, name, Some(guarantee))?;
    for text in &args.set {
        topology.set(text).map_err(|why| egret::Error::Usage(why.to_string()))?;
    }
    Ok(topology.explain_as(form, args.run.processes, args.run.workers))
}

/// What was said, and who said it.
type Parsed = (FileArgs, ArgMatches);

fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, clap::Error> {
    let command = FileArgs::command().mut_arg("rest", |rest| {
        rest.value_name("FILE").required(true).num_args(1).help("The topology file")
    });
    let matches = command.try_get_matches_from(words)?;
    Ok((FileArgs::from_arg_matches(&matches)?, matches))
}

/// The arguments with what the file says put to them, and the file, which was found to be right.
fn prepare(
    registry: &Registry,
    (FileArgs { mut args, property }, matches): Parsed,
) -> egret::Result<(egret::Args, TopologyFile)> {
    let mut properties = Properties::new();
    for text in &property {
        properties = properties.with_text(text).map_err(egret::Error::Usage)?;
    }
    let path: PathBuf = args.rest.first().map(PathBuf::from).unwrap_or_default();
    let file = TopologyFile::read(&path, &properties)?;
    settle(&mut args, &file, &matches);
    // Here everything that is wrong is said with its place.
    file.topology_as(registry, args.run.name.as_deref(), Some(args.run.guarantee))?;
    Ok((args, file))
}

/// Has the file say what the command line does not.
fn settle(args: &mut egret::Args, file: &TopologyFile, matches: &ArgMatches) {
    let config = &file.spec().config;
    let is_said =
        |id: &str| !matches!(matches.value_source(id), None | Some(ValueSource::DefaultValue));
    if let Some(guarantee) = config.guarantee.filter(|_| !is_said("guarantee")) {
        args.run.guarantee = guarantee;
    }
    if let Some(commit) = config.commit.filter(|_| !is_said("commit_ms")) {
        args.run.commit_ms = u64::try_from(commit.as_millis()).unwrap_or(u64::MAX);
    }
    if let Some(commit) = config.commit_max.filter(|_| !is_said("commit_ms_max")) {
        args.run.commit_ms_max = Some(u64::try_from(commit.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(workers) = config.workers.filter(|_| !is_said("workers")) {
        args.run.workers = workers;
    }
    if let Some(processes) = config.processes.filter(|_| !is_said("processes")) {
        args.run.processes = processes;
    }
    if let Some(state_mb) = config.state_mb.filter(|_| !is_said("state_mb")) {
        args.run.state_mb = Some(state_mb);
    }
    args.run.name.get_or_insert_with(|| file.name().to_owned());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use egret::Guarantee;

    use super::*;

    const FILE: &str = "
name: copy
config: {guarantee: at-least-once, commit_interval: 20ms, commit_interval_max: 1s, workers: 3}
properties: {to: there}
spouts: [{id: lines, type: stream, args: {stream: lines}}]
sinks: [{id: out, type: stream, inputs: [lines], args: {stream: '${to}'}}]
";

    fn prepared(more: &[&str]) -> (egret::Args, TopologyFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.yaml");
        std::fs::write(&path, FILE).unwrap();
        let words = [&["copy", path.to_str().unwrap()], more].concat();
        let words = words.iter().map(OsString::from);
        let parsed = parse(words.collect::<Vec<_>>()).unwrap();
        prepare(&Registry::new(), parsed).unwrap()
    }

    #[test]
    fn the_file_says_what_the_command_line_does_not() {
        let (args, file) = prepared(&[]);
        let run = &args.run;
        assert_eq!((run.workers, run.commit_ms, run.processes), (3, 20, 1));
        assert_eq!(run.commit_ms_max, Some(1000));
        assert_eq!((run.guarantee, run.name.as_deref()), (Guarantee::AtLeastOnce, Some("copy")));
        let explained = file.topology(&Registry::new()).unwrap().explain(1);
        assert!(explained.contains("there"), "{explained}");
        let more = [
            "--workers",
            "1",
            "--guarantee",
            "effectively-once",
            "--name",
            "n",
            "--property",
            "to=here",
        ];
        let (args, file) = prepared(&more);
        assert_eq!((args.run.workers, args.run.guarantee), (1, Guarantee::EffectivelyOnce));
        assert_eq!(args.run.name.as_deref(), Some("n"));
        let explained = file.topology(&Registry::new()).unwrap().explain(1);
        assert!(explained.contains("here") && !explained.contains("there"), "{explained}");
    }
}
