//! A bookie whose disk was not tampered with starts, and reads what it has.

use egret_log::message::{Reply, Unknown};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Starting;

impl Oracle for Starting {
    fn name(&self) -> &'static str {
        "starting"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::OpenRefused { bookie, why } if !book.is_suspect(*bookie) => {
                Err(format!("bookie {bookie} does not start on a disk without damage: {why}"))
            }
            Fact::Answered { by, reply: Reply::Unknown(why @ Unknown::Damaged { .. }), .. }
                if !book.is_suspect(*by) =>
            {
                Err(format!("bookie {by} finds damage on a disk without any: {why}"))
            }
            Fact::Answered {
                by, reply: Reply::Unknown(why @ Unknown::Poisoned { .. }), ..
            } if !book.is_suspect(*by) && !book.had_failed_sync(*by) => {
                Err(format!("bookie {by} stopped writing though nothing failed: {why}"))
            }
            Fact::ScrubFound { bookie, why } if !book.is_suspect(*bookie) => {
                Err(format!("bookie {bookie}'s scrub finds damage where there is none: {why}"))
            }
            _ => Ok(()),
        }
    }
}
