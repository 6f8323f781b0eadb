//! Worker processes of this machine: the running program once more, told which place it takes.
//!
//! The place goes through the environment, the secret through standard input, which nobody else can read.
//! Each is a process group of its own: what is typed at a terminal reaches the first process, which sees to
//! the others.

use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use egret_log::clock;

use crate::runtime::mesh::{Seat, Secret, Started, Starter};

/// Says that a process was started by another, and for which place: `RANK COUNT ADDRESS`.
const SEAT: &str = "EGRET_SEAT";

/// How often a process that was told to end is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Starts the running program again, with the same arguments.
#[derive(Debug, Clone, Copy, Default)]
pub struct Children;

impl Children {
    /// The place this process was started for, if another started it. To be asked once: the secret is read
    /// from standard input.
    ///
    /// # Errors
    /// When the environment names a place and the secret is not there, or neither is what it should be.
    pub fn seat() -> io::Result<Option<Seat>> {
        let Some(text) = std::env::var_os(SEAT) else { return Ok(None) };
        let strange = |what: &str| {
            let why = format!("{SEAT} is for processes that another started: {what}");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        let text = text.into_string().map_err(|_| strange("it is no text"))?;
        let (rank, count, leader) = parse(&text).ok_or_else(|| strange("it names no place"))?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let secret = Secret::from_hex(line.trim_end());
        let secret = secret.ok_or_else(|| strange("no secret comes from standard input"))?;
        Ok(Some(Seat { rank, count, leader, secret }))
    }

    /// Whether another process started this one.
    pub fn is_one() -> bool {
        std::env::var_os(SEAT).is_some()
    }
}

fn parse(text: &str) -> Option<(u32, u32, std::net::SocketAddr)> {
    let mut words = text.split(' ');
    let (rank, count) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let leader = words.next()?.parse().ok()?;
    let whole = words.next().is_none() && (1..count).contains(&rank);
    whole.then_some((rank, count, leader))
}

impl Starter for Children {
    fn start(&self, seat: &Seat) -> io::Result<Box<dyn Started>> {
        // This very program, also when its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        let mut args = std::env::args_os();
        command.arg0(args.next().unwrap_or_default()).args(args);
        command.env(SEAT, format!("{} {} {}", seat.rank, seat.count, seat.leader));
        let mut child = command.process_group(0).stdin(Stdio::piped()).spawn()?;
        let said = child.stdin.take().map(|mut stdin| writeln!(stdin, "{}", seat.secret.to_hex()));
        if let Some(Err(why)) = said
            && why.kind() != io::ErrorKind::BrokenPipe
        {
            let mut child = Process(child);
            child.kill();
            return Err(why);
        }
        Ok(Box::new(Process(child)))
    }
}

struct Process(Child);

impl Started for Process {
    fn ended(&mut self) -> Option<String> {
        match self.0.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(why) => Some(why.to_string()),
        }
    }

    fn kill(&mut self) {
        // One that ended is let be, and leaves nothing behind once it is waited for.
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }

    fn settle(&mut self, wait: Duration) {
        let until = clock::now() + wait;
        while self.ended().is_none() {
            if clock::now() >= until {
                return self.kill();
            }
            thread::park_timeout(LOOK_EVERY);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_nothing_else_does() {
        let at = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(parse("2 4 127.0.0.1:4000"), Some((2, 4, at)));
        for wrong in
            ["", "2 4", "0 4 127.0.0.1:4000", "4 4 127.0.0.1:4000", "2 4 here", "1 2 [::1]:1 x"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
