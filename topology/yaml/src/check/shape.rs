//! The shape of the whole: what goes nowhere, and what goes in a circle.

use std::collections::BTreeSet;

use super::{Check, LETTERS};
use crate::fault::Fault;
use crate::meant::in_words;
use crate::node::Said;
use crate::spec::{Component, Role};

impl Check<'_> {
    /// Notes what goes nowhere.
    pub(super) fn outputs(&mut self) {
        let (mut taken, mut letters) = (BTreeSet::new(), BTreeSet::new());
        for input in self.spec.components.iter().flat_map(|component| &component.inputs) {
            let from = input.from.text.as_str();
            match &input.output {
                None => taken.insert(from),
                Some(output) if output.text.replace('_', "-") == LETTERS => letters.insert(from),
                Some(_) => taken.insert(from),
            };
        }
        // What takes from a name that is spelled wrong may mean any.
        let all = || self.spec.components.iter().flat_map(|component| &component.inputs);
        let is_known = all().all(|input| self.ids.contains_key(input.from.text.as_str()));
        for (component, entry) in self.spec.components.iter().zip(&self.entries) {
            if entry.is_none() || !is_known {
                continue;
            }
            let Component { role, id: Said { at, text }, .. } = component;
            if *role != Role::Sink && !taken.contains(text.as_str()) {
                let message = format!(
                    "the output of {role} `{text}` goes nowhere: have a bolt or a sink take it"
                );
                self.faults.push(Fault::new(*at, message));
            }
            let sends = matches!(
                component.on_error,
                Some(
                    egret::OnError::DeadLetter
                        | egret::OnError::Retry { then: egret::Then::DeadLetter, .. }
                )
            );
            if sends && !letters.contains(text.as_str()) {
                let message = format!(
                    "the dead letters of bolt `{text}` go nowhere: have a bolt or a sink take them, with `from: {text}` \
                     and `output: {LETTERS}`"
                );
                self.faults.push(Fault::new(*at, message));
            }
        }
    }

    /// Every component behind those it takes from; those on a cycle are left out and noted.
    pub(super) fn order(&mut self) -> Vec<usize> {
        let components = &self.spec.components;
        let takes: Vec<Vec<usize>> = components
            .iter()
            .map(|component| {
                let from = component.inputs.iter().map(|input| input.from.text.as_str());
                from.filter_map(|from| self.ids.get(from).copied()).collect()
            })
            .collect();
        let mut gives = vec![Vec::new(); components.len()];
        for (index, from) in takes.iter().enumerate() {
            from.iter().for_each(|from| gives[*from].push(index));
        }
        let mut waits: Vec<usize> = takes.iter().map(Vec::len).collect();
        let mut order = Vec::new();
        let mut left: BTreeSet<usize> = (0..components.len()).collect();
        let mut ready: BTreeSet<usize> =
            left.iter().copied().filter(|index| waits[*index] == 0).collect();
        while let Some(next) = ready.pop_first() {
            left.remove(&next);
            order.push(next);
            for to in &gives[next] {
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    ready.insert(*to);
                }
            }
        }
        // Whoever is left takes from one that is left: following that comes round.
        let mut faults = Vec::new();
        while let Some(first) = left.first().copied() {
            let mut way = vec![first];
            let round = loop {
                let at = way[way.len() - 1];
                let next = takes[at].iter().copied().find(|from| left.contains(from));
                let Some(next) = next else { break None };
                if let Some(begin) = way.iter().position(|index| *index == next) {
                    break Some(begin);
                }
                way.push(next);
            };
            if let Some(begin) = round {
                let ids =
                    way[begin..].iter().rev().map(|index| components[*index].id.text.as_str());
                let least = way[begin..].iter().min().copied().unwrap_or(first);
                let message = format!(
                    "{} take from each other in a circle: write what is to come back to a stream, and read it from \
                     there by a spout; a program makes a cycle with `TopologyBuilder::feedback`",
                    in_words(ids)
                );
                faults.push(Fault::new(components[least].id.at, message));
            }
            // Those that lead there only are not wrong themselves.
            let mut gone: Vec<usize> = way;
            while let Some(index) = gone.pop() {
                left.remove(&index);
                gone.extend(gives[index].iter().copied().filter(|to| left.contains(to)));
            }
        }
        self.faults.extend(faults);
        order
    }
}
