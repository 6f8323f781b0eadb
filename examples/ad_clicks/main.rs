//! Which ads are clicked: what was shown joined with what was clicked, in whatever order the two arrive.
//!
//! ```text
//! egret stream --data egret-data create shown
//! egret stream --data egret-data create clicked
//! printf '%s\n' 's1 heron 1000' 's2 egret 2000' 's9 egret 700000' | egret stream --data egret-data append shown
//! printf '%s\n' 's1 9000' 's8 700000' | egret stream --data egret-data append clicked
//! cargo run --release --example ad_clicks -- --processes 2 &
//! egret stream --data egret-data tail rates
//! egret stream --data egret-data tail others
//! ```
//! A line of `shown` is `SHOW AD MS`, one of `clicked` is `SHOW MS`. A click counts for its show when it comes within five
//! minutes after it; a show is not clicked when that is over. Each minute of each ad is told once, when everything of it is
//! known: how many of its shows were clicked, however often. Clicks without a show, and what comes too late to count, are in
//! the stream `others`.
//!
//! Written with streamlets: each step says what it makes of the one before. What is kept for each show, click and minute is
//! part of the commits, so that the rates are right whatever fails meanwhile.

use std::time::Duration;

use egret::streamlet::Interval;
use egret::window::{Firing, Tumbling, sum};
use egret::{Args, Either, EventTime, LogSpout, Streamlet, TopologyBuilder};
use serde::{Deserialize, Serialize};

/// An ad was shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shown {
    show: String,
    ad: String,
    ms: i64,
}

/// Somebody clicked on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Clicked {
    show: String,
    ms: i64,
}

impl egret::Tuple for Shown {}
impl egret::Tuple for Clicked {}

fn shown(line: &str) -> Option<Shown> {
    let mut words = line.split_whitespace();
    let (show, ad) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some(Shown { show, ad, ms: words.next()?.parse().ok()? })
}

fn clicked(line: &str) -> Option<Clicked> {
    let mut words = line.split_whitespace();
    Some(Clicked { show: words.next()?.to_owned(), ms: words.next()?.parse().ok()? })
}

/// The lines of a stream, which may be ten seconds out of order.
fn lines(
    t: &mut TopologyBuilder,
    args: &Args,
    stream: &str,
    ms: fn(&str) -> Option<i64>,
) -> egret::Result<Streamlet<String>> {
    let time = EventTime { out_of_order_ms: 10_000, idle_ms: 1000 };
    let lines = t.spout(stream, args.run.tasks(), LogSpout::<String>::from_stream(stream))?;
    let lines = lines.event_time_with(time, move |line| ms(line).unwrap_or(i64::MIN))?;
    Ok(lines.streamlet())
}

/// How long after it was shown an ad may be clicked.
const CLICKED_WITHIN_MS: i64 = 300_000;
const MINUTE: Duration = Duration::from_secs(60);

/// A show, and whether it was clicked.
type Seen = (Shown, bool);

/// When it is known whether a show was clicked.
fn known_ms((show, _): &Seen) -> i64 {
    show.ms + CLICKED_WITHIN_MS
}

/// What the program runs.
pub(crate) fn build(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let shows = lines(t, args, "shown", |line| Some(shown(line)?.ms))?
        .filter_map(|line| shown(&line))
        .named("parse-shown");
    let clicks = lines(t, args, "clicked", |line| Some(clicked(line)?.ms))?
        .filter_map(|line| clicked(&line))
        .named("parse-clicked");

    // Every show, with each of its clicks or with none; every click without a show.
    let (met, late) = shows
        .key_by_ref(|show| show.show.as_str())
        .join(clicks.key_by_ref(|click| click.show.as_str()))
        .interval(Interval::ms(0..=CLICKED_WITHIN_MS), |show| show.ms, |click| click.ms)
        .late_stream()
        .full(|id, show, click| match show {
            Some(show) => Either::Left((show.clone(), click.is_some())),
            None => Either::Right(id.to_owned()),
        });
    let (seen, unshown) = met.named("met").stream()?.split();

    // A show counts once, however often it was clicked.
    seen.streamlet()
        .key_by_ref(|(show, _)| show.show.as_str())
        .dedup_within(MINUTE, known_ms)
        .named("once")
        // A minute is told when it is known of all its shows whether they were clicked.
        .key_by_ref(|(show, _)| show.ad.as_str())
        .window(Tumbling::of(MINUTE))
        .event_time(known_ms)
        .aggregate_with(
            sum(|(_, is_clicked): &Seen| (1u64, u64::from(*is_clicked))),
            |ad, Firing { window, .. }, (shows, clicks)| {
                [format!("{ad} {}: {clicks} of {shows}", window.start_ms - CLICKED_WITHIN_MS)]
            },
        )
        .named("rates")
        .to_stream("rates")?;

    let late = late.map(|late| match late {
        Either::Left(show) => format!("{} is shown too late", show.show),
        Either::Right(click) => format!("{} is clicked too late", click.show),
    });
    let unshown = unshown.streamlet().map(|show| format!("{show} was never shown"));
    unshown.named("unshown").union(late.named("late")).to_stream("others")
}

fn main() -> std::process::ExitCode {
    egret::main(build)
}
