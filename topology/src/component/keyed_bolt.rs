//! What turns tuples into tuples with state per key, owned by the engine.

use egret_state::keyed::Conversions;
pub use egret_state::keyed::table::State;

use super::{ComponentResult, Context, Emitter, TimeToLive, Timer};

/// A bolt whose state belongs to keys. The engine hands the state of the tuple's key in, notes that
/// it changed, writes it at the commit and moves it when tasks move; there is nowhere else to keep
/// anything that must survive.
pub trait KeyedBolt<K: ?Sized, I, O>: 'static {
    /// The state of one key.
    type State: State;

    /// Called once, before the first tuple.
    fn open(&mut self, cx: &Context) -> ComponentResult {
        let _ = cx;
        Ok(())
    }

    /// Says of the state what its format does not, such as a version: change it when the meaning of the state
    /// changes and its types do not.
    ///
    /// The formats of key and state are traced from their types and kept with the state, under a number that
    /// each entry of state carries. A topology whose code has another format is refused, with the difference
    /// in words, before any state is written; unless the code reads the old one all the same: a state of
    /// several parts that got another, an enum that got another variant at its end. What cannot be read can be
    /// [converted](Self::conversions).
    fn schema_label(&self) -> String {
        String::new()
    }

    /// The texts of older schemas that the code reads although their formats differ, as metadata keeps them and
    /// a refusal names them.
    fn accepts(&self) -> Vec<String> {
        Vec::new()
    }

    /// What becomes of states that were written as other types, which the code would refuse. Each is converted once
    /// it is restored, as it was at the commit; nothing is that is not named here.
    ///
    /// ```
    /// use egret::{Blob, ComponentResult, Context, Conversions, Emitter, KeyedBolt};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Seen { count: u64, last: Option<i64> }
    ///
    /// struct Count;
    /// impl KeyedBolt<str, String, (Blob, u64)> for Count {
    ///     type State = Seen;
    /// #   fn execute(&mut self, _: &str, seen: &mut Seen, _: String, _: &mut Emitter<(Blob, u64)>, _: &Context)
    /// #       -> ComponentResult { seen.count += 1; Ok(()) }
    ///
    ///     fn conversions(&self) -> Conversions<Seen> {
    ///         // It was a number, of which only the count is known.
    ///         Conversions::none().of(|count: u64| Seen { count, last: None })
    ///     }
    /// }
    /// ```
    ///
    /// A conversion is needed as long as anything of the old type stands in the component's ledgers: a key that
    /// changes is written as the new type, and the others are in time, if there is much state. A name or a
    /// fork may keep it longer. Once it is left out too early, the topology is refused as without it.
    fn conversions(&self) -> Conversions<Self::State> {
        Conversions::none()
    }

    /// Takes one tuple.
    fn execute(
        &mut self,
        key: &K,
        state: &mut Self::State,
        tuple: I,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult;

    /// Called once for every key that changed, when its commit closes: the place to emit one result
    /// per changed key and commit instead of one per tuple. A change made here is part of the commit.
    fn flush(
        &mut self,
        key: &K,
        state: &mut Self::State,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        let _ = (key, state, out, cx);
        Ok(())
    }

    /// Called for a timer of the key that is due, when a commit closes, before [`flush`](Self::flush): in order of
    /// time and then key, those of processing time first. The timer is gone then. What changes here, and what
    /// is emitted, is part of the commit; so a timer fires once, whatever fails. One that became due while the
    /// topology did not run fires at its first commit.
    ///
    /// Timers are set through the [context](Context::timers), are part of the key's state, and move and go with
    /// it.
    fn on_timer(
        &mut self,
        key: &K,
        state: &mut Self::State,
        timer: Timer,
        out: &mut Emitter<O>,
        cx: &Context,
    ) -> ComponentResult {
        let _ = (key, state, timer, out, cx);
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

    /// How long a key's state lives; asked once. For ever, if not said.
    fn time_to_live(&self) -> Option<TimeToLive> {
        None
    }
}
