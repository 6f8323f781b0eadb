//! Windows of a key: q8 and q11.

use std::time::Duration;

use egret::window::{Aggregate, Firing, Sessions, Tumbling};
use egret::{Blob, Either, Emitter, Stream, Tuple};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::row::{Q8, Q11};

/// Somebody who came.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Came {
    id: u64,
    at: i64,
    name: Blob,
}

impl Tuple for Came {}

/// Seller and time.
type Sold = (u64, i64);

/// The name of who came, and whether something was put up.
#[derive(Debug, Clone)]
struct Both;

impl Aggregate<Either<Came, Sold>> for Both {
    type Acc = (Option<Blob>, bool);
    type Out = Option<Blob>;

    fn init(&self, tuple: Either<Came, Sold>) -> Self::Acc {
        let mut acc = (None, false);
        self.add(&mut acc, tuple);
        acc
    }

    fn add(&self, (name, sold): &mut Self::Acc, tuple: Either<Came, Sold>) {
        match tuple {
            Either::Left(came) => *name = Some(came.name),
            Either::Right(_) => *sold = true,
        }
    }

    fn merge(&self, (name, sold): &mut Self::Acc, (later, too): &Self::Acc) {
        if name.is_none() {
            name.clone_from(later);
        }
        *sold |= too;
    }

    fn result(&self, (name, sold): &Self::Acc) -> Option<Blob> {
        name.clone().filter(|_| *sold)
    }
}

/// Who came and put something up in the same ten seconds.
pub(super) fn q8(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q8>> {
    let both = events.local_or_shuffle().bolt("both", tasks, || {
        |event: Event, out: &mut Emitter<Either<Came, Sold>>| match event {
            Event::Person(p) => out.emit(Either::Left(Came { id: p.id, at: p.at, name: p.name })),
            Event::Auction(a) => out.emit(Either::Right((a.seller, a.at))),
            Event::Bid(_) | Event::End(_) => {}
        }
    })?;
    let (came, sold) = both.split();
    let by_person = came.fields(|came| &came.id).join(sold.fields(|(seller, _)| seller))?;
    by_person
        .window(Tumbling::of(Duration::from_secs(10)))
        .event_time(|tuple| match tuple {
            Either::Left(came) => came.at,
            Either::Right((_, at)) => *at,
        })
        .aggregate_with("both-sides", tasks, Both, |person: &u64, firing: Firing, name| {
            let (person, start) = (*person, firing.window.start_ms);
            name.map(|name| Q8 { person, name, start })
        })
}

/// The gap that ends a session, in ms. One that is reached and not passed does not end it.
const GAP_MS: i64 = 10_000;

/// How many bids each session of a bidder has.
pub(super) fn q11(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q11>> {
    let bids = events.local_or_shuffle().bolt("bids", tasks, || {
        |event: Event, out: &mut Emitter<(u64, i64)>| {
            if let Event::Bid(bid) = event {
                out.emit((bid.bidder, bid.at));
            }
        }
    })?;
    bids.fields(|(bidder, _)| bidder)
        .window(Sessions::with_gap(Duration::from_millis(GAP_MS.unsigned_abs() + 1)))
        .event_time(|(_, at)| *at)
        .aggregate_with(
            "sessions",
            tasks,
            egret::window::Count,
            |bidder: &u64, firing: Firing, bids| {
                let (start, end) = (firing.window.start_ms, firing.window.end_ms - 1);
                Some(Q11 { bidder: *bidder, bids, start, end })
            },
        )
}
