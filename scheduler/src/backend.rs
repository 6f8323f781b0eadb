//! Processes that the command starts.
//!
//! So far it only [asks](ask) a program something: the program answers and ends.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use egret_log::clock;

/// The longest answer: a plan of the most components and tasks there may be is a fraction of it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What is kept of what a program says on standard error.
const SAID_BYTES_MAX: usize = 64 << 10;

/// How often a program that closed its output is looked after until it ends.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a program answered.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub out: Vec<u8>,
    /// The beginning of its standard error.
    pub said: Vec<u8>,
}

/// A program that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is none.
    #[error(
        "there is no program `{}`: give its path, such as ./word_count, or the name of one in PATH",
        program.display()
    )]
    NoProgram {
        /// What was to be started.
        program: PathBuf,
    },
    /// It is no program, or none that may be started.
    #[error("`{}` cannot be started: {why}; give the path of a program", program.display())]
    NotStarted {
        /// What was to be started.
        program: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// It did not come to an end.
    #[error(
        "`{}` did not end within {} s and was killed: ask it for longer, or look at what it waits for",
        program.display(),
        within.as_secs()
    )]
    Late {
        /// What was asked.
        program: PathBuf,
        /// How long it had.
        within: Duration,
    },
    /// It went on and on.
    #[error(
        "`{}` answered with more than {ANSWER_BYTES_MAX} bytes and was killed: no answer is that long",
        program.display()
    )]
    Long {
        /// What was asked.
        program: PathBuf,
    },
    /// What it answered could not be read.
    #[error("what `{}` answered cannot be read: {why}", program.display())]
    Unread {
        /// What was asked.
        program: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// A process that does not outlive this.
struct Asked(Child);

impl Drop for Asked {
    fn drop(&mut self) {
        // One that ended is let be, and leaves nothing behind once it is waited for.
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

/// Starts a program with nothing on its standard input, and waits for its end, within a time.
///
/// # Errors
/// When it cannot be started, does not end in time, or answers without an end.
pub fn ask(program: &Path, args: &[OsString], within: Duration) -> Result<Answer, AskError> {
    let until = clock::now() + within;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = || program.to_owned();
    let child = command.spawn().map_err(|why| match why.kind() {
        io::ErrorKind::NotFound => AskError::NoProgram { program: program() },
        _ => AskError::NotStarted { program: program(), why },
    })?;
    let mut asked = Asked(child);
    let (out, said) = (asked.0.stdout.take(), asked.0.stderr.take());
    let out = read(out.expect("its output is piped"), ANSWER_BYTES_MAX + 1, false);
    let said = read(said.expect("its errors are piped"), SAID_BYTES_MAX, true);
    let late = || AskError::Late { program: program(), within };
    let left = || until.saturating_duration_since(clock::now());
    let take = |from: Receiver<io::Result<Vec<u8>>>| match from.recv_timeout(left()) {
        Ok(read) => read.map_err(|why| AskError::Unread { program: program(), why }),
        Err(_) => Err(late()),
    };
    let out = take(out)?;
    if out.len() > ANSWER_BYTES_MAX {
        return Err(AskError::Long { program: program() });
    }
    let said = take(said)?;
    loop {
        match asked.0.try_wait() {
            Ok(Some(status)) => return Ok(Answer { status, out, said }),
            Ok(None) if left().is_zero() => return Err(late()),
            Ok(None) => thread::park_timeout(LOOK_EVERY),
            Err(why) => return Err(AskError::Unread { program: program(), why }),
        }
    }
}

/// Reads up to so many bytes on a thread of its own, which ends when the program does or closes the pipe; `drain`
/// has it read on and throw away what comes after, so that the program is not held up by it.
fn read(
    mut from: impl Read + Send + 'static,
    bytes_max: usize,
    drain: bool,
) -> Receiver<io::Result<Vec<u8>>> {
    let (told, read) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut done = from.by_ref().take(bytes_max as u64).read_to_end(&mut bytes).map(drop);
        if done.is_ok() && drain {
            done = io::copy(&mut from, &mut io::sink()).map(drop);
        }
        // Whoever does not wait any more has said why.
        told.send(done.map(|()| bytes)).unwrap_or_default();
    });
    read
}
