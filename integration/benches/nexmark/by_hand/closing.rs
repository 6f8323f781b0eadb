//! Auctions that close: q4 and q9.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use egret::Either;
use egret_integration::nexmark::event::{Auction, Bid, Event};
use egret_integration::nexmark::row::{Q4, Q9, Won};
use hashbrown::HashMap;
use timely::ExchangeData;

use super::engine::{Told, Tuples, flat_map, hash, keeping};

/// An auction's number, times, and what is kept of it.
type Opened<A> = (u64, i64, i64, A);

/// For what a bid is, its time, and what is kept of it.
type Offered<B> = (u64, i64, B);

enum Known<A, B> {
    Early(Vec<Offered<B>>),
    Open(Opened<A>, Option<B>),
    Closed,
}

/// How long a closed auction is remembered.
const REMEMBERED_MS: i64 = 60_000;

/// Auctions with the greatest of the bids that count.
fn closed<A: ExchangeData + Clone, B: ExchangeData + Clone + Ord>(
    events: Tuples<'_, Event>,
    auction_of: fn(Auction) -> A,
    bid_of: fn(Bid) -> B,
) -> Tuples<'_, (A, B)> {
    type Side<A, B> = Either<Offered<B>, Opened<A>>;
    let both = flat_map(events, move |event, give: &mut dyn FnMut(Side<A, B>)| match event {
        Event::Bid(bid) => give(Either::Left((bid.auction, bid.at, bid_of(bid)))),
        Event::Auction(a) => give(Either::Right((a.id, a.at, a.expires, auction_of(*a)))),
        _ => {}
    });
    let key = |side: &Side<A, B>| match side {
        Either::Left((auction, ..)) => hash(*auction),
        Either::Right((id, ..)) => hash(*id),
    };
    let mut known: HashMap<u64, Known<A, B>> = HashMap::new();
    // When which auction closes, is forgotten, or was waited for in vain.
    let mut due = BinaryHeap::new();
    keeping(both, key, move |told, out| match told {
        Told::Tuple(Either::Left((auction, at, bid))) => {
            match known.entry(auction).or_insert_with(|| Known::Early(Vec::new())) {
                Known::Early(waiting) => {
                    due.push(Reverse((at + 1, auction)));
                    waiting.push((auction, at, bid));
                }
                Known::Open((_, opened, expires, _), best) => {
                    let counts = at >= *opened && at <= *expires;
                    if counts && best.as_ref().is_none_or(|best| bid > *best) {
                        *best = Some(bid);
                    }
                }
                Known::Closed => {}
            }
        }
        Told::Tuple(Either::Right(opened)) => {
            let (id, at, expires, _) = opened;
            let mut best = None;
            if let Some(Known::Early(waiting)) = known.remove(&id) {
                let count = waiting.into_iter().filter(|(_, t, _)| *t >= at && *t <= expires);
                best = count.map(|(.., bid)| bid).max();
            }
            due.push(Reverse((expires + 1, id)));
            known.insert(id, Known::Open(opened, best));
        }
        Told::Passed(ms) => {
            while let Some(Reverse((at, id))) = due.peek().copied()
                && at <= ms
            {
                due.pop();
                match known.remove(&id) {
                    Some(Known::Open((_, _, expires, kept), best)) if expires < ms => {
                        out.extend(best.map(|bid| (kept, bid)));
                        due.push(Reverse((expires.saturating_add(REMEMBERED_MS), id)));
                        known.insert(id, Known::Closed);
                    }
                    Some(Known::Early(mut waiting)) => {
                        waiting.retain(|(_, at, _)| *at >= ms);
                        if !waiting.is_empty() {
                            known.insert(id, Known::Early(waiting));
                        }
                    }
                    Some(open @ Known::Open(..)) => drop(known.insert(id, open)),
                    Some(Known::Closed) | None => {}
                }
            }
        }
    })
}

pub(super) fn q4(events: Tuples<'_, Event>) -> Tuples<'_, Q4> {
    let closed = closed(events, |auction| auction.category, |bid| bid.price);
    let mut sums: HashMap<u64, (u64, u64, bool)> = HashMap::new();
    keeping(
        closed,
        |(category, _)| hash(*category),
        move |told, out| match told {
            Told::Tuple((category, price)) => {
                let (sum, count, is_new) = sums.entry(category).or_default();
                *sum += price;
                *count += 1;
                *is_new = true;
            }
            Told::Passed(_) => {
                for (category, (sum, count, is_new)) in &mut sums {
                    if std::mem::take(is_new) {
                        out.push(Q4 { category: *category, average: *sum / *count });
                    }
                }
            }
        },
    )
}

/// Price, the earlier first, bidder and the rest.
type Offer = (u64, Reverse<i64>, u64, egret::Blob);

pub(super) fn q9(events: Tuples<'_, Event>) -> Tuples<'_, Q9> {
    let bid_of = |bid: Bid| -> Offer { (bid.price, Reverse(bid.at), bid.bidder, bid.extra) };
    let closed = closed(events, |auction| auction, bid_of);
    flat_map(closed, |(auction, (price, Reverse(at), bidder, extra)), give: &mut dyn FnMut(Q9)| {
        give(Q9 { auction, bid: Won { bidder, price, at, extra } });
    })
}
