//! What one topology reads, and what its named commits keep of it.
//!
//! A consumer needs what it may yet read again; a named commit needs what would be read again after going
//! back to it. The second is noted beside the first, as one more consumer of the component: for every
//! partition the lowest position of all names, so that their number adds nothing here. A truncation,
//! retention and a deletion stop there as they do at any consumer.
//!
//! Who names a commit changes the topology's record and every source of it in one transaction
//! ([`Sources::keep`]). It compares what was read here: that nothing was truncated, or was allowed to be,
//! since.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::Position;

use super::error::{CatalogError, UseError};
use super::log::Log;
use super::partition::{Catalog, stream_key};
use super::users::{self, User, Users, users_key};
use crate::caps;
use crate::metadata::{Compare, Op};

/// Behind a component's name, in the consumer that stands for named commits. No component's name has it.
const KEPT: &str = "@checkpoints";

/// Partition → position.
pub type Places = BTreeMap<u32, Position>;

/// The streams that a topology reads, as they were at one moment.
#[derive(Debug)]
pub struct Sources {
    topology: String,
    streams: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    stream: String,
    users: Users,
    unchanged: [Compare; 2],
}

/// A component that reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads<'a> {
    /// The component.
    pub component: &'a str,
    /// The stream.
    pub stream: &'a str,
    /// What it may yet read again; none when it was made to go without.
    pub needed: Option<&'a Places>,
}

/// What is to be kept: stream → component → positions.
pub type Kept = BTreeMap<String, BTreeMap<String, Places>>;

impl User {
    /// The consumer that stands for the named commits of this one's topology.
    pub(super) fn kept(&self) -> User {
        User { component: format!("{}{KEPT}", self.component), ..self.clone() }
    }

    /// The component whose named commits this stands for.
    pub(super) fn keeps_for(&self) -> Option<&str> {
        self.component.strip_suffix(KEPT)
    }
}

impl Log {
    /// The streams that components of a topology read, with what each needs.
    ///
    /// # Errors
    /// When the metadata cannot be read.
    pub fn sources(&self, topology: &str) -> Result<Sources, CatalogError> {
        let mut streams = Vec::new();
        let all = users_key("");
        for (key, held) in self.metadata().list(&all)? {
            let stream = key[all.len()..].to_owned();
            let users = users::decode(&held.value);
            let users = users.map_err(|why| CatalogError::Decode { key: key.clone(), why })?;
            if !users.consumers.keys().any(|user| user.topology == topology) {
                continue;
            }
            let revision = match self.catalog().stream_record(&stream) {
                Ok((_, revision)) => revision,
                // It is being deleted, and nobody will be named in it any more.
                Err(CatalogError::NoStream { .. }) => continue,
                Err(error) => return Err(error),
            };
            let unchanged = [
                Compare::Revision(stream_key(&stream), revision),
                Compare::Revision(key, held.revision),
            ];
            streams.push(Source { stream, users, unchanged });
        }
        Ok(Sources { topology: topology.to_owned(), streams })
    }

    /// Names a topology nowhere any more: neither what it reads nor what its named commits keep is kept for it, and no
    /// stream is one that it wrote.
    ///
    /// # Errors
    /// When a note cannot be changed; doing it again changes the rest.
    pub fn forget_topology(&self, topology: &str) -> Result<(), UseError> {
        let all = users_key("");
        for (key, _) in self.metadata().list(&all).map_err(CatalogError::Meta)? {
            let forgotten = users::change(self.catalog(), &key[all.len()..], |users| {
                users.consumers.retain(|user, _| user.topology != topology);
                users.producers.retain(|user| user.topology != topology);
            });
            match forgotten {
                // It is being deleted, and so is the note.
                Err(UseError::Catalog(CatalogError::NoStream { .. })) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Has a consumer need what comes after these positions again, as far as named commits kept it: who
    /// went back to one reads from there. What nobody kept may be gone; there it needs what it needed.
    ///
    /// # Errors
    /// When the note cannot be changed.
    pub fn rewind(&self, stream: &str, user: &User, to: &Places) -> Result<(), UseError> {
        rewind(self.catalog(), stream, user, to)
    }
}

fn rewind(catalog: &Catalog, stream: &str, user: &User, to: &Places) -> Result<(), UseError> {
    users::change(catalog, stream, |users| {
        let kept = users.consumers.get(&user.kept()).cloned().unwrap_or_default();
        let needed = users.consumers.entry(user.clone()).or_default();
        for (partition, position) in to {
            let at = needed.entry(*partition).or_insert(*position);
            if kept.get(partition).is_some_and(|kept| kept <= position) {
                *at = (*at).min(*position);
            }
        }
    })
}

impl Sources {
    /// Who reads what.
    pub fn reads(&self) -> impl Iterator<Item = Reads<'_>> {
        self.streams.iter().flat_map(|source| {
            let ours = source.users.consumers.keys().filter(|u| u.topology == self.topology);
            let component = |user: &User| user.keeps_for().unwrap_or(&user.component).to_owned();
            let components: BTreeSet<String> = ours.map(component).collect();
            components.into_iter().filter_map(|component| {
                let user = User { topology: self.topology.clone(), component };
                let kept = source.users.consumers.get_key_value(&user.kept());
                let own = source.users.consumers.get_key_value(&user);
                let component = match (own, kept) {
                    (Some((user, _)), _) => user.component.as_str(),
                    (None, Some((kept, _))) => kept.keeps_for()?,
                    (None, None) => return None,
                };
                let needed = own.map(|(_, needed)| needed);
                Some(Reads { component, stream: source.stream.as_str(), needed })
            })
        })
    }

    /// What a transaction compares and writes that has named commits keep exactly this: that all is as it
    /// was read, and who uses each stream then.
    ///
    /// # Errors
    /// When more would use a stream than may.
    pub fn keep(&self, log: &Log, kept: &Kept) -> Result<(Vec<Compare>, Vec<Op>), UseError> {
        let (mut compare, mut ops) = (Vec::new(), Vec::new());
        for Source { stream, users, unchanged } in &self.streams {
            compare.extend(unchanged.iter().cloned());
            let mut next = users.clone();
            next.consumers.retain(|u, _| u.topology != self.topology || u.keeps_for().is_none());
            for (component, places) in kept.get(stream).into_iter().flatten() {
                let user = User { topology: self.topology.clone(), component: component.clone() };
                next.consumers.insert(user.kept(), places.clone());
            }
            if next == *users {
                continue;
            }
            let (count, max) = (next.count(), caps::STREAM_USERS_MAX);
            if count > max && count > users.count() {
                return Err(UseError::TooMany { stream: stream.clone(), max });
            }
            let proposal = log.ledgers().proposal();
            ops.push(Op::Put(users_key(stream), users::encode(&next, proposal)));
        }
        Ok((compare, ops))
    }
}
