//! What the state of keyed bolts looks like, kept in metadata beside it: a text for each schema, under its number.

use std::collections::BTreeMap;

use egret_log::Log;
use egret_log::metadata::{MetaError, Op};
use egret_state::keyed::changelog::schema_id;
use egret_state::keyed::format::Schema;
use egret_state::keyed::key::Key;
use egret_state::keyed::replay;
use egret_state::keyed::state::State;

use crate::replica::{schema_key, schema_prefix};

/// What a bolt with keys `K` and states `S` keeps.
pub(crate) fn schema<K: Key + ?Sized, S: State>(label: String) -> Schema {
    Schema { label, key: K::format(), state: S::format() }
}

/// Keeps the text of a schema, before anything is written under it.
pub(crate) fn keep(log: &Log, topology: &str, schema: &Schema) -> Result<(), MetaError> {
    let key = schema_key(topology, schema.id());
    let text = schema.to_string().into_bytes();
    let meta = log.metadata();
    if meta.get(&key)?.is_none_or(|held| held.value[..] != text) {
        meta.txn(&[], &[Op::Put(key, text)])?;
    }
    Ok(())
}

/// What a restore may take: its own schema, those that the code says it reads, and of those that are kept the ones
/// whose formats are read as they are.
pub(crate) fn readable(
    log: &Log,
    topology: &str,
    own: &Schema,
    accepts: &[String],
) -> Result<replay::Schema, MetaError> {
    let accepts = accepts.iter().map(|text| schema_id(text)).collect();
    let mut readable =
        replay::Schema { accepts, differs: BTreeMap::new(), ..replay::Schema::only(own.id()) };
    for (_, held) in log.metadata().list(&schema_prefix(topology))? {
        let text = String::from_utf8_lossy(&held.value);
        let id = schema_id(&text);
        match text.parse::<Schema>().map(|old| own.reads(&old)) {
            Ok(Ok(())) => readable.accepts.push(id),
            Ok(Err(differs)) => {
                readable.differs.insert(id, differs);
            }
            Err(why) => {
                readable.differs.insert(id, format!("its text cannot be read, {why}"));
            }
        }
    }
    Ok(readable)
}
