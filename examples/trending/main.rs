//! What is trending: the tags most used in the last minute, told every ten seconds, by the time the posts say.
//!
//! ```text
//! egret stream --data egret-data create posts
//! printf '%s\n' '1000 rust' '2000 heron' '9000 rust' '31000 heron' '95000 end' | egret stream --data egret-data append posts
//! cargo run --release --example trending -- --processes 2 &
//! egret stream --data egret-data tail trending
//! ```
//! A post is a line `MS TAG`. Its tag is counted in sliding windows: a post is in six of them, and counted once. Of
//! what the windows of all tags told, windows over all of it make the top: results come in time for windows that end
//! when they do.

use std::cmp::Reverse;
use std::time::Duration;

use egret::window::{Count, Sliding, Tumbling, Windowed, top};
use egret::{Args, Blob, Emitter, EventTime, LogSink, LogSpout, TopologyBuilder};

/// Where the posts come from, and where it is told what trends.
const FROM: &str = "posts";
const TO: &str = "trending";

/// How long a post counts, and how often it is told.
const MINUTE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(10);

/// Tags that are told.
const TAGS: usize = 3;

/// Tag and time.
type Post = (String, i64);

/// A tag's count in the minute that ends then.
type Tagged = Windowed<String, u64>;

fn post(line: &[u8]) -> Option<Post> {
    let (ms, tag) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((tag.to_owned(), ms.parse().ok()?))
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    // A partition that is quiet does not hold the others up for long.
    let time = EventTime { idle_ms: 1000, ..EventTime::default() };
    let lines = t
        .spout("lines", tasks, LogSpout::<Blob>::from_stream(FROM))?
        .event_time_with(time, |line| post(line).map_or(i64::MIN, |(_, ms)| ms))?;
    let posts = lines.local_or_shuffle().bolt("parse", tasks, || {
        |line: Blob, out: &mut Emitter<Post>| post(&line).into_iter().for_each(|p| out.emit(p))
    })?;
    let counts = posts
        .fields(|(tag, _)| tag.as_str())
        .window(Sliding::of(MINUTE).every(STEP))
        .event_time(|(_, ms)| *ms)
        .aggregate("counts", tasks, Count)?;
    // Windows of different ends are apart by a step, so each of these has the results of one end.
    let tops = counts
        .window_all(Tumbling::of(STEP))
        .event_time(|tag: &Tagged| tag.firing.window.end_ms - 1)
        .aggregate_with(
            "top",
            1,
            top(TAGS, |tag: &Tagged| (tag.value, Reverse(tag.key.clone()))),
            |(), told, tags| {
                let tags = tags.iter().map(|(n, Reverse(tag))| format!("{tag} {n}"));
                let tags: Vec<String> = tags.collect();
                [format!("{}: {}", told.window.end_ms, tags.join(", "))]
            },
        )?;
    tops.sink("told", LogSink::to_stream(TO))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
