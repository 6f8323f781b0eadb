//! Windows as a keyed bolt: their machine, driven by tuples, timers and commits.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{ComponentResult, Context, Emitter, KeyedBolt, TimeOf, TimeToLive, Timer};
use crate::Tuple;
use crate::window::{Contents, Firing, Machine, Now, StateOf, Trigger, in_range};

/// Says the time of a tuple.
pub(crate) type TimeFn<T> = Arc<dyn Fn(&T) -> i64 + Send + Sync>;

/// The time of tuples, for windows.
pub(crate) enum Clock<T> {
    Event(TimeFn<T>),
    Processing,
    /// Windows without a time.
    Nothing,
}

impl<T> Clone for Clock<T> {
    fn clone(&self) -> Clock<T> {
        match self {
            Clock::Event(time_of) => Clock::Event(Arc::clone(time_of)),
            Clock::Processing => Clock::Processing,
            Clock::Nothing => Clock::Nothing,
        }
    }
}

/// See the [module](self). `say` makes tuples of results; `late` of what is late, or nothing.
pub(crate) struct WindowBolt<T, C, G, M, E> {
    pub(crate) machine: Machine<C, G>,
    pub(crate) clock: Clock<T>,
    pub(crate) say: M,
    pub(crate) late: fn(T) -> Option<E>,
    pub(crate) time_to_live: Option<TimeToLive>,
    pub(crate) of: PhantomData<fn(T) -> E>,
}

/// The clock, read once in a call at most.
fn read_once(cx: &Context) -> impl Fn() -> i64 {
    let read = Cell::new(None);
    move || {
        let now = read.get().unwrap_or_else(|| in_range(cx.processing_time()));
        read.set(Some(now));
        now
    }
}

/// How far event time has come; before that is known, no further than any tuple.
fn watermark(cx: &Context) -> i64 {
    in_range(cx.watermark().unwrap_or(i64::MIN))
}

/// Sets what is due, in the place of what was.
fn set_timers<T, C, G>(
    state: &StateOf<T, C, G>,
    (event, processing): (i64, i64),
    fired: Option<TimeOf>,
    cx: &Context,
) -> ComponentResult
where
    C: Contents<T>,
    G: Trigger<T>,
{
    let due = *state.due;
    let set = |of: TimeOf, was: i64, is: i64| -> ComponentResult {
        let timer = |ms| match of {
            TimeOf::Event => Timer::event(ms),
            TimeOf::Processing => Timer::processing(ms),
        };
        if was != is && was != i64::MAX && fired != Some(of) {
            cx.timers().cancel(timer(was))?;
        }
        if is != i64::MAX && (was != is || fired == Some(of)) {
            cx.timers().set(timer(is))?;
        }
        Ok(())
    };
    set(TimeOf::Event, event, due.event)?;
    set(TimeOf::Processing, processing, due.processing)
}

impl<K, T, C, G, M, I, E> KeyedBolt<K, T, E> for WindowBolt<T, C, G, M, E>
where
    K: ?Sized + 'static,
    T: Tuple,
    E: Tuple,
    C: Contents<T>,
    G: Trigger<T>,
    M: Fn(&K, Firing, C::Out) -> I + 'static,
    I: IntoIterator<Item = E>,
{
    type State = StateOf<T, C, G>;

    fn execute(
        &mut self,
        key: &K,
        state: &mut Self::State,
        tuple: T,
        out: &mut Emitter<E>,
        cx: &Context,
    ) -> ComponentResult {
        let clock = read_once(cx);
        let now = Now::new(watermark(cx), &clock);
        let at = match &self.clock {
            Clock::Event(time_of) => in_range(time_of(&tuple)),
            Clock::Processing => now.processing_ms(),
            Clock::Nothing => 0,
        };
        let was = *state.due;
        let say = &self.say;
        let mut fire =
            |firing, result| say(key, firing, result).into_iter().for_each(|told| out.emit(told));
        if let Some(late) = self.machine.on_tuple(state, (at, tuple), now, &mut fire) {
            cx.count_late();
            (self.late)(late).into_iter().for_each(|late| out.emit(late));
        }
        if (state.due.event, state.due.processing) != (was.event, was.processing) {
            set_timers::<T, C, G>(state, (was.event, was.processing), None, cx)?;
        }
        Ok(())
    }

    fn flush(
        &mut self,
        key: &K,
        state: &mut Self::State,
        out: &mut Emitter<E>,
        cx: &Context,
    ) -> ComponentResult {
        let say = &self.say;
        let mut fire =
            |firing, result| say(key, firing, result).into_iter().for_each(|told| out.emit(told));
        self.machine.on_commit::<T>(state, &mut fire);
        // Nothing is kept of windows that are over.
        if self.machine.is_over::<T>(state) {
            cx.forget_key()?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &K,
        state: &mut Self::State,
        timer: Timer,
        out: &mut Emitter<E>,
        cx: &Context,
    ) -> ComponentResult {
        let clock = read_once(cx);
        let now = Now::new(watermark(cx), &clock);
        let was = *state.due;
        let say = &self.say;
        let mut fire =
            |firing, result| say(key, firing, result).into_iter().for_each(|told| out.emit(told));
        self.machine.on_time::<T>(state, now, &mut fire);
        set_timers::<T, C, G>(state, (was.event, was.processing), Some(timer.of), cx)
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        self.time_to_live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use egret_log::clock::Wall;
    use egret_log::{Log, LogConfig};

    use crate::component::timer::Asked;
    use crate::component::{OutletOf, TaskId, TimerQueue, WatermarkCell};
    use crate::window::{Assign, AtEnd, By, Count, Incremental, Tumbling, Windows};

    fn assign(windows: impl Windows) -> Assign {
        windows.shape().unwrap().assign
    }

    fn context(log: &Log, clock: &Arc<AtomicU64>) -> Context {
        let shown = Arc::clone(clock);
        Context {
            topology: "t".into(),
            id: TaskId { component: "windows".into(), task: 0 },
            tasks: 1,
            wake: Arc::new(|| {}),
            log: log.clone(),
            resumes_at_end: false,
            commits: true,
            restarted: false,
            watermark: WatermarkCell::new(None),
            wall: Wall::of(move || shown.load(Ordering::Relaxed)),
            timers: TimerQueue::of_keys(),
            progress: Arc::default(),
            settings: Arc::default(),
            meter: Arc::default(),
        }
    }

    fn tumbling(by: TimeOf) -> Machine<Incremental<Count>, AtEnd> {
        Machine {
            assign: assign(Tumbling::of(Duration::from_millis(100))),
            by: By::Time(by),
            contents: Incremental(Count),
            trigger: AtEnd,
            lateness: 0,
            discards: false,
        }
    }

    /// Each would be one more call, and none of them says anything.
    #[test]
    fn an_earlier_timer_takes_the_place_of_the_one_that_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let cx = context(&log, &Arc::default());
        let mut bolt = WindowBolt {
            machine: tumbling(TimeOf::Event),
            clock: Clock::<i64>::Event(Arc::new(|at| *at)),
            say: |(): &(), _: Firing, n: u64| Some(n),
            late: |_| None,
            time_to_live: None,
            of: PhantomData,
        };
        let mut state = StateOf::<i64, Incremental<Count>, AtEnd>::default();
        let mut out = OutletOf::<u64>::default().make(&[]);
        let mut asked = |at| {
            bolt.execute(&(), &mut state, at, &mut out, &cx).unwrap();
            cx.timers.take().timers
        };
        assert_eq!(asked(250), [(Timer::event(300), true)]);
        assert_eq!(asked(350), []);
        assert_eq!(asked(150), [(Timer::event(300), false), (Timer::event(200), true)]);
        log.close().unwrap();
    }

    /// Somebody set the clock back between the look at what is due and the call. The timer is used up by the call,
    /// and without another the window would wait for its next tuple.
    #[test]
    fn a_timer_that_comes_before_its_time_is_set_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let clock = Arc::new(AtomicU64::new(1020));
        let cx = context(&log, &clock);
        let told = Rc::new(RefCell::new(Vec::new()));
        let tells = Rc::clone(&told);
        let mut bolt = WindowBolt {
            machine: tumbling(TimeOf::Processing),
            clock: Clock::<u64>::Processing,
            say: move |(): &(), firing: Firing, n: u64| {
                tells.borrow_mut().push((firing.window.end_ms, n));
                None::<u64>
            },
            late: |_| None,
            time_to_live: None,
            of: PhantomData,
        };
        let mut state = StateOf::<u64, Incremental<Count>, AtEnd>::default();
        let mut out = OutletOf::<u64>::default().make(&[]);
        let due = Timer::processing(1100);
        let set = Asked { timers: vec![(due, true)], forget: false };
        bolt.execute(&(), &mut state, 5, &mut out, &cx).unwrap();
        assert_eq!(cx.timers.take(), set);
        clock.store(1090, Ordering::Relaxed);
        bolt.on_timer(&(), &mut state, due, &mut out, &cx).unwrap();
        assert_eq!((cx.timers.take(), told.take()), (set, vec![]));
        clock.store(1100, Ordering::Relaxed);
        bolt.on_timer(&(), &mut state, due, &mut out, &cx).unwrap();
        assert_eq!((cx.timers.take(), told.take()), (Asked::default(), vec![(1100, 1)]));
        log.close().unwrap();
    }
}
