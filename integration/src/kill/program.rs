//! The word count as a process: started, watched by what it says, killed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egret_log::clock;

/// How to start it.
#[derive(Debug, Clone)]
pub struct Program {
    /// The `word_count` binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// What it counts.
    pub files: Vec<PathBuf>,
    /// Worker threads.
    pub workers: u32,
    /// Milliseconds between commits.
    pub commit_ms: u64,
    /// The guarantee, as it is written on the command line.
    pub guarantee: &'static str,
}

/// When to kill it.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// This long after it started.
    AfterStart(Duration),
    /// This long after it began to take the topology over and count.
    AfterCounting(Duration),
}

/// What became of a run that was to be killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was killed; the last thing it had said.
    Killed(String),
    /// It was done before.
    Finished,
}

impl Program {
    fn spawn(&self) -> Result<Child> {
        Command::new(&self.binary)
            .arg("--data")
            .arg(&self.data)
            .args(["--workers", &self.workers.to_string()])
            .args(["--commit-ms", &self.commit_ms.to_string()])
            .args(["--guarantee", self.guarantee])
            .arg("--all")
            .args(&self.files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))
    }

    /// Runs it to its end; its standard output.
    pub fn finish(&self) -> Result<Vec<u8>> {
        let out = self.spawn()?.wait_with_output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "it ended with {}: {said}", out.status);
        Ok(out.stdout)
    }

    /// Starts it and kills it at `moment`. A run that ends by itself before must have succeeded.
    pub fn kill(&self, moment: Moment) -> Result<Ended> {
        let mut child = self.spawn()?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let mut stdout = child.stdout.take().context("standard output is piped")?;
        let (say, said) = sync_channel(1024);
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        });
        let sink = std::thread::spawn(move || {
            let mut out = Vec::new();
            stdout.read_to_end(&mut out).map(|_| out)
        });
        let last = wait(&said, moment);
        // SIGKILL; an error means that it has ended already, which the status tells.
        child.kill().unwrap_or_default();
        let status = child.wait()?;
        drop(said);
        listener.join().map_err(|_| anyhow::anyhow!("the listener panicked"))?;
        sink.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        match status.code() {
            None => Ok(Ended::Killed(last)),
            Some(0) => Ok(Ended::Finished),
            Some(code) => anyhow::bail!("it ended with {code} by itself, having said: {last}"),
        }
    }
}

/// Waits for the moment, or for the process to say nothing more; the last thing it said.
fn wait(said: &Receiver<String>, moment: Moment) -> String {
    let mut last = String::from("nothing yet");
    let limit = Duration::from_secs(300);
    let mut until = match moment {
        Moment::AfterStart(wait) => clock::now() + wait,
        Moment::AfterCounting(_) => clock::now() + limit,
    };
    loop {
        match said.recv_timeout(until.saturating_duration_since(clock::now())) {
            Ok(line) => {
                if let (Moment::AfterCounting(wait), "counting") = (moment, line.as_str()) {
                    until = clock::now() + wait;
                }
                last = line;
            }
            Err(RecvTimeoutError::Timeout) => return last,
            Err(RecvTimeoutError::Disconnected) => return last,
        }
    }
}

/// Finds a program built beside this one: `target/<profile>/<name>` or its `examples`.
pub fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a program lies in a directory")?;
    let candidates = [dir.join(name), dir.join("examples").join(name)];
    let found = candidates.iter().find(|path: &&PathBuf| Path::is_file(path));
    found.cloned().with_context(|| {
        format!("{name} is not built: run `cargo build --release --workspace --examples --bins`")
    })
}
