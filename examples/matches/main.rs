//! Follows a stream and copies the lines that contain a word to another one.
//!
//! ```text
//! egret stream --data egret-data create log && journalctl -f | egret stream --data egret-data append log &
//! cargo run --release --example matches -- --processes 2 error
//! egret stream --data egret-data tail matches
//! ```
//! A second word is the stream to copy them to, in place of `matches`: a fork (`--from matches:NAME --name MINE`)
//! needs one of its own. It goes on until it is asked to end, with Ctrl-C say: then it stops after the commit under
//! way. Whatever ends it, the next run goes on where it stopped, and no line is copied twice.

use egret::{Args, Blob, Emitter, Error, LogSink, LogSpout, TopologyBuilder};

/// Where the lines come from, and where those that match go.
const FROM: &str = "log";
const TO: &str = "matches";

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let (word, to) = match &args.rest[..] {
        [word] => (word, TO),
        [word, to] => (word, to.as_str()),
        _ => return Err(Error::usage("which word? Give one, as in `matches error`")),
    };
    let word = word.clone().into_bytes();
    if word.is_empty() {
        return Err(Error::usage("an empty word is in every line: give another one"));
    }
    let tasks = args.run.tasks();
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream(FROM))?;
    let matching = lines.local_or_shuffle().bolt("match", tasks, move || {
        let word = word.clone();
        move |line: Blob, out: &mut Emitter<Blob>| {
            if line.windows(word.len()).any(|part| part == word) {
                out.emit(line);
            }
        }
    })?;
    matching.sink("copies", LogSink::to_stream(to))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
