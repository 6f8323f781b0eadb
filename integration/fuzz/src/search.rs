//! One target and many inputs: from the corpus, from changes to it, and from changes to those that were
//! taken.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use egret_log::clock;

use crate::Target;
use crate::counting::most_held;
use crate::mutate::{Dice, mutate};

/// Memory that decoding may take whatever the input: a bookie or a disk is made for some of them.
pub const HELD_BYTES_BASE: usize = 8 << 20;

/// And for each byte of it: a record of two bytes takes about a hundred in memory.
pub const HELD_PER_BYTE: usize = 128;

/// Taken inputs that are changed again, beside the corpus.
const POOL_MAX: usize = 512;

/// Tries to make an input that breaks a promise smaller.
const SHRINK_TRIES: usize = 400;

/// How long to search.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Inputs at most.
    pub executions: u64,
    /// Time at most, looked at now and then.
    pub time: Duration,
}

/// What a search did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    /// Inputs tried.
    pub executions: u64,
    /// Those that were taken.
    pub taken: u64,
    /// The most memory any took.
    pub held_bytes_max: usize,
    /// How long it took.
    pub time: Duration,
}

/// An input that broke a promise.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The input, as small as it was made.
    pub input: Vec<u8>,
    /// What went wrong.
    pub why: String,
}

thread_local! {
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of this thread are told by who catches them; those of others as ever.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let caught = SAID.with(|said| match &mut *said.borrow_mut() {
                Some(said) => {
                    *said = info.to_string();
                    true
                }
                None => false,
            });
            if !caught {
                before(info);
            }
        }));
    });
}

/// Tries one input: whether it was taken, and the most memory that took.
///
/// # Errors
/// The promise it broke.
pub fn try_one(target: &Target, input: &[u8]) -> Result<(bool, usize), String> {
    quiet();
    SAID.set(Some(String::new()));
    let (done, held) = most_held(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let said = SAID.take().unwrap_or_default();
    let Ok(taken) = done else { return Err(said) };
    let max = HELD_BYTES_BASE + HELD_PER_BYTE * input.len();
    if held > max {
        return Err(format!("{held} bytes of memory for {} of input; {max} are fair", input.len()));
    }
    Ok((taken, held))
}

/// Tries the corpus, then changes to it until patience ends.
///
/// # Errors
/// The first input that breaks a promise.
pub fn search(
    target: &Target,
    corpus: &[Vec<u8>],
    seed: u64,
    patience: Patience,
) -> Result<Tried, Broken> {
    let mut dice = Dice::new(seed);
    let mut pool = corpus.to_vec();
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let mut tried = Tried::default();
    let started = clock::now();
    let mut next = corpus.iter();
    while tried.executions < patience.executions {
        if started.elapsed() > patience.time {
            break;
        }
        let input = match next.next() {
            Some(input) => input.clone(),
            None => {
                let (one, other) = (dice.pick(pool.len()), dice.pick(pool.len()));
                mutate(&mut dice, &pool[one], &pool[other])
            }
        };
        let (taken, held) =
            try_one(target, &input).map_err(|why| shrink(target, input.clone(), why))?;
        tried.executions += 1;
        tried.taken += u64::from(taken);
        tried.held_bytes_max = tried.held_bytes_max.max(held);
        if taken && pool.len() < corpus.len() + POOL_MAX {
            pool.push(input);
        } else if taken && pool.len() > corpus.len() {
            let at = corpus.len() + dice.pick(pool.len() - corpus.len());
            pool[at] = input;
        }
    }
    tried.time = started.elapsed();
    Ok(tried)
}

/// Leaves out what is not needed for the promise to be broken.
fn shrink(target: &Target, input: Vec<u8>, why: String) -> Broken {
    let mut broken = Broken { input, why };
    let mut piece = broken.input.len() / 2;
    let mut tries = 0;
    while piece > 0 && tries < SHRINK_TRIES {
        let mut at = 0;
        while at < broken.input.len() && tries < SHRINK_TRIES {
            let mut less = broken.input.clone();
            less.drain(at..(at + piece).min(less.len()));
            tries += 1;
            match try_one(target, &less) {
                Err(why) => broken = Broken { input: less, why },
                Ok(_) => at += piece,
            }
        }
        piece /= 2;
    }
    broken
}
