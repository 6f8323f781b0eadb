//! All queries by name.

use egret::{Stream, TopologyBuilder};

use super::ending::Ending;
use super::event::Event;
use super::input::Input;
use super::stateless::each_bid;
use super::tape::Tape;
use super::{closing, days, hottest, joins, ranks, stateless, windows};

/// Those that are built, in order.
pub const QUERIES: [&str; 19] = [
    "q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q9", "q11", "q14", "q15", "q16", "q17", "q18",
    "q19", "q20", "q21", "q22",
];

/// Attaches a query to events, `tasks` tasks of each component, and ends it.
///
/// # Errors
/// When there is no such query, or the wiring cannot be.
pub fn attach(
    query: &str,
    events: &Stream<Event>,
    tasks: u32,
    ending: &Ending,
) -> egret::Result<()> {
    match query {
        "q0" => ending.attach(&each_bid(events, tasks, stateless::q0)?, tasks),
        "q1" => ending.attach(&each_bid(events, tasks, stateless::q1)?, tasks),
        "q2" => ending.attach(&each_bid(events, tasks, stateless::q2)?, tasks),
        "q3" => ending.attach(&joins::q3(events, tasks)?, tasks),
        "q4" => ending.attach(&closing::q4(events, tasks)?, tasks),
        "q5" => ending.attach(&hottest::q5(events, tasks)?, tasks),
        "q7" => ending.attach(&hottest::q7(events, tasks)?, tasks),
        "q8" => ending.attach(&windows::q8(events, tasks)?, tasks),
        "q9" => ending.attach(&closing::q9(events, tasks)?, tasks),
        "q11" => ending.attach(&windows::q11(events, tasks)?, tasks),
        "q14" => ending.attach(&each_bid(events, tasks, stateless::q14)?, tasks),
        "q15" => ending.attach(&days::q15(events, tasks)?, tasks),
        "q16" => ending.attach(&days::q16(events, tasks)?, tasks),
        "q17" => ending.attach(&days::q17(events, tasks)?, tasks),
        "q18" => ending.attach(&ranks::q18(events, tasks)?, tasks),
        "q19" => ending.attach(&ranks::q19(events, tasks)?, tasks),
        "q20" => ending.attach(&joins::q20(events, tasks)?, tasks),
        "q21" => ending.attach(&each_bid(events, tasks, stateless::q21)?, tasks),
        "q22" => ending.attach(&each_bid(events, tasks, stateless::q22)?, tasks),
        other => Err(egret::Error::usage(format!(
            "there is no query `{other}`: name one of {}",
            QUERIES.join(", ")
        ))),
    }
}

/// A query over events from memory.
///
/// # Errors
/// As [`attach`].
pub fn topology(
    t: &mut TopologyBuilder,
    query: &str,
    input: &Input,
    tasks: u32,
    ending: &Ending,
) -> egret::Result<()> {
    let input = input.clone();
    let events = t.spout("events", tasks, move || Tape::of(input.clone()))?;
    let events = events.event_time(Event::at)?;
    attach(query, &events, tasks, ending)
}
