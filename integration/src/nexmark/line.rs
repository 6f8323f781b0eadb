//! Events as lines of text, fields parted by `|`: what every contender reads.
//!
//! ```text
//! person   0|at|id|0|0|0|0|0|name|email|card|city|state|extra
//! auction  1|at|id|seller|category|initial|reserve|expires|item|description|extra|||
//! bid      2|at|auction|bidder|price|0|0|0|channel|url|extra|||
//! end      3|at|0|0|0|0|0|0||||||
//! ```
//! No text has a `|` or a newline in it.

use std::io::Write;

use egret::Blob;

use super::event::{Auction, Bid, Event, Person};

/// Appends the line, newline included.
pub(super) fn put(event: &Event, out: &mut Vec<u8>) {
    match event {
        Event::Person(p) => {
            write_numbers(out, 0, p.at, [p.id, 0, 0, 0, 0, 0]);
            put_texts(out, [&p.name, &p.email, &p.card, &p.city, &p.state, &p.extra]);
        }
        Event::Auction(a) => {
            let expires = a.expires.cast_unsigned();
            write_numbers(
                out,
                1,
                a.at,
                [a.id, a.seller, a.category, a.initial, a.reserve, expires],
            );
            let none = Blob::default();
            put_texts(out, [&a.item, &a.description, &a.extra, &none, &none, &none]);
        }
        Event::Bid(b) => {
            write_numbers(out, 2, b.at, [b.auction, b.bidder, b.price, 0, 0, 0]);
            let none = Blob::default();
            put_texts(out, [&b.channel, &b.url, &b.extra, &none, &none, &none]);
        }
        Event::End(at) => {
            write_numbers(out, 3, *at, [0; 6]);
            out.extend_from_slice(b"||||||\n");
        }
    }
}

fn write_numbers(out: &mut Vec<u8>, kind: u8, at: i64, numbers: [u64; 6]) {
    write!(out, "{kind}|{at}").expect("writing to memory does not fail");
    for number in numbers {
        write!(out, "|{number}").expect("writing to memory does not fail");
    }
}

fn put_texts(out: &mut Vec<u8>, texts: [&Blob; 6]) {
    for text in texts {
        out.push(b'|');
        out.extend_from_slice(text);
    }
    out.push(b'\n');
}

/// What is left of a line.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn text(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'|').unwrap_or(self.0.len());
        let (field, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        field
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        let mut digits = 0;
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            match byte {
                b'|' => break,
                b'0'..=b'9' => {
                    number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?
                }
                _ => return None,
            }
            digits += 1;
        }
        (digits > 0).then_some(number)
    }

    fn time(&mut self) -> Option<i64> {
        i64::try_from(self.number()?).ok()
    }

    fn blob(&mut self) -> Blob {
        Blob::from(self.text())
    }
}

/// Reads a line without its newline; `None` when it is none of an event.
pub(super) fn read(line: &[u8]) -> Option<Event> {
    let mut f = Fields(line);
    let kind = f.text();
    let at = f.time()?;
    Some(match kind {
        b"2" => {
            let [auction, bidder, price, _, _, _] = numbers(&mut f)?;
            let (channel, url, extra) = (f.blob(), f.blob(), f.blob());
            Event::Bid(Bid { auction, bidder, price, at, channel, url, extra })
        }
        b"1" => {
            let [id, seller, category, initial, reserve, expires] = numbers(&mut f)?;
            let expires = i64::try_from(expires).ok()?;
            let (item, description, extra) = (f.blob(), f.blob(), f.blob());
            Event::Auction(Box::new(Auction {
                id,
                item,
                description,
                initial,
                reserve,
                at,
                expires,
                seller,
                category,
                extra,
            }))
        }
        b"0" => {
            let [id, ..] = numbers(&mut f)?;
            let (name, email, card) = (f.blob(), f.blob(), f.blob());
            let (city, state, extra) = (f.blob(), f.blob(), f.blob());
            Event::Person(Box::new(Person { id, name, email, card, city, state, at, extra }))
        }
        b"3" => Event::End(at),
        _ => return None,
    })
}

fn numbers(f: &mut Fields<'_>) -> Option<[u64; 6]> {
    let mut numbers = [0; 6];
    for number in &mut numbers {
        *number = f.number()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::input::{Input, Spec};

    #[test]
    fn events_come_back_from_their_lines() {
        let events = Input::generate(&Spec { events: 500, ..Spec::default() }).decoded();
        let mut kinds = [0; 3];
        for at in 0..events.events() {
            let event = events.get(at).unwrap();
            kinds[match event {
                Event::Person(_) => 0,
                Event::Auction(_) => 1,
                Event::Bid(_) => 2,
                Event::End(_) => continue,
            }] += 1;
            let mut line = Vec::new();
            put(&event, &mut line);
            assert_eq!(line.pop(), Some(b'\n'));
            assert_eq!(read(&line), Some(event));
        }
        assert_eq!(kinds, [10, 30, 460]);
        assert_eq!(read(b"3|7|0|0|0|0|0|0||||||"), Some(Event::End(7)));
    }

    #[test]
    fn what_is_no_event_is_none() {
        for line in ["", "2", "2|x", "9|1|0", "2|1|2|3|4|0|0", "2|1|2|3||0|0|0|a|b|c", "3|"] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }
}
