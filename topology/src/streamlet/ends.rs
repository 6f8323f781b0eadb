//! Where streamlets end: sinks, streams, functions.

use std::fmt;

use super::unkeyed::Streamlet;
use super::upstream::Upstream;
use super::wiring::{Called, Said, Word};
use crate::builder::SinkSpec;
use crate::component::Sink;
use crate::connect::{LogSink, StdoutSink, ToRecord};
use crate::{Result, Tuple};

impl<T: Tuple, U: Upstream<Out = T>> Streamlet<T, U> {
    /// Ends in a sink that places its tuples itself, such as a [`LogSink`](crate::LogSink).
    ///
    /// ```
    /// use egret::LogSink;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// lines.to_sink("copy", LogSink::to_stream("copies").partitions(1))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`](crate::BuildError) for whatever is wrong with the sink or any step before it.
    pub fn to_sink<S: SinkSpec<T>>(self, name: &str, sink: S) -> Result<()> {
        self.stream()?.sink(name, sink)
    }

    /// Ends in a stream of the log, as part of the commits. The sink is called `to-` and the stream's name; with
    /// [`to_sink`](Self::to_sink) it can have another.
    ///
    /// # Errors
    /// As there.
    pub fn to_stream(self, stream: &str) -> Result<()>
    where
        T: ToRecord,
    {
        self.to_sink(&format!("to-{stream}"), LogSink::to_stream(stream))
    }

    /// Ends in a function, which sees each tuple at least once: a topology that promises more refuses it. What Heron
    /// calls `consume`.
    ///
    /// ```
    /// use egret::{Generator, Guarantee, TopologyBuilder};
    /// let mut t = TopologyBuilder::new("t");
    /// t.guarantee(Guarantee::AtLeastOnce);
    /// let numbers = t.streamlet("numbers", 1, Generator::new(|n| n).count(10))?;
    /// numbers.filter(|n| n % 2 == 0).for_each("tell", |n| println!("{n}"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`to_sink`](Self::to_sink).
    pub fn for_each<F>(self, name: &str, f: F) -> Result<()>
    where
        F: FnMut(T) + Clone + Send + Sync + 'static,
    {
        self.consume(name, move || f.clone())
    }

    /// Ends in a sink of your own, which sees each tuple at least once; `factory` makes one for each task.
    ///
    /// ```
    /// use egret::{Generator, Guarantee, StdoutSink, TopologyBuilder};
    /// let mut t = TopologyBuilder::new("t");
    /// t.guarantee(Guarantee::AtLeastOnce);
    /// let numbers = t.streamlet("numbers", 1, Generator::new(|n| n).count(10))?.shared();
    /// numbers.clone().consume("json", StdoutSink::json_lines)?;
    /// numbers.log("print")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`to_sink`](Self::to_sink).
    pub fn consume<S, F>(self, name: &str, factory: F) -> Result<()>
    where
        S: Sink<T>,
        F: Fn() -> S + Send + Sync + 'static,
    {
        let mut said = Said::default();
        said.take(Word::Name(name.to_owned()));
        let (place, grouped) = self.up.whole().lead(said, Called::plain(name))?;
        grouped.sink(&place.name, place.tasks, factory)
    }

    /// Ends on standard output, a line a tuple, each at least once: a topology that promises more refuses it, and
    /// [`inspect`](Self::inspect) looks at tuples on their way there.
    ///
    /// # Errors
    /// As for [`to_sink`](Self::to_sink).
    pub fn log(self, name: &str) -> Result<()>
    where
        T: fmt::Display,
    {
        self.consume(name, StdoutSink::lines)
    }
}
