//! What the next process runs, and the streams it finds.

use egret_log::stream::StreamConfig;
use egret_log::stream::error::CatalogError;

use super::process::Process;
use super::{PARTITIONS, TestError, TopologyTest};
use crate::Error;
use crate::builder::{BuildError, Part, Topology, TopologyBuilder};

impl TopologyTest {
    /// What the next process runs.
    pub(super) fn topology(&mut self) -> Result<Topology, TestError> {
        let mut t = TopologyBuilder::new("test");
        (self.build)(&mut t)?;
        let mut topology = t.finish()?;
        for (name, tasks) in &self.tasks {
            let mut components = topology.plan.components.iter_mut();
            let Some(component) = components.find(|component| component.name == *name) else {
                let names: Vec<_> = topology.plan.components.iter().map(|c| &c.name[..]).collect();
                let (name, known) = (name.clone(), names.join(", "));
                return Err(TestError::NoComponent { name, known });
            };
            if *tasks == 0 || *tasks > topology.plan.key_groups {
                let (name, parallelism) = (name.clone(), *tasks);
                let max = topology.plan.key_groups;
                return Err(Error::from(BuildError::Parallelism { name, parallelism, max }).into());
            }
            component.parallelism = *tasks;
        }
        topology.plan.even_out();
        topology.name().clone_into(&mut self.name);
        let streams = topology.parts.iter().filter_map(|part| match part {
            Part::Sink(sink) => sink.stream(),
            _ => None,
        });
        self.outputs = streams.map(str::to_owned).collect();
        let stateful = topology.plan.components.iter().filter(|c| c.kind.keeps_state());
        self.stateful = stateful.map(|component| component.name.clone()).collect();
        Ok(topology)
    }

    pub(super) fn config(&self, stream: &str) -> StreamConfig {
        let partitions = self.partitions.get(stream).copied().unwrap_or(PARTITIONS);
        StreamConfig { partitions, ..StreamConfig::default() }
    }

    /// Makes the streams that the topology reads and does not write.
    pub(super) fn make_streams(&mut self, topology: &Topology) -> Result<(), TestError> {
        for (_, spout) in topology.reads_of_others() {
            let Some(stream) = spout.stream() else { continue };
            let config = self.config(stream);
            let kept = self.options.keep();
            self.on_log(stream, |log| {
                if !matches!(log.stream(stream), Err(CatalogError::NoStream { .. })) {
                    return Ok(());
                }
                log.create_stream(stream, config.clone())?;
                // Whoever reads it says of which format it has to be.
                if let Err(Error::StreamFormat(wrong)) = spout.check(&topology.env(log, &kept)) {
                    log.delete_stream(stream, true)?;
                    log.create_stream(stream, StreamConfig { format: wrong.asked, ..config })?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), TestError> {
        let (topology, world) = (self.topology()?, self.world());
        self.make_streams(&topology)?;
        self.process = Process::start(&world, topology, self.options.clone())?;
        self.kills += u32::from(self.process.is_none());
        Ok(())
    }
}
