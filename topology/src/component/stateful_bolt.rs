//! What turns tuples into tuples with state per task, owned by the engine.

use std::collections::VecDeque;
use std::fmt;

use egret_state::keyed::state::State;
use egret_state::keyed::{Conversions, ListState};
use serde::Serialize;

use super::{ComponentResult, Context, Emitter, Timer};

/// A bolt whose state belongs to its tasks: each has one, whatever its tuples are. The engine hands it in, writes
/// what changed of it at the commit, and makes the states of any other number of tasks of it when the
/// topology starts with another parallelism, as [`rescale`](Self::rescale) says.
///
/// Where the state belongs to something that tuples name, a user or a word, it is better kept by a
/// [`KeyedBolt`](super::KeyedBolt): keys move by themselves. State of tasks is for what no key has: what is
/// gathered before it is sent on, a count that is summed up later, rules that every task must know, a cache.
///
/// It is in memory while the bolt runs, and has at most 64 MiB for each task.
///
/// ```
/// use egret::{ComponentResult, Context, Emitter, ListState, Rescale, StatefulBolt, Timer};
/// # use egret::{LogSink, LogSpout, TopologyBuilder};
///
/// /// Sends lines on in packets of ten, or what there is after a second.
/// struct Pack;
///
/// impl Pack {
///     fn send(lines: &mut ListState<String>, out: &mut Emitter<String>) {
///         let packet: Vec<_> = std::iter::from_fn(|| lines.pop_front()).collect();
///         out.emit(packet.join("\n"));
///     }
/// }
///
/// impl StatefulBolt<String, String> for Pack {
///     type State = ListState<String>;
///
///     fn execute(
///         &mut self, lines: &mut ListState<String>, line: String, out: &mut Emitter<String>, cx: &Context,
///     ) -> ComponentResult {
///         if lines.is_empty() {
///             cx.timers().set(Timer::processing(cx.processing_time() + 1000))?;
///         }
///         lines.push(line);
///         if lines.len() == 10 {
///             Pack::send(lines, out);
///         }
///         Ok(())
///     }
///
///     fn on_timer(
///         &mut self, lines: &mut ListState<String>, _: Timer, out: &mut Emitter<String>, _: &Context,
///     ) -> ComponentResult {
///         if !lines.is_empty() {
///             Pack::send(lines, out);
///         }
///         Ok(())
///     }
///
///     fn rescale(&self) -> Rescale<ListState<String>> {
///         Rescale::items()
///     }
/// }
///
/// # let mut t = TopologyBuilder::new("t");
/// let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
/// let packets = lines.shuffle().stateful("pack", 4, || Pack)?;
/// # packets.sink("o", LogSink::to_stream("o"))?;
/// # Ok::<(), egret::Error>(())
/// ```
pub trait StatefulBolt<I, O>: 'static {
    /// The state of one task; `default` is that of a task that begins with none.
    type State: State;

    /// Called once, before the first tuple.
    fn open(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Says of the state what its format does not, as
    /// [`KeyedBolt::schema_label`](super::KeyedBolt::schema_label) does.
    fn schema_label(&self) -> String {
        String::new()
    }

    /// The texts of older schemas that the code reads, as [`KeyedBolt::accepts`](super::KeyedBolt::accepts)
    /// has them.
    fn accepts(&self) -> Vec<String> {
        Vec::new()
    }

    /// What becomes of states that were written as other types, as
    /// [`KeyedBolt::conversions`](super::KeyedBolt::conversions) says it.
    fn conversions(&self) -> Conversions<Self::State> {
        Conversions::none()
    }

    /// Takes one tuple. The state counts as changed.
    fn execute(
        &mut self,
        state: &mut Self::State,
        tuple: I,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult;

    /// Called when a commit closes in which the state changed, that of a task that took over from others
    /// included. A change made here is part of the commit.
    fn flush(
        &mut self,
        state: &mut Self::State,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        let _ = (state, out, cx);
        Ok(())
    }

    /// Called for a timer of the task that is due, when a commit closes, before [`flush`](Self::flush): all that
    /// [`KeyedBolt::on_timer`](super::KeyedBolt::on_timer) says of a key's timers holds of a task's. Under
    /// another number of tasks, whoever gets of the state gets the timers.
    fn on_timer(
        &mut self,
        state: &mut Self::State,
        timer: Timer,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        let _ = (state, timer, out, cx);
        Ok(())
    }

    /// Called from time to time where [`Stream::tick_every`](crate::Stream::tick_every) says so: about as often, less
    /// so while the task is busy or held back, and not while it has no input left. What it emits is part of the commit
    /// under way, as what a tuple emits is; a commit that is repeated after a failure has other ticks. It has no
    /// state at hand: what goes by that is a [timer](Context::timers).
    fn tick(&mut self, out: &mut Emitter<O>, cx: &Context) -> ComponentResult {
        let _ = (out, cx);
        Ok(())
    }

    /// Called once, when the topology ended in order, after its last commit: every spout came to its end, or a stop
    /// was asked for. Not when a generation fails, nor when the process is killed: nothing may depend on it.
    fn close(&mut self, cx: &Context) {
        let _ = cx;
    }

    /// How the states of so many tasks become those of another number of them.
    fn rescale(&self) -> Rescale<Self::State>;
}

/// How the states of a bolt's tasks become those of another number of tasks.
///
/// A task takes over from those whose run of key groups its own meets: of four tasks that become two, each from
/// two; of two that become four, two from each; of two that become three, the one in the middle from both.
/// Nothing else is read, so a change of the number of tasks costs each of them its part. The functions are called
/// in the order of the tasks there were, and what comes of them is part of the first commit.
pub enum Rescale<S> {
    /// All tasks have the same state, because each gets [every tuple](crate::Stream::all) and goes by nothing
    /// else: a task begins with a copy of one of those it takes over from.
    Copy,
    /// A state goes to one task, whole, and is merged into what that has: a sum, a set. When there are more
    /// tasks than before, some begin with none.
    Merge(fn(&mut S, S)),
    /// A state is dealt out among the tasks that take over from its own, and what a task gets is merged.
    Deal {
        /// Merges what came of another task.
        merge: fn(&mut S, S),
        /// Takes the [share](Share) of the next task out of a state; the last one gets what is left. Each of
        /// the tasks calls it for all of them and keeps its own, so it has to take the same each time, in
        /// every process: what it goes by must have an order, which a `BTreeMap` has and a `HashMap` has not.
        /// It is called twice to see that it does, and what it gives is compared as it would be written.
        deal: fn(&mut S, Share) -> S,
    },
}

impl<S> Clone for Rescale<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Rescale<S> {}

impl<S> fmt::Debug for Rescale<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rescale::Copy => "Copy",
            Rescale::Merge(_) => "Merge",
            Rescale::Deal { .. } => "Deal",
        })
    }
}

/// The part of what is left of a state that one of the tasks after its own is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Key groups that this task takes over.
    pub(crate) groups: u32,
    /// Key groups that it and those after it do.
    pub(crate) left: u32,
}

impl Share {
    /// How many of `n` things that are left: all shares together are all of them, and tasks with as many key
    /// groups get as many things, or one more or less.
    pub fn of(self, n: usize) -> usize {
        let part = n as u128 * u128::from(self.groups) / u128::from(self.left.max(1));
        usize::try_from(part).map_or(n, |part| part.min(n))
    }
}

impl<S: Items> Rescale<S> {
    /// Items, in order: appended to one another, and dealt out from the first on.
    pub fn items() -> Rescale<S> {
        Rescale::Deal { merge: S::append, deal: S::deal }
    }
}

/// States that are lists of items, any of which may be any task's.
pub trait Items: Sized {
    /// Appends the items of another list.
    fn append(&mut self, other: Self);

    /// Takes the share of them that are first.
    fn deal(&mut self, share: Share) -> Self;
}

impl<T> Items for Vec<T> {
    fn append(&mut self, other: Vec<T>) {
        self.extend(other);
    }

    fn deal(&mut self, share: Share) -> Vec<T> {
        self.drain(..share.of(self.len())).collect()
    }
}

impl<T> Items for VecDeque<T> {
    fn append(&mut self, other: VecDeque<T>) {
        self.extend(other);
    }

    fn deal(&mut self, share: Share) -> VecDeque<T> {
        self.drain(..share.of(self.len())).collect()
    }
}

impl<T: Serialize> Items for ListState<T> {
    fn append(&mut self, mut other: ListState<T>) {
        while let Some(item) = other.pop_front() {
            self.push(item);
        }
    }

    fn deal(&mut self, share: Share) -> ListState<T> {
        let mut part = ListState::default();
        for _ in 0..share.of(self.len()) {
            self.pop_front().into_iter().for_each(|item| part.push(item));
        }
        part
    }
}
