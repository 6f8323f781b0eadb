//! Queries that look at one bid at a time: q0, q1, q2, q14, q21 and q22.

use egret::{Blob, Emitter, Stream};

use super::event::{Bid, Event};
use super::row::{Decimal, Q0, Q1, Q2, Q14, Q21, Q22, Row};

/// What `of` makes of every bid.
pub(super) fn each_bid<R: Row>(
    events: &Stream<Event>,
    tasks: u32,
    of: fn(Bid) -> Option<R>,
) -> egret::Result<Stream<R>> {
    events.local_or_shuffle().bolt("bids", tasks, move || {
        move |event: Event, out: &mut Emitter<R>| {
            if let Event::Bid(bid) = event
                && let Some(row) = of(bid)
            {
                out.emit(row);
            }
        }
    })
}

/// Every bid.
pub fn q0(bid: Bid) -> Option<Q0> {
    let Bid { auction, bidder, price, at, extra, .. } = bid;
    Some(Q0 { auction, bidder, price, at, extra })
}

/// Every bid in euros.
pub fn q1(bid: Bid) -> Option<Q1> {
    let Bid { auction, bidder, price, at, extra, .. } = bid;
    Some(Q1 { auction, bidder, price: Decimal::euros(price), at, extra })
}

/// Bids for every 123rd auction.
pub fn q2(bid: Bid) -> Option<Q2> {
    bid.auction.is_multiple_of(123).then_some(Q2 { auction: bid.auction, price: bid.price })
}

/// Bids of more than a million and less than fifty million, the time of day, and how many `c` there are.
pub fn q14(bid: Bid) -> Option<Q14> {
    let Bid { auction, bidder, price, at, extra, .. } = bid;
    let price = Decimal::euros(price);
    if !(1_000_000_001..50_000_000_000).contains(&price.0) {
        return None;
    }
    let when = match at.div_euclid(3_600_000).rem_euclid(24) {
        8..=18 => "dayTime",
        7 | 19 => "otherTime",
        _ => "nightTime",
    };
    let cs = extra.iter().map(|byte| u64::from(*byte == b'c')).sum();
    Some(Q14 { auction, bidder, price, when: Blob::from(when), at, extra, cs })
}

/// Bids with a number for their channel: of four well-known ones, or as the address says.
pub fn q21(bid: Bid) -> Option<Q21> {
    let Bid { auction, bidder, price, channel, url, .. } = bid;
    let known = [&b"apple"[..], b"google", b"facebook", b"baidu"];
    let channel_id = match known.iter().position(|known| channel.eq_ignore_ascii_case(known)) {
        Some(number) => Blob::from(&b"0123"[number..=number]),
        None => Blob::from(channel_id(&url)?),
    };
    Some(Q21 { auction, bidder, price, channel, channel_id })
}

/// What stands behind `channel_id=`, at the beginning or after a `&`.
fn channel_id(url: &[u8]) -> Option<&[u8]> {
    url.split(|byte| *byte == b'&').find_map(|part| part.strip_prefix(b"channel_id="))
}

/// Bids with the first three directories of their page's address.
pub fn q22(bid: Bid) -> Option<Q22> {
    let Bid { auction, bidder, price, channel, url, .. } = bid;
    let mut parts = url.split(|byte| *byte == b'/').skip(3);
    let mut part = || Blob::from(parts.next().unwrap_or_default());
    let (one, two, three) = (part(), part(), part());
    Some(Q22 { auction, bidder, price, channel, one, two, three })
}
