//! Links between clients and bookies: late, lost, doubled, cut one way or both.

use std::collections::BTreeSet;

use super::dice::Dice;

/// How long a request takes on a good day, in microseconds.
const DELAY_US: (u64, u64) = (50, 500);

/// How much longer on a bad one: past younger messages, sometimes past deadlines.
const LATE_US: (u64, u64) = (1_000, 60_000);

/// How bad the network is, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) late: u64,
    pub(crate) garbled: u64,
}

/// What becomes of one message.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// When each copy of it arrives, from now; none when it is lost.
    pub(crate) arrivals: Vec<u64>,
    pub(crate) late: bool,
    pub(crate) garbled: bool,
}

/// The network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// Links on which nothing gets to the bookie: client, bookie.
    pub(crate) cut_to: BTreeSet<(usize, usize)>,
    /// Links on which nothing comes from it.
    pub(crate) cut_from: BTreeSet<(usize, usize)>,
    dice: Dice,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Network {
        Network {
            weather: Weather::default(),
            cut_to: BTreeSet::new(),
            cut_from: BTreeSet::new(),
            dice: Dice::new(seed, "network"),
        }
    }

    /// Sends one message.
    pub(crate) fn send(&mut self) -> Way {
        let mut way = Way::default();
        let Weather { lost, twice, late, garbled } = self.weather;
        if self.dice.per_mille(lost) {
            return way;
        }
        let copies = if self.dice.per_mille(twice) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.dice.between(DELAY_US.0, DELAY_US.1);
            if self.dice.per_mille(late) {
                way.late = true;
                delay += self.dice.between(LATE_US.0, LATE_US.1);
            }
            way.arrivals.push(delay);
        }
        way.garbled = self.dice.per_mille(garbled);
        way
    }

    /// Mends everything.
    pub(crate) fn heal(&mut self) {
        self.weather = Weather::default();
        self.cut_to.clear();
        self.cut_from.clear();
    }
}
