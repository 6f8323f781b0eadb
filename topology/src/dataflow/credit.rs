//! Bytes that other processes are done with, told to the process that shipped them.
//!
//! A batch counts on its emitter's lane until its consumer is done with it. When that is in another process,
//! what it is done with goes back over a connection of its own between the two, as
//! `{lane u32, bytes u64}`, after each step of a worker that left something to tell.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wire::Wires;
use crate::budget::Budget;
use crate::runtime::Link;

/// Bytes of one note.
const NOTE: usize = 12;

/// How long a peer may take no notes before it counts as gone.
const WRITE_WAIT: Duration = Duration::from_secs(5);

/// The ways back to every other process.
pub(crate) struct Credits {
    ways: Vec<Option<Mutex<Link>>>,
    /// The process of each lane's emitter.
    of: Vec<usize>,
    budget: Arc<Budget>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

impl Credits {
    /// Begins to take notes; `of` is the process of each lane.
    pub(crate) fn over(
        links: Vec<Option<Link>>,
        of: Vec<usize>,
        budget: &Arc<Budget>,
        wires: &Arc<Wires>,
    ) -> std::io::Result<Credits> {
        let mut readers = Vec::new();
        let mut ways = Vec::new();
        for (remote, link) in links.into_iter().enumerate() {
            let Some(link) = link else {
                ways.push(None);
                continue;
            };
            link.set(None, Some(WRITE_WAIT))?;
            let from = link.try_clone()?;
            let (budget, wires) = (Arc::clone(budget), Arc::clone(wires));
            let reader = thread::Builder::new().name("egret:credit".into());
            readers.push(reader.spawn(move || {
                take_notes(from, &budget);
                wires.notes_ended(remote);
            })?);
            ways.push(Some(Mutex::new(link)));
        }
        let budget = Arc::clone(budget);
        Ok(Credits { ways, of, budget, readers: Mutex::new(readers) })
    }

    /// Tells what this process is done with since the last call.
    pub(crate) fn flush(&self) {
        if !self.budget.owes() {
            return;
        }
        let mut notes: Vec<Vec<u8>> = vec![Vec::new(); self.ways.len()];
        self.budget.settle(|lane, bytes| {
            let to = &mut notes[self.of[lane as usize]];
            to.extend_from_slice(&lane.to_le_bytes());
            to.extend_from_slice(&(bytes as u64).to_le_bytes());
        });
        for (way, notes) in self.ways.iter().zip(notes) {
            let Some(way) = way.as_ref().filter(|_| !notes.is_empty()) else { continue };
            let mut link = way.lock().expect("no panic while held");
            // Who cannot be told is gone, and its other connection says so.
            if link.write_all(&notes).is_err() {
                link.shutdown(Shutdown::Both).unwrap_or_default();
            }
        }
    }

    /// Ends the connections and joins what reads them.
    pub(crate) fn end(&self) {
        for way in self.ways.iter().flatten() {
            let link = way.lock().expect("no panic while held");
            link.shutdown(Shutdown::Both).unwrap_or_default();
        }
        let readers = std::mem::take(&mut *self.readers.lock().expect("no panic while held"));
        for reader in readers {
            drop(reader.join());
        }
    }
}

fn take_notes(mut from: Link, budget: &Budget) {
    let mut buffer = [0; NOTE * 256];
    let mut filled = 0;
    loop {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => return,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        let whole = filled - filled % NOTE;
        for note in buffer[..whole].chunks_exact(NOTE) {
            let lane = u32::from_le_bytes(note[..4].try_into().expect("four bytes"));
            let bytes = u64::from_le_bytes(note[4..].try_into().expect("eight bytes"));
            budget.given_back(lane, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
}
