//! How a chunk finds its worker: the one pact of every edge.

use std::rc::Rc;

use timely::communication::{Pull, Push};
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{LogPuller, LogPusher, ParallelizationContract, Pipeline};
use timely::dataflow::channels::pushers::Exchange;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::logging::TimelyLogger;
use timely::progress::{Stamp, Timestamp};
use timely::worker::Worker;

use super::chunk::Chunk;

/// Where an edge leads.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// Stays on its worker.
    Local,
    /// To the worker of the task it is addressed to.
    ToTask {
        /// The worker of each task.
        workers: Vec<u32>,
    },
    /// To the worker whose number stands in place of the task.
    ToWorker,
}

pub(crate) struct Router(Route);

impl Distributor<Chunk> for Router {
    fn partition<T: Clone, P: Push<Message<T, Chunk>>>(
        &mut self,
        chunk: &mut Chunk,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        if chunk.is_empty() {
            return;
        }
        let worker = match &self.0 {
            Route::ToTask { workers } => workers[chunk.task() as usize],
            Route::ToWorker => chunk.task(),
            Route::Local => unreachable!("a local edge has no distributor"),
        };
        Message::push_at(chunk, stamp.clone(), &mut pushers[worker as usize]);
    }

    fn flush<T: Clone, P: Push<Message<T, Chunk>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

impl<T: Timestamp> ParallelizationContract<T, Chunk> for Route {
    type Pusher = Box<dyn Push<Message<T, Chunk>>>;
    type Puller = Box<dyn Pull<Message<T, Chunk>>>;

    fn connect(
        self,
        worker: &Worker,
        identifier: usize,
        address: Rc<[usize]>,
        logging: Option<TimelyLogger>,
    ) -> (Self::Pusher, Self::Puller) {
        if let Route::Local = self {
            let (push, pull) = Pipeline.connect(worker, identifier, address, logging);
            return (Box::new(push), Box::new(pull));
        }
        let (senders, receiver) = worker.allocate::<Message<T, Chunk>>(identifier, address);
        let me = worker.index();
        let senders = senders
            .into_iter()
            .enumerate()
            .map(|(to, sender)| LogPusher::new(sender, me, to, identifier, logging.clone()))
            .collect();
        let push = Exchange::new(senders, Router(self));
        (Box::new(push), Box::new(LogPuller::new(receiver, me, identifier, logging)))
    }
}
