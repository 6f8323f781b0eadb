//! Auctions that close, and what they closed at: q4 and q9.
//!
//! A bid counts from its auction's first ms to that in which it expires. It may come before the auction does: by the
//! time, when it is for one that is still to be opened; in truth, when another task reads it. So early bids wait until
//! time has passed them, when their auction must have come. An auction is told of once, when time has passed its end,
//! and is remembered as closed for a while, as bids for it still come.

use std::marker::PhantomData;

use egret::component::{ComponentResult, Context};
use egret::{Either, Emitter, KeyedBolt, Stream, Timer, Tuple};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::event::{Auction, Bid, Event};
use super::row::{Q4, Q9, Won};

/// How long it is known of an auction that it is closed.
const REMEMBERED_MS: i64 = 60_000;

/// What is kept of auctions and bids, and what is said when one closes.
trait Closes: 'static {
    type Auction: Tuple;
    /// In the order of who wins: the greatest.
    type Bid: Tuple + Clone + Ord + Serialize + DeserializeOwned;
    type Out: Tuple;
    fn auction(auction: Auction) -> Self::Auction;
    fn bid(bid: Bid) -> Self::Bid;
    fn out(auction: Self::Auction, bid: Self::Bid) -> Self::Out;
}

/// An auction: its number, its times, and what is kept of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opened<A> {
    id: u64,
    at: i64,
    expires: i64,
    kept: A,
}

/// A bid: for what, when, and what is kept of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Offered<B> {
    auction: u64,
    at: i64,
    kept: B,
}

impl<A: Tuple> Tuple for Opened<A> {
    fn weight(&self) -> usize {
        size_of::<Opened<A>>() + self.kept.weight() - size_of::<A>()
    }
}

impl<B: Tuple> Tuple for Offered<B> {
    fn weight(&self) -> usize {
        size_of::<Offered<B>>() + self.kept.weight() - size_of::<B>()
    }
}

type Offer<C> = Either<Offered<<C as Closes>::Bid>, Opened<<C as Closes>::Auction>>;

/// What is known of an auction.
#[derive(Debug, Serialize, Deserialize)]
enum Known<A, B> {
    /// Nothing: these bids wait for it.
    Early(Vec<Offered<B>>),
    Open(Opened<A>, Option<B>),
    Closed,
}

impl<A, B> Default for Known<A, B> {
    fn default() -> Self {
        Known::Early(Vec::new())
    }
}

/// The tag of timers by which an auction closes; those of the others are 0.
const CLOSES: u32 = 1;

struct Closing<C>(PhantomData<C>);

fn better<B: Ord>(best: &mut Option<B>, bid: B) {
    if best.as_ref().is_none_or(|best| bid > *best) {
        *best = Some(bid);
    }
}

impl<C: Closes> KeyedBolt<u64, Offer<C>, C::Out> for Closing<C> {
    type State = Known<C::Auction, C::Bid>;

    fn execute(
        &mut self,
        _: &u64,
        known: &mut Self::State,
        tuple: Offer<C>,
        _: &mut Emitter<C::Out>,
        cx: &Context,
    ) -> ComponentResult {
        match (tuple, &mut *known) {
            (Either::Left(bid), Known::Early(waiting)) => {
                if waiting.is_empty() {
                    cx.timers().set(Timer::event(bid.at + 1))?;
                }
                waiting.push(bid);
            }
            (Either::Left(bid), Known::Open(auction, best)) => {
                if (auction.at..=auction.expires).contains(&bid.at) {
                    better(best, bid.kept);
                }
            }
            (Either::Left(_), Known::Closed) => {}
            (Either::Right(auction), Known::Early(waiting)) => {
                let counts = auction.at..=auction.expires;
                let mut best = None;
                let early = std::mem::take(waiting).into_iter();
                early
                    .filter(|bid| counts.contains(&bid.at))
                    .for_each(|bid| better(&mut best, bid.kept));
                cx.timers().set(Timer::event(auction.expires + 1).tagged(CLOSES))?;
                *known = Known::Open(auction, best);
            }
            (Either::Right(auction), _) => {
                return Err(format!("auction {} came twice", auction.id).into());
            }
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &u64,
        known: &mut Self::State,
        timer: Timer,
        out: &mut Emitter<C::Out>,
        cx: &Context,
    ) -> ComponentResult {
        match std::mem::take(known) {
            Known::Open(auction, best) if timer.tag == CLOSES => {
                let expires = auction.expires;
                best.into_iter().for_each(|bid| out.emit(C::out(auction.kept.clone(), bid)));
                *known = Known::Closed;
                cx.timers().set(Timer::event(expires + REMEMBERED_MS))?;
            }
            Known::Early(mut waiting) => {
                let passed = cx.watermark().unwrap_or(i64::MIN);
                waiting.retain(|bid| bid.at >= passed);
                match waiting.iter().map(|bid| bid.at).min() {
                    Some(next) => cx.timers().set(Timer::event(next + 1))?,
                    None => cx.forget_key()?,
                }
                *known = Known::Early(waiting);
            }
            // That bids wait is over for one that opened meanwhile.
            open @ Known::Open(..) => *known = open,
            Known::Closed => cx.forget_key()?,
        }
        Ok(())
    }
}

fn closed<C: Closes>(events: &Stream<Event>, tasks: u32, _: C) -> egret::Result<Stream<C::Out>> {
    let both = events.local_or_shuffle().bolt("both", tasks, || {
        |event: Event, out: &mut Emitter<Offer<C>>| match event {
            Event::Bid(bid) => {
                let (auction, at) = (bid.auction, bid.at);
                out.emit(Either::Left(Offered { auction, at, kept: C::bid(bid) }));
            }
            Event::Auction(a) => {
                let (id, at, expires) = (a.id, a.at, a.expires);
                out.emit(Either::Right(Opened { id, at, expires, kept: C::auction(*a) }));
            }
            Event::Person(_) | Event::End(_) => {}
        }
    })?;
    let key = |tuple: &Offer<C>| match tuple {
        Either::Left(bid) => bid.auction,
        Either::Right(auction) => auction.id,
    };
    both.fields_by(key).keyed("closing", tasks, || Closing::<C>(PhantomData))
}

/// What an auction closed at, by category.
struct Prices;

impl Closes for Prices {
    type Auction = u64;
    type Bid = u64;
    type Out = (u64, u64);
    fn auction(auction: Auction) -> u64 {
        auction.category
    }
    fn bid(bid: Bid) -> u64 {
        bid.price
    }
    fn out(category: u64, price: u64) -> (u64, u64) {
        (category, price)
    }
}

/// Sums up, and tells of the average when the commit closes.
struct Average;

impl KeyedBolt<u64, (u64, u64), Q4> for Average {
    type State = (u64, u64);

    fn execute(
        &mut self,
        _: &u64,
        (sum, count): &mut (u64, u64),
        (_, price): (u64, u64),
        _: &mut Emitter<Q4>,
        _: &Context,
    ) -> ComponentResult {
        *sum += price;
        *count += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        category: &u64,
        (sum, count): &mut (u64, u64),
        out: &mut Emitter<Q4>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(Q4 { category: *category, average: *sum / (*count).max(1) });
        Ok(())
    }
}

/// The average price of what closed, by category.
pub(super) fn q4(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q4>> {
    let closed = closed(events, tasks, Prices)?;
    closed.fields(|(category, _)| category).keyed("average", tasks, || Average)
}

/// Whole auctions, and who won: the highest bid, and of equal ones the first.
struct Winners;

/// A bid in the order of who wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ranked(Won);

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> std::cmp::Ordering {
        let rank = |won: &Won| (won.price, std::cmp::Reverse(won.at));
        rank(&self.0).cmp(&rank(&other.0))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Tuple for Ranked {
    fn weight(&self) -> usize {
        size_of::<Ranked>() + self.0.extra.len()
    }
}

impl Closes for Winners {
    type Auction = Auction;
    type Bid = Ranked;
    type Out = Q9;
    fn auction(auction: Auction) -> Auction {
        auction
    }
    fn bid(bid: Bid) -> Ranked {
        let Bid { bidder, price, at, extra, .. } = bid;
        Ranked(Won { bidder, price, at, extra })
    }
    fn out(auction: Auction, bid: Ranked) -> Q9 {
        Q9 { auction, bid: bid.0 }
    }
}

/// The bid that won each auction.
pub(super) fn q9(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q9>> {
    closed(events, tasks, Winners)
}
