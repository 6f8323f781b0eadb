//! A directory as a queue: each file is a message, and goes when everything that came of it is committed.
//!
//! ```text
//! mkdir -p spool/new
//! echo 'ann 300' > spool/new/1; echo 'bob 450' > spool/new/2; echo 'ann 250' > spool/new/3
//! cargo run --release --example spool -- spool
//! # ann 300, bob 450, ann 550; and spool/new is empty
//! ```
//! Whoever takes a file renames it into a directory of its own, `spool/taken-0` and so on; what it finds there when it
//! begins goes back. Kill it at any moment: what was not committed comes again, and is added once, because a bolt
//! remembers the names of files. Sums are printed at least once. `follow` as a second word waits for more files.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egret::connect::{GaveUp, Queue, Received};
use egret::{
    Args, ComponentResult, Context, Emitter, Error, Guarantee, KeyedBolt, QueueSpout, StdoutSink,
    TopologyBuilder,
};

/// The name of a file, and what is in it.
type Message = (String, String);

/// One task's view of the directory.
struct Spool {
    dir: PathBuf,
    follows: bool,
    /// Where it puts what it takes.
    taken: PathBuf,
    /// Files that were seen in `new`.
    seen: VecDeque<OsString>,
}

/// The names of the files of a directory, in order.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<_> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

impl Spool {
    fn give_back(&self, name: &OsString) -> io::Result<()> {
        fs::rename(self.taken.join(name), self.dir.join("new").join(name))
    }
}

impl Queue<Message> for Spool {
    type Id = OsString;

    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.taken = self.dir.join(format!("taken-{}", cx.id().task));
        fs::create_dir_all(&self.taken)?;
        fs::create_dir_all(self.dir.join("new"))?;
        Ok(names(&self.taken)?.iter().try_for_each(|name| self.give_back(name))?)
    }

    fn receive(&mut self, _: &Context) -> ComponentResult<Received<OsString, Message>> {
        if self.seen.is_empty() {
            self.seen = names(&self.dir.join("new"))?.into();
        }
        while let Some(name) = self.seen.pop_front() {
            let taken = self.taken.join(&name);
            match fs::rename(self.dir.join("new").join(&name), &taken) {
                Ok(()) => {
                    let message = (name.to_string_lossy().into_owned(), fs::read_to_string(taken)?);
                    return Ok(Received::Message(name, message));
                }
                // Somebody else has it.
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(why.into()),
            }
        }
        let wait = Received::After(Duration::from_millis(50));
        Ok(if self.follows { wait } else { Received::Done })
    }

    fn ack(&mut self, names: Vec<OsString>, _: &Context) -> ComponentResult {
        Ok(names.iter().try_for_each(|name| fs::remove_file(self.taken.join(name)))?)
    }

    fn fail(&mut self, names: Vec<OsString>, _: GaveUp, _: &Context) -> ComponentResult {
        Ok(names.iter().try_for_each(|name| self.give_back(name))?)
    }
}

/// Lets the first of the messages of a name through.
struct First;

impl KeyedBolt<str, Message, String> for First {
    type State = bool;

    fn execute(
        &mut self,
        _: &str,
        seen: &mut bool,
        (_, text): Message,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        if !std::mem::replace(seen, true) {
            out.emit(text);
        }
        Ok(())
    }
}

struct Sums;

impl KeyedBolt<str, String, String> for Sums {
    type State = u64;

    fn execute(
        &mut self,
        customer: &str,
        cents: &mut u64,
        line: String,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        *cents += line.split_whitespace().nth(1).ok_or("how many cents?")?.parse::<u64>()?;
        out.emit(format!("{customer} {cents}"));
        Ok(())
    }
}

/// Also what the test builds.
pub(crate) fn build(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let words: Vec<&str> = args.rest.iter().map(String::as_str).collect();
    let (dir, follows) = match words[..] {
        [dir] => (PathBuf::from(dir), false),
        [dir, "follow"] => (PathBuf::from(dir), true),
        _ => return Err(Error::usage("which directory? `spool spool`")),
    };
    let spool = move || {
        let (taken, seen) = (PathBuf::new(), VecDeque::new());
        Spool { dir: dir.clone(), follows, taken, seen }
    };
    t.guarantee(Guarantee::AtLeastOnce);
    let files = t.spout("files", 1, QueueSpout::new(spool).outstanding_max(1000))?;
    let lines = files.fields(|(name, _)| name.as_str()).keyed("first", 2, || First)?;
    let customers = lines.fields(|line| line.split_whitespace().next().unwrap_or_default());
    let sums = customers.keyed("sum", 2, || Sums)?;
    sums.global().sink("print", 1, StdoutSink::<String>::lines)
}

fn main() -> std::process::ExitCode {
    egret::main(build)
}
