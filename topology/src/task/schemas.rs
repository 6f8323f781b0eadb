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
/// whose formats are read as they are. And of the others those that are converted, by the number of the
/// `older` one that reads them; one that is named goes before all that is said of reading.
pub(crate) fn readable(
    log: &Log,
    topology: &str,
    own: &Schema,
    accepts: &[String],
    older: &[Schema],
) -> Result<(replay::Schema, BTreeMap<u64, usize>), MetaError> {
    let accepts = accepts.iter().map(|text| schema_id(text)).collect();
    let mut readable =
        replay::Schema { accepts, differs: BTreeMap::new(), ..replay::Schema::only(own.id()) };
    let named = older.iter().enumerate().rev().map(|(number, schema)| (schema.id(), number));
    let mut converts: BTreeMap<_, _> = named.filter(|(id, _)| *id != own.id()).collect();
    for (_, held) in log.metadata().list(&schema_prefix(topology))? {
        let text = String::from_utf8_lossy(&held.value);
        let id = schema_id(&text);
        if converts.contains_key(&id) || readable.accepts.contains(&id) {
            continue;
        }
        let differs = match text.parse::<Schema>() {
            Ok(old) => match own.reads(&old) {
                Ok(()) => {
                    readable.accepts.push(id);
                    continue;
                }
                Err(differs) => {
                    let reads = older.iter().position(|older| older.reads(&old).is_ok());
                    converts.extend(reads.map(|number| (id, number)));
                    differs
                }
            },
            Err(why) => format!("its text cannot be read, {why}"),
        };
        readable.differs.insert(id, differs);
    }
    Ok((readable, converts))
}
