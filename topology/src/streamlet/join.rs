//! Two streamlets joined by their keys: in windows, within an interval, as of a time, with a table.
//!
//! | file | holds |
//! |---|---|
//! | `sides` | what is kept of both sides |
//! | `interval` | tuples whose times are so far apart: pure |
//! | `as_of` | the last one there was at a time: pure |
//! | `pairs` | all of one window with all of the other side: pure |
//! | `timed` | the bolt of joins by event time, which drives `interval` and `as_of` |
//! | `windowed` | joins in windows, which are windows of both sides |
//! | `table` | the last one that came |

mod as_of;
mod interval;
#[cfg(test)]
mod model_tests;
mod pairs;
mod sides;
mod table;
mod timed;
mod windowed;

use std::fmt;
use std::sync::Arc;

pub use interval::Interval;
pub use table::TableJoin;
pub use timed::{AsOfJoin, IntervalJoin};
pub use windowed::WindowJoin;

use super::keyed::KeyedStreamlet;
use super::unkeyed::Streamlet;
use super::wiring::{Called, Place, Said, Wiring};
use crate::builder::{EitherKey, KeyFn, KeyedStream};
use crate::component::KeyedBolt;
use crate::window::Windows;
use crate::{Either, Result, Tuple};

/// Says the time of a tuple.
pub(super) type TimeFn<T> = Arc<dyn Fn(&T) -> i64 + Send + Sync>;

/// Both inputs of a join, by their key.
type Both<T, F, U, G> = KeyedStream<Either<T, U>, EitherKey<F, G>>;

/// Two streamlets by the same key. What meets is said next:
///
/// | | tuples of one key meet |
/// |---|---|
/// | [`window`](Self::window) | in the same window |
/// | [`interval`](Self::interval) | when the right one's time is so far from the left one's |
/// | [`as_of`](Self::as_of) | each left one the last right one there was at its time |
/// | [`table`](Self::table) | each left one the last right one that came before it |
/// | [`process`](Self::process) | as a bolt of your own says |
///
/// In the first three it is the tuples' times that say what meets, in whatever order they come; what is kept of both
/// sides goes as the watermark passes it. All of it is state like any other: part of the commits, and moved with its key.
/// A time that is further from 1970 than `i64::MAX / 2` ms counts as one that is as far.
#[must_use = "say what meets"]
pub struct Joined<T, F, U, G> {
    left: KeyedStreamlet<T, F>,
    right: KeyedStreamlet<U, G>,
}

impl<T, F: fmt::Debug, U, G: fmt::Debug> fmt::Debug for Joined<T, F, U, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} and {:?}", self.left, self.right)
    }
}

impl<T, F, U, G> Joined<T, F, U, G>
where
    T: Tuple,
    F: KeyFn<T>,
    U: Tuple,
    G: KeyFn<U, Key = F::Key>,
{
    pub(super) fn new(left: KeyedStreamlet<T, F>, right: KeyedStreamlet<U, G>) -> Self {
        Joined { left, right }
    }

    /// Where the join stands, and its inputs. Named after the left one.
    fn lead(self, said: Said, word: &str) -> Result<(Place, Both<T, F, U, G>)> {
        let (left, right) = (self.left.stream()?, self.right.stream()?);
        let place = said.place(&left, Called::stateful(word), self.left.tasks())?;
        let both = self.left.keyed(&left).join(self.right.keyed(&right))?;
        Ok((place, both))
    }

    /// In the same window of any kind. Say what windows go by next.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::window::Tumbling;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # fn ms(line: &str) -> i64 { line.len() as i64 }
    /// # let spout = LogSpout::<String>::from_stream;
    /// # let views = t.spout("views", 1, spout("views"))?.event_time(|view| ms(view))?.streamlet();
    /// # let clicks = t.spout("clicks", 1, spout("clicks"))?.event_time(|click| ms(click))?.streamlet();
    /// let by_page = views.key_by(|view| view.len() as u64).join(clicks.key_by(|click| click.len() as u64));
    /// let both = by_page
    ///     .window(Tumbling::of(Duration::from_secs(60)))
    ///     .event_time(|view| ms(view), |click| ms(click))
    ///     .left(|page, view, click| format!("{page}: {view} {click:?}"));
    /// both.named("both").to_stream("both")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn window<W: Windows + 'static>(self, windows: W) -> WindowJoin<T, F, U, G> {
        WindowJoin::new(self, windows)
    }

    /// When the right one's time less the left one's lies in `interval`, both ends included. A pair is told as soon as
    /// the later of the two is here; that one has met nobody, when the watermark has passed the last it could have met.
    ///
    /// ```
    /// use egret::streamlet::Interval;
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # fn ms(line: &str) -> i64 { line.len() as i64 }
    /// # let spout = LogSpout::<String>::from_stream;
    /// # let orders = t.spout("orders", 1, spout("orders"))?.event_time(|order| ms(order))?.streamlet();
    /// # let paid = t.spout("paid", 1, spout("paid"))?.event_time(|paid| ms(paid))?.streamlet();
    /// // What was paid within an hour of its order, and what was not.
    /// let by_order = orders.key_by(|order| order.clone()).join(paid.key_by(|paid| paid.clone()));
    /// let (told, late) = by_order
    ///     .interval(Interval::ms(0..=3_600_000), |order| ms(order), |paid| ms(paid))
    ///     .late_stream()
    ///     .left(|order, _, paid| match paid {
    ///         Some(_) => format!("{order} is paid"),
    ///         None => format!("{order} is not"),
    ///     });
    /// told.named("paid-in-time").to_stream("told")?;
    /// # let text = |late: egret::Either<String, String>| format!("{late:?}");
    /// late.map(text).to_stream("late")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn interval<M, N>(
        self,
        interval: Interval,
        time_of_left: M,
        time_of_right: N,
    ) -> IntervalJoin<T, F, U, G>
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
        N: Fn(&U) -> i64 + Send + Sync + 'static,
    {
        IntervalJoin::new(self, interval, (Arc::new(time_of_left), Arc::new(time_of_right)))
    }

    /// Each left one and the last right one at its time or before: the price there was when it was ordered, whatever came
    /// when. Each is told when the watermark has passed it, for until then another right one may come that is nearer.
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # fn ms(line: &str) -> i64 { line.len() as i64 }
    /// # let spout = LogSpout::<String>::from_stream;
    /// # let orders = t.spout("orders", 1, spout("orders"))?.event_time(|order| ms(order))?.streamlet();
    /// # let prices = t.spout("prices", 1, spout("prices"))?.event_time(|price| ms(price))?.streamlet();
    /// let priced = orders
    ///     .key_by(|order| order.clone())
    ///     .join(prices.key_by(|price| price.clone()))
    ///     .as_of(|order| ms(order), |price| ms(price))
    ///     .left(|item, order, price| format!("{item}: {order} {price:?}"));
    /// priced.named("priced").to_stream("priced")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn as_of<M, N>(self, time_of_left: M, time_of_right: N) -> AsOfJoin<T, F, U, G>
    where
        M: Fn(&T) -> i64 + Send + Sync + 'static,
        N: Fn(&U) -> i64 + Send + Sync + 'static,
    {
        AsOfJoin::new(self, (Arc::new(time_of_left), Arc::new(time_of_right)))
    }

    /// Each left one and the last right one that came: the right side is a table of which the last row of each key is
    /// kept. Which came first is not said by any time here, so a left one may be told with the row before or the row after
    /// that it meets in [`as_of`](Self::as_of).
    ///
    /// ```
    /// # use egret::{LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let clicks = t.streamlet("clicks", 1, LogSpout::<String>::from_stream("clicks"))?;
    /// # let users = t.streamlet("users", 1, LogSpout::<String>::from_stream("users"))?;
    /// let named = clicks
    ///     .key_by(|click| click.len() as u64)
    ///     .join(users.key_by(|user| user.len() as u64))
    ///     .table()
    ///     .left(|id, click, user| format!("{id}: {click} {user:?}"));
    /// named.named("named").to_stream("named")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn table(self) -> TableJoin<T, F, U, G> {
        TableJoin::new(self)
    }

    /// As a [`KeyedBolt`] says, which takes [`Either`] of the two and keeps what it needs of a key.
    ///
    /// ```
    /// use egret::{ComponentResult, Context, Either, Emitter, KeyedBolt};
    /// # use egret::{LogSpout, TopologyBuilder};
    ///
    /// /// Lets what comes on the left through once the right said so.
    /// struct Gate;
    /// impl KeyedBolt<u64, Either<String, String>, String> for Gate {
    ///     type State = bool;
    ///     fn execute(
    ///         &mut self,
    ///         _: &u64,
    ///         is_open: &mut bool,
    ///         tuple: Either<String, String>,
    ///         out: &mut Emitter<String>,
    ///         _: &Context,
    ///     ) -> ComponentResult {
    ///         match tuple {
    ///             Either::Left(line) if *is_open => out.emit(line),
    ///             Either::Left(_) => {}
    ///             Either::Right(_) => *is_open = true,
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// # let keys = t.streamlet("keys", 1, LogSpout::<String>::from_stream("keys"))?;
    /// let gated = lines
    ///     .key_by(|line| line.len() as u64)
    ///     .join(keys.key_by(|key| key.len() as u64))
    ///     .process(|| Gate);
    /// gated.named("gate").to_stream("gated")?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn process<O, B, M>(self, factory: M) -> Streamlet<O>
    where
        O: Tuple,
        B: KeyedBolt<F::Key, Either<T, U>, O>,
        M: Fn() -> B + Send + Sync + 'static,
    {
        Streamlet::of(Wiring::component(move |said| {
            let (place, both) = self.lead(said, "process")?;
            both.keyed(&place.name, place.tasks, factory)
        }))
    }
}
