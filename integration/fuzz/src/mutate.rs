//! New inputs from old ones: a few small changes, the same for the same dice.
//!
//! What breaks decoders is seldom noise. So beside flipped bits there are numbers at the edges of their
//! widths, lengths that are off by one or by everything, and parts of one input in the place of
//! another's.

use std::ops::Range;

/// Inputs do not grow beyond this.
pub const INPUT_BYTES_MAX: usize = 64 << 10;

/// Changes to one input, at most.
const CHANGES_MAX: u64 = 6;

/// Bytes put in, taken out or moved at once, mostly.
const PIECE_BYTES: u64 = 32;

/// A small generator (splitmix64), so that a seed is a whole search, on every machine.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// One of so many.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick(&mut self, among: usize) -> usize {
        assert!(among > 0, "there is something to pick from");
        usize::try_from(self.roll(among as u64)).expect("below a length in memory")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A part of `bytes`; short, mostly.
    fn part(&mut self, bytes: &[u8]) -> Range<usize> {
        if bytes.is_empty() {
            return 0..0;
        }
        let from = self.pick(bytes.len());
        let most = if self.roll(8) == 0 { u64::MAX } else { PIECE_BYTES };
        let left = (bytes.len() - from) as u64;
        let len = self.roll(left.min(most)) + 1;
        from..from + usize::try_from(len).expect("within a length in memory")
    }
}

/// A changed `bytes`; parts of `other` may come into it.
pub fn mutate(dice: &mut Dice, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut new = bytes.to_vec();
    let mut changes = 1;
    while changes < CHANGES_MAX && dice.roll(2) == 0 {
        changes += 1;
    }
    for _ in 0..changes {
        change(dice, &mut new, other);
    }
    new.truncate(INPUT_BYTES_MAX);
    new
}

fn change(dice: &mut Dice, new: &mut Vec<u8>, other: &[u8]) {
    if new.is_empty() {
        let part = dice.part(other);
        return new.extend_from_slice(&other[part]);
    }
    match dice.roll(12) {
        0 | 1 => {
            let at = dice.pick(new.len());
            new[at] ^= 1 << dice.roll(8);
        }
        2 => {
            let at = dice.pick(new.len());
            new[at] = dice.byte();
        }
        3..=5 => number(dice, new),
        6 => {
            let part = dice.part(new);
            new.drain(part);
        }
        7 => {
            let at = dice.pick(new.len() + 1);
            let bytes: Vec<u8> = (0..=dice.roll(PIECE_BYTES)).map(|_| dice.byte()).collect();
            new.splice(at..at, bytes);
        }
        8 => {
            let part = dice.part(new);
            let copied = new[part].to_vec();
            let at = dice.pick(new.len() + 1);
            new.splice(at..at, copied);
        }
        9 => new.truncate(dice.pick(new.len())),
        10 => {
            let (from, to) = (dice.part(other), dice.part(new));
            new.splice(to, other[from].iter().copied());
        }
        _ => {
            let at = dice.pick(new.len());
            let from = dice.pick(other.len() + 1);
            new.truncate(at);
            new.extend_from_slice(&other[from..]);
        }
    }
}

/// Writes a number that is likely to be wrong over some bytes.
fn number(dice: &mut Dice, new: &mut [u8]) {
    let width = [1, 2, 4, 8][dice.pick(4)];
    let at = dice.pick(new.len());
    let Some(place) = new.get_mut(at..at + width) else { return };
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(place);
    let was = u64::from_le_bytes(wide);
    let left = (new.len() - at) as u64;
    let value = match dice.roll(10) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX >> 1,
        3 => (u64::MAX >> 1) + 1,
        4 => was.wrapping_add(1),
        5 => was.wrapping_sub(1),
        6 => 1 << dice.roll(64),
        7 => left,
        8 => u64::MAX - dice.roll(4),
        _ => dice.roll(64),
    };
    new[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_and_another_seed_others() {
        let run = |seed| {
            let mut dice = Dice::new(seed);
            let mut bytes = b"two herons and an egret".to_vec();
            (0..200)
                .map(|_| {
                    bytes = mutate(&mut dice, &bytes, b"another input");
                    bytes.clone()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).iter().any(Vec::is_empty) || run(9).len() == 200);
    }

    #[test]
    fn nothing_at_all_is_changed_too() {
        for seed in 0..100 {
            assert!(mutate(&mut Dice::new(seed), &[], &[]).is_empty());
            mutate(&mut Dice::new(seed), &[], b"x");
            mutate(&mut Dice::new(seed), b"x", &[]);
        }
    }
}
