//! What a test sees of a topology: what is committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret_log::stream::error::CatalogError;
use egret_log::stream::{Poll, ReadFrom, Record, StreamConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::world::Life;
use super::{TestError, TopologyTest};
use crate::ComponentError;
use crate::connect::FromRecord;
use crate::replica::shown::Range;
use crate::replica::{Replica, ReplicaError, ReplicaOptions};

impl TopologyTest {
    /// What readers of a stream see now: committed records only, if it takes part in commits. They are in order
    /// within a partition, and partition follows partition.
    ///
    /// # Errors
    /// When there is no such stream, or a record of it is something else.
    pub fn output<T: FromRecord>(&mut self, stream: &str) -> Result<Vec<T>, TestError> {
        let stream_error = |why| TestError::Stream { stream: stream.to_owned(), why };
        let records = self.records(stream)?;
        records.into_iter().map(|r| T::from_record(r).map_err(stream_error)).collect()
    }

    /// The same of keyed records, with the key as text.
    ///
    /// # Errors
    /// As for [`output`](TopologyTest::output); and when a record has no key.
    pub fn keyed_output<T: FromRecord>(
        &mut self,
        stream: &str,
    ) -> Result<Vec<(String, T)>, TestError> {
        let stream_error =
            |why: ComponentError| TestError::Stream { stream: stream.to_owned(), why };
        let pair = |record: Record| {
            let key = record.key.as_deref().ok_or("a record of it has no key: use `output`")?;
            Ok((String::from_utf8_lossy(key).into_owned(), T::from_record(record)?))
        };
        self.records(stream)?.into_iter().map(|r| pair(r).map_err(stream_error)).collect()
    }

    /// The committed state of a keyed bolt: its keys as text, and their states. Empty before the first commit.
    ///
    /// # Errors
    /// When it has no state, or its states are no `V`; `serde_json::Value` takes any.
    pub fn state<V: DeserializeOwned>(
        &mut self,
        component: &str,
    ) -> Result<BTreeMap<String, V>, TestError> {
        let mut replica = Replica::new(&self.name, ReplicaOptions::default());
        let world = self.world();
        let log = self.log()?;
        match world.run(Life::Bystander, || replica.catch_up(&log)) {
            Err(ReplicaError::NoTopology { .. } | ReplicaError::NothingCommitted { .. }) => {
                return Ok(BTreeMap::new());
            }
            caught_up => caught_up?,
        };
        match replica.read().component(component) {
            // Nothing but its beginning is committed.
            Err(ReplicaError::NoComponent { .. }) if self.stateful.contains(component) => {
                return Ok(BTreeMap::new());
            }
            known => known.map(drop)?,
        }
        let (mut held, mut failed) = (BTreeMap::new(), None);
        let range = Range { limit: usize::MAX, bytes: usize::MAX, ..Range::default() };
        replica.read().scan_each(component, &range, |entry| {
            let key = match entry.key() {
                Value::String(text) => text,
                other => other.to_string(),
            };
            match serde_json::from_value(entry.value()) {
                Ok(value) => {
                    held.insert(key, value);
                }
                Err(why) => failed = Some((key, why.to_string())),
            }
            failed.is_none()
        })?;
        match failed {
            None => Ok(held),
            Some((key, why)) => {
                Err(TestError::StateType { component: component.to_owned(), key, why })
            }
        }
    }

    fn records(&mut self, stream: &str) -> Result<Vec<Record>, TestError> {
        let is_output = self.outputs.contains(stream);
        self.on_log(stream, |log| {
            let StreamConfig { partitions, format, .. } = match log.stream(stream) {
                // The topology makes it when it runs.
                Err(CatalogError::NoStream { .. }) if is_output => return Ok(Vec::new()),
                info => info?.config,
            };
            let mut records = Vec::new();
            for partition in 0..partitions {
                let mut reader = log.reader_of(stream, partition, ReadFrom::Earliest, &format)?;
                while let Poll::Batch(batch) = reader.poll(&(Arc::new(|| ()) as _))? {
                    records.extend(batch.records);
                }
            }
            Ok(records)
        })
    }
}
