//! Tuples as lines.

use std::fmt::Display;
use std::io::Write as _;

use serde::Serialize;

use crate::component::ComponentResult;

/// Appends a tuple, and the end of its line.
pub(super) type Put<T> = fn(&T, &mut Vec<u8>) -> ComponentResult;

/// As the text it is displayed as.
pub(super) fn display<T: Display>(tuple: &T, out: &mut Vec<u8>) -> ComponentResult {
    Ok(writeln!(out, "{tuple}")?)
}

/// As JSON.
pub(super) fn json<T: Serialize>(tuple: &T, out: &mut Vec<u8>) -> ComponentResult {
    serde_json::to_writer(&mut *out, tuple)?;
    out.push(b'\n');
    Ok(())
}
