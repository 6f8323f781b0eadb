//! Lines in packets: ten at a time, or what there is after a minute.
//!
//! ```text
//! egret stream --data egret-data create lines
//! seq 25 | egret stream --data egret-data append lines
//! cargo run --release --example packets -- --workers 2 &
//! egret stream --data egret-data tail packets
//! ```
//! Any line may go into any packet: there is no key, so what is gathered is state of the tasks that gather. Whatever
//! ends the program, the next run goes on with the lines that were not sent yet, and their timers. It may have any
//! number of workers: the lines of the tasks there were are dealt out among those there are. They can be seen, too:
//! `egret state --data egret-data scan packets gather`.

use egret::{
    Args, Blob, ComponentResult, Context, Emitter, ListState, LogSink, LogSpout, Rescale,
    StatefulBolt, Timer, TopologyBuilder,
};

/// Where the lines come from, and where the packets go.
const FROM: &str = "lines";
const TO: &str = "packets";

/// Lines of a packet, and how long one waits to be full.
const LINES: usize = 10;
const WAIT_MS: i64 = 60_000;

struct Gather;

impl Gather {
    fn send(held: &mut ListState<Blob>, out: &mut Emitter<Blob>) {
        let lines: Vec<Blob> = std::iter::from_fn(|| held.pop_front()).collect();
        let lines: Vec<&[u8]> = lines.iter().map(|line| &line[..]).collect();
        out.emit(Blob::from(&lines.join(&b", "[..])[..]));
    }
}

impl StatefulBolt<Blob, Blob> for Gather {
    type State = ListState<Blob>;

    fn execute(
        &mut self,
        held: &mut ListState<Blob>,
        line: Blob,
        out: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        if held.is_empty() {
            cx.timers().set(Timer::processing(cx.processing_time() + WAIT_MS))?;
        }
        held.push(line);
        if held.len() >= LINES {
            Gather::send(held, out);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        held: &mut ListState<Blob>,
        _: Timer,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        if !held.is_empty() {
            Gather::send(held, out);
        }
        Ok(())
    }

    fn rescale(&self) -> Rescale<ListState<Blob>> {
        Rescale::items()
    }
}

fn wire(t: &mut TopologyBuilder, args: &Args) -> egret::Result<()> {
    let tasks = args.run.tasks();
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream(FROM))?;
    let packets = lines.shuffle().stateful("gather", tasks, || Gather)?;
    packets.sink("packets", LogSink::to_stream(TO))
}

fn main() -> std::process::ExitCode {
    egret::main(wire)
}
