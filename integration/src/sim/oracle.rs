//! What must always hold, one oracle a file. Each hears every [`Fact`] and says when one breaks it.
//!
//! | oracle | holds |
//! |---|---|
//! | [`acknowledged`] | what was confirmed is readable by everyone for ever |
//! | [`contents`] | an entry's number decides its bytes, and none is invented |
//! | [`ends`] | a ledger has one end; its record only moves forward |
//! | [`fragments`] | fragments start in order, only the last may change |
//! | [`order`] | confirmations leave in order, each with an ack quorum in the committed ensemble |
//! | [`fences`] | who answered for a term accepts no lower one, over any restart |
//! | [`kept`] | what a bookie acknowledged it has after any restart, or says that it is damaged |
//! | [`lac`] | what readers may see never leads what is confirmed or committed |
//! | [`transactional`] | a transactional ledger ends at its commit |
//! | [`deletion`] | deleted after a tombstone, and never seen again |
//! | [`starting`] | an undamaged disk opens and is read |

mod acknowledged;
mod book;
mod contents;
mod deletion;
mod ends;
mod fences;
mod fragments;
mod kept;
mod lac;
mod order;
mod starting;
mod transactional;

use std::fmt;

pub(crate) use book::Book;

use super::fact::Fact;

/// One thing that must always hold.
pub(crate) trait Oracle: fmt::Debug {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Hears a fact, with what was known before it; says how it breaks what must hold.
    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String>;
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Oracles {
    book: Book,
    all: Vec<Box<dyn Oracle>>,
}

impl Oracles {
    pub(crate) fn new() -> Oracles {
        let all: Vec<Box<dyn Oracle>> = vec![
            Box::new(acknowledged::Acknowledged),
            Box::new(contents::Contents),
            Box::new(ends::Ends),
            Box::new(fragments::Fragments),
            Box::new(order::Order),
            Box::new(fences::Fences::default()),
            Box::new(kept::Kept),
            Box::new(lac::Lac::default()),
            Box::new(transactional::Transactional),
            Box::new(deletion::Deletion::default()),
            Box::new(starting::Starting),
        ];
        Oracles { book: Book::default(), all }
    }

    /// What is known so far.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Tells all of them; the name of the first that is broken, and how.
    pub(crate) fn tell(&mut self, fact: &Fact) -> Result<(), (&'static str, String)> {
        for oracle in &mut self.all {
            oracle.hear(&self.book, fact).map_err(|what| (oracle.name(), what))?;
        }
        self.book.note(fact);
        Ok(())
    }
}
