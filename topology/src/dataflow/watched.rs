//! What is told of a task while it works: to its numbers, and to the topology's hooks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::component::{Context, MakeHook, TaskHook};
use crate::metrics::Meter;
use crate::task::panic_text;

/// Who is told of one task.
#[derive(Default)]
pub(crate) struct Watched {
    meter: Arc<Meter>,
    hooks: Vec<Box<dyn TaskHook>>,
    /// Calls that failed, as far as hooks were told.
    failed: u64,
    task: String,
}

impl Watched {
    /// Of a task that was just opened.
    pub(crate) fn new(cx: &Context, hooks: &[MakeHook]) -> Watched {
        let (meter, task) = (Arc::clone(&cx.meter), cx.id().to_string());
        let failed = meter.errors();
        let hooks = hooks.iter().map(|make| make()).collect();
        let mut watched = Watched { meter, hooks, failed, task };
        watched.tell(|hook| hook.opened(cx));
        watched
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// It worked on a batch.
    pub(crate) fn executed(&mut self, tuples: usize, time: Duration) {
        self.meter.worked(time);
        self.tell(|hook| hook.executed(tuples, time));
    }

    pub(crate) fn emitted(&mut self, tuples: u64) {
        if tuples > 0 {
            self.meter.emitted(tuples);
            self.tell(|hook| hook.emitted(tuples));
        }
    }

    /// A call ended its generation.
    pub(crate) fn fails(&mut self) {
        self.meter.failed();
        self.look();
    }

    /// Looks whether calls failed and were taken back.
    pub(crate) fn look(&mut self) {
        if self.hooks.is_empty() {
            return;
        }
        let failed = self.meter.errors();
        let calls = failed - std::mem::replace(&mut self.failed, failed);
        if calls > 0 {
            self.tell(|hook| hook.failed(calls));
        }
    }

    pub(crate) fn closed(&mut self) {
        self.tell(|hook| hook.closed());
    }

    #[inline]
    fn tell(&mut self, what: impl Fn(&mut dyn TaskHook)) {
        if self.hooks.is_empty() {
            return;
        }
        let Watched { hooks, task, .. } = self;
        hooks.retain_mut(|hook| {
            let told = catch_unwind(AssertUnwindSafe(|| what(&mut **hook)));
            if let Err(panic) = &told {
                let why = panic_text(&**panic);
                tracing::warn!(task, why, "a hook panicked, and is not called any more");
            }
            told.is_ok()
        });
    }
}
