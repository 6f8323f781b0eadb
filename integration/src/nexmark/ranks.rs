//! The last, and the highest ones, of a key: q18 and q19.

use egret::component::{ComponentResult, Context};
use egret::{Emitter, KeyedBolt, Stream};
use serde::{Deserialize, Serialize};

use super::event::{Bid, Event};
use super::row::{Q18, Q19};
use super::stateless::each_bid;

/// Keeps the latest of a key, and tells of it when the commit closes.
struct Last;

impl KeyedBolt<u64, Q18, Q18> for Last {
    type State = Option<Q18>;

    fn execute(
        &mut self,
        _: &u64,
        last: &mut Option<Q18>,
        bid: Q18,
        _: &mut Emitter<Q18>,
        _: &Context,
    ) -> ComponentResult {
        if last.as_ref().is_none_or(|last| bid.at >= last.at) {
            *last = Some(bid);
        }
        Ok(())
    }

    fn flush(
        &mut self,
        _: &u64,
        last: &mut Option<Q18>,
        out: &mut Emitter<Q18>,
        _: &Context,
    ) -> ComponentResult {
        last.iter().for_each(|last| out.emit(last.clone()));
        Ok(())
    }
}

/// The last bid of each bidder for each auction.
pub(super) fn q18(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q18>> {
    let bids = each_bid(events, tasks, |bid| {
        let Bid { auction, bidder, price, channel, url, at, extra } = bid;
        Some(Q18 { auction, bidder, price, channel, url, at, extra })
    })?;
    bids.fields_by(|bid| bid.bidder << 32 | bid.auction).keyed("last", tasks, || Last)
}

/// How many.
const TOP: usize = 10;

/// The highest bids for an auction, the highest first, and whether nobody was told of them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Highest {
    bids: Vec<Bid>,
    is_new: bool,
}

struct Top;

impl KeyedBolt<u64, Bid, Q19> for Top {
    type State = Highest;

    fn execute(
        &mut self,
        _: &u64,
        highest: &mut Highest,
        bid: Bid,
        _: &mut Emitter<Q19>,
        _: &Context,
    ) -> ComponentResult {
        let Highest { bids, is_new } = highest;
        let rank = |bid: &Bid| (std::cmp::Reverse(bid.price), bid.at);
        let place = bids.partition_point(|other| rank(other) <= rank(&bid));
        if place < TOP {
            bids.truncate(TOP - 1);
            bids.insert(place, bid);
            *is_new = true;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        auction: &u64,
        highest: &mut Highest,
        out: &mut Emitter<Q19>,
        _: &Context,
    ) -> ComponentResult {
        if std::mem::take(&mut highest.is_new) {
            out.emit(Q19 { auction: *auction, bids: highest.bids.clone() });
        }
        Ok(())
    }
}

/// The ten highest bids for each auction.
pub(super) fn q19(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q19>> {
    let bids = events.local_or_shuffle().bolt("bids", tasks, || {
        |event: Event, out: &mut Emitter<Bid>| {
            if let Event::Bid(bid) = event {
                out.emit(bid);
            }
        }
    })?;
    bids.fields(|bid| &bid.auction).keyed("top", tasks, || Top)
}
