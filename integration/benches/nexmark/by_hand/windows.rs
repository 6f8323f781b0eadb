//! Windows: q5, q7, q8 and q11.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use egret::{Blob, Either};
use egret_integration::nexmark::event::{Bid, Event};
use egret_integration::nexmark::row::{Q5, Q7, Q8, Q11};
use hashbrown::HashMap;
use timely::dataflow::channels::pact::Pipeline;

use super::engine::{Told, Tuples, flat_map, hash, keeping, keeping_by};

const SIZE_MS: i64 = 10_000;
const SLIDE_MS: i64 = 2000;

/// A window's end, the largest count, and whose it is.
type Most = (i64, u64, Vec<u64>);

fn merge(into: &mut (u64, Vec<u64>), most: u64, keys: impl IntoIterator<Item = u64>) {
    if most > into.0 {
        *into = (most, Vec::new());
    }
    if most == into.0 {
        into.1.extend(keys);
    }
}

pub(super) fn q5(events: Tuples<'_, Event>) -> Tuples<'_, Q5> {
    let bids = flat_map(events, |event, give: &mut dyn FnMut((u64, i64))| {
        if let Event::Bid(bid) = event {
            give((bid.auction, bid.at));
        }
    });
    let mut slices: BTreeMap<i64, HashMap<u64, u64>> = BTreeMap::new();
    let mut running: HashMap<u64, u64> = HashMap::new();
    let mut end = None;
    let most = keeping(
        bids,
        |(auction, _)| hash(*auction),
        move |told, out| match told {
            Told::Tuple((auction, at)) => {
                let slice = slices.entry(at.div_euclid(SLIDE_MS) * SLIDE_MS).or_default();
                *slice.entry(auction).or_default() += 1;
            }
            Told::Passed(ms) => {
                // Windows end one slide after another, as long as there is something in one.
                while let Some(first) = slices.keys().next() {
                    let next: i64 = end.map_or(first + SLIDE_MS, |end: i64| end + SLIDE_MS);
                    if next > ms {
                        break;
                    }
                    end = Some(next);
                    for (auction, n) in slices.get(&(next - SLIDE_MS)).into_iter().flatten() {
                        *running.entry(*auction).or_default() += n;
                    }
                    let mut most = (0, Vec::new());
                    running.iter().for_each(|(auction, n)| merge(&mut most, *n, [*auction]));
                    if most.0 > 0 {
                        out.push((next, most.0, most.1));
                    }
                    for (auction, n) in slices.remove(&(next - SIZE_MS)).into_iter().flatten() {
                        if let Some(running_n) = running.get_mut(&auction) {
                            *running_n -= n;
                            if *running_n == 0 {
                                running.remove(&auction);
                            }
                        }
                    }
                }
            }
        },
    );
    let mut windows: BTreeMap<i64, (u64, Vec<u64>)> = BTreeMap::new();
    keeping(
        most,
        |_: &Most| 0,
        move |told, out| match told {
            Told::Tuple((end, most, auctions)) => {
                merge(windows.entry(end).or_default(), most, auctions);
            }
            Told::Passed(ms) => {
                while let Some(first) = windows.first_entry()
                    && *first.key() <= ms
                {
                    let (bids, auctions) = first.remove();
                    out.extend(auctions.into_iter().map(|auction| Q5 { auction, bids }));
                }
            }
        },
    )
}

/// The highest bids before an end, or one at it.
type Part = (i64, bool, Vec<Q7>);

fn put(highest: &mut Vec<Q7>, bid: Q7) {
    let price = highest.first().map_or(0, |bid| bid.price);
    if bid.price > price {
        highest.clear();
    }
    if bid.price >= price {
        highest.push(bid);
    }
}

pub(super) fn q7(events: Tuples<'_, Event>) -> Tuples<'_, Q7> {
    // Each worker looks at its own bids first.
    let mut own: BTreeMap<i64, Vec<Q7>> = BTreeMap::new();
    let parts = keeping_by(events, Pipeline, move |told, out: &mut Vec<Part>| match told {
        Told::Tuple(Event::Bid(bid)) => {
            let Bid { auction, bidder, price, at, extra, .. } = bid;
            let highest = own.entry(at.div_euclid(SIZE_MS) * SIZE_MS + SIZE_MS).or_default();
            let is_first_ms = at % SIZE_MS == 0;
            if is_first_ms || highest.first().is_none_or(|first| first.price <= price) {
                let bid = Q7 { auction, price, bidder, at, extra };
                if is_first_ms {
                    out.push((at, true, vec![bid.clone()]));
                }
                put(highest, bid);
            }
        }
        Told::Tuple(_) => {}
        Told::Passed(ms) => {
            while let Some(first) = own.first_entry()
                && *first.key() <= ms
            {
                let (end, bids) = first.remove_entry();
                out.push((end, false, bids));
            }
        }
    });
    let mut windows: BTreeMap<i64, (Vec<Q7>, Vec<Q7>)> = BTreeMap::new();
    keeping(
        parts,
        |(end, ..)| hash(end.cast_unsigned()),
        move |told, out| match told {
            Told::Tuple((end, is_at_end, bids)) => {
                let (highest, at_end) = windows.entry(end).or_default();
                match is_at_end {
                    true => at_end.extend(bids),
                    false => bids.into_iter().for_each(|bid| put(highest, bid)),
                }
            }
            Told::Passed(ms) => {
                while let Some(first) = windows.first_entry()
                    && *first.key() < ms
                {
                    let (highest, at_end) = first.remove();
                    let price = highest.first().map_or(0, |bid| bid.price);
                    out.extend(highest);
                    out.extend(at_end.into_iter().filter(|bid| bid.price == price));
                }
            }
        },
    )
}

/// Who came, with a name, or who put something up; and when.
type Side = Either<(u64, i64, Blob), (u64, i64)>;

pub(super) fn q8(events: Tuples<'_, Event>) -> Tuples<'_, Q8> {
    let both = flat_map(events, |event, give: &mut dyn FnMut(Side)| match event {
        Event::Person(p) => give(Either::Left((p.id, p.at, p.name))),
        Event::Auction(a) => give(Either::Right((a.seller, a.at))),
        _ => {}
    });
    let key = |side: &Side| match side {
        Either::Left((id, ..)) | Either::Right((id, _)) => hash(*id),
    };
    let mut windows: BTreeMap<i64, HashMap<u64, (Option<Blob>, bool)>> = BTreeMap::new();
    keeping(both, key, move |told, out| match told {
        Told::Tuple(side) => {
            let (id, at) = match &side {
                Either::Left((id, at, _)) | Either::Right((id, at)) => (*id, *at),
            };
            let window = windows.entry(at.div_euclid(SIZE_MS) * SIZE_MS).or_default();
            let (name, sold) = window.entry(id).or_default();
            match side {
                Either::Left((.., new)) => *name = Some(new),
                Either::Right(_) => *sold = true,
            }
        }
        Told::Passed(ms) => {
            while let Some(first) = windows.first_entry()
                && *first.key() <= ms.saturating_sub(SIZE_MS)
            {
                let (start, people) = first.remove_entry();
                for (person, (name, sold)) in people {
                    let name = name.filter(|_| sold);
                    out.extend(name.map(|name| Q8 { person, name, start }));
                }
            }
        }
    })
}

/// Start, last bid, and how many.
type Session = (i64, i64, u64);

pub(super) fn q11(events: Tuples<'_, Event>) -> Tuples<'_, Q11> {
    let bids = flat_map(events, |event, give: &mut dyn FnMut((u64, i64))| {
        if let Event::Bid(bid) = event {
            give((bid.bidder, bid.at));
        }
    });
    let mut waiting: Vec<(i64, u64)> = Vec::new();
    let mut open: HashMap<u64, Session> = HashMap::new();
    let mut due = BinaryHeap::new();
    let row = |bidder, (start, last, bids)| Q11 { bidder, bids, start, end: last + SIZE_MS };
    keeping(
        bids,
        |(bidder, _)| hash(*bidder),
        move |told, out| match told {
            Told::Tuple((bidder, at)) => waiting.push((at, bidder)),
            Told::Passed(ms) => {
                // Bids of two workers come by turns.
                waiting.sort_unstable();
                let passed = waiting.partition_point(|(at, _)| *at < ms);
                for (at, bidder) in waiting.drain(..passed) {
                    match open.get_mut(&bidder) {
                        Some((_, last, bids)) if at - *last <= SIZE_MS => {
                            *last = at;
                            *bids += 1;
                            continue;
                        }
                        Some(session) => {
                            out.push(row(bidder, std::mem::replace(session, (at, at, 1))))
                        }
                        None => drop(open.insert(bidder, (at, at, 1))),
                    }
                    due.push(Reverse((at + SIZE_MS, bidder)));
                }
                while let Some(Reverse((end, bidder))) = due.peek().copied()
                    && end < ms
                {
                    due.pop();
                    let Some(session) = open.get(&bidder).copied() else { continue };
                    if session.1 + SIZE_MS < ms {
                        open.remove(&bidder);
                        out.push(row(bidder, session));
                    } else if session.1 + SIZE_MS > end {
                        due.push(Reverse((session.1 + SIZE_MS, bidder)));
                    }
                }
            }
        },
    )
}
