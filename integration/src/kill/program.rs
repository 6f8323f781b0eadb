//! The word count as a process: started, watched by what it says, killed.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egret_log::clock;
use rustix::process::Pid;

/// How long a program may take to end, once it is to.
const END_WAIT: Duration = Duration::from_secs(300);

/// How to start it.
#[derive(Debug, Clone)]
pub struct Program {
    /// The `word_count` binary.
    pub binary: PathBuf,
    /// Its data directory, or the file that names its cluster.
    pub place: Place,
    /// What it counts.
    pub files: Vec<PathBuf>,
    /// Worker threads, in each process.
    pub workers: u32,
    /// Worker processes.
    pub processes: u32,
    /// Milliseconds between commits.
    pub commit_ms: u64,
    /// The guarantee, as it is written on the command line.
    pub guarantee: &'static str,
    /// What this program alone takes.
    pub more: Vec<OsString>,
}

/// Where its streams are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a data directory.
    Data(PathBuf),
    /// In the cluster that a file names.
    Cluster(PathBuf),
}

impl Place {
    /// The directory, or the file.
    pub fn path(&self) -> &Path {
        match self {
            Place::Data(path) | Place::Cluster(path) => path,
        }
    }

    fn arguments(&self) -> [&OsStr; 2] {
        match self {
            Place::Data(dir) => ["--data".as_ref(), dir.as_os_str()],
            Place::Cluster(file) => ["--cluster".as_ref(), file.as_os_str()],
        }
    }
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
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(self.place.arguments())
            .args(["--workers", &self.workers.to_string()])
            .args(["--processes", &self.processes.to_string()])
            .args(["--commit-ms", &self.commit_ms.to_string()])
            .args(["--guarantee", self.guarantee])
            .arg("--all")
            .args(&self.more)
            .args(&self.files);
        command
    }

    /// Runs it to its end; its standard output.
    pub fn finish(&self) -> Result<Vec<u8>> {
        let out = spawn(&mut self.command())?.wait_with_output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "it ended with {}: {said}", out.status);
        Ok(out.stdout)
    }

    /// Starts it, with what it says listened to.
    pub fn start(&self) -> Result<Running> {
        Running::start(&mut self.command())
    }

    /// Starts it and kills it at `moment`. A run that ends by itself before must have succeeded.
    pub fn kill(&self, moment: Moment) -> Result<Ended> {
        let running = self.start()?;
        let last = running.wait(moment);
        let (status, _) = running.kill()?;
        match status.code() {
            None => Ok(Ended::Killed(last)),
            Some(0) => Ok(Ended::Finished),
            Some(code) => anyhow::bail!("it ended with {code} by itself, having said: {last}"),
        }
    }
}

/// One that was started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: Receiver<String>,
    listener: JoinHandle<()>,
    sink: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Running {
    /// Starts a program, with what it says on standard error listened to.
    pub fn start(command: &mut Command) -> Result<Running> {
        let mut child = spawn(command)?;
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
        Ok(Running { child, said, listener, sink })
    }

    /// Waits for it to say something; what it said, or `None` when it says nothing more.
    ///
    /// # Errors
    /// When it says nothing for as long as a program may take to end.
    pub fn says(&self) -> Result<Option<String>> {
        match self.said.recv_timeout(END_WAIT) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("it says nothing any more"),
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The worker processes it started that have not ended.
    pub fn members(&self) -> Result<Vec<Pid>> {
        let own = self.child.id();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that ended meanwhile is none.
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let mut after = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            let (state, parent) = (after.next(), after.next().and_then(|pid| pid.parse().ok()));
            if parent == Some(own) && state != Some("Z") {
                found.extend(Pid::from_raw(pid));
            }
        }
        found.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        Ok(found)
    }

    /// Waits for the moment, or for it to say nothing more; the last thing it said.
    pub fn wait(&self, moment: Moment) -> String {
        wait(&self.said, moment)
    }

    /// Kills it, unless it has ended.
    pub fn kill(mut self) -> Result<(ExitStatus, String)> {
        // An error means that it has ended already, which the status tells.
        self.child.kill().unwrap_or_default();
        self.end()
    }

    /// Waits until it ends by itself, and so do the processes it started; how, and the last thing said.
    pub fn end(self) -> Result<(ExitStatus, String)> {
        let Running { mut child, said, listener, sink } = self;
        let mut last = String::from("nothing more");
        let until = clock::now() + END_WAIT;
        // Until all have closed their side, so that none ever waits for somebody to listen.
        loop {
            match said.recv_timeout(until.saturating_duration_since(clock::now())) {
                Ok(line) => last = line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let status = child.try_wait()?;
                    anyhow::bail!(
                        "it and its processes do not end ({status:?}); said last: {last}"
                    );
                }
            }
        }
        let status = child.wait()?;
        listener.join().map_err(|_| anyhow::anyhow!("the listener panicked"))?;
        sink.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        Ok((status, last))
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))
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
