//! One question to several bookies at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use egret_schemas::Incarnation;

use crate::clock;
use crate::message::{Reply, Request, Transport};

/// A request, whom it is for, and the way there.
pub(super) type Question = (Arc<dyn Transport>, Incarnation, Request);

#[derive(Debug, Default)]
struct Answers {
    replies: Mutex<(Vec<Option<Reply>>, usize)>,
    arrived: Condvar,
}

/// Asks all and waits until `enough` answered with something that is worth it, or all answered. What
/// is not there in the end is `None`. Every transport answers within its deadline.
pub(super) fn ask(
    questions: Vec<Question>,
    enough: usize,
    worth: impl Fn(&Reply) -> bool + Send + Sync + 'static,
) -> Vec<Option<Reply>> {
    ask_until(questions, enough, worth, None)
}

/// The same, of all, and waits no longer than `wait`. One alone is waited for.
pub(super) fn ask_all_within(questions: Vec<Question>, wait: Duration) -> Vec<Option<Reply>> {
    let all = questions.len();
    ask_until(questions, all, |_| true, Some(clock::now() + wait))
}

fn ask_until(
    questions: Vec<Question>,
    enough: usize,
    worth: impl Fn(&Reply) -> bool + Send + Sync + 'static,
    until: Option<Instant>,
) -> Vec<Option<Reply>> {
    let count = questions.len();
    if let [_] = questions[..] {
        // On this very thread: in one process nothing is handed over.
        let ask = |(way, to, request): Question| Some(way.call(to, request));
        return questions.into_iter().map(ask).collect();
    }
    let answers = Arc::new(Answers::default());
    answers.lock().0.resize_with(count, || None);
    let worth = Arc::new(worth);
    for (index, (way, to, request)) in questions.into_iter().enumerate() {
        let (answers, worth) = (Arc::clone(&answers), Arc::clone(&worth));
        let told = move |reply: Reply| {
            let mut held = answers.lock();
            held.1 += usize::from(worth(&reply));
            held.0[index] = Some(reply);
            answers.arrived.notify_one();
        };
        way.send(to, request, Box::new(told));
    }
    let mut held = answers.lock();
    while held.1 < enough && held.0.iter().any(Option::is_none) {
        let Some(until) = until else {
            held = answers.arrived.wait(held).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let Some(left) = until.checked_duration_since(clock::now()) else { break };
        let waited = answers.arrived.wait_timeout(held, left);
        held = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    held.0.clone()
}

impl Answers {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<Option<Reply>>, usize)> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
