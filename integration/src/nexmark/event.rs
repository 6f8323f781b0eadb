//! What happens at an auction house.

use egret::{Blob, Tuple};
use serde::{Deserialize, Serialize};

/// Somebody new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Its number.
    pub id: u64,
    /// Name and surname.
    pub name: Blob,
    /// Where to write to.
    pub email: Blob,
    /// Sixteen digits.
    pub card: Blob,
    /// One of ten.
    pub city: Blob,
    /// Two capitals.
    pub state: Blob,
    /// When, in ms since 1970.
    pub at: i64,
    /// Nothing of interest.
    pub extra: Blob,
}

/// Something for sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auction {
    /// Its number.
    pub id: u64,
    /// What is sold.
    pub item: Blob,
    /// More of it.
    pub description: Blob,
    /// The first price, in cents.
    pub initial: u64,
    /// The least price, in cents.
    pub reserve: u64,
    /// When, in ms since 1970.
    pub at: i64,
    /// The last ms in which a bid counts.
    pub expires: i64,
    /// The person who sells.
    pub seller: u64,
    /// One of five.
    pub category: u64,
    /// Nothing of interest.
    pub extra: Blob,
}

/// An offer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bid {
    /// What for.
    pub auction: u64,
    /// The person who offers.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When, in ms since 1970.
    pub at: i64,
    /// By which way it came.
    pub channel: Blob,
    /// The page it came from.
    pub url: Blob,
    /// Nothing of interest.
    pub extra: Blob,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Two in a hundred.
    Person(Box<Person>),
    /// Six in a hundred.
    Auction(Box<Auction>),
    /// The others.
    Bid(Bid),
    /// Nothing comes after this: time goes on to here, so that what is open closes.
    End(i64),
}

impl Event {
    /// When, in ms since 1970.
    pub fn at(&self) -> i64 {
        match self {
            Event::Person(person) => person.at,
            Event::Auction(auction) => auction.at,
            Event::Bid(bid) => bid.at,
            Event::End(at) => *at,
        }
    }
}

impl Tuple for Bid {
    fn weight(&self) -> usize {
        let texts = [&self.channel, &self.url, &self.extra];
        size_of::<Bid>() + texts.map(|text| text.weight() - size_of::<Blob>()).iter().sum::<usize>()
    }
}

impl Tuple for Event {
    fn weight(&self) -> usize {
        match self {
            Event::Bid(bid) => size_of::<Event>() - size_of::<Bid>() + bid.weight(),
            // About what one has.
            Event::Person(_) => size_of::<Event>() + 400,
            Event::Auction(_) => size_of::<Event>() + 800,
            Event::End(_) => size_of::<Event>(),
        }
    }
}
