//! Joins, last and highest ones: q3, q18, q19, q20.

use std::cmp::Reverse;

use egret::{Blob, Either};
use egret_integration::nexmark::event::{Auction, Bid, Event};
use egret_integration::nexmark::row::{Q3, Q18, Q19, Q20};
use hashbrown::HashMap;

use super::engine::{Told, Tuples, flat_map, hash, keeping};

type Seller = (u64, Blob, Blob, Blob);

pub(super) fn q3(events: Tuples<'_, Event>) -> Tuples<'_, Q3> {
    type Side = Either<(u64, u64), Seller>;
    let wanted = flat_map(events, |event, give: &mut dyn FnMut(Side)| match event {
        Event::Auction(a) if a.category == 10 => give(Either::Left((a.seller, a.id))),
        Event::Person(p) if [&b"OR"[..], b"ID", b"CA"].contains(&&p.state[..]) => {
            give(Either::Right((p.id, p.name, p.city, p.state)));
        }
        _ => {}
    });
    let key = |side: &Side| match side {
        Either::Left((seller, _)) => hash(*seller),
        Either::Right((id, ..)) => hash(*id),
    };
    type Known = (Option<(Blob, Blob, Blob)>, Vec<u64>);
    let mut known: HashMap<u64, Known> = HashMap::new();
    keeping(wanted, key, move |told, out| {
        let Told::Tuple(side) = told else { return };
        let row = |(name, city, state): &(Blob, Blob, Blob), auction| {
            let (name, city, state) = (name.clone(), city.clone(), state.clone());
            Q3 { name, city, state, auction }
        };
        match side {
            Either::Left((seller, auction)) => {
                let (person, waiting) = known.entry(seller).or_default();
                match person {
                    Some(person) => out.push(row(person, auction)),
                    None => waiting.push(auction),
                }
            }
            Either::Right((id, name, city, state)) => {
                let (person, waiting) = known.entry(id).or_default();
                let new = (name, city, state);
                out.extend(waiting.drain(..).map(|auction| row(&new, auction)));
                *person = Some(new);
            }
        }
    })
}

fn bids(events: Tuples<'_, Event>) -> Tuples<'_, Bid> {
    flat_map(events, |event, give: &mut dyn FnMut(Bid)| {
        if let Event::Bid(bid) = event {
            give(bid);
        }
    })
}

pub(super) fn q18(events: Tuples<'_, Event>) -> Tuples<'_, Q18> {
    let key = |bid: &Bid| bid.bidder << 32 | bid.auction;
    let mut last: HashMap<u64, (Q18, bool)> = HashMap::new();
    let mut changed = Vec::new();
    keeping(
        bids(events),
        move |bid| hash(key(bid)),
        move |told, out| match told {
            Told::Tuple(bid) => {
                let of = key(&bid);
                let Bid { auction, bidder, price, channel, url, at, extra } = bid;
                let row = Q18 { auction, bidder, price, channel, url, at, extra };
                match last.get_mut(&of) {
                    Some((last, is_told)) => {
                        if row.at >= last.at {
                            *last = row;
                            if std::mem::take(is_told) {
                                changed.push(of);
                            }
                        }
                    }
                    None => {
                        last.insert(of, (row, false));
                        changed.push(of);
                    }
                }
            }
            Told::Passed(_) => {
                for of in changed.drain(..) {
                    if let Some((row, is_told)) = last.get_mut(&of) {
                        *is_told = true;
                        out.push(row.clone());
                    }
                }
            }
        },
    )
}

pub(super) fn q19(events: Tuples<'_, Event>) -> Tuples<'_, Q19> {
    let mut highest: HashMap<u64, (Vec<Bid>, bool)> = HashMap::new();
    let mut changed = Vec::new();
    keeping(
        bids(events),
        |bid| hash(bid.auction),
        move |told, out| match told {
            Told::Tuple(bid) => {
                let auction = bid.auction;
                let (bids, is_changed) = highest.entry(auction).or_default();
                let rank = |bid: &Bid| (Reverse(bid.price), bid.at);
                let place = bids.partition_point(|other| rank(other) <= rank(&bid));
                if place < 10 {
                    bids.truncate(9);
                    bids.insert(place, bid);
                    if !std::mem::replace(is_changed, true) {
                        changed.push(auction);
                    }
                }
            }
            Told::Passed(_) => {
                for auction in changed.drain(..) {
                    if let Some((bids, is_changed)) = highest.get_mut(&auction) {
                        *is_changed = false;
                        out.push(Q19 { auction, bids: bids.clone() });
                    }
                }
            }
        },
    )
}

fn expanded(bid: Bid, auction: &Auction) -> Q20 {
    let a = auction.clone();
    let Bid { auction, bidder, price, channel, url, at, extra } = bid;
    Q20 {
        auction,
        bidder,
        price,
        channel,
        url,
        at,
        extra,
        item: a.item,
        description: a.description,
        initial: a.initial,
        reserve: a.reserve,
        opened: a.at,
        expires: a.expires,
        seller: a.seller,
        category: a.category,
        auction_extra: a.extra,
    }
}

pub(super) fn q20(events: Tuples<'_, Event>) -> Tuples<'_, Q20> {
    type Side = Either<Bid, Auction>;
    let both = flat_map(events, |event, give: &mut dyn FnMut(Side)| match event {
        Event::Bid(bid) => give(Either::Left(bid)),
        Event::Auction(auction) => give(Either::Right(*auction)),
        _ => {}
    });
    let key = |side: &Side| match side {
        Either::Left(bid) => hash(bid.auction),
        Either::Right(auction) => hash(auction.id),
    };
    enum Known {
        Not(Vec<Bid>),
        Other,
        Wanted(Auction),
    }
    let mut known: HashMap<u64, Known> = HashMap::new();
    keeping(both, key, move |told, out| {
        let Told::Tuple(side) = told else { return };
        match side {
            Either::Left(bid) => {
                match known.entry(bid.auction).or_insert_with(|| Known::Not(Vec::new())) {
                    Known::Not(waiting) => waiting.push(bid),
                    Known::Other => {}
                    Known::Wanted(auction) => out.push(expanded(bid, auction)),
                }
            }
            Either::Right(auction) => {
                let id = auction.id;
                let is_wanted = auction.category == 10;
                if let Some(Known::Not(waiting)) = known.remove(&id)
                    && is_wanted
                {
                    out.extend(waiting.into_iter().map(|bid| expanded(bid, &auction)));
                }
                known.insert(id, if is_wanted { Known::Wanted(auction) } else { Known::Other });
            }
        }
    })
}
