//! What lies below the streams of a data directory, asked for and answered: metadata and entries.
//!
//! Values and entries never pass through Cap'n Proto; they stand in the payload, and the header says how long
//! each is.

use super::HeaderError;
use crate::generated::below_capnp::{below, value, values};
use crate::ids::{EntryId, LedgerId};
use crate::segment::{collect, count, text};

/// A request for what lies below the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Below {
    /// The value of a key of the metadata.
    Get {
        /// The key.
        key: String,
    },
    /// Keys of the metadata that begin alike, in order.
    List {
        /// What they begin with.
        prefix: String,
        /// Only those behind this one.
        after: String,
    },
    /// Writes all the values in the payload, if all the keys are as they were.
    Write {
        /// Key → when it was last written; 0: it is not there.
        compare: Vec<(String, u64)>,
        /// Key → how many bytes of the payload are its value.
        puts: Vec<(String, u32)>,
    },
    /// Reads an entry, whether readers may see it or not.
    Read {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
    },
    /// How far a ledger may be read.
    End {
        /// The ledger.
        ledger: LedgerId,
    },
}

/// Values of metadata; they stand in the payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// Each, in the order of the keys.
    pub values: Vec<ValueHead>,
    /// Whether there are more behind the last.
    pub more: bool,
    /// The store's revision at that moment.
    pub revision: u64,
}

/// One value of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueHead {
    /// Its key.
    pub key: String,
    /// When it was last written.
    pub revision: u64,
    /// How many bytes of the payload it has.
    pub bytes: u32,
}

pub(super) fn fill_below(below: &Below, mut to: below::Builder<'_>) {
    match below {
        Below::Get { key } => to.set_get(key),
        Below::List { prefix, after } => {
            let mut to = to.init_list();
            to.set_prefix(prefix);
            to.set_after(after);
        }
        Below::Write { compare, puts } => {
            let mut to = to.init_write();
            let mut list = to.reborrow().init_compare(count(compare));
            for (at, (key, revision)) in (0..).zip(compare) {
                let mut to = list.reborrow().get(at);
                to.set_key(key);
                to.set_revision(*revision);
            }
            let mut list = to.init_puts(count(puts));
            for (at, (key, bytes)) in (0..).zip(puts) {
                let mut to = list.reborrow().get(at);
                to.set_key(key);
                to.set_bytes(*bytes);
            }
        }
        Below::Read { ledger, entry } => {
            let mut to = to.init_read();
            to.set_ledger(ledger.0);
            to.set_entry(entry.0);
        }
        Below::End { ledger } => to.set_end(ledger.0),
    }
}

pub(super) fn take_below(from: below::Reader<'_>) -> Result<Below, HeaderError> {
    Ok(match from.which()? {
        below::Get(key) => Below::Get { key: text(key?)? },
        below::List(from) => {
            let from = from?;
            Below::List { prefix: text(from.get_prefix()?)?, after: text(from.get_after()?)? }
        }
        below::Write(from) => {
            let from = from?;
            let compare = from.get_compare()?.iter();
            let puts = from.get_puts()?.iter();
            Below::Write {
                compare: collect(compare.map(|c| Ok((text(c.get_key()?)?, c.get_revision()))))?,
                puts: collect(puts.map(|p| Ok((text(p.get_key()?)?, p.get_bytes()))))?,
            }
        }
        below::Read(from) => {
            let from = from?;
            Below::Read { ledger: LedgerId(from.get_ledger()), entry: EntryId(from.get_entry()) }
        }
        below::End(ledger) => Below::End { ledger: LedgerId(ledger) },
    })
}

pub(super) fn fill_values(values: &Values, mut to: values::Builder<'_>) {
    to.set_more(values.more);
    to.set_revision(values.revision);
    let mut list = to.init_values(count(&values.values));
    for (at, value) in (0..).zip(&values.values) {
        let mut to = list.reborrow().get(at);
        to.set_key(&value.key);
        to.set_revision(value.revision);
        to.set_bytes(value.bytes);
    }
}

pub(super) fn take_values(from: values::Reader<'_>) -> Result<Values, HeaderError> {
    let value = |from: value::Reader<'_>| {
        let (key, revision, bytes) =
            (text(from.get_key()?)?, from.get_revision(), from.get_bytes());
        Ok(ValueHead { key, revision, bytes })
    };
    let values = collect(from.get_values()?.iter().map(value))?;
    Ok(Values { values, more: from.get_more(), revision: from.get_revision() })
}
