//! Queries of one bid at a time.

use super::{Tables, text};

/// `SELECT auction, bidder, price, dateTime, extra FROM bid`
pub(super) fn q0(t: &Tables) -> Vec<String> {
    let row = |b: &super::Bid| {
        format!("{}|{}|{}|{}|{}", b.auction, b.bidder, b.price, b.at, text(&b.extra))
    };
    t.bids.iter().map(row).collect()
}

/// 0.908 of a price, with three digits behind the point.
fn euros(price: u64) -> String {
    let digits = format!("{:04}", u128::from(price) * 908);
    let (whole, rest) = digits.split_at(digits.len() - 3);
    format!("{whole}.{rest}")
}

/// `SELECT auction, bidder, 0.908 * price AS price, dateTime, extra FROM bid`
pub(super) fn q1(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for b in &t.bids {
        let price = euros(b.price);
        rows.push(format!("{}|{}|{price}|{}|{}", b.auction, b.bidder, b.at, text(&b.extra)));
    }
    rows
}

/// `SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0`
pub(super) fn q2(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for b in &t.bids {
        if b.auction % 123 == 0 {
            rows.push(format!("{}|{}", b.auction, b.price));
        }
    }
    rows
}

/// `SELECT auction, bidder, 0.908 * price, CASE WHEN HOUR(dateTime) >= 8 AND HOUR(dateTime) <= 18 THEN 'dayTime'
/// WHEN HOUR(dateTime) <= 6 OR HOUR(dateTime) >= 20 THEN 'nightTime' ELSE 'otherTime' END, dateTime, extra,
/// count_char(extra, 'c') FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000`
pub(super) fn q14(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for b in &t.bids {
        let thousandths = b.price * 908;
        if thousandths <= 1_000_000 * 1000 || thousandths >= 50_000_000 * 1000 {
            continue;
        }
        let hour = b.at / 1000 / 60 / 60 % 24;
        let when = if (8..=18).contains(&hour) {
            "dayTime"
        } else if hour <= 6 || hour >= 20 {
            "nightTime"
        } else {
            "otherTime"
        };
        let extra = text(&b.extra);
        let cs = extra.matches('c').count();
        let price = euros(b.price);
        rows.push(format!("{}|{}|{price}|{when}|{}|{extra}|{cs}", b.auction, b.bidder, b.at));
    }
    rows
}

/// `REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2)`
fn channel_id(url: &str) -> Option<&str> {
    let after = match url.find("&channel_id=") {
        _ if url.starts_with("channel_id=") => "channel_id=".len(),
        Some(at) => at + "&channel_id=".len(),
        None => return None,
    };
    let rest = &url[after..];
    Some(&rest[..rest.find('&').unwrap_or(rest.len())])
}

/// `SELECT auction, bidder, price, channel, CASE WHEN lower(channel) = 'apple' THEN '0' … 'google' '1' … 'facebook'
/// '2' … 'baidu' '3' ELSE` [`channel_id`] `END FROM bid WHERE` it `IS NOT NULL OR` the channel is one of those.
pub(super) fn q21(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for b in &t.bids {
        let channel = text(&b.channel);
        let id = match channel.to_lowercase().as_str() {
            "apple" => Some("0"),
            "google" => Some("1"),
            "facebook" => Some("2"),
            "baidu" => Some("3"),
            _ => channel_id(text(&b.url)),
        };
        if let Some(id) = id {
            rows.push(format!("{}|{}|{}|{channel}|{id}", b.auction, b.bidder, b.price));
        }
    }
    rows
}

/// `SELECT auction, bidder, price, channel, SPLIT_INDEX(url, '/', 3), SPLIT_INDEX(url, '/', 4),
/// SPLIT_INDEX(url, '/', 5) FROM bid`
pub(super) fn q22(t: &Tables) -> Vec<String> {
    let mut rows = Vec::new();
    for b in &t.bids {
        let parts: Vec<&str> = text(&b.url).split('/').collect();
        let dirs = parts[3..6].join("|");
        let channel = text(&b.channel);
        rows.push(format!("{}|{}|{}|{channel}|{dirs}", b.auction, b.bidder, b.price));
    }
    rows
}
