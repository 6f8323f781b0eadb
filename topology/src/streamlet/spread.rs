//! How tuples find the tasks of what comes next: streamlets joined to one, and dealt out anew.

use super::unkeyed::Streamlet;
use super::upstream::Upstream;
use super::wiring::Wiring;
use crate::Tuple;
use crate::builder::Stream;
use crate::grouping::{CustomGrouping, Receivers};

impl<T: Tuple, U: Upstream<Out = T>> Streamlet<T, U> {
    /// This and another of the same type: what comes next takes the tuples of both. It is no component, so how tuples are
    /// dealt out is said after it.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let old = t.streamlet("old", 1, LogSpout::<String>::from_stream("old"))?;
    /// # let new = t.streamlet("new", 1, LogSpout::<String>::from_stream("new"))?;
    /// old.map(|line| format!("old {line}")).union(new).to_stream("all")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn union<V: Upstream<Out = T>>(self, other: Streamlet<T, V>) -> Streamlet<T> {
        let (one, other) = (self.up.whole(), other.up.whole());
        Streamlet::of(Wiring::of_others(move || one.stream()?.union(&other.stream()?)))
    }

    /// What comes next has so many tasks, and each tuple goes to the next of them.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// # fn score(line: &str) -> u64 { line.len() as u64 }
    /// let scores = lines.repartition(8).map(|line| score(&line)).named("score");
    /// scores.repartition(1).map(|score| score.to_string()).to_stream("scores")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn repartition(self, tasks: u32) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole().dealt_evenly(Some(tasks), Stream::rebalance))
    }

    /// What comes next has so many tasks, and `task_of`, which is told how many, says to which a tuple goes, counted from
    /// 0. One that is not there fails the topology.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let by_length = lines.repartition_by(4, |line, tasks| line.len() as u32 % tasks);
    /// by_length.map(|line| line.to_uppercase()).to_stream("upper")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn repartition_by<F>(self, tasks: u32, task_of: F) -> Streamlet<T>
    where
        F: Fn(&T, u32) -> u32 + Clone + Send + Sync + 'static,
    {
        let by = move |stream: &Stream<T>| {
            let task_of = task_of.clone();
            stream.custom(move || ToTask { task_of: task_of.clone(), tasks: 0 })
        };
        Streamlet::from_whole(self.up.whole().dealt_exactly(Some(tasks), by))
    }

    /// Tuples are dealt out to the tasks of what comes next, a batch at a time.
    pub fn shuffle(self) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole().dealt_evenly(None, Stream::shuffle))
    }

    /// Tuples are dealt out to the tasks of what comes next, one at a time.
    pub fn rebalance(self) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole().dealt_evenly(None, Stream::rebalance))
    }

    /// Tuples stay on their worker, where what comes next has a task there.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 2, LogSpout::<String>::from_stream("lines"))?;
    /// // Without it, what has tasks of its own is shuffled to.
    /// let upper = lines.local().map(|line| line.to_uppercase()).named("upper").parallelism(2);
    /// upper.shuffle().map(|line| line + "!").named("loud").parallelism(3).to_stream("upper")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn local(self) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole().dealt_evenly(None, Stream::local_or_shuffle))
    }

    /// Every task of what comes next gets every tuple.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let rules = t.streamlet("rules", 1, LogSpout::<String>::from_stream("rules"))?;
    /// let lengths = rules.broadcast().map(|rule| rule.len().to_string());
    /// lengths.named("each").parallelism(4).to_stream("lengths")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn broadcast(self) -> Streamlet<T> {
        Streamlet::from_whole(self.up.whole().dealt_exactly(None, Stream::all))
    }
}

/// Has a function say the task, which is told how many there are: as many as run, whatever was said.
struct ToTask<F> {
    task_of: F,
    tasks: u32,
}

impl<T, F> CustomGrouping<T> for ToTask<F>
where
    F: Fn(&T, u32) -> u32 + Send + 'static,
{
    fn prepare(&mut self, receivers: &Receivers) {
        self.tasks = receivers.tasks;
    }

    fn choose(&mut self, tuple: &T, tasks: &mut Vec<u32>) {
        tasks.push((self.task_of)(tuple, self.tasks));
    }
}
