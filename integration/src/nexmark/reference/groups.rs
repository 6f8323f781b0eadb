//! Windows and other groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bid, Tables, text};

/// `WITH counts AS (SELECT auction, COUNT(*) AS num, window_start, window_end FROM HOP(bid, dateTime, 2 s, 10 s)
/// GROUP BY auction, window_start, window_end) SELECT C.auction, C.num FROM counts C JOIN (SELECT MAX(num) AS most,
/// window_start, window_end FROM counts GROUP BY window_start, window_end) M ON` same window `AND C.num >= M.most`
pub(super) fn q5(t: &Tables) -> Vec<String> {
    let mut windows = BTreeMap::<i64, BTreeMap<u64, u64>>::new();
    for bid in &t.bids {
        let last = bid.at - bid.at % 2000;
        for start in [last, last - 2000, last - 4000, last - 6000, last - 8000] {
            *windows.entry(start).or_default().entry(bid.auction).or_default() += 1;
        }
    }
    let mut rows = Vec::new();
    for counts in windows.values() {
        let most = counts.values().max().copied().unwrap_or_default();
        for (auction, num) in counts.iter().filter(|(_, num)| **num >= most) {
            rows.push(format!("{auction}|{num}"));
        }
    }
    rows
}

/// `SELECT B.auction, B.price, B.bidder, B.dateTime, B.extra FROM bid B JOIN (SELECT MAX(price) AS most, window_end
/// FROM TUMBLE(bid, dateTime, 10 s) GROUP BY window_start, window_end) M ON B.price = M.most
/// WHERE B.dateTime BETWEEN M.window_end - 10 s AND M.window_end`
pub(super) fn q7(t: &Tables) -> Vec<String> {
    let windows = t.bids_by(|bid| bid.at / 10_000);
    let most: BTreeMap<i64, u64> = windows
        .iter()
        .map(|(n, bids)| (*n, bids.iter().map(|bid| bid.price).max().unwrap_or_default()))
        .collect();
    let mut rows = Vec::new();
    for b in &t.bids {
        let own = b.at / 10_000;
        for (n, most) in most.range(own - 1..=own) {
            let end = (n + 1) * 10_000;
            if b.price == *most && b.at >= end - 10_000 && b.at <= end {
                let extra = text(&b.extra);
                rows.push(format!("{}|{}|{}|{}|{extra}", b.auction, b.price, b.bidder, b.at));
            }
        }
    }
    rows
}

/// `SELECT P.id, P.name, P.window_start FROM` persons of each ten seconds `P JOIN` sellers of each ten seconds `A
/// ON P.id = A.seller AND` same window
pub(super) fn q8(t: &Tables) -> Vec<String> {
    let mut sellers = BTreeSet::new();
    for a in &t.auctions {
        sellers.insert((a.seller, a.at / 10_000 * 10_000));
    }
    let mut rows = Vec::new();
    for p in &t.persons {
        let start = p.at / 10_000 * 10_000;
        if sellers.contains(&(p.id, start)) {
            rows.push(format!("{}|{}|{start}", p.id, text(&p.name)));
        }
    }
    rows
}

/// `SELECT bidder, COUNT(*), SESSION_START, SESSION_END FROM bid GROUP BY bidder, SESSION(dateTime, 10 s)`
pub(super) fn q11(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for (bidder, bids) in t.bids_by(|bid| bid.bidder) {
        let mut times: Vec<i64> = bids.iter().map(|bid| bid.at).collect();
        times.sort_unstable();
        let mut from = 0;
        for i in 0..times.len() {
            let is_last = i + 1 == times.len() || times[i + 1] - times[i] > 10_000;
            if is_last {
                let (count, start, end) = (i + 1 - from, times[from], times[i] + 10_000);
                rows.push(format!("{bidder}|{count}|{start}|{end}"));
                from = i + 1;
            }
        }
    }
    rows
}

/// The date of a time, counted up from 1970 year by year and month by month.
fn date(at: i64) -> String {
    let mut days = at / 86_400_000;
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

fn ranks() -> [fn(u64) -> bool; 4] {
    [
        |_| true,
        |price| price < 10_000,
        |price| (10_000..1_000_000).contains(&price),
        |price| price >= 1_000_000,
    ]
}

/// `COUNT(*)`, with and without each filter.
fn counts(bids: &[&Bid]) -> String {
    let count = |rank: fn(u64) -> bool| bids.iter().filter(|bid| rank(bid.price)).count();
    ranks().map(|rank| count(rank).to_string()).join("|")
}

/// `COUNT(DISTINCT …)`, with and without each filter.
fn distinct(bids: &[&Bid], of: fn(&Bid) -> u64) -> String {
    let count = |rank: fn(u64) -> bool| {
        let some = bids.iter().filter(|bid| rank(bid.price));
        some.map(|bid| of(bid)).collect::<BTreeSet<_>>().len()
    };
    ranks().map(|rank| count(rank).to_string()).join("|")
}

fn all_counts(bids: &[&Bid]) -> String {
    let (bidders, auctions) = (distinct(bids, |b| b.bidder), distinct(bids, |b| b.auction));
    format!("{}|{bidders}|{auctions}", counts(bids))
}

/// `SELECT day, COUNT(*) …, COUNT(DISTINCT bidder) …, COUNT(DISTINCT auction) … FROM bid GROUP BY day`
pub(super) fn q15(t: &Tables) -> Vec<String> {
    let days = t.bids_by(|bid| date(bid.at));
    days.iter().map(|(day, bids)| format!("{day}|{}", all_counts(bids))).collect()
}

/// `SELECT channel, day, MAX(DATE_FORMAT(dateTime, 'HH:mm')), …` as q15 `… FROM bid GROUP BY channel, day`
pub(super) fn q16(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for ((channel, day), bids) in t.bids_by(|bid| (text(&bid.channel).to_owned(), date(bid.at))) {
        let minute = |bid: &&Bid| {
            let minutes = bid.at / 60_000 % (24 * 60);
            format!("{:02}:{:02}", minutes / 60, minutes % 60)
        };
        let minute = bids.iter().map(minute).max().unwrap_or_default();
        rows.push(format!("{channel}|{day}|{minute}|{}", all_counts(&bids)));
    }
    rows
}

/// `SELECT auction, day, COUNT(*) …, MIN(price), MAX(price), AVG(price), SUM(price) FROM bid GROUP BY auction, day`
pub(super) fn q17(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for ((auction, day), bids) in t.bids_by(|bid| (bid.auction, date(bid.at))) {
        let prices: Vec<u64> = bids.iter().map(|bid| bid.price).collect();
        let (least, most) = (prices.iter().min().copied(), prices.iter().max().copied());
        let sum: u64 = prices.iter().sum();
        let average = sum / prices.len() as u64;
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        let counts = counts(&bids);
        rows.push(format!("{auction}|{day}|{counts}|{least}|{most}|{average}|{sum}"));
    }
    rows
}
