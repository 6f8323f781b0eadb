//! The queries written by hand on timely: the same layout, no log, no state that outlives the process, no restart.
//!
//! A timestamp is a stretch of event time, so the frontier says how far event time has come. What takes a topology's
//! commit (to tell of what changed) happens here when the frontier moves.

mod closing;
mod days;
mod engine;
mod keyed;
mod windows;

use egret_integration::nexmark::ending::Collector;
use egret_integration::nexmark::input::Input;
use egret_integration::nexmark::stateless;

use engine::{each_bid, run};

/// Runs a query over all events; its rows go to `rows`.
pub(crate) fn query(query: &str, input: &Input, workers: u32, rows: &Collector) {
    match query {
        "q0" => run(input, workers, rows, |events| each_bid(events, stateless::q0)),
        "q1" => run(input, workers, rows, |events| each_bid(events, stateless::q1)),
        "q2" => run(input, workers, rows, |events| each_bid(events, stateless::q2)),
        "q3" => run(input, workers, rows, keyed::q3),
        "q4" => run(input, workers, rows, closing::q4),
        "q5" => run(input, workers, rows, windows::q5),
        "q7" => run(input, workers, rows, windows::q7),
        "q8" => run(input, workers, rows, windows::q8),
        "q9" => run(input, workers, rows, closing::q9),
        "q11" => run(input, workers, rows, windows::q11),
        "q14" => run(input, workers, rows, |events| each_bid(events, stateless::q14)),
        "q15" => run(input, workers, rows, days::q15),
        "q16" => run(input, workers, rows, days::q16),
        "q17" => run(input, workers, rows, days::q17),
        "q18" => run(input, workers, rows, keyed::q18),
        "q19" => run(input, workers, rows, keyed::q19),
        "q20" => run(input, workers, rows, keyed::q20),
        "q21" => run(input, workers, rows, |events| each_bid(events, stateless::q21)),
        "q22" => run(input, workers, rows, |events| each_bid(events, stateless::q22)),
        other => unreachable!("nobody asks for {other}"),
    }
}
