//! Several like things at once, each of which mostly waits for a disk or another host.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Result;

/// How many are under way at most.
const AT_ONCE: usize = 8;

/// Does `each` of `items`, in no order, and gives what came of them in theirs. After the first error no more are begun;
/// the one given is that of the foremost that failed. In a simulation, which has one thread, one after the other.
pub(super) fn at_once<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    each: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let items: Vec<T> = items.into_iter().collect();
    if items.len() < 2 || egret_log::simulation::is_entered() {
        return items.into_iter().map(each).collect();
    }
    let helpers = items.len().min(AT_ONCE) - 1;
    let done: Mutex<Vec<_>> = Mutex::new(items.iter().map(|_| None).collect());
    let left = Mutex::new(items.into_iter().enumerate());
    let failed = AtomicBool::new(false);
    let work = || {
        while !failed.load(Ordering::Acquire) {
            let next = left.lock().expect("no panic while held").next();
            let Some((number, item)) = next else { break };
            let result = each(item);
            failed.fetch_or(result.is_err(), Ordering::AcqRel);
            done.lock().expect("no panic while held")[number] = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            let named = thread::Builder::new().name("egret-take-over".to_owned());
            // Without it the others do its part.
            if named.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    done.into_inner().expect("no panic while held").into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use crate::Error;

    #[test]
    fn what_came_of_them_is_in_their_order_though_they_ran_at_once() {
        // Nobody gets past it alone.
        let together = Barrier::new(AT_ONCE);
        let doubled = at_once(0..AT_ONCE * 5, |n| {
            together.wait();
            Ok(n * 2)
        });
        assert_eq!(doubled.unwrap(), (0..AT_ONCE * 5).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(at_once([7], Ok).unwrap(), [7]);
        assert!(at_once([(); 0], Ok).unwrap().is_empty());
    }

    #[test]
    fn the_foremost_error_is_given_and_no_more_are_begun() {
        let begun = AtomicUsize::new(0);
        let together = Barrier::new(AT_ONCE);
        let told = at_once(0..1000, |n| {
            begun.fetch_add(1, Ordering::AcqRel);
            if n < AT_ONCE {
                together.wait();
            }
            Err::<(), _>(Error::other(std::io::Error::other(format!("number {n}"))))
        });
        assert!(told.unwrap_err().to_string().contains("number 0"));
        assert!(begun.into_inner() <= 2 * AT_ONCE);
    }
}
