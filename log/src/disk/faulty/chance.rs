//! Seeded choices (splitmix64), so that a failing run can be had again by its seed.

/// A sequence of choices, the same for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Heads.
    pub(super) fn half(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// From 0 to `most`, both included.
    pub(super) fn up_to(&mut self, most: usize) -> usize {
        let choices = u64::try_from(most).expect("a count fits u64") + 1;
        usize::try_from(self.next() % choices).expect("at most `most`")
    }
}
