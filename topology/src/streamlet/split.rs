//! Streamlets split: by a question, or into named streams.

use std::fmt;
use std::sync::Arc;

use super::steps::{Split, Steps as _, Work};
use super::unkeyed::Streamlet;
use super::upstream::{Chain, Upstream, Whole};
use super::wiring::{Called, One, Step, Wiring, Word};
use crate::builder::Stream;
use crate::component::{Bolt, ComponentResult, Context, Emitter, Output};
use crate::{Either, Result, Tuple};

/// One of the streams that [`Streamlet::split_to`] makes.
pub struct Branch<T> {
    output: Output<T>,
    takes: Arc<dyn Fn(&T) -> bool + Send + Sync>,
}

impl<T> Branch<T> {
    /// The tuples that `takes` says yes to, under this name: 1 to 255 letters, digits, `-`, `_` or `.`.
    pub fn new(
        name: &'static str,
        takes: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Branch<T> {
        Branch { output: Output::new(name), takes: Arc::new(takes) }
    }
}

impl<T> Clone for Branch<T> {
    fn clone(&self) -> Self {
        Branch { output: self.output, takes: Arc::clone(&self.takes) }
    }
}

impl<T> fmt::Debug for Branch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Branch({})", self.output.name())
    }
}

impl<T: Tuple, U: Upstream<Out = T>> Streamlet<T, U> {
    /// The tuples that `is_first` says yes to, and the others: two outputs of one component.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let (errors, others) = lines.split(|line| line.contains("error"));
    /// errors.named("errors").to_stream("errors")?;
    /// others.to_stream("others")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn split<F>(self, is_first: F) -> (Streamlet<T>, Streamlet<T>)
    where
        F: FnMut(&T) -> bool + Clone + Send + Sync + 'static,
    {
        let sides = self.then(Split(is_first)).up.whole();
        let side = |pick: fn(&Stream<Either<T, T>>) -> Stream<T>| {
            Streamlet::from_whole(Whole::new(Side { of: sides.clone(), pick }))
        };
        (side(|sides| sides.split().0), side(|sides| sides.split().1))
    }

    /// A stream for each branch, each a named output of one component. A tuple is in all streams whose branches take it;
    /// one that none takes is dropped, as is a stream that nobody takes.
    ///
    /// ```
    /// use egret::streamlet::Branch;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let [errors, all] = lines.split_to([
    ///     Branch::new("errors", |line: &String| line.contains("error")),
    ///     Branch::new("all", |_| true),
    /// ]);
    /// errors.to_stream("errors")?;
    /// all.to_stream("lines-copy")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn split_to<const N: usize>(self, branches: [Branch<T>; N]) -> [Streamlet<T>; N] {
        let chain = self.up.chain();
        let words = chain.words(Some("split"));
        let Chain { up, steps, said } = chain;
        let wiring: Wiring<Vec<Stream<T>>> = Wiring::saying(said, move |said| {
            let (place, grouped) = up.lead(said, Called::plain("split"))?;
            let to = branches.clone();
            let mut main = grouped.bolt_of(place.of(), words, move || SplitBolt {
                work: steps.work(),
                branches: to.to_vec(),
            })?;
            for branch in &branches {
                main = main.with_output(&branch.output)?;
            }
            branches.iter().map(|branch| main.output(&branch.output)).collect()
        });
        std::array::from_fn(|n| {
            let one = One(wiring.clone(), move |streams: &Vec<Stream<T>>| streams[n].clone());
            Streamlet::from_whole(Whole::new(one))
        })
    }
}

/// One of two outputs.
struct Side<A, T> {
    of: Whole<A>,
    pick: fn(&Stream<A>) -> Stream<T>,
}

impl<A: Tuple, T> Step<T> for Side<A, T> {
    fn stream(&self) -> Result<Stream<T>> {
        self.of.stream().map(|stream| (self.pick)(&stream))
    }

    fn say(&self, word: Word) {
        self.of.clone().say(word);
    }
}

/// Does some steps, and emits what comes of them to the outputs that take it.
struct SplitBolt<W, T> {
    work: W,
    branches: Vec<Branch<T>>,
}

impl<A, T: Tuple, W: Work<A, Out = T>> Bolt<A, T> for SplitBolt<W, T> {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.work.open(cx)
    }

    fn execute(&mut self, tuple: A, out: &mut Emitter<T>, _: &Context) -> ComponentResult {
        let SplitBolt { work, branches } = self;
        work.run(tuple, &mut |made| {
            let takers = branches.iter().filter(|branch| (branch.takes)(&made));
            takers.for_each(|branch| out.emit_to(&branch.output, made.clone()));
            Ok(())
        })
    }

    fn close(&mut self, cx: &Context) {
        self.work.close(cx);
    }
}
