//! The source, operators with and without time, and the end of every query.

use egret_integration::nexmark::ending::Collector;
use egret_integration::nexmark::event::{Bid, Event};
use egret_integration::nexmark::input::Input;
use egret_integration::nexmark::row::Row;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::{ProbeHandle, Stream};
use timely::{CommunicationConfig, Config, ExchangeData, WorkerConfig};

pub(super) type Builder<T> = CapacityContainerBuilder<Vec<T>>;

/// Tuples on their way.
pub(super) type Tuples<'scope, T> = Stream<'scope, u64, Vec<T>>;

/// Event time of one timestamp, in ms: what windows slide by.
const STRETCH_MS: i64 = 2000;

/// Timestamps not fully processed at once.
const IN_FLIGHT: u64 = 32;

/// Events between two looks at what is in flight.
const EVENTS: usize = 4096;

fn stretch(at: i64) -> u64 {
    at.div_euclid(STRETCH_MS).cast_unsigned()
}

/// Runs what `build` makes of the events on `workers` workers.
pub(super) fn run<R: Row>(
    input: &Input,
    workers: u32,
    rows: &Collector,
    build: impl for<'scope> Fn(Tuples<'scope, Event>) -> Tuples<'scope, R> + Send + Sync + 'static,
) {
    let communication = match workers {
        1 => CommunicationConfig::Thread,
        n => CommunicationConfig::ProcessBinary(n as usize),
    };
    let config = Config { communication, worker: WorkerConfig::default() };
    let (input, rows) = (input.clone(), rows.clone());
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let probe = ProbeHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let (input, bound) = (input.clone(), probe.clone());
            let events = source::<_, Builder<Event>, _, _>(scope, "events", move |cap, info| {
                let activator = scope.activator_for(info.address);
                let mut cap = Some(cap);
                let mut next = index;
                let mut event = input.get(next);
                move |output| {
                    let Some(held) = cap.as_mut() else { return };
                    let time = *held.time();
                    if time >= IN_FLIGHT && bound.less_equal(&(time - IN_FLIGHT)) {
                        activator.activate();
                        return;
                    }
                    let mut left = EVENTS;
                    while let (Some(first), 1..) = (&event, left) {
                        let time = stretch(first.at());
                        held.downgrade(&time);
                        let mut session = output.session(&*held);
                        while left > 0 && event.as_ref().is_some_and(|e| stretch(e.at()) == time) {
                            event.take().into_iter().for_each(|event| session.give(event));
                            next += peers;
                            event = input.get(next);
                            left -= 1;
                        }
                    }
                    match event {
                        None => cap = None,
                        Some(_) => activator.activate(),
                    }
                }
            });
            let rows = rows.clone();
            build(events)
                .unary::<Builder<()>, _, _, _>(Pipeline, "rows", move |_, _| {
                    move |input, _| {
                        input.for_each(|_, batch| {
                            batch.drain(..).for_each(|row| rows.take(&row));
                        });
                    }
                })
                .probe_with(&probe);
        });
        while !probe.done() {
            worker.step_or_park(None);
        }
    });
    let guards = guards.expect("workers start");
    guards.join().into_iter().for_each(|ended| ended.expect("a worker ends"));
}

/// What `of` makes of each tuple; some make several.
pub(super) fn flat_map<'scope, I, O>(
    tuples: Tuples<'scope, I>,
    of: impl Fn(I, &mut dyn FnMut(O)) + 'static,
) -> Tuples<'scope, O>
where
    I: Clone + 'static,
    O: Clone + 'static,
{
    tuples.unary::<Builder<O>, _, _, _>(Pipeline, "flat_map", move |_, _| {
        move |input, output| {
            input.for_each_stamp(|cap, batches| {
                let mut session = output.session(&cap);
                for tuple in batches.flat_map(|batch| batch.drain(..)) {
                    of(tuple, &mut |made| session.give(made));
                }
            });
        }
    })
}

/// What `of` makes of each bid.
pub(super) fn each_bid<R: Row>(
    events: Tuples<'_, Event>,
    of: fn(Bid) -> Option<R>,
) -> Tuples<'_, R> {
    events.unary::<Builder<R>, _, _, _>(Pipeline, "bids", move |_, _| {
        move |input, output| {
            input.for_each_stamp(|cap, batches| {
                let mut session = output.session(&cap);
                for event in batches.flat_map(|batch| batch.drain(..)) {
                    if let Event::Bid(bid) = event
                        && let Some(row) = of(bid)
                    {
                        session.give(row);
                    }
                }
            });
        }
    })
}

/// What an operator is told.
pub(super) enum Told<I> {
    Tuple(I),
    /// No tuple before this ms comes any more.
    Passed(i64),
}

/// An operator that keeps something; tuples go where `hash` says.
pub(super) fn keeping<'scope, I, O>(
    tuples: Tuples<'scope, I>,
    hash: impl Fn(&I) -> u64 + 'static,
    told: impl FnMut(Told<I>, &mut Vec<O>) + 'static,
) -> Tuples<'scope, O>
where
    I: ExchangeData + Clone,
    O: Clone + 'static,
{
    keeping_by(tuples, Exchange::new(move |tuple: &I| hash(tuple)), told)
}

/// The same, where tuples go as `pact` says.
pub(super) fn keeping_by<'scope, I, O, P>(
    tuples: Tuples<'scope, I>,
    pact: P,
    mut told: impl FnMut(Told<I>, &mut Vec<O>) + 'static,
) -> Tuples<'scope, O>
where
    I: Clone + 'static,
    O: Clone + 'static,
    P: ParallelizationContract<u64, Vec<I>>,
{
    tuples.unary_frontier::<Builder<O>, _, _, _>(pact, "keeping", move |cap, _| {
        // Held until what time says at the frontier is said: given up when there is no input any more.
        let mut cap = Some(cap);
        let mut passed = 0;
        let mut out = Vec::new();
        move |(input, frontier), output| {
            input.for_each_stamp(|time, batches| {
                for tuple in batches.flat_map(|batch| batch.drain(..)) {
                    told(Told::Tuple(tuple), &mut out);
                }
                if !out.is_empty() {
                    output.session(&time).give_iterator(out.drain(..));
                }
            });
            let Some(held) = cap.as_mut() else { return };
            let reached = frontier.frontier().first().copied();
            if reached.is_some_and(|reached| reached <= passed) {
                return;
            }
            let ms = reached.map_or(i64::MAX, |reached| reached.cast_signed() * STRETCH_MS);
            told(Told::Passed(ms), &mut out);
            output.session(&*held).give_iterator(out.drain(..));
            match reached {
                Some(reached) => {
                    passed = reached;
                    held.downgrade(&reached);
                }
                None => cap = None,
            }
        }
    })
}

/// The hash of a number that is a key.
pub(super) fn hash(key: u64) -> u64 {
    egret_schemas::key::hash(&key.to_le_bytes())
}
