//! etcd killed and started again under transactions and watches: nothing is lost or doubled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use egret_log::clock;
use egret_log::metadata::conformance::lossy::Counter;
use egret_log::metadata::conformance::{PATIENCE, soon};
use egret_log::metadata::{Event, MetaStore};

use crate::server::etcd;

const CALLERS: u64 = 3;
const KILLS: u64 = 3;

/// Every caller settles a lost answer by reading back; a watch sees each addition once, in order.
#[test]
fn a_kill_loses_and_doubles_nothing() {
    let Some(mut etcd) = etcd() else { return };
    let stores: Vec<_> = (0..=CALLERS).map(|_| etcd.store("a")).collect();
    let from = stores[0].list("").unwrap().revision + 1;
    let mut watch = stores[0].watch("/added/", from).unwrap();
    let (added, enough) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for (who, store) in stores[1..].iter().enumerate() {
            let (added, enough) = (&added, &enough);
            scope.spawn(move || {
                let mut counter = Counter::new(store, who as u64);
                while !enough.load(Ordering::SeqCst) {
                    counter.add_one();
                    added.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for kill in 1..=KILLS {
            wait_for(&added, kill * 40);
            etcd.kill();
            etcd.restart();
        }
        wait_for(&added, (KILLS + 1) * 40);
        enough.store(true, Ordering::SeqCst);
    });
    let added = added.into_inner();
    assert_eq!(Counter::read(&stores[0]), (added, usize::try_from(added).unwrap()));
    let mut last = 0;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..added {
        let event = soon(&mut watch);
        assert!(matches!(event, Event::Put { .. }));
        assert!(event.revision() > last, "{event:?} after revision {last}");
        last = event.revision();
        assert!(seen.insert(event.key().to_owned()), "{event:?} came twice");
    }
    assert_eq!(watch.next(Duration::from_millis(200)), Ok(None));
}

fn wait_for(added: &AtomicU64, count: u64) {
    let start = clock::now();
    while added.load(Ordering::SeqCst) < count {
        assert!(clock::now() - start < PATIENCE * 2, "no addition gets through any more");
        thread::park_timeout(Duration::from_millis(5));
    }
}
