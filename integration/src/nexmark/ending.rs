//! Where the rows of a query go.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use egret::{LogSink, Stream};

use super::row::Row;

/// What becomes of rows.
#[derive(Debug, Clone)]
pub enum Ending {
    /// A stream of this name.
    Stream(String),
    /// A sink beside the commit.
    Sink(Collector),
}

/// Counts rows, or keeps them as well; shared by whoever has rows.
#[derive(Clone)]
pub struct Collector {
    rows: Arc<AtomicU64>,
    kept: Option<Arc<Mutex<Kept>>>,
}

/// Rows that stay, and rows that others take the place of.
#[derive(Debug, Default)]
struct Kept {
    rows: Vec<Vec<u8>>,
    latest: HashMap<u64, Vec<Vec<u8>>>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({} rows)", self.count())
    }
}

impl Collector {
    /// Counts and nothing else.
    pub fn counting() -> Collector {
        Collector { rows: Arc::default(), kept: None }
    }

    /// Keeps what it is given.
    pub fn keeping() -> Collector {
        Collector { rows: Arc::default(), kept: Some(Arc::default()) }
    }

    /// Takes a row.
    pub fn take(&self, row: &impl Row) {
        self.note(1);
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock().expect("no panic while held");
        match row.replaces() {
            Some(key) => drop(kept.latest.insert(key, row.texts())),
            None => kept.rows.extend(row.texts()),
        }
    }

    /// Rows that were looked at elsewhere.
    fn note(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// How many rows there were.
    pub fn count(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// The result as text, in order.
    pub fn result(&self) -> Vec<String> {
        let Some(kept) = &self.kept else { return Vec::new() };
        let kept = kept.lock().expect("no panic while held");
        let all = kept.rows.iter().chain(kept.latest.values().flatten());
        let mut texts: Vec<String> = all.map(|row| String::from_utf8_lossy(row).into()).collect();
        texts.sort_unstable();
        texts
    }
}

impl Ending {
    /// Ends a stream in it.
    pub(super) fn attach<R: Row>(&self, rows: &Stream<R>, tasks: u32) -> egret::Result<()> {
        match self {
            Ending::Stream(name) => rows.sink("out", LogSink::to_stream(name)),
            Ending::Sink(collector) => {
                let collector = collector.clone();
                rows.local_or_shuffle().sink("out", tasks, move || {
                    let collector = collector.clone();
                    move |row: R| collector.take(&row)
                })
            }
        }
    }
}
