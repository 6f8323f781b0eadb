//! The joined windows: words of even lines meet the same words of odd lines within a window of lines, and the
//! answer one thread gives.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Lines of one window; a line's number is its time.
pub const WINDOW: i64 = 1000;

/// Lines a file may have: the next one's begin there.
const LINES_MAX: i64 = 100_000_000;

/// The time of what comes last, behind every window.
pub const END: i64 = i64::MAX / 2;

/// The lines of the `nth` file with their times.
pub fn lines(nth: usize, file: &Path) -> Result<impl Iterator<Item = (i64, Vec<u8>)>> {
    let first = i64::try_from(nth)? * LINES_MAX;
    let open = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    let lines = BufReader::new(open).split(b'\n').map_while(Result::ok);
    Ok((first..).zip(lines))
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = line.split(|byte| byte.is_ascii_whitespace() || *byte == 0x0b);
    words.filter(|word| !word.is_empty())
}

/// The window of a time: its number, and the time at which it is over.
pub fn window(time: i64) -> (i64, i64) {
    let number = time.div_euclid(WINDOW);
    (number, (number + 1) * WINDOW)
}

/// How a word in a window is told.
pub fn key(word: &[u8], window: i64) -> Vec<u8> {
    [word, format!("@{window}").as_bytes()].concat()
}

/// How often a word met itself in each window, as `count<TAB>word@window` ordered by bytes.
pub fn reference(files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut counts = BTreeMap::<Vec<u8>, (u64, u64)>::new();
    for (nth, file) in files.iter().enumerate() {
        for (time, line) in lines(nth, file)? {
            for word in words(&line) {
                let (even, odd) = counts.entry(key(word, window(time).0)).or_default();
                *(if time % 2 == 0 { even } else { odd }) += 1;
            }
        }
    }
    let mut out = Vec::new();
    for (key, (even, odd)) in counts.into_iter().filter(|(_, (even, odd))| even * odd > 0) {
        out.extend_from_slice(format!("{}\t", even * odd).as_bytes());
        out.extend_from_slice(&key);
        out.push(b'\n');
    }
    Ok(out)
}
