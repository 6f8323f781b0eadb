//! One key's record in a changelog.
//!
//! ```text
//! key group var | key length var | key
//! | 0 removed, else 1 + 4·body length + 0 plain, 1 whole, 2 changes var | body
//! ```
//! `plain` holds a value as `postcard` writes it, `whole` all [cells](super::cell) of a state, both in the place of
//! what there was; `changes` holds cells applied to what there was.

use egret_schemas::bytes::{DecodeError, Reader, Writer};

use super::state::{Extent, Form};

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What<'a> {
    /// It has no state any more.
    Removed,
    /// Its state is this value.
    Plain(&'a [u8]),
    /// Its state is these cells.
    Whole(&'a [u8]),
    /// Its state is what it was, with these cells applied.
    Changes(&'a [u8]),
}

impl<'a> What<'a> {
    /// A state's body in the form it was written in.
    pub fn of(form: Form, extent: Extent, body: &'a [u8]) -> What<'a> {
        match (form, extent) {
            (Form::Plain, _) => What::Plain(body),
            (Form::Cells, Extent::Whole) => What::Whole(body),
            (Form::Cells, Extent::Changes) => What::Changes(body),
        }
    }

    /// The bytes of it.
    pub fn body(&self) -> &'a [u8] {
        match *self {
            What::Removed => &[],
            What::Plain(body) | What::Whole(body) | What::Changes(body) => body,
        }
    }
}

/// A record read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record<'a> {
    /// The key's group.
    pub group: u32,
    /// The key's encoding.
    pub key: &'a [u8],
    /// What became of it.
    pub what: What<'a>,
}

impl<'a> Record<'a> {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_var(u64::from(self.group));
        out.put_var(self.key.len() as u64);
        out.extend_from_slice(self.key);
        let form = match self.what {
            What::Removed => return out.put_var(0),
            What::Plain(_) => 0,
            What::Whole(_) => 1,
            What::Changes(_) => 2,
        };
        let body = self.what.body();
        out.put_var(1 + 4 * body.len() as u64 + form);
        out.extend_from_slice(body);
    }

    /// Reads one, of a topology of this many key groups.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn read(r: &mut Reader<'a>, key_groups: u32) -> Result<Record<'a>, DecodeError> {
        let group = u32::try_from(r.var("key group")?).ok().filter(|group| *group < key_groups);
        let group = group.ok_or_else(|| r.wrong("key group", "out of range"))?;
        let key_bytes = r.var("key")?;
        let key = take(r, key_bytes, "key")?;
        let what = match r.var("state")?.checked_sub(1) {
            None => What::Removed,
            Some(head) => {
                let body = take(r, head / 4, "state")?;
                match head % 4 {
                    0 => What::Plain(body),
                    1 => What::Whole(body),
                    2 => What::Changes(body),
                    _ => return Err(r.wrong("state", "unknown ordinal")),
                }
            }
        };
        Ok(Record { group, key, what })
    }
}

fn take<'a>(r: &mut Reader<'a>, n: u64, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let n = usize::try_from(n).map_err(|_| r.wrong(what, "the record ends before it"))?;
    r.take(n, what)
}
