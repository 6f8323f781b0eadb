//! Each query over all events at once, in one thread, as its definition in SQL reads: filter, join, group, sort.
//!
//! Nothing of the topologies is used but the events themselves: a mistake here and the same one there would have to be made twice.
//! Rows are text, columns parted by `|`, in order.

mod bids;
mod groups;
mod joins;

use std::collections::BTreeMap;

use super::event::{Auction, Bid, Event, Person};
use super::input::Input;

/// All events, by what they are.
#[derive(Debug, Default)]
struct Tables {
    persons: Vec<Person>,
    auctions: Vec<Auction>,
    bids: Vec<Bid>,
}

impl Tables {
    fn of(input: &Input) -> Tables {
        let mut tables = Tables::default();
        for event in (0..).map_while(|at| input.get(at)) {
            match event {
                Event::Person(person) => tables.persons.push(*person),
                Event::Auction(auction) => tables.auctions.push(*auction),
                Event::Bid(bid) => tables.bids.push(bid),
                Event::End(_) => {}
            }
        }
        tables
    }

    /// `GROUP BY`, of bids.
    fn bids_by<K: Ord>(&self, key: impl Fn(&Bid) -> K) -> BTreeMap<K, Vec<&Bid>> {
        let mut groups = BTreeMap::<K, Vec<&Bid>>::new();
        self.bids.iter().for_each(|bid| groups.entry(key(bid)).or_default().push(bid));
        groups
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("not UTF-8")
}

/// The result of a query, sorted; `None` when there is no such query.
pub fn result(query: &str, input: &Input) -> Option<Vec<String>> {
    let tables = &Tables::of(input);
    let mut rows = match query {
        "q0" => bids::q0(tables),
        "q1" => bids::q1(tables),
        "q2" => bids::q2(tables),
        "q3" => joins::q3(tables),
        "q4" => joins::q4(tables),
        "q5" => groups::q5(tables),
        "q7" => groups::q7(tables),
        "q8" => groups::q8(tables),
        "q9" => joins::q9(tables),
        "q11" => groups::q11(tables),
        "q14" => bids::q14(tables),
        "q15" => groups::q15(tables),
        "q16" => groups::q16(tables),
        "q17" => groups::q17(tables),
        "q18" => joins::q18(tables),
        "q19" => joins::q19(tables),
        "q20" => joins::q20(tables),
        "q21" => bids::q21(tables),
        "q22" => bids::q22(tables),
        _ => return None,
    };
    rows.sort_unstable();
    Some(rows)
}
