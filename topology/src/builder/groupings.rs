//! How a stream is grouped: the way from what is emitted to what can be attached. Which grouping does what is in
//! [`grouping`](crate::grouping).

use std::sync::Arc;

use egret_state::keyed::Key;

use super::keyed::{ComputedKey, KeyField, KeyFn, KeyedStream};
use super::stream::{Grouped, Stream};
use crate::Tuple;
use crate::grouping::all::All;
use crate::grouping::custom::{Custom, MakeGrouping};
use crate::grouping::direct::Direct;
use crate::grouping::global::Global;
use crate::grouping::local_or_shuffle::LocalOrShuffle;
use crate::grouping::partial_key::PartialKey;
use crate::grouping::rebalance::Rebalance;
use crate::grouping::shuffle::Shuffle;
use crate::grouping::{CustomGrouping, Grouping, Partitioner, Target};

impl<T: Tuple> Stream<T> {
    fn by<P, M>(&self, grouping: Grouping, make: M) -> Grouped<T>
    where
        P: Partitioner<T> + 'static,
        M: Fn(&Target) -> P + Send + Sync + 'static,
    {
        let make = move |target: &Target| Box::new(make(target)) as Box<dyn Partitioner<T>>;
        self.grouped(grouping, &(Arc::new(make) as _))
    }

    /// To the tasks of the next component in turn, a batch at a time: what costs least. Where each tuple is much
    /// work, [`rebalance`](Stream::rebalance) shares more evenly.
    pub fn shuffle(&self) -> Grouped<T> {
        self.by(Grouping::Shuffle, Shuffle::new)
    }

    /// To any task: it does not matter to which. The same as [`shuffle`](Stream::shuffle), and shown as that by
    /// `explain`; Storm's name for what is left to the engine.
    pub fn none(&self) -> Grouped<T> {
        self.shuffle()
    }

    /// To the tasks of the next component in turn, tuple by tuple: what each emitter gave to any two tasks differs by
    /// one tuple at most.
    ///
    /// ```
    /// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// # let model = |line: String, out: &mut Emitter<String>| out.emit(line);
    /// let scored = lines.rebalance().bolt("score", 8, move || model)?;
    /// # scored.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn rebalance(&self) -> Grouped<T> {
        self.by(Grouping::Rebalance, Rebalance::new)
    }

    /// A copy to every task. It is made by the emitter, and each copy weighs as much as the tuple.
    pub fn all(&self) -> Grouped<T> {
        self.by(Grouping::All, |target| All(target.clone()))
    }

    /// Everything to task 0.
    pub fn global(&self) -> Grouped<T> {
        self.by(Grouping::Global, |target| Global(target.clone()))
    }

    /// To tasks on the same worker, in turn, where there are any: no tuple crosses workers, or is encoded.
    pub fn local_or_shuffle(&self) -> Grouped<T> {
        self.by(Grouping::LocalOrShuffle, LocalOrShuffle::new)
    }

    /// To the task that the tuple names, by its number from 0 on. One that the component does not have fails the
    /// topology with [`NoSuchTask`](crate::grouping::NoSuchTask).
    ///
    /// What Heron does with `emitDirect(task, stream, values)`, the tuple does here: a bolt that knows the task emits it
    /// with the tuple, so what was meant is still known when the tuple is emitted again after a failure. Tasks are
    /// numbered within the component they are of, not over the whole topology.
    ///
    /// ```
    /// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let placed = lines.shuffle().bolt("place", 2, || {
    ///     |line: String, out: &mut Emitter<(u32, String)>| {
    ///         let task = if line.starts_with("alarm") { 0 } else { 1 + line.len() as u32 % 3 };
    ///         out.emit((task, line));
    ///     }
    /// })?;
    /// let seen = placed.direct(|(task, _)| *task).bolt("see", 4, || {
    ///     |(_, line): (u32, String), out: &mut Emitter<String>| out.emit(line)
    /// })?;
    /// # seen.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn direct<F>(&self, task_of: F) -> Grouped<T>
    where
        F: Fn(&T) -> u32 + Clone + Send + Sync + 'static,
    {
        self.by(Grouping::Direct, move |target| Direct::new(target, task_of.clone()))
    }

    /// As a grouping of your own says; `grouping` makes one for each task that emits. See [`CustomGrouping`] for one
    /// that names several tasks, or knows how many there are; a closure `FnMut(&T) -> u32` names one.
    ///
    /// ```
    /// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
    /// // Each task gets runs of a hundred.
    /// let runs = || {
    ///     let mut n = 0;
    ///     move |_: &String| {
    ///         n += 1;
    ///         (n - 1) / 100 % 4
    ///     }
    /// };
    /// let seen = lines.custom(runs).bolt("see", 4, copy)?;
    /// # seen.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn custom<G, M>(&self, grouping: M) -> Grouped<T>
    where
        G: CustomGrouping<T>,
        M: Fn() -> G + Send + Sync + 'static,
    {
        let make: MakeGrouping<G> = Arc::new(grouping);
        self.by(Grouping::Custom, move |target| Custom::new(target, Arc::clone(&make)))
    }

    /// By a key inside the tuple: `fields(|w| w.as_str())`. Equal keys meet at one task; keyed state
    /// becomes possible.
    pub fn fields<K, F>(&self, key: F) -> KeyedStream<T, KeyField<T, K, F>>
    where
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self, KeyField::new(key))
    }

    /// By a key computed from the tuple: `fields_by(|order| order.cents / 100)`.
    pub fn fields_by<K, F>(&self, key: F) -> KeyedStream<T, ComputedKey<T, K, F>>
    where
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self, ComputedKey::new(key))
    }

    /// By whatever finds a key: for a [`KeyFn`] of your own, where the key is not known before the program runs.
    pub fn fields_with<F: KeyFn<T>>(&self, key: F) -> KeyedStream<T, F> {
        KeyedStream::new(self, key)
    }

    /// By a key inside the tuple, to one of two tasks that it names: the one that this emitter gave less so far. A key
    /// that is half of all tuples keeps two tasks busy then, not one.
    ///
    /// A key has no task of its own, so what is attached can keep no state for keys: each of the two tasks has a
    /// part of it, and somebody behind them has to put the parts together, as `total` does here.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use egret::{ComponentResult, Context, Emitter, StatefulBolt};
    /// # use egret::{KeyedBolt, LogSink, LogSpout, Rescale, TopologyBuilder};
    ///
    /// /// Counts words, and tells what it counted when the commit closes.
    /// struct Part;
    /// impl StatefulBolt<String, (String, u64)> for Part {
    ///     type State = BTreeMap<String, u64>;
    ///     fn execute(
    ///         &mut self,
    ///         counts: &mut BTreeMap<String, u64>,
    ///         word: String,
    ///         _: &mut Emitter<(String, u64)>,
    ///         _: &Context,
    ///     ) -> ComponentResult {
    ///         *counts.entry(word).or_default() += 1;
    ///         Ok(())
    ///     }
    ///     fn flush(
    ///         &mut self,
    ///         counts: &mut BTreeMap<String, u64>,
    ///         out: &mut Emitter<(String, u64)>,
    ///         _: &Context,
    ///     ) -> ComponentResult {
    ///         std::mem::take(counts).into_iter().for_each(|count| out.emit(count));
    ///         Ok(())
    ///     }
    /// #   fn rescale(&self) -> Rescale<BTreeMap<String, u64>> {
    /// #       Rescale::Merge(|counts, more| more.into_iter().for_each(|(word, n)| *counts.entry(word).or_default() += n))
    /// #   }
    /// }
    /// # struct Total;
    /// # impl KeyedBolt<str, (String, u64), (String, u64)> for Total {
    /// #     type State = u64;
    /// #     fn execute(&mut self, _: &str, n: &mut u64, (_, more): (String, u64), _: &mut Emitter<(String, u64)>,
    /// #         _: &Context) -> ComponentResult { *n += more; Ok(()) }
    /// #     fn flush(&mut self, word: &str, n: &mut u64, out: &mut Emitter<(String, u64)>, _: &Context)
    /// #         -> ComponentResult { out.emit((word.to_owned(), *n)); Ok(()) }
    /// # }
    /// # let mut t = TopologyBuilder::new("t");
    /// # let words = t.spout("w", 1, LogSpout::<String>::from_stream("w"))?;
    /// let parts = words.partial_key(|word| word.as_str()).stateful("part", 4, || Part)?;
    /// let totals = parts.fields(|(word, _)| word.as_str()).keyed("total", 2, || Total)?;
    /// # let texts = || |(word, n): (String, u64), out: &mut Emitter<String>| out.emit(format!("{word} {n}"));
    /// # totals.shuffle().bolt("texts", 1, texts)?.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// State per key is behind `fields` only:
    /// ```compile_fail,E0599
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # struct Count;
    /// # let mut t = TopologyBuilder::new("t");
    /// # let words = t.spout("w", 1, LogSpout::<String>::from_stream("w"))?;
    /// words.partial_key(|word| word.as_str()).keyed("count", 2, || Count)?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn partial_key<K, F>(&self, key: F) -> Grouped<T>
    where
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        self.by(Grouping::PartialKey, move |target| {
            let key = key.clone();
            PartialKey::new(target, move |tuple: &T| key(tuple).hash64())
        })
    }

    /// The same by a key computed from the tuple.
    pub fn partial_key_by<K, F>(&self, key: F) -> Grouped<T>
    where
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        self.by(Grouping::PartialKey, move |target| {
            let key = key.clone();
            PartialKey::new(target, move |tuple: &T| key(tuple).hash64())
        })
    }
}
