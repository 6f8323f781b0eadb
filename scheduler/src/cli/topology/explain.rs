//! `egret topology explain`: asks a topology program for its plan, or a topology file.
//!
//! A file that speaks of components in the box is explained here; the plan of another one is that of the program which has
//! its components.
//!
//! The plan is the program's: it is run with `--explain=FORM`, before what else it is called with. It opens nothing for
//! that, and ends. Whatever is no topology program may do anything when it is run; that its answer is no plan is said
//! then.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use egret::plan::Form;
use egret_log_cluster::ends::{Ends, How};
use egret_yaml::{Properties, Registry, TopologyFile};

use crate::backend::{self, Answer, AskError};
use crate::cli::exit::Done;

/// How much of what a program said is said again: the last lines, where errors are.
const LINES_SAID: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  egret topology explain ./word_count
  egret topology explain ./word_count -- --workers 4 --processes 2
  egret topology explain ./word_count -o dot | dot -Tsvg > plan.svg
  egret topology explain ./word_count -o svg > plan.svg
  egret topology explain words.yaml --program ./wired -- --property input=lines")]
pub(super) struct Explain {
    /// The program: its path, or the name of one in PATH. It is run. Or a topology file: what ends in .yaml or .yml
    #[arg(value_name = "BINARY|FILE")]
    program: PathBuf,
    /// The program that has the file's components, in place of the one that the file names as its `program`. It is run
    #[arg(long = "program", value_name = "BINARY")]
    of_file: Option<PathBuf>,
    /// How to write the plan: text, json, dot (for Graphviz) or svg.
    #[arg(short, long, value_name = "FORM", default_value_t = Form::Text)]
    output: Form,
    /// How long the program may take, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    wait: u32,
    /// What the program is called with: what it needs itself, and on how many --workers and --processes.
    #[arg(last = true, value_name = "ARG")]
    args: Vec<OsString>,
}

/// A program that did not say its plan.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("`{}` was asked for its plan and ended with {status}{said}", program.display())]
    Ended { program: PathBuf, status: ExitStatus, said: String },
    #[error(
        "`{}` is no topology program: it ended in order when it was asked for its plan, and what it said is none; \
         give a program that calls `egret::main`",
        program.display()
    )]
    NoTopology { program: PathBuf },
    #[error(transparent)]
    File(#[from] egret::Error),
    #[error(
        "{}:{line}:{column}: `{of}` is no component in the box: say whose it is with `program: PATH` in the file, or \
         --program BINARY",
        file.display()
    )]
    WhoseComponent { file: PathBuf, line: usize, column: usize, of: String },
    #[error("`{}` is no topology file, so --program says nothing of it: leave it away", program.display())]
    NoFile { program: PathBuf },
}

impl Ends for ExplainError {
    fn how(&self) -> How {
        match self {
            ExplainError::Ask(AskError::NoProgram { .. } | AskError::NotStarted { .. }) => {
                How::Usage
            }
            // As the program itself says.
            ExplainError::Ended { status, .. } if status.code() == Some(2) => How::Usage,
            ExplainError::Ended { status, .. } if status.code() == Some(3) => How::Refused,
            ExplainError::Ask(_) | ExplainError::Ended { .. } => How::Failed,
            ExplainError::NoTopology { .. } => How::Refused,
            ExplainError::File(error) => error.how(),
            ExplainError::WhoseComponent { .. } | ExplainError::NoFile { .. } => How::Usage,
        }
    }
}

impl Explain {
    pub(super) fn run(self) -> Done {
        let plan = self.ask()?;
        let mut out = io::stdout().lock();
        out.write_all(plan.as_bytes())?;
        Ok(out.flush()?)
    }

    fn ask(mut self) -> Result<String, ExplainError> {
        let is_file = |ending: &OsStr| ending == "yaml" || ending == "yml";
        if self.program.extension().is_some_and(is_file) {
            let file = self.program.clone();
            self.args.insert(0, file.clone().into());
            match self.program_of(&file)? {
                Some(program) => self.program = program,
                None => return Ok(egret_yaml::explain(&Registry::new(), self.output, self.args)?),
            }
        } else if self.of_file.is_some() {
            return Err(ExplainError::NoFile { program: self.program });
        }
        let Explain { program, output, wait, mut args, .. } = self;
        args.insert(0, format!("--explain={output}").into());
        let Answer { status, out, said } =
            backend::ask(&program, &args, Duration::from_secs(wait.into()))?;
        if !status.success() {
            return Err(ExplainError::Ended { program, status, said: last_lines(&said) });
        }
        let plan = String::from_utf8(out).ok().filter(|plan| output.begins(plan));
        plan.ok_or(ExplainError::NoTopology { program })
    }
}

impl Explain {
    /// Which program has the components of a file; `None` where all are in the box.
    fn program_of(&self, file: &Path) -> Result<Option<PathBuf>, ExplainError> {
        if let Some(program) = &self.of_file {
            return Ok(Some(program.clone()));
        }
        let read = TopologyFile::read(file, &Properties::new()).map_err(egret::Error::from)?;
        let mut others = read.unknown_types(&Registry::new()).into_iter();
        let Some((of, line, column)) = others.next() else { return Ok(None) };
        let whose = || ExplainError::WhoseComponent { file: file.to_owned(), line, column, of };
        read.program().map(Some).ok_or_else(whose)
    }
}

/// What a program said last.
fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(LINES_SAID)..] {
        [] => ", and said nothing".to_owned(),
        last => format!(": {}", last.join("; ")),
    }
}
