//! The most and the highest of a window, over all keys: q5 and q7.

use std::time::Duration;

use egret::component::{ComponentResult, Context};
use egret::window::{Aggregate, Count, Firing, Sliding, Tumbling, Windowed};
use egret::{Either, Emitter, KeyedBolt, Stream, Timer, Tuple};
use serde::{Deserialize, Serialize};

use super::event::{Bid, Event};
use super::row::{Q5, Q7};

/// Length of windows.
const SIZE: Duration = Duration::from_secs(10);
const SIZE_MS: i64 = 10_000;
/// How often one begins, where they overlap.
const SLIDE: Duration = Duration::from_secs(2);

/// Those with the largest number, and that number.
#[derive(Debug, Clone)]
struct Hottest;

impl Aggregate<Windowed<u64, u64>> for Hottest {
    type Acc = (u64, Vec<u64>);
    type Out = (u64, Vec<u64>);

    fn init(&self, tuple: Windowed<u64, u64>) -> Self::Acc {
        (tuple.value, vec![tuple.key])
    }

    fn add(&self, (most, keys): &mut Self::Acc, tuple: Windowed<u64, u64>) {
        if tuple.value > *most {
            *most = tuple.value;
            keys.clear();
        }
        if tuple.value == *most {
            keys.push(tuple.key);
        }
    }

    fn merge(&self, (most, keys): &mut Self::Acc, (other, later): &Self::Acc) {
        if other > most {
            *most = *other;
            keys.clear();
        }
        if other == most {
            keys.extend(later);
        }
    }

    fn result(&self, acc: &Self::Acc) -> Self::Out {
        acc.clone()
    }
}

/// The auctions with the most bids of the last ten seconds, every two.
pub(super) fn q5(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q5>> {
    let bids = events.local_or_shuffle().bolt("bids", tasks, || {
        |event: Event, out: &mut Emitter<(u64, i64)>| {
            if let Event::Bid(bid) = event {
                out.emit((bid.auction, bid.at));
            }
        }
    })?;
    let counts = bids
        .fields(|(auction, _)| auction)
        .window(Sliding::of(SIZE).every(SLIDE))
        .event_time(|(_, at)| *at)
        .aggregate("counts", tasks, Count)?;
    // One window for all counts that were told of at the same time.
    let hottest = counts
        .window_all(Tumbling::of(SLIDE))
        .event_time(|count: &Windowed<u64, u64>| count.firing.window.end_ms - 1);
    hottest.aggregate_with("hottest", 1, Hottest, |(), _, (bids, auctions)| {
        auctions.into_iter().map(move |auction| Q5 { auction, bids })
    })
}

/// The highest bids of a window, or of a part of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Highest {
    end: i64,
    bids: Vec<Q7>,
}

impl Tuple for Highest {
    fn weight(&self) -> usize {
        size_of::<Highest>() + self.bids.iter().map(Tuple::weight).sum::<usize>()
    }
}

impl Highest {
    fn price(&self) -> u64 {
        self.bids.first().map_or(0, |bid| bid.price)
    }

    fn put(&mut self, bid: Q7) {
        if bid.price > self.price() {
            self.bids.clear();
        }
        if bid.price >= self.price() {
            self.bids.push(bid);
        }
    }
}

/// The highest of bids, whatever the window.
#[derive(Debug, Clone)]
struct OfBids;

impl Aggregate<Q7> for OfBids {
    type Acc = Highest;
    type Out = Highest;

    fn init(&self, bid: Q7) -> Highest {
        Highest { end: 0, bids: vec![bid] }
    }

    fn add(&self, acc: &mut Highest, bid: Q7) {
        // Most bids are no higher, and moved no further.
        if bid.price >= acc.price() {
            acc.put(bid);
        }
    }

    fn merge(&self, acc: &mut Highest, later: &Highest) {
        later.bids.iter().for_each(|bid| acc.put(bid.clone()));
    }

    fn result(&self, acc: &Highest) -> Highest {
        acc.clone()
    }
}

/// In how many parts a window's highest bids are looked for at once.
const PARTS: u64 = 16;

/// The highest bids of each window of ten seconds. SQL joins the highest price back with bids from the first ms of the
/// window *to its end and with it*: a bid of the next window's first ms with that price counts as well.
pub(super) fn q7(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q7>> {
    let bids = events.local_or_shuffle().bolt("bids", tasks, || {
        |event: Event, out: &mut Emitter<Q7>| {
            if let Event::Bid(bid) = event {
                let Bid { auction, bidder, price, at, extra, .. } = bid;
                out.emit(Q7 { auction, price, bidder, at, extra });
            }
        }
    })?;
    let parts = bids
        .fields_by(|bid| bid.bidder % PARTS)
        .window(Tumbling::of(SIZE))
        .event_time(|bid| bid.at)
        .aggregate_with("parts", tasks, OfBids, |_: &u64, firing: Firing, highest| {
            Some(Highest { end: firing.window.end_ms, ..highest })
        })?;
    // A part is told of when its window ends, and so are the others.
    let first_ms = bids.local_or_shuffle().bolt("first-ms", tasks, || {
        |bid: Q7, out: &mut Emitter<Q7>| {
            if bid.at % SIZE_MS == 0 {
                out.emit(bid);
            }
        }
    })?;
    let by_end = parts.fields(|part| &part.end).join(first_ms.fields(|bid| &bid.at))?;
    by_end.keyed("highest", tasks, || Windows)
}

/// All that has to do with one end: the highest bids before it, and those at it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct AtEnd {
    highest: Highest,
    at: Vec<Q7>,
}

struct Windows;

impl KeyedBolt<i64, Either<Highest, Q7>, Q7> for Windows {
    type State = AtEnd;

    fn execute(
        &mut self,
        end: &i64,
        state: &mut AtEnd,
        tuple: Either<Highest, Q7>,
        _: &mut Emitter<Q7>,
        cx: &Context,
    ) -> ComponentResult {
        match tuple {
            Either::Left(part) => part.bids.into_iter().for_each(|bid| state.highest.put(bid)),
            Either::Right(bid) => state.at.push(bid),
        }
        // What is at the end has come when time has passed it.
        cx.timers().set(Timer::event(*end + 1))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &i64,
        state: &mut AtEnd,
        _: Timer,
        out: &mut Emitter<Q7>,
        cx: &Context,
    ) -> ComponentResult {
        let AtEnd { highest, at } = std::mem::take(state);
        let price = highest.price();
        let too = at.into_iter().filter(|bid| bid.price == price);
        highest.bids.into_iter().chain(too).for_each(|bid| out.emit(bid));
        cx.forget_key()?;
        Ok(())
    }
}
