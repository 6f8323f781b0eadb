//! Sessions of users: what one does without a break of half an hour, by the time the clicks say.
//!
//! ```text
//! egret stream --data egret-data create clicks
//! printf '%s\n' '1000 ann /' '61000 ann /shop' '9000000 bob /' | egret stream --data egret-data append clicks
//! cargo run --release --example sessions -- --processes 2 &
//! egret stream --data egret-data tail sessions
//! ```
//! A click is a line `MS USER PAGE`. Each click sets a timer of event time for its user and takes the one before
//! back; when the clicks of everybody have come beyond it, the session is over and is told: `ann 1000 to 61000: / 1,
//! /shop 1`. A word on the command line is the stream they are told to, in place of `sessions`: a fork needs one of its
//! own. What is kept of an open session, its timer included, is state: whatever ends the program, the next run
//! goes on with it, with any number of workers.

use egret::{
    Args, Blob, ComponentResult, Context, Emitter, Error, EventTime, KeyedBolt, LogSink, LogSpout,
    MapState, Timer, TopologyBuilder, Value,
};

/// Where the clicks come from, and where the sessions go.
const FROM: &str = "clicks";
const TO: &str = "sessions";

/// A break that ends a session.
const BREAK_MS: i64 = 30 * 60 * 1000;

/// Who, when, and where.
type Click = (String, i64, String);

fn click(line: &[u8]) -> Option<Click> {
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let ms = words.next()?.parse().ok()?;
    Some((words.next()?.to_owned(), ms, words.next()?.to_owned()))
}

egret::state! {
    /// A user's open session; parts are only ever added, at the end.
    struct Session {
        /// First and last click.
        span: Value<Option<(i64, i64)>>,
        /// How often each page was seen.
        pages: MapState<String, u32>,
    }
}

struct Sessions;

impl Sessions {
    fn over(user: &str, session: &mut Session, out: &mut Emitter<Blob>) {
        if let Some((first, last)) = session.span.take() {
            let pages: Vec<_> =
                session.pages.iter().map(|(page, n)| format!("{page} {n}")).collect();
            let said = format!("{user} {first} to {last}: {}", pages.join(", "));
            out.emit(Blob::from(said.as_bytes()));
        }
        session.pages.clear();
    }
}

impl KeyedBolt<str, Click, Blob> for Sessions {
    type State = Session;

    fn execute(
        &mut self,
        user: &str,
        session: &mut Session,
        (_, ms, page): Click,
        out: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        let mut span = (ms, ms);
        if let Some((first, last)) = *session.span {
            cx.timers().cancel(Timer::event(last + BREAK_MS))?;
            // The timer of a break fires where a commit closes; this click may come before.
            match ms >= last + BREAK_MS {
                true => Sessions::over(user, session, out),
                false => span = (first.min(ms), last.max(ms)),
            }
        }
        *session.span = Some(span);
        *session.pages.or_default(page) += 1;
        cx.timers().set(Timer::event(span.1 + BREAK_MS))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        user: &str,
        session: &mut Session,
        _: Timer,
        out: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        Sessions::over(user, session, out);
        // Nothing is kept for who is gone.
        Ok(cx.forget_key()?)
    }
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    // A partition that is quiet does not hold the others' sessions open for long.
    let time = EventTime { idle_ms: 1000, ..EventTime::default() };
    let lines = t
        .spout("lines", tasks, LogSpout::<Blob>::from_stream(FROM))?
        .event_time_with(time, |line| click(line).map_or(i64::MIN, |(_, ms, _)| ms))?;
    let clicks = lines.local_or_shuffle().bolt("parse", tasks, || {
        |line: Blob, out: &mut Emitter<Click>| {
            click(&line).into_iter().for_each(|click| out.emit(click))
        }
    })?;
    let sessions =
        clicks.fields(|(user, ..)| user.as_str()).keyed("sessions", tasks, || Sessions)?;
    let to = match &args.rest[..] {
        [] => TO,
        [to] => to.as_str(),
        _ => return Err(Error::usage("one stream at most is written: give its name, or nothing")),
    };
    sessions.sink("told", LogSink::to_stream(to))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
