//! A finished topology: its plan and its components.

use std::sync::Arc;

use super::parts::Part;
use super::settings::Settings;
use crate::component::{ConfigError, MakeHook, parted};
use crate::plan::{Form, LogicalPlan, PhysicalPlan};

/// A topology that can run; made by [`TopologyBuilder::finish`](super::TopologyBuilder::finish).
pub struct Topology {
    pub(crate) plan: LogicalPlan,
    pub(crate) parts: Vec<Part>,
    /// Of each component.
    pub(crate) settings: Vec<Arc<Settings>>,
    pub(crate) hooks: Arc<[MakeHook]>,
}

impl std::fmt::Debug for Topology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topology({}, {} components)", self.plan.name, self.plan.components.len())
    }
}

impl Topology {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Gives a value of a component another text: `COMPONENT.KEY=VALUE`. Which there are was said with
    /// [`Stream::config`](super::Stream::config).
    ///
    /// # Errors
    /// When there is no such component or value, or the value is of another type.
    pub fn set(&mut self, text: &str) -> Result<(), ConfigError> {
        let (component, key, value) = parted(text)?;
        let names = self.plan.components.iter().map(|c| &c.name);
        let Some(index) = names.clone().position(|name| name == component) else {
            let (component, components) = (component.to_owned(), names.cloned().collect());
            return Err(ConfigError::NoComponent { component, components });
        };
        Arc::make_mut(&mut self.settings[index]).config.set(key, value)
    }

    /// The component graph.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// The logical and physical plan on `workers` workers, as stable text.
    pub fn explain(&self, workers: u32) -> String {
        self.explain_in(1, workers)
    }

    /// The same on so many processes, with so many workers each.
    pub fn explain_in(&self, processes: u32, workers: u32) -> String {
        self.explain_as(Form::Text, processes, workers)
    }

    /// The same in another form: as JSON, as a graph for Graphviz, or as a picture.
    ///
    /// ```
    /// use egret::plan::Form;
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// let mut t = TopologyBuilder::new("copy");
    /// let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
    /// lines.sink("out", LogSink::to_stream("out").partitions(2))?;
    /// let topology = t.finish()?;
    /// let json = topology.explain_as(Form::Json, 1, 2);
    /// assert!(json.contains("\"reach\": \"between-workers\""));
    /// let dot = topology.explain_as(Form::Dot, 1, 2);
    /// assert!(dot.contains("c0 -> c1 [label=\"by-partition\\nbetween workers\""));
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn explain_as(&self, form: Form, processes: u32, workers: u32) -> String {
        let physical = PhysicalPlan::place_in(&self.plan, processes.max(1), workers.max(1));
        form.write(&self.plan, &physical)
    }
}
