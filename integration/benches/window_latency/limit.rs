//! What the machine can do: events over a loopback socket, counted in arrays.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Result, anyhow};
use egret_integration::bench::host::wake_on_time;
use egret_integration::bench::load::rest_until;
use egret_integration::measure::cpu_seconds;
use egret_log::clock;

use super::{Load, Run, TICK, Told};

pub(crate) fn run(load: Load) -> Result<Run> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut to = TcpStream::connect(listener.local_addr()?)?;
    to.set_nodelay(true)?;
    let (from, _) = listener.accept()?;
    let begun = clock::now();
    let before = cpu_seconds();
    let mut told = Told::new(load, begun);
    thread::scope(|scope| -> Result<()> {
        let made = scope.spawn(move || -> Result<()> {
            wake_on_time();
            let (mut next, mut bytes) = (0, Vec::new());
            for tick in 1.. {
                rest_until(begun + TICK * tick);
                let due = load.due_before(begun.elapsed()).min(load.events());
                bytes.clear();
                for (key, ms) in (next..due).map(|nth| load.event(nth)) {
                    bytes.extend_from_slice(&key.to_le_bytes());
                    bytes.extend_from_slice(&ms.to_le_bytes());
                }
                to.write_all(&bytes)?;
                next = due;
                if due == load.events() {
                    break;
                }
            }
            Ok(())
        });
        count(load, BufReader::with_capacity(1 << 16, from), &mut told)?;
        made.join().map_err(|_| anyhow!("who makes events panicked"))?
    })?;
    told.check()?;
    Ok(Run::of(&told, cpu_seconds() - before))
}

/// Counts by slice, and running counts of the window; every key's result is told by itself.
fn count(load: Load, mut from: impl Read, told: &mut Told) -> Result<()> {
    let keys = usize::try_from(load.keys)?;
    let overlap = usize::try_from(load.size_ms / load.slide_ms)?;
    let mut slices = vec![vec![0u32; keys]; overlap];
    let mut running = vec![0u32; keys];
    let mut slice = 0;
    for _ in 0..load.events() {
        let mut event = [0; 16];
        from.read_exact(&mut event)?;
        let (key, ms) = event.split_at(8);
        let key = usize::try_from(u64::from_le_bytes(key.try_into()?))?;
        let ms = i64::from_le_bytes(ms.try_into()?);
        while ms / i64::from(load.slide_ms) > slice {
            slice += 1;
            for count in running.iter().filter(|count| **count > 0) {
                told.add(slice * i64::from(load.slide_ms), u64::from(*count));
            }
            let oldest = &mut slices[usize::try_from(slice)? % overlap];
            for (running, oldest) in running.iter_mut().zip(oldest) {
                *running -= std::mem::take(oldest);
            }
        }
        slices[usize::try_from(slice)? % overlap][key] += 1;
        running[key] += 1;
    }
    Ok(())
}
