//! What a replica holds, asked.

use std::collections::BTreeMap;
use std::ops::Bound;

use egret_state::keyed::format::json::hex;
use egret_state::keyed::format::{KeyFormat, Schema};
pub use egret_state::view::Held;
use egret_state::view::{Mark, Staged, Table, View};
use serde_json::{Value, json};

use super::ReplicaError;

/// The state of a topology as of one commit.
#[derive(Debug)]
pub struct Shown {
    topology: String,
    view: View,
    schemas: BTreeMap<u64, Option<Schema>>,
}

/// Some keys of a component, in the order of their encodings.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Keys and their states.
    pub entries: Vec<(Value, Value)>,
    /// The key the next page begins with, as [`Shown::scan`] takes it; `None` when this is the last one.
    pub next: Option<String>,
}

/// Which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// From this key on, as it is written in words; `None` for the first.
    pub from: Option<String>,
    /// Only keys that begin so, as keys are written in words: a text, or bytes in hexadecimal with `0x` before.
    pub prefix: Option<String>,
    /// So many at most.
    pub limit: usize,
    /// So many bytes of keys and states at most, and at least one key.
    pub bytes: usize,
}

impl Shown {
    pub(super) fn new(topology: &str) -> Shown {
        let (view, schemas) = (View::default(), BTreeMap::new());
        Shown { topology: topology.to_owned(), view, schemas }
    }

    /// The topology.
    pub fn topology(&self) -> &str {
        &self.topology
    }

    /// What is held, as bytes.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The commit everything here is of.
    pub fn mark(&self) -> Option<Mark> {
        self.view.mark()
    }

    /// The commit, for an answer: `{"generation", "commit", "written_by"}`. The first two say which commit it is,
    /// and go back when the topology goes back to a named one; `written_by` is the generation that made it the
    /// last one, or found it so, and never goes back.
    pub fn epoch(&self) -> Value {
        self.mark().map_or(Value::Null, |mark| {
            json!({
                "generation": mark.last.generation().0,
                "commit": mark.last.commit(),
                "written_by": mark.written_by.0,
            })
        })
    }

    pub(super) fn unknown_schemas(&self, staged: &Staged) -> Vec<u64> {
        staged
            .schemas()
            .into_iter()
            .filter(|id| !matches!(self.schemas.get(id), Some(Some(_))))
            .collect()
    }

    pub(super) fn switch(&mut self, staged: Staged, schemas: BTreeMap<u64, Option<Schema>>) {
        self.view.switch(staged);
        self.schemas.extend(schemas);
    }

    /// A component's keys.
    ///
    /// # Errors
    /// When it is not held; the error names those that are.
    pub fn component(&self, name: &str) -> Result<Component<'_>, ReplicaError> {
        if self.mark().is_none() {
            return Err(ReplicaError::NothingCommitted { topology: self.topology.clone() });
        }
        let found = self.view.components().find(|(known, _)| *known == name);
        let (name, table) = found.ok_or_else(|| ReplicaError::NoComponent {
            topology: self.topology.clone(),
            component: name.to_owned(),
            components: self.view.components().map(|(name, _)| name.to_owned()).collect(),
        })?;
        Ok(Component { name, table, schemas: &self.schemas })
    }

    /// The state of a key, given in words, as JSON; `None` when it has none.
    ///
    /// # Errors
    /// When the component or the key is none.
    pub fn get(&self, component: &str, word: &str) -> Result<Option<Value>, ReplicaError> {
        let component = self.component(component)?;
        let key = key_of(component.schema(), word)?;
        Ok(component.table.get(&key).map(|held| component.state_json(held)))
    }

    /// Some keys and their states.
    ///
    /// # Errors
    /// When the component, or a key of the range, is none.
    pub fn scan(&self, component: &str, range: &Range) -> Result<Page, ReplicaError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let next = self.scan_each(component, range, |found| {
            let more = found.bytes();
            if bytes + more > range.bytes && !entries.is_empty() {
                return false;
            }
            bytes += more;
            entries.push((found.key(), found.value()));
            true
        })?;
        Ok(Page { entries, next })
    }

    /// Shows keys and their states one by one, up to the limit of the range or until one is not `taken`, which
    /// says whether there was room for it: where the next page begins with it, as [`Shown::scan`] takes it.
    /// Bytes are left to whoever takes them.
    ///
    /// # Errors
    /// When the component, or a key of the range, is none.
    pub fn scan_each(
        &self,
        component: &str,
        range: &Range,
        mut taken: impl FnMut(&Entry<'_>) -> bool,
    ) -> Result<Option<String>, ReplicaError> {
        let component = self.component(component)?;
        let prefix = match &range.prefix {
            Some(prefix) => key_of(component.schema(), prefix)?,
            None => Vec::new(),
        };
        let from = match &range.from {
            Some(from) => key_of(component.schema(), from)?.max(prefix.clone()),
            None => prefix.clone(),
        };
        let keys = component.table.range(Bound::Included(&from));
        let keys = keys.take_while(|(key, _)| key.starts_with(&prefix));
        for (n, (key, held)) in keys.enumerate() {
            if n >= range.limit || !taken(&Entry { component, key, held }) {
                return Ok(Some(component.key_word(key)));
            }
        }
        Ok(None)
    }
}

/// A key and its state, as they are held.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    component: Component<'a>,
    key: &'a [u8],
    held: &'a Held,
}

impl Entry<'_> {
    /// The bytes of both.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.held.len()
    }

    /// The key as JSON.
    pub fn key(&self) -> Value {
        self.component.key_json(self.key)
    }

    /// The state as JSON.
    pub fn value(&self) -> Value {
        self.component.state_json(self.held)
    }
}

/// The bytes of a key given in words. Where the format is not known, it is given as bytes are.
///
/// # Errors
/// When it is no key.
pub(super) fn key_of(schema: Option<&Schema>, word: &str) -> Result<Vec<u8>, ReplicaError> {
    Ok(format_of(schema).from_word(word)?)
}

fn format_of(schema: Option<&Schema>) -> &KeyFormat {
    schema.map_or(&KeyFormat::Bytes, |schema| &schema.key)
}

/// A component's keys and states.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its keys.
    pub table: &'a Table,
    schemas: &'a BTreeMap<u64, Option<Schema>>,
}

impl<'a> Component<'a> {
    /// The schema its newest states were written under, if its text is kept.
    pub fn schema(&self) -> Option<&'a Schema> {
        let newest = self.table.schemas().last()?;
        self.schemas.get(newest)?.as_ref()
    }

    /// A state as JSON.
    pub fn state_json(&self, held: &Held) -> Value {
        let schema = self.schemas.get(&self.table.schema_of(held)).and_then(Option::as_ref);
        match (schema, held.plain()) {
            (Some(schema), Some(value)) => schema.plain_json(value),
            (Some(schema), None) => schema.cells_json(held.cells()),
            (None, Some(value)) => json!({ "bytes": hex(value) }),
            (None, None) => {
                let cell = |(part, subkey, value): (u32, &[u8], &[u8])| json!({ "part": part, "subkey": hex(subkey), "bytes": hex(value) });
                json!({ "cells": held.cells().map(cell).collect::<Vec<_>>() })
            }
        }
    }

    /// A key as JSON.
    pub fn key_json(&self, key: &[u8]) -> Value {
        format_of(self.schema()).to_json(key)
    }

    /// A key in words.
    pub fn key_word(&self, key: &[u8]) -> String {
        format_of(self.schema()).to_word(key)
    }

    /// The bytes of a key given as JSON.
    ///
    /// # Errors
    /// When it is no key.
    pub fn key_bytes(&self, key: &Value) -> Result<Vec<u8>, ReplicaError> {
        Ok(format_of(self.schema()).from_json(key)?)
    }

    /// The bytes of a key given in words.
    ///
    /// # Errors
    /// When it is no key.
    pub fn key_of_word(&self, word: &str) -> Result<Vec<u8>, ReplicaError> {
        key_of(self.schema(), word)
    }
}
