//! A sink that writes a stream of the log, as part of the commit.
//!
//! Under effectively-once the stream is *transactional*: owned by this topology, one task per
//! partition, readers see a record only after its commit is acknowledged, and a restart cuts what was
//! never committed. Under the weaker guarantees records are visible as soon as they are durable.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use egret_log::stream::error::CatalogError;
use egret_log::stream::{StreamConfig, StreamInfo};
use egret_schemas::key;
use egret_state::Guarantee;

use super::ToRecord;
use crate::Error;
use crate::builder::{Env, SinkPart, SinkParts, SinkSpec};
use crate::component::Context;
use crate::grouping::by_partition::ByPartition;
use crate::grouping::{Grouping, Target};
use crate::task::{LogSinkTask, SinkTask, TaskError};

/// Partitions of an output stream that nobody created before.
const PARTITIONS: u32 = 4;

/// Writes tuples to a stream, created at the first run if it does not exist.
pub struct LogSink<T> {
    stream: String,
    partitions: u32,
    segment_bytes_max: Option<u64>,
    of: PhantomData<fn(T)>,
}

impl<T> std::fmt::Debug for LogSink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSink(stream {})", self.stream)
    }
}

impl<T: ToRecord> LogSink<T> {
    /// Writes stream `name`.
    pub fn to_stream(name: &str) -> LogSink<T> {
        LogSink {
            stream: name.to_owned(),
            partitions: PARTITIONS,
            segment_bytes_max: None,
            of: PhantomData,
        }
    }

    /// How many partitions the stream gets when it is created here.
    pub fn partitions(mut self, partitions: u32) -> LogSink<T> {
        self.partitions = partitions;
        self
    }

    /// How large a segment grows before the next one begins.
    pub fn segment_bytes_max(mut self, bytes: u64) -> LogSink<T> {
        self.segment_bytes_max = Some(bytes);
        self
    }
}

impl<T: ToRecord> LogSink<T> {
    fn config(&self, env: &Env) -> StreamConfig {
        let mut config = StreamConfig {
            partitions: self.partitions,
            format: T::format(),
            transactional: match env.guarantee {
                Guarantee::EffectivelyOnce => Some(env.topology.clone()),
                _ => None,
            },
            ..StreamConfig::default()
        };
        if let Some(bytes) = self.segment_bytes_max {
            config.segment_bytes_max = bytes;
        }
        config
    }

    /// Whether an existing stream is what this sink would have created.
    fn check(&self, env: &Env, info: &StreamInfo) -> Result<(), Error> {
        let stream = self.stream.clone();
        info.expect_format(&T::format())?;
        match (env.guarantee, info.config.transactional.as_deref()) {
            (Guarantee::EffectivelyOnce, None) => Err(Error::StreamNotTransactional { stream }),
            (Guarantee::EffectivelyOnce, Some(owner)) if owner != env.topology => {
                Err(Error::StreamOwned { stream, owner: owner.to_owned() })
            }
            (Guarantee::EffectivelyOnce, Some(_)) | (_, None) => Ok(()),
            (guarantee, Some(owner)) => {
                let owner = owner.to_owned();
                Err(Error::StreamTransactional { stream, owner, guarantee })
            }
        }
    }
}

impl<T: ToRecord> SinkPart for LogSink<T> {
    fn prepare(&self, env: &Env) -> Result<Option<u32>, Error> {
        let info = match env.log.stream(&self.stream) {
            Ok(info) => {
                self.check(env, &info)?;
                info
            }
            Err(CatalogError::NoStream { .. }) => {
                env.log.create_stream(&self.stream, self.config(env))?
            }
            Err(e) => return Err(e.into()),
        };
        Ok(Some(info.config.partitions))
    }

    fn stream(&self) -> Option<&str> {
        Some(&self.stream)
    }

    fn make(&self, env: &Env, cx: Context) -> Result<Box<dyn SinkTask>, TaskError> {
        Ok(Box::new(LogSinkTask::<T>::new(env, cx, &self.stream)?))
    }
}

#[expect(private_interfaces, reason = "sealed: only this crate's sinks implement it")]
impl<T: ToRecord> SinkSpec<T> for LogSink<T> {
    fn into_part(self) -> SinkParts<T> {
        let detail = format!("writes stream {}", self.stream);
        let partitions = self.partitions;
        let make = Arc::new(|target: &Target| {
            let partition_of = |tuple: &T, partitions: u32| {
                let of = |bytes: Cow<'_, [u8]>| key::partition(key::hash(&bytes), partitions);
                tuple.key().map(of)
            };
            Box::new(ByPartition::new(target, partition_of)) as _
        });
        (Arc::new(self), Grouping::ByPartition, make, partitions, detail)
    }
}
