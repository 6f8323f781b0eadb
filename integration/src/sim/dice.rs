//! Numbers from a seed, one stream for each concern: a draw more in one changes nothing in the others.

/// A small generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of `concern` under `seed`.
    pub fn new(seed: u64, concern: &str) -> Dice {
        let mut hash = super::trace::Fnv::default();
        hash.add(&seed.to_le_bytes());
        hash.add(concern.as_bytes());
        Dice(hash.value())
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.draw() % sides
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll(high - low + 1)
    }

    /// An index below `among`.
    pub fn pick(&mut self, among: usize) -> usize {
        usize::try_from(self.roll(among as u64)).expect("below a length in memory")
    }

    /// Whether something that happens `n` times in 1000 happens.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.roll(1000) < n
    }

    /// One of `these`.
    pub fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.pick(these.len())]
    }

    /// Puts `these` in a random order.
    pub fn shuffle<T>(&mut self, these: &mut [T]) {
        for last in (1..these.len()).rev() {
            these.swap(last, self.pick(last + 1));
        }
    }
}
