//! Numbers of a day, with distinct bidders and auctions: q15, q16 and q17.

use egret::component::{ComponentResult, Context};
use egret::{Blob, Emitter, KeyedBolt, MapState, Stream, Tuple, Value, state};
use serde::{Deserialize, Serialize};

use super::event::{Bid, Event};
use super::row::{Day, Minute, Q15, Q16, Q17};

/// Which rank a price has: below ten thousand, a million, or above.
fn rank(price: u64) -> u8 {
    u8::from(price >= 10_000) + u8::from(price >= 1_000_000)
}

/// Of all, and of each rank.
type Numbers = [u64; 4];

fn count(numbers: &mut Numbers, rank: usize) {
    numbers[0] += 1;
    numbers[1 + rank] += 1;
}

/// Notes that a thing was seen with this rank; counts it where it was not before.
fn count_new(seen: &mut u8, rank: usize, numbers: &mut Numbers) {
    if *seen == 0 {
        numbers[0] += 1;
    }
    if *seen & 1 << rank == 0 {
        numbers[1 + rank] += 1;
        *seen |= 1 << rank;
    }
}

fn add(numbers: &mut Numbers, more: &Numbers) {
    numbers.iter_mut().zip(more).for_each(|(number, more)| *number += more);
}

/// Which bidder or auction a bid of a day says something of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Mention {
    day: i64,
    id: u64,
    is_auction: bool,
    rank: u8,
}

impl Tuple for Mention {}

impl Mention {
    /// One number for what is mentioned on a day.
    fn key(&self) -> u64 {
        self.day.cast_unsigned() << 40 | self.id << 1 | u64::from(self.is_auction)
    }
}

/// What came since the last commit.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct More {
    day: i64,
    bids: Numbers,
    bidders: Numbers,
    auctions: Numbers,
}

impl Tuple for More {}

/// Of one bidder or auction and day: the ranks it was seen with, and what nobody was told of yet.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    ranks: u8,
    more: More,
}

/// Tells of what is new of a bidder or auction once in a commit, so that the day has few to add up.
struct Distinct;

impl KeyedBolt<u64, Mention, More> for Distinct {
    type State = Seen;

    fn execute(
        &mut self,
        _: &u64,
        seen: &mut Seen,
        mention: Mention,
        _: &mut Emitter<More>,
        _: &Context,
    ) -> ComponentResult {
        let rank = usize::from(mention.rank);
        seen.more.day = mention.day;
        if mention.is_auction {
            count_new(&mut seen.ranks, rank, &mut seen.more.auctions);
        } else {
            count(&mut seen.more.bids, rank);
            count_new(&mut seen.ranks, rank, &mut seen.more.bidders);
        }
        Ok(())
    }

    fn flush(
        &mut self,
        _: &u64,
        seen: &mut Seen,
        out: &mut Emitter<More>,
        _: &Context,
    ) -> ComponentResult {
        let More { bids, bidders, auctions, .. } = seen.more;
        if [bids, bidders, auctions].concat().iter().any(|number| *number > 0) {
            out.emit(std::mem::take(&mut seen.more));
        }
        Ok(())
    }
}

/// Adds up a day.
struct Days;

impl KeyedBolt<i64, More, Q15> for Days {
    type State = [Numbers; 3];

    fn execute(
        &mut self,
        _: &i64,
        [bids, bidders, auctions]: &mut [Numbers; 3],
        more: More,
        _: &mut Emitter<Q15>,
        _: &Context,
    ) -> ComponentResult {
        add(bids, &more.bids);
        add(bidders, &more.bidders);
        add(auctions, &more.auctions);
        Ok(())
    }

    fn flush(
        &mut self,
        day: &i64,
        [bids, bidders, auctions]: &mut [Numbers; 3],
        out: &mut Emitter<Q15>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(Q15 { day: Day(*day), bids: *bids, bidders: *bidders, auctions: *auctions });
        Ok(())
    }
}

/// Each day's bids, bidders and auctions.
pub(super) fn q15(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q15>> {
    let mentions = events.local_or_shuffle().bolt("mentions", tasks, || {
        |event: Event, out: &mut Emitter<Mention>| {
            if let Event::Bid(bid) = event {
                let (day, rank) = (Day::of(bid.at).0, rank(bid.price));
                out.emit(Mention { day, id: bid.bidder, is_auction: false, rank });
                out.emit(Mention { day, id: bid.auction, is_auction: true, rank });
            }
        }
    })?;
    let more = mentions.fields_by(Mention::key).keyed("distinct", tasks, || Distinct)?;
    more.fields(|more| &more.day).keyed("days", tasks, || Days)
}

/// What is needed of a bid to count it for its channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sent {
    channel: Blob,
    auction: u64,
    bidder: u64,
    at: i64,
    rank: u8,
}

impl Tuple for Sent {}

state! {
    /// Of a channel and day. Who was seen is cells: a commit writes those that changed.
    struct Channel {
        counts: Value<Counts>,
        bidders: MapState<u64, u8>,
        auctions: MapState<u64, u8>,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Counts {
    minute: Minute,
    bids: Numbers,
    bidders: Numbers,
    auctions: Numbers,
}

struct Channels;

/// The same, where what was seen is a cell, which is written when it changes only.
fn count_cell(seen: &mut MapState<u64, u8>, id: u64, rank: usize, numbers: &mut Numbers) {
    let before = seen.get(&id).copied().unwrap_or_default();
    let mut after = before;
    count_new(&mut after, rank, numbers);
    if after != before {
        seen.insert(id, after);
    }
}

/// A channel and a day.
type ChannelDay = (Vec<u8>, i64);

impl KeyedBolt<ChannelDay, Sent, Q16> for Channels {
    type State = Channel;

    fn execute(
        &mut self,
        _: &ChannelDay,
        state: &mut Channel,
        bid: Sent,
        _: &mut Emitter<Q16>,
        _: &Context,
    ) -> ComponentResult {
        let (counts, rank) = (&mut *state.counts, usize::from(bid.rank));
        counts.minute = counts.minute.max(Minute::of(bid.at));
        count(&mut counts.bids, rank);
        count_cell(&mut state.bidders, bid.bidder, rank, &mut counts.bidders);
        count_cell(&mut state.auctions, bid.auction, rank, &mut counts.auctions);
        Ok(())
    }

    fn flush(
        &mut self,
        (channel, day): &ChannelDay,
        state: &mut Channel,
        out: &mut Emitter<Q16>,
        _: &Context,
    ) -> ComponentResult {
        let Counts { minute, bids, bidders, auctions } = state.counts.clone();
        let (channel, day) = (Blob::from(&channel[..]), Day(*day));
        out.emit(Q16 { channel, day, minute, bids, bidders, auctions });
        Ok(())
    }
}

/// Each channel's bids, bidders and auctions of each day.
pub(super) fn q16(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q16>> {
    let sent = events.local_or_shuffle().bolt("sent", tasks, || {
        |event: Event, out: &mut Emitter<Sent>| {
            if let Event::Bid(bid) = event {
                let Bid { channel, auction, bidder, at, price, .. } = bid;
                out.emit(Sent { channel, auction, bidder, at, rank: rank(price) });
            }
        }
    })?;
    let key = |bid: &Sent| (bid.channel.to_vec(), Day::of(bid.at).0);
    sent.fields_by(key).keyed("channels", tasks, || Channels)
}

/// Auction, price and time.
type Priced = (u64, u64, i64);

/// Of an auction and day.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Prices {
    bids: Numbers,
    least: u64,
    most: u64,
    sum: u64,
}

struct Auctions;

/// One number for an auction and a day.
fn auction_day((auction, _, at): &Priced) -> u64 {
    *auction << 24 | Day::of(*at).0.cast_unsigned()
}

impl KeyedBolt<u64, Priced, Q17> for Auctions {
    type State = Prices;

    fn execute(
        &mut self,
        _: &u64,
        prices: &mut Prices,
        (_, price, _): Priced,
        _: &mut Emitter<Q17>,
        _: &Context,
    ) -> ComponentResult {
        let is_first = prices.bids[0] == 0;
        count(&mut prices.bids, usize::from(rank(price)));
        prices.least = if is_first { price } else { prices.least.min(price) };
        prices.most = prices.most.max(price);
        prices.sum += price;
        Ok(())
    }

    fn flush(
        &mut self,
        key: &u64,
        prices: &mut Prices,
        out: &mut Emitter<Q17>,
        _: &Context,
    ) -> ComponentResult {
        let Prices { bids, least, most, sum } = *prices;
        let (auction, day) = (key >> 24, Day((key & 0xff_ffff).cast_signed()));
        let average = sum / bids[0].max(1);
        out.emit(Q17 { auction, day, bids, least, most, average, sum });
        Ok(())
    }
}

/// Each auction's bids and prices of each day.
pub(super) fn q17(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q17>> {
    let priced = events.local_or_shuffle().bolt("priced", tasks, || {
        |event: Event, out: &mut Emitter<Priced>| {
            if let Event::Bid(bid) = event {
                out.emit((bid.auction, bid.price, bid.at));
            }
        }
    })?;
    priced.fields_by(auction_day).keyed("auctions", tasks, || Auctions)
}
