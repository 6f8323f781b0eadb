//! How tuples find their tasks: groupings, and the registered functions that they need.

use super::Check;
use crate::any::Of;
use crate::entry::{Entry, KeyEntry, Takes};
use crate::meant::{in_words, meant};
use crate::node::{At, Said};
use crate::registry::Registry;
use crate::spec::{By, Component, Grouped, Input};

impl<'a> Check<'a> {
    /// How tuples find their task.
    pub(super) fn grouping(
        &mut self,
        component: &'a Component,
        entry: &'a Entry,
        takes: &Takes,
        input: &'a Input,
        of: Of,
    ) -> Option<(By, Option<&'a str>)> {
        let (role, id) = (component.role, &component.id.text);
        let grouping = input.grouping.as_ref();
        if entry.places {
            if let Some(grouping) = grouping {
                let message = format!(
                    "{role} `{id}` says itself which of its tasks gets a tuple: take `grouping` away"
                );
                self.fault(grouping.at, message);
            }
            return Some((By::Shuffle, None));
        }
        let at = grouping.map_or(input.from.at, |grouping| grouping.at);
        let by = match (grouping, takes.keyed) {
            (None, Some(_)) => By::Fields,
            (None, None) => By::Shuffle,
            (Some(Grouped { by: By::Fields, .. }), _) => By::Fields,
            (Some(grouping), Some(key)) => {
                let keys = self.keys(of, Some(key));
                let message = format!(
                    "bolt `{id}` keeps state per key, and `{}` comes to it by {}, which has none: say \
                     `grouping: {{type: fields, key: …}}`; {keys}",
                    input.from.text,
                    grouping.by.name()
                );
                self.fault(grouping.at, message);
                return None;
            }
            (Some(grouping), None) => grouping.by,
        };
        let with = grouping.and_then(|grouping| grouping.with.as_ref());
        match by {
            By::Fields | By::PartialKey => {
                let key = self.key(component, entry, takes, (with, at), of)?;
                Some((by, Some(key.name.as_str())))
            }
            By::Direct | By::Custom => {
                let (all, what) = match by {
                    By::Direct => (&self.registry.tasks, "task"),
                    _ => (&self.registry.groupings, "grouping"),
                };
                let name = with.map(|said| said.text.as_str());
                if name.is_some_and(|name| Registry::function_of(all, of, name).is_some()) {
                    return Some((by, name));
                }
                let there: Vec<&str> =
                    all.iter().filter(|f| f.of == of).map(|f| f.name.as_str()).collect();
                let message = match name {
                    Some(name) => {
                        let meant = meant(name, there);
                        format!(
                            "{role} `{id}`: no {what} of {of} is registered as `{name}`: {meant}"
                        )
                    }
                    None => format!(
                        "{role} `{id}`: grouping {} needs `{}`, a registered function: {}",
                        by.name(),
                        by.with().unwrap_or_default(),
                        meant("", there)
                    ),
                };
                self.fault(with.map_or(at, |said| said.at), message);
                None
            }
            _ => Some((by, None)),
        }
    }

    /// The key that tuples are grouped by: the one that is named, the component's own, or the only one that fits.
    fn key(
        &mut self,
        component: &'a Component,
        entry: &'a Entry,
        takes: &Takes,
        (with, at): (Option<&'a Said>, At),
        of: Of,
    ) -> Option<&'a KeyEntry> {
        let (role, id) = (component.role, &component.id.text);
        let registry = self.registry;
        let fits =
            |key: &&KeyEntry| key.of == of && takes.keyed.is_none_or(|wanted| wanted == key.key);
        let named = with.map(|said| said.text.as_str()).or(entry.key.as_deref());
        let found = match named {
            Some(name) => registry.key_of(of, name),
            None => {
                let mut all = registry.keys.iter().filter(fits);
                let only = all.next();
                only.filter(|_| all.next().is_none())
            }
        };
        if let Some(key) = found.filter(fits) {
            return Some(key);
        }
        let message = match (named, found, takes.keyed) {
            (Some(name), Some(key), Some(wanted)) => format!(
                "bolt `{id}` keeps state per key of {wanted}, and key `{name}` is of {}: {}",
                key.key,
                self.keys(of, Some(wanted))
            ),
            (Some(name), ..) => {
                let there = registry.keys.iter().filter(|key| key.of == of);
                let meant = meant(name, there.map(|key| key.name.as_str()));
                format!("{role} `{id}`: no key of {of} is registered as `{name}`: {meant}")
            }
            (None, _, wanted) => {
                let keys = self.keys(of, wanted);
                format!(
                    "{role} `{id}`: it is not said by which key: say `grouping: {{type: fields, key: …}}`; {keys}"
                )
            }
        };
        self.fault(with.map_or(at, |said| said.at), message);
        None
    }

    /// The keys there are.
    fn keys(&self, of: Of, wanted: Option<Of>) -> String {
        let fits = |key: &&KeyEntry| key.of == of && wanted.is_none_or(|wanted| wanted == key.key);
        let keys: Vec<&str> =
            self.registry.keys.iter().filter(fits).map(|key| key.name.as_str()).collect();
        let what = wanted
            .map_or_else(|| format!("keys of {of}"), |key| format!("keys of {of} that are {key}"));
        match keys.is_empty() {
            true => format!("no {what} are registered: register one with `key`"),
            false => format!("{what} are {}", in_words(keys)),
        }
    }
}
