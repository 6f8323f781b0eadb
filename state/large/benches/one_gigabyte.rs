//! How fast a table is and what memory it takes, with its keys in memory and beside it. See `USAGE`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

use std::time::Instant;

use egret_schemas::{Epoch, Generation};
use egret_state::keyed::backing::Place;
use egret_state::keyed::{Backing, InMemory, Key, KeyedTable, Storage};
use egret_state_large::LargerThanMemory;

const USAGE: &str = "one_gigabyte memory|files KEYS CACHE_MB ACCESSES hot|even
Commits of 10,000 accesses; each changes a state of 1000 bytes. `hot`: nine of ten are to one key in a hundred.";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [kind, keys, cache_mb, accesses, how] = &args[..] else {
        println!("{USAGE}");
        return;
    };
    let (keys, accesses) = (keys.parse().unwrap(), accesses.parse().unwrap());
    let hot = how == "hot";
    if kind == "memory" {
        return measure(InMemory, keys, accesses, hot);
    }
    let below = tempfile::tempdir_in(".").unwrap();
    let directory = Some(below.path());
    let place = Place { directory, topology: "t", component: "count", task: 0, generation: 1 };
    let storage = LargerThanMemory::new(cache_mb.parse().unwrap());
    measure(storage.open(&place).unwrap(), keys, accesses, hot);
}

fn measure<B: Backing>(backing: B, keys: u64, accesses: u64, hot: bool) {
    let mut table = KeyedTable::<u64, Vec<u8>, B>::over(backing, 4096);
    let mut commit = 0;
    let mut run = |name: &str, many: u64, key: &mut dyn FnMut(u64) -> u64| {
        let began = Instant::now();
        for n in 0..many {
            let key = key(n);
            let slot = table.reach(key.hash64(), &key).unwrap();
            let (_, state) = table.get_mut(slot);
            state.resize(1000, 0);
            let byte = &mut state[usize::try_from(n % 1000).unwrap()];
            *byte = byte.wrapping_add(1);
            if n % 10_000 == 9_999 {
                commit += 1;
                table.drain(Epoch::new(Generation(1), commit, 0), |_| ()).unwrap();
                table.evict().unwrap();
            }
        }
        let rate = many as f64 / began.elapsed().as_secs_f64();
        let (says, (now, most)) = (table.memory_bytes() >> 20, resident());
        println!(
            "{name}: {rate:.0} accesses/s; the table says {says} MiB; resident {now} MiB, at most {most} MiB"
        );
    };
    run("filled", keys, &mut |n| n);
    let mut random = 1u64;
    run("changed", accesses, &mut |n| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let any = (random >> 33) % keys;
        if hot && n % 10 > 0 { any % (keys / 100) } else { any }
    });
}

/// MiB of memory now, and at most.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    (of("VmRSS:"), of("VmHWM:"))
}
