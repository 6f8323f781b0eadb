//! The events of one run: made once from a fixed seed, written to one file, the same for every contender.
//!
//! They are the `nexmark` crate's, with what is needed to make them those of the definition: states, cities and
//! names are in capitals as queries ask for them (q3 asks for `OR`, `ID` and `CA`, and the crate has small letters),
//! the rate is constant, and the first time is fixed.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ::nexmark::EventGenerator;
use ::nexmark::config::{NexmarkConfig, RateShape};
use ::nexmark::event::Event as Made;
use egret::Blob;

use super::event::{Auction, Bid, Event, Person};
use super::line;

/// 2015-07-14, 23:55: a run of a thousand seconds has two days in it.
const BASE_MS: u64 = 1_436_918_100_000;

/// How far time goes on after the last event: past the end of every window and auction.
const END_MS: i64 = 24 * 3600 * 1000;

/// Which events there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// How many.
    pub events: u64,
    /// Event time from one to the next, in µs.
    pub apart_us: u64,
    /// The first one's, in ms since 1970.
    pub base_ms: u64,
}

impl Default for Spec {
    fn default() -> Spec {
        Spec { events: 1_000_000, apart_us: 1000, base_ms: BASE_MS }
    }
}

/// Events in memory; cheap to clone.
#[derive(Clone)]
pub struct Input(Arc<Held>);

enum Held {
    /// Lines of text, and where each ends.
    Lines(Vec<u8>, Vec<usize>),
    Decoded(Vec<Event>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input of {} events", self.events())
    }
}

impl Input {
    /// Makes events; the same spec makes the same ones.
    pub fn generate(spec: &Spec) -> Input {
        let mut text = Vec::new();
        let config = NexmarkConfig {
            base_time: spec.base_ms,
            rate_shape: RateShape::Square,
            first_rate: 1,
            next_rate: 1,
            us_per_unit: usize::try_from(spec.apart_us).unwrap_or(usize::MAX),
            ..NexmarkConfig::default()
        };
        let count = usize::try_from(spec.events).unwrap_or(usize::MAX);
        for made in EventGenerator::new(config).take(count) {
            line::put(&event_of(made), &mut text);
        }
        Input::of_lines(text)
    }

    /// Of a file's text.
    pub fn of_lines(text: Vec<u8>) -> Input {
        let ends = (0..).zip(&text).filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Input(Arc::new(Held::Lines(text, ends)))
    }

    /// Reads the file of this spec in `directory`, which is written first if it is not there. Its path is
    /// given as well.
    ///
    /// # Errors
    /// When it cannot be written or read.
    pub fn in_file(spec: &Spec, directory: &Path) -> io::Result<(Input, std::path::PathBuf)> {
        let Spec { events, apart_us, base_ms } = spec;
        let path = directory.join(format!("nexmark-{events}-{apart_us}-{base_ms}.psv"));
        if !path.exists() {
            let made = Input::generate(spec);
            if let Held::Lines(text, _) = &*made.0 {
                // Whoever is stopped half-way leaves no file that looks whole.
                let part = path.with_extension("part");
                fs::write(&part, text)?;
                fs::rename(&part, &path)?;
            }
        }
        Ok((Input::of_lines(fs::read(&path)?), path))
    }

    /// The same events, read from their lines once.
    #[must_use]
    pub fn decoded(&self) -> Input {
        let decoded = (0..self.events()).filter_map(|at| self.get(at)).collect();
        Input(Arc::new(Held::Decoded(decoded)))
    }

    /// How many there are.
    pub fn events(&self) -> usize {
        match &*self.0 {
            Held::Lines(_, ends) => ends.len(),
            Held::Decoded(events) => events.len(),
        }
    }

    /// The line of one of them, where they are held as such.
    pub fn line(&self, at: usize) -> Option<&[u8]> {
        let Held::Lines(text, ends) = &*self.0 else { return None };
        let end = *ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| ends[before] + 1);
        Some(&text[start..end])
    }

    /// One of them: read from its line, or a copy.
    pub fn get(&self, at: usize) -> Option<Event> {
        match &*self.0 {
            Held::Lines(..) => line::read(self.line(at)?),
            Held::Decoded(events) => events.get(at).cloned(),
        }
    }

    /// What tells that nothing comes any more.
    pub fn end(&self) -> Event {
        let last = self.events().checked_sub(1).and_then(|last| self.get(last));
        Event::End(last.map_or(0, |last| last.at()) + END_MS)
    }

    /// An event of a line of text, as a bolt reads it.
    pub fn event_of(line: &str) -> Option<Event> {
        line::read(line.as_bytes())
    }

    /// The line of an event, as a bolt writes it.
    pub fn line_of(event: &Event) -> String {
        let mut text = Vec::new();
        line::put(event, &mut text);
        text.pop();
        String::from_utf8_lossy(&text).into_owned()
    }
}

fn ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// `san francisco` → `San Francisco`.
fn capitals(text: &str) -> Blob {
    let mut text = text.as_bytes().to_vec();
    let mut begins = true;
    for byte in &mut text {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b' ';
    }
    Blob::from(text)
}

fn event_of(made: Made) -> Event {
    let blob = |text: String| Blob::from(text.into_bytes());
    match made {
        Made::Person(p) => Event::Person(Box::new(Person {
            id: p.id as u64,
            name: capitals(&p.name),
            email: blob(p.email_address),
            card: blob(p.credit_card),
            city: capitals(&p.city),
            state: blob(p.state.to_ascii_uppercase()),
            at: ms(p.date_time),
            extra: blob(p.extra),
        })),
        Made::Auction(a) => Event::Auction(Box::new(Auction {
            id: a.id as u64,
            item: blob(a.item_name),
            description: blob(a.description),
            initial: a.initial_bid as u64,
            reserve: a.reserve as u64,
            at: ms(a.date_time),
            expires: ms(a.expires),
            seller: a.seller as u64,
            category: a.category as u64,
            extra: blob(a.extra),
        })),
        Made::Bid(b) => Event::Bid(Bid {
            auction: b.auction as u64,
            bidder: b.bidder as u64,
            price: b.price as u64,
            at: ms(b.date_time),
            channel: blob(b.channel),
            url: blob(b.url),
            extra: blob(b.extra),
        }),
    }
}
