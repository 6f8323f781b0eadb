//! A program that was started, listened to and looked at from outside; killed when it is dropped.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use egret_integration::measure::monotonic_ns;

pub(crate) struct Started {
    program: Child,
    says: BufReader<ChildStdout>,
    began_ns: u64,
}

impl Started {
    pub(crate) fn new(command: &mut Command) -> Result<Started> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let began_ns = monotonic_ns();
        let mut program = command.spawn().with_context(|| format!("{command:?}"))?;
        let says = BufReader::new(program.stdout.take().context("its output is piped")?);
        Ok(Started { program, says, began_ns })
    }

    /// Milliseconds from the start until what it says with this word before it.
    pub(crate) fn hears(&mut self, word: &str) -> Result<f64> {
        let mut line = String::new();
        while self.says.read_line(&mut line)? > 0 {
            if let Some((said, at)) = line.trim().split_once(' ')
                && said == word
                && let Ok(at) = at.parse::<u64>()
            {
                return Ok(at.saturating_sub(self.began_ns) as f64 / 1e6);
            }
            line.clear();
        }
        bail!("it ended before it said `{word}`: {:?}", self.program.wait())
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.program.id());
        std::fs::read_to_string(&path).with_context(|| path)
    }

    /// A line of its `status`, in MB.
    pub(crate) fn memory_mb(&self, of: &str) -> Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(of)?.strip_prefix(':'));
        let kib: f64 = line.context("it is there")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// CPU it used so far, of all its threads.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        let stat = self.proc("stat")?;
        // Its name, in brackets, may have spaces.
        let (_, fields) = stat.rsplit_once(") ").context("a name in brackets")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        let ticks: f64 = ticks.sum::<Result<f64, _>>()?;
        Ok(ticks * 1000.0 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
    }
}
