//! A topology all of whose keys change together: each number that its spout makes counts once for every key.
//! So all keys are the same at each commit, and whoever reads two that differ has read none.
//!
//! ```text
//! lockstep --data DIR [--workers N] [--commit-ms MS] -- NUMBERS [KEYS] [PAUSE_MS]
//! ```
//! It ends after so many numbers, a few of which come after each pause. Killed and started again, it goes on.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use egret::component::{Next, Positions, Replay, Spout};
use egret::{Args, Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, TopologyBuilder};
use serde::{Deserialize, Serialize};

/// Numbers of one call.
const AT_ONCE: u64 = 5;

/// 0, 1, 2 and so on.
struct Numbers {
    next: u64,
    end: u64,
    pause: Duration,
    owner: bool,
}

const SPLIT: &[u8] = b"numbers";

impl Spout<u64> for Numbers {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        self.owner = cx.id().task == 0;
        let at = committed.get(SPLIT).map(|at| String::from_utf8_lossy(at).parse());
        self.next = at.transpose()?.unwrap_or(0);
        Ok(())
    }

    fn next(&mut self, _: usize, out: &mut Emitter<u64>, _: &Context) -> ComponentResult<Next> {
        if !self.owner || self.next == self.end {
            return Ok(Next::Done);
        }
        for number in self.next..(self.next + AT_ONCE).min(self.end) {
            out.emit(number);
            self.next = number + 1;
        }
        Ok(Next::After(self.pause))
    }

    fn positions(&self) -> Positions {
        let at = (SPLIT.to_vec(), self.next.to_string().into_bytes());
        if self.owner { BTreeMap::from([at]) } else { BTreeMap::new() }
    }
}

/// What is kept for a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Steps {
    count: u64,
    last: Option<u64>,
}

struct Step;

impl KeyedBolt<str, (String, u64), Blob> for Step {
    type State = Steps;

    fn execute(
        &mut self,
        _: &str,
        steps: &mut Steps,
        (_, number): (String, u64),
        _: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        *steps = Steps { count: steps.count + 1, last: steps.last.max(Some(number)) };
        Ok(())
    }
}

fn main() -> ExitCode {
    egret::main(|t: &mut TopologyBuilder, args: &Args| {
        let number = |at: usize, or: u64| args.rest.get(at).map_or(Ok(or), |word| word.parse());
        let end = number(0, 1000).map_err(egret::Error::other)?;
        let keys = number(1, 64).map_err(egret::Error::other)?;
        let pause = Duration::from_millis(number(2, 1).map_err(egret::Error::other)?);
        let tasks = args.run.tasks();
        let numbers =
            t.spout("numbers", 1, move || Numbers { next: 0, end, pause, owner: false })?;
        let all = numbers.shuffle().bolt("each", tasks, move || {
            move |number: u64, out: &mut Emitter<(String, u64)>| {
                (0..keys).for_each(|key| out.emit((format!("key {key:03}"), number)));
            }
        })?;
        let steps = all.fields(|(key, _)| key.as_str()).keyed("steps", tasks, || Step)?;
        // Nothing is ever written there; a topology has to lead somewhere.
        steps.sink("nowhere", LogSink::to_stream("nowhere"))
    })
}
