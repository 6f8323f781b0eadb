//! The same layout written by hand on timely: source, split, exchange by hash, count.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use egret_integration::words::Lines;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::{CommunicationConfig, Config, WorkerConfig};

type Builder<T> = CapacityContainerBuilder<Vec<T>>;

/// Bytes of lines in one epoch, as the topology has them.
const EPOCH_BYTES: usize = 1 << 20;

/// Epochs not fully processed at once.
const IN_FLIGHT: u64 = 4;

/// Counts the words of `lines` on `workers` workers; how many there were.
pub(crate) fn count(lines: &Arc<Lines>, workers: u32) -> u64 {
    let lines = Arc::clone(lines);
    let communication = match workers {
        1 => CommunicationConfig::Thread,
        n => CommunicationConfig::ProcessBinary(n as usize),
    };
    let config = Config { communication, worker: WorkerConfig::default() };
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let total = Rc::new(Cell::new(0u64));
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let (bound, lines, total) = (probe.clone(), Arc::clone(&lines), Rc::clone(&total));
            source::<_, Builder<String>, _, _>(scope, "lines", move |cap, info| {
                let activator = scope.activator_for(info.address);
                let mut cap = Some(cap);
                let mut next = index;
                move |output| {
                    let Some(held) = cap.as_mut() else { return };
                    let time = *held.time();
                    if time >= IN_FLIGHT && bound.less_equal(&(time - IN_FLIGHT)) {
                        activator.activate();
                        return;
                    }
                    let mut bytes = 0;
                    {
                        let mut session = output.session(&*held);
                        while bytes < EPOCH_BYTES {
                            let Some(line) = lines.get(next) else { break };
                            bytes += line.len();
                            session.give(String::from_utf8_lossy(line).into_owned());
                            next += peers;
                        }
                    }
                    match lines.get(next) {
                        None => cap = None,
                        Some(_) => {
                            held.downgrade(&(time + 1));
                            activator.activate();
                        }
                    }
                }
            })
            .unary::<Builder<String>, _, _, _>(Pipeline, "split", |_, _| {
                |input, output| {
                    input.for_each_stamp(|cap, batches| {
                        let mut session = output.session(&cap);
                        for line in batches.flat_map(|batch| batch.drain(..)) {
                            for word in line.split_ascii_whitespace() {
                                session.give(word.to_owned());
                            }
                        }
                    });
                }
            })
            .unary::<Builder<u64>, _, _, _>(
                Exchange::new(|word: &String| egret_schemas::key::hash(word.as_bytes())),
                "count",
                move |_, _| {
                    let mut counts: hashbrown::HashMap<String, u64> = hashbrown::HashMap::new();
                    move |input, _| {
                        input.for_each(|_, words| {
                            for word in words.drain(..) {
                                *counts.entry(word).or_insert(0) += 1;
                                total.set(total.get() + 1);
                            }
                        });
                    }
                },
            )
            .probe_with(&probe);
        });
        while !probe.done() {
            worker.step_or_park(None);
        }
        total.get()
    });
    let guards = guards.expect("workers start");
    guards.join().into_iter().map(|counted| counted.expect("a worker ends")).sum()
}
