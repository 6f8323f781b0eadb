//! Peers that are other programs: each is started once, and told query after query on its input.
//!
//! A peer is a folder beside its benchmark, with a script `run`, which is called with the file of the input, a directory it may
//! install things into, and how many workers to use. It says `ready NAME` when it is, or `absent WHY` and ends. Then it reads lines:
//!
//! ```text
//! check QUERY FILE   run the query, and write its result to FILE, a row a line   → done
//! run QUERY          run the query, drop its rows                                → done WALL CPU ROWS
//! ```
//! and answers each with a line, seconds for both, or with `failed WHY`. Reading the file is part of a run; starting is not.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::measure::Sample;

/// One of them, running.
#[derive(Debug)]
pub struct Peer {
    name: String,
    program: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
    result: std::path::PathBuf,
}

impl Peer {
    /// Those of this benchmark (a folder of `benches`) that can run here, and whose name contains `only`. The others say
    /// why not.
    pub fn all(
        benchmark: &str,
        (file, scratch): (&Path, &Path),
        workers: u32,
        only: &str,
    ) -> Vec<Peer> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(benchmark);
        let mut peers = Vec::new();
        let only = only.to_lowercase();
        for name in ["flink", "bytewax"].into_iter().filter(|name| name.contains(&only)) {
            match Peer::start(&here.join(name), name, (file, scratch), workers) {
                Ok(peer) => peers.push(peer),
                Err(why) => println!("{name} is not here: {why}"),
            }
        }
        peers
    }

    fn start(
        folder: &Path,
        name: &str,
        (file, scratch): (&Path, &Path),
        workers: u32,
    ) -> Result<Peer, String> {
        let place = scratch.join(format!("peer-{name}"));
        let mut program = Command::new(folder.join("run"))
            .args([file, &place])
            .arg(workers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| why.to_string())?;
        let (told, says) = (program.stdin.take(), program.stdout.take());
        let (told, says) = told.zip(says).ok_or("it has no pipes")?;
        let says = BufReader::new(says);
        let result = scratch.join(format!("peer-{name}.rows"));
        let mut peer = Peer { name: name.to_owned(), program, told, says, result };
        let said = peer.hear()?;
        match said.split_once(' ') {
            Some(("ready", version)) => version.clone_into(&mut peer.name),
            _ => return Err(said),
        }
        println!("{name} is here: {}", peer.name);
        Ok(peer)
    }

    /// Its name and version.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.says.read_line(&mut line) {
            Ok(0) | Err(_) => Err("it ended".to_owned()),
            Ok(_) => Ok(line.trim().to_owned()),
        }
    }

    /// Tells it something, and waits for what it has to say: what follows `done`.
    ///
    /// # Errors
    /// What it said else.
    pub fn ask(&mut self, what: &str) -> Result<String, String> {
        writeln!(self.told, "{what}")
            .and_then(|()| self.told.flush())
            .map_err(|e| e.to_string())?;
        let said = self.hear()?;
        match said.strip_prefix("done") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(said),
        }
    }

    /// What it says the result of a query is: rows in order.
    pub fn result(&mut self, query: &str) -> Option<Vec<String>> {
        let asked = format!("check {query} {}", self.result.display());
        if let Err(why) = self.ask(&asked) {
            println!("{query}: {} does not take part: {why}", self.name);
            return None;
        }
        let text = std::fs::read_to_string(&self.result).ok()?;
        let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
        rows.sort_unstable();
        Some(rows)
    }

    /// Runs a query.
    pub fn run(&mut self, query: &str) -> Option<Sample> {
        let said = self.ask(&format!("run {query}"));
        let sample = said.as_ref().ok().and_then(|said| {
            let mut numbers = said.split(' ');
            let wall = numbers.next()?.parse().ok()?;
            let cpu = numbers.next()?.parse().ok()?;
            Some(Sample { wall, cpu, count: numbers.next()?.parse().ok()? })
        });
        if sample.is_none() {
            println!("{query}: {} fell out: {said:?}", self.name);
        }
        sample
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input is the end of it; if it does not see that, it is killed.
        drop(self.program.kill());
        drop(self.program.wait());
    }
}
