//! Bookies that stop, start, refuse to start, and are seen to.

use egret_log::bookie::OpenError;

use super::fact::Fact;
use super::fault::Fault;
use super::world::{Broken, Event, Mend, World};

/// How long a stopped bookie stays down, in microseconds.
const DOWN_US: (u64, u64) = (500, 40_000);

/// How long until somebody sees to a bookie that does not work.
const OPERATOR_US: (u64, u64) = (5_000, 60_000);

/// Disk operations after which the power may go during a start.
const OPENING_OPERATIONS: u64 = 12;

impl World {
    /// Starts a bookie, or finds out why not.
    pub(crate) fn start_node(&mut self, node: usize) -> Result<(), Broken> {
        let cut = self.storm.cuts_opening(&self.options);
        let place = &mut self.nodes[node];
        if let Some(within) = cut {
            let at = place.disk.operations() + within % OPENING_OPERATIONS;
            place.disk.crash_after(at);
        }
        let (id, bookie) = (place.id, place.incarnation);
        let started = place.start();
        if place.disk.is_cut() {
            self.hit(Fault::PowerCutOpening);
            self.trace.note(self.now, format_args!("{id} loses power while it starts"));
            self.nodes[node].cut_power();
            self.start_later(node);
            return Ok(());
        }
        match started {
            Ok(()) => {
                // A cut that was planned and came too late must not come at rest.
                self.nodes[node].disk.crash_after(u64::MAX);
                self.trace.note(self.now, format_args!("{id} starts"));
                self.tell(Fact::Started { bookie })
            }
            Err(error) => {
                if self.nodes[node].sync_failed && matches!(error, OpenError::Io { .. }) {
                    self.hit(Fault::SyncFailed);
                    self.nodes[node].cut_power();
                    self.start_later(node);
                    return Ok(());
                }
                let why = error.to_string();
                self.trace.note(self.now, format_args!("{id} does not start: {why}"));
                if !is_full(&error) {
                    self.tell(Fact::OpenRefused { bookie, why })?;
                    self.hit(Fault::OpenRefused);
                }
                self.call_operator(node);
                Ok(())
            }
        }
    }

    /// Starts a bookie after a while.
    pub(crate) fn start_later(&mut self, node: usize) {
        let us = self.storm.dice.between(DOWN_US.0, DOWN_US.1);
        let boot = self.nodes[node].boot;
        self.after(us, Event::Start { node, boot });
    }

    fn call_operator(&mut self, node: usize) {
        let us = self.storm.dice.between(OPERATOR_US.0, OPERATOR_US.1);
        let boot = self.nodes[node].boot;
        self.after(us, Event::Mend(Mend::Operator { node, boot }));
    }

    /// A write or sync failed and the bookie stopped writing.
    pub(crate) fn on_poisoned(&mut self, node: usize) -> Result<(), Broken> {
        let id = self.nodes[node].id;
        self.trace.note(self.now, format_args!("{id} stopped writing"));
        if self.nodes[node].sync_failed {
            self.hit(Fault::SyncFailed);
            self.tell(Fact::SyncFailed { bookie: self.nodes[node].incarnation })?;
        }
        self.call_operator(node);
        Ok(())
    }

    /// Somebody sees to a bookie that stopped writing or does not start.
    fn operate(&mut self, node: usize, boot: u64) -> Result<(), Broken> {
        if self.nodes[node].boot != boot {
            return Ok(());
        }
        if self.nodes[node].is_up() {
            // What memory shows of a file whose sync failed is not what the medium has: the machine
            // is started again, not the process alone.
            self.nodes[node].cut_power();
            return self.start_node(node);
        }
        let bookie = self.nodes[node].incarnation;
        if self.oracles.book().is_suspect(bookie) {
            self.replace_disk(node)?;
        }
        self.start_node(node)
    }

    /// An empty disk takes the place of the one there is.
    pub(crate) fn replace_disk(&mut self, node: usize) -> Result<(), Broken> {
        let id = self.nodes[node].id;
        self.hit(Fault::Replaced);
        self.trace.note(self.now, format_args!("{id} gets an empty disk"));
        self.tell(Fact::Destroyed { bookie: self.nodes[node].incarnation })?;
        self.nodes[node].replace_disk();
        Ok(())
    }

    /// Ends a fault.
    pub(crate) fn mend(&mut self, mend: Mend) -> Result<(), Broken> {
        match mend {
            Mend::Link { client, node } => {
                self.network.cut_to.remove(&(client, node));
                self.network.cut_from.remove(&(client, node));
            }
            Mend::Alone { client } => {
                self.network.cut_to.retain(|(who, _)| *who != client);
                self.network.cut_from.retain(|(who, _)| *who != client);
            }
            Mend::ReadOnly { node } => self.nodes[node].set_read_only(false),
            Mend::Slow { node } => self.nodes[node].slow_us = 0,
            Mend::Full { node } => self.nodes[node].disk.space_limit(u64::MAX),
            Mend::Operator { node, boot } => return self.operate(node, boot),
        }
        Ok(())
    }
}

/// Whether there was only too little space.
fn is_full(error: &OpenError) -> bool {
    match error {
        OpenError::Full(_) => true,
        OpenError::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        _ => false,
    }
}
