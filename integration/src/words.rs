//! Text made from a seed: the same bytes on every machine.

const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// Lines of text in one buffer.
#[derive(Debug)]
pub struct Lines {
    text: Vec<u8>,
    ends: Vec<usize>,
    words: u64,
}

/// A small generator of numbers: xorshift, from a fixed seed.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins at `seed`.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from((u128::from(self.draw()) * n as u128) >> 64).unwrap_or_default()
    }
}

impl Lines {
    /// About `bytes` of text, ten words a line, each chosen evenly from `distinct` words of 4 to 15
    /// letters.
    pub fn generate(bytes: usize, distinct: usize) -> Lines {
        let mut numbers = Numbers::new(0x1234_5678);
        let dictionary: Vec<Vec<u8>> = (0..distinct)
            .map(|i| {
                let letters = 4 + numbers.below(8);
                let mut word: Vec<u8> =
                    (0..letters).map(|_| LETTERS[numbers.below(LETTERS.len())]).collect();
                // A tail that tells the word from all others.
                let mut rest = i;
                for _ in 0..4 {
                    word.push(LETTERS[rest % LETTERS.len()]);
                    rest /= LETTERS.len();
                }
                word
            })
            .collect();
        let mut lines = Lines { text: Vec::with_capacity(bytes + 256), ends: Vec::new(), words: 0 };
        while lines.text.len() < bytes {
            for _ in 0..10 {
                lines.text.extend_from_slice(&dictionary[numbers.below(distinct)]);
                lines.text.push(b' ');
            }
            lines.text.pop();
            lines.ends.push(lines.text.len());
            lines.words += 10;
        }
        lines
    }

    /// Line `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.text[start..end])
    }

    /// The lines as a text, each with its end.
    pub fn text(&self) -> Vec<u8> {
        let lines = (0..).map_while(|index| self.get(index));
        lines.flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
    }

    /// Words in all lines.
    pub fn words(&self) -> u64 {
        self.words
    }
}

/// The words of a line, as the C locale's white space parts them.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r'))
        .filter(|w| !w.is_empty())
}
