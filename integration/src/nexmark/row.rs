//! What queries say: rows of a few columns, as text where they are compared or written.

use std::borrow::Cow;
use std::io::Write;

use egret::{Blob, ToRecord, Tuple};
use serde::{Deserialize, Serialize};

use super::event::{Auction, Bid};

/// A row of a result.
pub trait Row: ToRecord {
    /// Appends its columns, parted by `|`.
    fn put(&self, out: &mut Vec<u8>);

    /// What it takes the place of an earlier row by, if it does.
    fn replaces(&self) -> Option<u64> {
        None
    }

    /// The rows that it stands for, as text.
    fn texts(&self) -> Vec<Vec<u8>> {
        let mut text = Vec::new();
        self.put(&mut text);
        vec![text]
    }
}

/// One column.
pub(super) trait Column {
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn put(&self, out: &mut Vec<u8>) {
                write!(out, "{self}").expect("writing to memory does not fail");
            }
        }
    )*};
}
number!(u64, i64);

impl Column for Blob {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// Thousandths of a cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decimal(pub u64);

impl Decimal {
    /// A price in another currency.
    pub fn euros(price: u64) -> Decimal {
        Decimal(price * 908)
    }
}

impl Column for Decimal {
    fn put(&self, out: &mut Vec<u8>) {
        write!(out, "{}.{:03}", self.0 / 1000, self.0 % 1000)
            .expect("writing to memory does not fail");
    }
}

/// Days since 1970, as a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Day(pub i64);

impl Day {
    /// The one of a time.
    pub fn of(at: i64) -> Day {
        Day(at.div_euclid(86_400_000))
    }
}

impl Column for Day {
    /// From Howard Hinnant's "chrono-compatible low-level date algorithms": eras of 400 years that begin in March.
    fn put(&self, out: &mut Vec<u8>) {
        let days = self.0 + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        write!(out, "{:04}-{month:02}-{day:02}", year + era * 400 + next)
            .expect("writing to memory does not fail");
    }
}

/// A minute of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Minute(pub i64);

impl Minute {
    /// The one of a time.
    pub fn of(at: i64) -> Minute {
        Minute(at.rem_euclid(86_400_000) / 60_000)
    }
}

impl Column for Minute {
    fn put(&self, out: &mut Vec<u8>) {
        write!(out, "{:02}:{:02}", self.0 / 60, self.0 % 60)
            .expect("writing to memory does not fail");
    }
}

impl Column for [u64; 4] {
    fn put(&self, out: &mut Vec<u8>) {
        let [a, b, c, d] = self;
        write!(out, "{a}|{b}|{c}|{d}").expect("writing to memory does not fail");
    }
}

/// A row as a tuple and a record: of columns, and maybe a key.
macro_rules! row {
    (
        $(#[$meta:meta])* $name:ident { $($column:ident: $type:ty),+ $(,)? }
        $(replaces by |$row:ident| $key:expr)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "columns are named as the query names them")]
        pub struct $name { $(pub $column: $type),+ }

        impl Tuple for $name {
            fn weight(&self) -> usize {
                size_of::<Self>() $(+ Heap::heap(&self.$column))+
            }
        }

        impl Row for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $(
                    self.$column.put(out);
                    out.push(b'|');
                )+
                out.pop();
            }

            $(fn replaces(&self) -> Option<u64> {
                let $row = self;
                Some($key)
            })?
        }

        record!($name);
    };
}

macro_rules! record {
    ($name:ident) => {
        impl ToRecord for $name {
            fn key(&self) -> Option<Cow<'_, [u8]>> {
                self.replaces().map(|key| Cow::Owned(key.to_string().into_bytes()))
            }

            fn put_value(&self, out: &mut Vec<u8>) {
                self.put(out);
            }
        }
    };
}

/// Bytes elsewhere.
trait Heap {
    fn heap(&self) -> usize {
        0
    }
}

impl Heap for u64 {}
impl Heap for i64 {}
impl Heap for [u64; 4] {}
impl Heap for Decimal {}
impl Heap for Day {}
impl Heap for Minute {}
impl Heap for Blob {
    fn heap(&self) -> usize {
        self.weight() - size_of::<Blob>()
    }
}

row! {
    /// Every bid.
    Q0 { auction: u64, bidder: u64, price: u64, at: i64, extra: Blob }
}
row! {
    /// Every bid in euros.
    Q1 { auction: u64, bidder: u64, price: Decimal, at: i64, extra: Blob }
}
row! {
    /// Bids for some auctions.
    Q2 { auction: u64, price: u64 }
}
row! {
    /// Who sells in some states.
    Q3 { name: Blob, city: Blob, state: Blob, auction: u64 }
}
row! {
    /// The average of what auctions of a category closed at.
    Q4 { category: u64, average: u64 }
    replaces by |row| row.category
}
row! {
    /// Auctions with the most bids of a window.
    Q5 { auction: u64, bids: u64 }
}
row! {
    /// The highest bids of a window.
    Q7 { auction: u64, price: u64, bidder: u64, at: i64, extra: Blob }
}
row! {
    /// Who came and sold in the same window.
    Q8 { person: u64, name: Blob, start: i64 }
}
row! {
    /// How many bids a session of a bidder has.
    Q11 { bidder: u64, bids: u64, start: i64, end: i64 }
}
row! {
    /// Bids of some prices, and the time of day they came at.
    Q14 { auction: u64, bidder: u64, price: Decimal, when: Blob, at: i64, extra: Blob, cs: u64 }
}
row! {
    /// A day's numbers: all, and by rank of price, of bids, bidders and auctions.
    Q15 { day: Day, bids: [u64; 4], bidders: [u64; 4], auctions: [u64; 4] }
    replaces by |row| row.day.0.cast_unsigned()
}
row! {
    /// The same of each channel, and the last minute.
    Q16 {
        channel: Blob, day: Day, minute: Minute,
        bids: [u64; 4], bidders: [u64; 4], auctions: [u64; 4],
    }
    replaces by |row| egret_schemas::key::hash(&row.channel) ^ row.day.0.cast_unsigned()
}
row! {
    /// An auction's numbers of a day.
    Q17 { auction: u64, day: Day, bids: [u64; 4], least: u64, most: u64, average: u64, sum: u64 }
    replaces by |row| row.auction << 20 | row.day.0.cast_unsigned()
}
row! {
    /// The last bid of a bidder for an auction.
    Q18 {
        auction: u64, bidder: u64, price: u64, channel: Blob, url: Blob, at: i64, extra: Blob,
    }
    replaces by |row| row.bidder << 32 | row.auction
}
row! {
    /// Bids for auctions of a category.
    Q20 {
        auction: u64, bidder: u64, price: u64, channel: Blob, url: Blob, at: i64, extra: Blob,
        item: Blob, description: Blob, initial: u64, reserve: u64, opened: i64, expires: i64,
        seller: u64, category: u64, auction_extra: Blob,
    }
}
row! {
    /// Bids with the number of their channel.
    Q21 { auction: u64, bidder: u64, price: u64, channel: Blob, channel_id: Blob }
}
row! {
    /// Bids with parts of their page's address.
    Q22 { auction: u64, bidder: u64, price: u64, channel: Blob, one: Blob, two: Blob, three: Blob }
}

/// The bid that won an auction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Q9 {
    /// What was sold.
    pub auction: Auction,
    /// Who won: bidder, price, time and the rest.
    pub bid: Won,
}

/// What is said of a bid that won.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Won {
    /// Who.
    pub bidder: u64,
    /// How much, in cents.
    pub price: u64,
    /// When, in ms since 1970.
    pub at: i64,
    /// Nothing of interest.
    pub extra: Blob,
}

impl Tuple for Q9 {
    fn weight(&self) -> usize {
        let Auction { item, description, extra, .. } = &self.auction;
        size_of::<Q9>() + item.heap() + description.heap() + extra.heap() + self.bid.extra.heap()
    }
}

impl Row for Q9 {
    fn put(&self, out: &mut Vec<u8>) {
        let (a, b) = (&self.auction, &self.bid);
        let columns: [&dyn Column; 15] = [
            &a.id,
            &a.item,
            &a.description,
            &a.initial,
            &a.reserve,
            &a.at,
            &a.expires,
            &a.seller,
            &a.category,
            &a.extra,
            &a.id,
            &b.bidder,
            &b.price,
            &b.at,
            &b.extra,
        ];
        for column in columns {
            column.put(out);
            out.push(b'|');
        }
        out.pop();
    }
}
record!(Q9);

/// The ten highest bids for an auction: as many rows, each with its rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Q19 {
    /// What for.
    pub auction: u64,
    /// The highest first.
    pub bids: Vec<Bid>,
}

impl Tuple for Q19 {
    fn weight(&self) -> usize {
        size_of::<Q19>() + self.bids.iter().map(Tuple::weight).sum::<usize>()
    }
}

impl Q19 {
    fn put_rank(rank: u64, bid: &Bid, out: &mut Vec<u8>) {
        let columns: [&dyn Column; 8] = [
            &bid.auction,
            &bid.bidder,
            &bid.price,
            &bid.channel,
            &bid.url,
            &bid.at,
            &bid.extra,
            &rank,
        ];
        for column in columns {
            column.put(out);
            out.push(b'|');
        }
        out.pop();
    }
}

impl Row for Q19 {
    fn put(&self, out: &mut Vec<u8>) {
        for (rank, bid) in (1..).zip(&self.bids) {
            Q19::put_rank(rank, bid, out);
            out.push(b'\n');
        }
        out.pop();
    }

    fn replaces(&self) -> Option<u64> {
        Some(self.auction)
    }

    fn texts(&self) -> Vec<Vec<u8>> {
        let text = |(rank, bid)| {
            let mut text = Vec::new();
            Q19::put_rank(rank, bid, &mut text);
            text
        };
        (1..).zip(&self.bids).map(text).collect()
    }
}
record!(Q19);
