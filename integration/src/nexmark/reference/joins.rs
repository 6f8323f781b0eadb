//! Joins, and the first rows of partitions.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Auction, Bid, Tables, text};

/// `SELECT P.name, P.city, P.state, A.id FROM auction A JOIN person P ON A.seller = P.id
/// WHERE A.category = 10 AND (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA')`
pub(super) fn q3(t: &Tables) -> Vec<String> {
    let mut auctions = BTreeMap::<u64, Vec<u64>>::new();
    for a in t.auctions.iter().filter(|a| a.category == 10) {
        auctions.entry(a.seller).or_default().push(a.id);
    }
    let mut rows = Vec::new();
    for p in &t.persons {
        let state = text(&p.state);
        if state == "OR" || state == "ID" || state == "CA" {
            for auction in auctions.get(&p.id).into_iter().flatten() {
                rows.push(format!("{}|{}|{state}|{auction}", text(&p.name), text(&p.city)));
            }
        }
    }
    rows
}

/// `auction A, bid B WHERE A.id = B.auction AND B.dateTime BETWEEN A.dateTime AND A.expires`, grouped by auction.
fn offers(t: &Tables) -> Vec<(&Auction, Vec<&Bid>)> {
    let bids = t.bids_by(|bid| bid.auction);
    let mut joined = Vec::new();
    for auction in &t.auctions {
        let mut offers = Vec::new();
        for bid in bids.get(&auction.id).into_iter().flatten() {
            if bid.at >= auction.at && bid.at <= auction.expires {
                offers.push(*bid);
            }
        }
        if !offers.is_empty() {
            joined.push((auction, offers));
        }
    }
    joined
}

/// `SELECT category, AVG(final) FROM (SELECT MAX(B.price) AS final, A.category FROM` [`offers`]
/// `GROUP BY A.id, A.category) GROUP BY category`; the average of whole numbers is a whole number.
pub(super) fn q4(t: &Tables) -> Vec<String> {
    let mut finals = BTreeMap::<u64, Vec<u64>>::new();
    for (auction, bids) in offers(t) {
        let most = bids.iter().map(|bid| bid.price).max().unwrap_or_default();
        finals.entry(auction.category).or_default().push(most);
    }
    let average = |all: &[u64]| all.iter().sum::<u64>() / all.len() as u64;
    finals.iter().map(|(category, all)| format!("{category}|{}", average(all))).collect()
}

/// `SELECT A.*, B.auction, B.bidder, B.price, B.dateTime, B.extra FROM (… ROW_NUMBER() OVER (PARTITION BY A.id
/// ORDER BY B.price DESC, B.dateTime ASC) AS n FROM` [`offers`]`) WHERE n <= 1`
pub(super) fn q9(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for (a, mut bids) in offers(t) {
        bids.sort_by_key(|bid| (Reverse(bid.price), bid.at));
        let b = bids[0];
        let (item, description, extra) = (text(&a.item), text(&a.description), text(&a.extra));
        let auction = format!(
            "{}|{item}|{description}|{}|{}|{}|{}|{}|{}|{extra}",
            a.id, a.initial, a.reserve, a.at, a.expires, a.seller, a.category
        );
        let bid = format!("{}|{}|{}|{}|{}", b.auction, b.bidder, b.price, b.at, text(&b.extra));
        rows.push(format!("{auction}|{bid}"));
    }
    rows
}

fn whole(b: &Bid) -> String {
    let (channel, url, extra) = (text(&b.channel), text(&b.url), text(&b.extra));
    format!("{}|{}|{}|{channel}|{url}|{}|{extra}", b.auction, b.bidder, b.price, b.at)
}

/// `SELECT * FROM (… ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC) AS n FROM bid) WHERE n <= 1`
pub(super) fn q18(t: &Tables) -> Vec<String> {
    let last = |bids: &Vec<&Bid>| bids.iter().max_by_key(|bid| bid.at).map(|bid| whole(bid));
    t.bids_by(|bid| (bid.bidder, bid.auction)).values().filter_map(last).collect()
}

/// `SELECT * FROM (… ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS n FROM bid) WHERE n <= 10`
pub(super) fn q19(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for (_, mut bids) in t.bids_by(|bid| bid.auction) {
        // Of equal prices the earlier one is first.
        bids.sort_by_key(|bid| (Reverse(bid.price), bid.at));
        for (n, bid) in bids.iter().take(10).enumerate() {
            rows.push(format!("{}|{}", whole(bid), n + 1));
        }
    }
    rows
}

/// `SELECT B.auction, B.bidder, B.price, B.channel, B.url, B.dateTime, B.extra, A.itemName, A.description,
/// A.initialBid, A.reserve, A.dateTime, A.expires, A.seller, A.category, A.extra FROM bid B JOIN auction A
/// ON B.auction = A.id WHERE A.category = 10`
pub(super) fn q20(t: &Tables) -> Vec<String> {
    let auctions: BTreeMap<u64, &Auction> = t.auctions.iter().map(|a| (a.id, a)).collect();
    let mut rows = Vec::new();
    for b in &t.bids {
        let Some(a) = auctions.get(&b.auction).filter(|a| a.category == 10) else { continue };
        let (item, description, extra) = (text(&a.item), text(&a.description), text(&a.extra));
        rows.push(format!(
            "{}|{item}|{description}|{}|{}|{}|{}|{}|{}|{extra}",
            whole(b),
            a.initial,
            a.reserve,
            a.at,
            a.expires,
            a.seller,
            a.category
        ));
    }
    rows
}
