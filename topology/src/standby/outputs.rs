//! Whether a program that stands by writes what whoever runs the topology writes: state that is kept belongs to the
//! output it was said in.

use egret_log::Log;
use egret_log::stream::User;
use egret_log::stream::error::CatalogError;
use egret_state::commit::CommitRecord;

use crate::builder::{Part, Topology};

/// What is known of the output of a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outputs {
    /// Where the topology wrote, this program would.
    Same,
    /// Some of it is not written yet: that is to be asked again.
    Unwritten,
    /// Nobody wrote this stream for the topology.
    Other { stream: String },
}

impl Outputs {
    /// As of a commit.
    pub(super) fn of(
        topology: &Topology,
        log: &Log,
        record: &CommitRecord,
    ) -> Result<Outputs, CatalogError> {
        let mut all = Outputs::Same;
        for (component, part) in topology.plan.components.iter().zip(&topology.parts) {
            let Part::Sink(sink) = part else { continue };
            let Some(stream) = sink.stream() else { continue };
            if record.sinks.get(&component.name).is_none_or(|ends| ends.is_empty()) {
                all = Outputs::Unwritten;
                continue;
            }
            let (topology, component) = (topology.name().to_owned(), component.name.clone());
            let user = User { topology, component };
            let writes = match log.users(stream) {
                Ok(users) => users.producers.contains(&user),
                Err(CatalogError::NoStream { .. }) => false,
                Err(error) => return Err(error),
            };
            if !writes {
                return Ok(Outputs::Other { stream: stream.to_owned() });
            }
        }
        Ok(all)
    }
}
