//! The same written by hand on timely: source, exchange by auction, counts by slice in a hash table.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::{CommunicationConfig, Config, WorkerConfig};

use super::{Bid, Bids};

type Builder<T> = CapacityContainerBuilder<Vec<T>>;

/// Bids of one epoch, and epochs not fully processed at once.
const EPOCH_BIDS: u64 = 64 << 10;
const IN_FLIGHT: u64 = 4;

/// Of one auction: counts of the slices of a window, the newest last, and what they come to.
#[derive(Default)]
struct Auction {
    slices: VecDeque<(i64, u64)>,
    running: u64,
}

/// Counts on `workers` workers; how many results there were.
pub(crate) fn count(bids: Bids, workers: u32) -> u64 {
    let communication = match workers {
        1 => CommunicationConfig::Thread,
        n => CommunicationConfig::ProcessBinary(n as usize),
    };
    let config = Config { communication, worker: WorkerConfig::default() };
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let total = Rc::new(Cell::new(0u64));
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let (bound, total) = (probe.clone(), Rc::clone(&total));
            source::<_, Builder<Bid>, _, _>(scope, "bids", move |cap, info| {
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
                    {
                        let mut session = output.session(&*held);
                        for _ in 0..EPOCH_BIDS {
                            if next >= bids.bids {
                                break;
                            }
                            session.give(bids.bid(next));
                            next += peers;
                        }
                    }
                    if next >= bids.bids {
                        cap = None;
                    } else {
                        held.downgrade(&(time + 1));
                        activator.activate();
                    }
                }
            })
            .unary::<Builder<u64>, _, _, _>(
                Exchange::new(|bid: &Bid| egret_schemas::key::hash(&bid.0.to_le_bytes())),
                "count",
                move |_, _| {
                    let mut auctions: hashbrown::HashMap<u64, Auction> = hashbrown::HashMap::new();
                    let (slide, size) = (bids.slide.cast_signed(), bids.size.cast_signed());
                    let mut slice = 0;
                    move |input, _| {
                        input.for_each(|_, batch| {
                            for (key, at) in batch.drain(..) {
                                let own = at / slide;
                                // Of several workers each tells when its own input has come so far.
                                while own > slice {
                                    for auction in auctions.values_mut() {
                                        total.set(total.get() + u64::from(auction.running > 0));
                                        let out = (slice + 1) * slide - size;
                                        while auction
                                            .slices
                                            .front()
                                            .is_some_and(|(at, _)| at * slide <= out)
                                        {
                                            let (_, n) =
                                                auction.slices.pop_front().unwrap_or_default();
                                            auction.running -= n;
                                        }
                                    }
                                    slice += 1;
                                }
                                let auction = auctions.entry(key).or_default();
                                auction.running += 1;
                                match auction.slices.back_mut() {
                                    Some((last, n)) if *last >= own => *n += 1,
                                    _ => auction.slices.push_back((own, 1)),
                                }
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
