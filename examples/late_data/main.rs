//! Readings of sensors that arrive late: hours that are told again when they change, and a stream of what came too
//! late even for that.
//!
//! ```text
//! egret stream --data egret-data create readings
//! printf '%s\n' 'roof 60000 21' 'roof 3700000 19' 'roof 120000 24' | egret stream --data egret-data append readings
//! cargo run --release --example late_data -- --processes 2 &
//! egret stream --data egret-data tail hours
//! egret stream --data egret-data tail too-late
//! ```
//! A reading is a line `SENSOR MS DEGREES`. Each sensor's lowest and highest reading of an hour is told when readings of
//! everybody have come beyond the hour, and again whenever one comes within a day of its end. Nothing is dropped in
//! silence: what comes later than that is in the stream `too-late`, once, whatever fails meanwhile.

use std::time::Duration;

use egret::window::{Tumbling, max, min};
use egret::{Args, Blob, Emitter, EventTime, LogSink, LogSpout, TopologyBuilder};

/// Where the readings come from, and where hours and what is too late go.
const FROM: &str = "readings";
const TO: &str = "hours";
const TOO_LATE: &str = "too-late";

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Who, when, and how warm.
type Reading = (String, i64, i32);

fn reading(line: &[u8]) -> Option<Reading> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    let time = EventTime { idle_ms: 1000, ..EventTime::default() };
    let lines = t
        .spout("lines", tasks, LogSpout::<Blob>::from_stream(FROM))?
        .event_time_with(time, |line| reading(line).map_or(i64::MIN, |(_, ms, _)| ms))?;
    let readings = lines.local_or_shuffle().bolt("parse", tasks, || {
        |line: Blob, out: &mut Emitter<Reading>| {
            reading(&line).into_iter().for_each(|reading| out.emit(reading))
        }
    })?;
    let degrees = |(_, _, degrees): &Reading| *degrees;
    let (hours, too_late) = readings
        .fields(|(sensor, ..)| sensor.as_str())
        .window(Tumbling::of(HOUR))
        .event_time(|(_, ms, _)| *ms)
        .allowed_lateness(DAY)
        .late_stream()
        .aggregate_with(
            "hours",
            tasks,
            (min(degrees), max(degrees)),
            |sensor, told, (low, high)| {
                [format!("{sensor} {}: {low} to {high}, {:?}", told.window, told.timing)]
            },
        )?;
    hours.sink("told", LogSink::to_stream(TO))?;
    let lines = too_late.local_or_shuffle().bolt("lines-late", tasks, || {
        |(sensor, ms, degrees): Reading, out: &mut Emitter<String>| {
            out.emit(format!("{sensor} {ms} {degrees}"));
        }
    })?;
    lines.sink("kept", LogSink::to_stream(TOO_LATE))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
