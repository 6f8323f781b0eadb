//! Numbers of a day: q15, q16 and q17.

use egret::Blob;
use egret_integration::nexmark::event::{Bid, Event};
use egret_integration::nexmark::row::{Day, Minute, Q15, Q16, Q17};
use hashbrown::{HashMap, HashSet};

use super::engine::{Told, Tuples, flat_map, hash, keeping};

type Numbers = [u64; 4];

fn rank(price: u64) -> u8 {
    u8::from(price >= 10_000) + u8::from(price >= 1_000_000)
}

fn count(numbers: &mut Numbers, rank: usize) {
    numbers[0] += 1;
    numbers[1 + rank] += 1;
}

fn count_new(seen: &mut u8, rank: usize, numbers: &mut Numbers) {
    numbers[0] += u64::from(*seen == 0);
    numbers[1 + rank] += u64::from(*seen & 1 << rank == 0);
    *seen |= 1 << rank;
}

/// Day, number, whether it is an auction's, and the rank of the price.
type Mention = (i64, u64, bool, u8);

/// Bids, bidders and auctions.
type All = [Numbers; 3];

pub(super) fn q15(events: Tuples<'_, Event>) -> Tuples<'_, Q15> {
    let mentions = flat_map(events, |event, give: &mut dyn FnMut(Mention)| {
        if let Event::Bid(bid) = event {
            let (day, rank) = (Day::of(bid.at).0, rank(bid.price));
            give((day, bid.bidder, false, rank));
            give((day, bid.auction, true, rank));
        }
    });
    let mut seen: HashMap<(i64, u64, bool), u8> = HashMap::new();
    let mut new: HashMap<i64, All> = HashMap::new();
    let key = |(_, id, is_auction, _): &Mention| hash(id << 1 | u64::from(*is_auction));
    let parts = keeping(mentions, key, move |told, out| match told {
        Told::Tuple((day, id, is_auction, rank)) => {
            let [bids, bidders, auctions] = new.entry(day).or_default();
            let seen = seen.entry((day, id, is_auction)).or_default();
            let rank = usize::from(rank);
            if is_auction {
                count_new(seen, rank, auctions);
            } else {
                count(bids, rank);
                count_new(seen, rank, bidders);
            }
        }
        Told::Passed(_) => out.extend(new.drain()),
    });
    let mut days: HashMap<i64, All> = HashMap::new();
    let mut changed = HashSet::new();
    keeping(
        parts,
        |(day, _)| hash(day.cast_unsigned()),
        move |told, out| match told {
            Told::Tuple((day, more)) => {
                let sums = days.entry(day).or_default().iter_mut().flatten();
                sums.zip(more.iter().flatten()).for_each(|(sum, more)| *sum += more);
                changed.insert(day);
            }
            Told::Passed(_) => {
                for day in changed.drain() {
                    let [bids, bidders, auctions] = days[&day];
                    out.push(Q15 { day: Day(day), bids, bidders, auctions });
                }
            }
        },
    )
}

/// Channel, auction, bidder, time and price.
type Sent = (Blob, u64, u64, i64, u64);

#[derive(Default)]
struct Channel {
    minute: i64,
    all: All,
    bidders: HashMap<u64, u8>,
    auctions: HashMap<u64, u8>,
    is_new: bool,
}

pub(super) fn q16(events: Tuples<'_, Event>) -> Tuples<'_, Q16> {
    let sent = flat_map(events, |event, give: &mut dyn FnMut(Sent)| {
        if let Event::Bid(bid) = event {
            let Bid { channel, auction, bidder, at, price, .. } = bid;
            give((channel, auction, bidder, at, price));
        }
    });
    let mut channels: HashMap<(Blob, i64), Channel> = HashMap::new();
    let mut changed = Vec::new();
    let key = |(channel, ..): &Sent| egret_schemas::key::hash(channel);
    keeping(sent, key, move |told, out| match told {
        Told::Tuple((channel, auction, bidder, at, price)) => {
            let of = (channel, Day::of(at).0);
            let state = match channels.get_mut(&of) {
                Some(state) => state,
                None => channels.entry(of.clone()).or_default(),
            };
            let rank = usize::from(rank(price));
            let [bids, bidders, auctions] = &mut state.all;
            state.minute = state.minute.max(Minute::of(at).0);
            count(bids, rank);
            count_new(state.bidders.entry(bidder).or_default(), rank, bidders);
            count_new(state.auctions.entry(auction).or_default(), rank, auctions);
            if !std::mem::replace(&mut state.is_new, true) {
                changed.push(of);
            }
        }
        Told::Passed(_) => {
            for of in changed.drain(..) {
                let Some(state) = channels.get_mut(&of) else { continue };
                state.is_new = false;
                let ([bids, bidders, auctions], (channel, day)) = (state.all, of);
                let (day, minute) = (Day(day), Minute(state.minute));
                out.push(Q16 { channel, day, minute, bids, bidders, auctions });
            }
        }
    })
}

#[derive(Default)]
struct Prices {
    bids: Numbers,
    least: u64,
    most: u64,
    sum: u64,
    is_new: bool,
}

pub(super) fn q17(events: Tuples<'_, Event>) -> Tuples<'_, Q17> {
    let priced = flat_map(events, |event, give: &mut dyn FnMut((u64, u64, i64))| {
        if let Event::Bid(bid) = event {
            give((bid.auction, bid.price, bid.at));
        }
    });
    let mut auctions: HashMap<(u64, i64), Prices> = HashMap::new();
    let mut changed = Vec::new();
    keeping(
        priced,
        |(auction, ..)| hash(*auction),
        move |told, out| match told {
            Told::Tuple((auction, price, at)) => {
                let of = (auction, Day::of(at).0);
                let prices = auctions
                    .entry(of)
                    .or_insert_with(|| Prices { least: u64::MAX, ..Prices::default() });
                count(&mut prices.bids, usize::from(rank(price)));
                prices.least = prices.least.min(price);
                prices.most = prices.most.max(price);
                prices.sum += price;
                if !std::mem::replace(&mut prices.is_new, true) {
                    changed.push(of);
                }
            }
            Told::Passed(_) => {
                for of in changed.drain(..) {
                    let Some(prices) = auctions.get_mut(&of) else { continue };
                    prices.is_new = false;
                    let Prices { bids, least, most, sum, .. } = *prices;
                    let (auction, day) = (of.0, Day(of.1));
                    out.push(Q17 { auction, day, bids, least, most, average: sum / bids[0], sum });
                }
            }
        },
    )
}
