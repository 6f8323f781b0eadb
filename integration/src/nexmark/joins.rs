//! Joins that wait for each other for ever: q3 and q20.

use egret::component::{ComponentResult, Context};
use egret::{Blob, Either, Emitter, KeyedBolt, ListState, Stream, Tuple, Value, state};
use serde::{Deserialize, Serialize};

use super::event::{Auction, Bid, Event};
use super::row::{Q3, Q20};

/// Somebody from one of the states.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seller {
    id: u64,
    name: Blob,
    city: Blob,
    state: Blob,
}

impl Tuple for Seller {}

/// Seller and auction.
type Sale = (u64, u64);

/// Who sells something of category 10 in Oregon, Idaho or California.
pub(super) fn q3(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q3>> {
    let wanted = events.local_or_shuffle().bolt("wanted", tasks, || {
        |event: Event, out: &mut Emitter<Either<Sale, Seller>>| match event {
            Event::Auction(a) if a.category == 10 => out.emit(Either::Left((a.seller, a.id))),
            Event::Person(p) if [&b"OR"[..], b"ID", b"CA"].contains(&&p.state[..]) => {
                let (name, city, state) = (p.name, p.city, p.state);
                out.emit(Either::Right(Seller { id: p.id, name, city, state }));
            }
            _ => {}
        }
    })?;
    let (sales, sellers) = wanted.split();
    let by_seller = sales.fields(|(seller, _)| seller).join(sellers.fields(|seller| &seller.id))?;
    by_seller.keyed("sellers", tasks, || Sellers)
}

/// What is known of a person, and what was put up before that.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    seller: Option<Seller>,
    waiting: Vec<u64>,
}

struct Sellers;

fn sale(seller: &Seller, auction: u64) -> Q3 {
    let Seller { name, city, state, .. } = seller.clone();
    Q3 { name, city, state, auction }
}

impl KeyedBolt<u64, Either<Sale, Seller>, Q3> for Sellers {
    type State = Known;

    fn execute(
        &mut self,
        _: &u64,
        known: &mut Known,
        tuple: Either<Sale, Seller>,
        out: &mut Emitter<Q3>,
        _: &Context,
    ) -> ComponentResult {
        match (tuple, &known.seller) {
            (Either::Left((_, auction)), Some(seller)) => out.emit(sale(seller, auction)),
            (Either::Left((_, auction)), None) => known.waiting.push(auction),
            (Either::Right(seller), _) => {
                let waiting = std::mem::take(&mut known.waiting);
                waiting.into_iter().for_each(|auction| out.emit(sale(&seller, auction)));
                known.seller = Some(seller);
            }
        }
        Ok(())
    }
}

/// Bids for auctions of category 10, with all that is known of them.
pub(super) fn q20(events: &Stream<Event>, tasks: u32) -> egret::Result<Stream<Q20>> {
    let both = events.local_or_shuffle().bolt("both", tasks, || {
        |event: Event, out: &mut Emitter<Either<Bid, Auction>>| match event {
            Event::Bid(bid) => out.emit(Either::Left(bid)),
            Event::Auction(auction) => out.emit(Either::Right(*auction)),
            Event::Person(_) | Event::End(_) => {}
        }
    })?;
    let key = |tuple: &Either<Bid, Auction>| match tuple {
        Either::Left(bid) => bid.auction,
        Either::Right(auction) => auction.id,
    };
    both.fields_by(key).keyed("auctions", tasks, || Auctions)
}

impl Tuple for Auction {
    fn weight(&self) -> usize {
        let texts = [&self.item, &self.description, &self.extra];
        texts.iter().map(|text| text.len()).sum::<usize>() + size_of::<Auction>()
    }
}

state! {
    /// An auction, and the bids that came before it.
    struct Expanded {
        /// What it is, once that is known: nothing, if its category is another one.
        auction: Value<Option<Option<Auction>>>,
        waiting: ListState<Bid>,
    }
}

struct Auctions;

fn expanded(bid: Bid, auction: &Auction) -> Q20 {
    let Auction { item, description, initial, reserve, at: opened, expires, .. } = auction.clone();
    let Bid { auction: id, bidder, price, channel, url, at, extra } = bid;
    Q20 {
        auction: id,
        bidder,
        price,
        channel,
        url,
        at,
        extra,
        item,
        description,
        initial,
        reserve,
        opened,
        expires,
        seller: auction.seller,
        category: auction.category,
        auction_extra: auction.extra.clone(),
    }
}

impl KeyedBolt<u64, Either<Bid, Auction>, Q20> for Auctions {
    type State = Expanded;

    fn execute(
        &mut self,
        _: &u64,
        state: &mut Expanded,
        tuple: Either<Bid, Auction>,
        out: &mut Emitter<Q20>,
        _: &Context,
    ) -> ComponentResult {
        match (tuple, &*state.auction) {
            (Either::Left(bid), None) => state.waiting.push(bid),
            (Either::Left(_), Some(None)) => {}
            (Either::Left(bid), Some(Some(auction))) => out.emit(expanded(bid, auction)),
            (Either::Right(auction), _) => {
                let auction = (auction.category == 10).then_some(auction);
                while let Some(bid) = state.waiting.pop_front() {
                    auction.iter().for_each(|auction| out.emit(expanded(bid.clone(), auction)));
                }
                *state.auction = Some(auction);
            }
        }
        Ok(())
    }
}
