//! What is answered, from what a replica holds.

use std::sync::{Arc, PoisonError};

use egret::replica::shown::Range;
use egret::replica::{Follower, ReplicaError, Shown};
use egret_schemas::state::{
    AnswersState, StateAnswer, StateComponent, StateEntry, StateFound, StateQuestion,
};

use crate::caps;

/// Answers from what a follower holds.
pub(super) struct Answers(pub(super) Arc<Follower>);

impl AnswersState for Answers {
    fn answer(&self, question: StateQuestion) -> StateAnswer {
        let freshness = self.0.freshness();
        let age = freshness.age().unwrap_or_default();
        let shown = self.0.shown().read().unwrap_or_else(PoisonError::into_inner);
        let found = match shown.mark() {
            Some(_) => found(&shown, question).unwrap_or_else(failure),
            None => {
                let reading = || "the newest commit is being read: ask again".to_owned();
                let error = freshness.why().unwrap_or_else(reading);
                StateFound::Failure { code: "nothing-held".to_owned(), error }
            }
        };
        let last = shown.mark().map(|mark| mark.last);
        let written_by = shown.mark().map_or(0, |mark| mark.written_by.0);
        StateAnswer {
            topology: shown.topology().to_owned(),
            generation: last.map_or(0, |last| last.generation().0),
            commit: last.map_or(0, |last| last.commit()),
            written_by,
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            found,
        }
    }
}

fn failure(error: ReplicaError) -> StateFound {
    let code = match error {
        ReplicaError::NoComponent { .. } => "no-component",
        ReplicaError::Key(_) => "bad-key",
        _ => "unavailable",
    };
    StateFound::Failure { code: code.to_owned(), error: error.to_string() }
}

fn wrong(error: String) -> StateFound {
    StateFound::Failure { code: "bad-request".to_owned(), error }
}

fn found(shown: &Shown, question: StateQuestion) -> Result<StateFound, ReplicaError> {
    match question {
        StateQuestion::Components => {
            let names = shown.view().components().map(|(name, _)| name);
            let all = names.map(|name| {
                let component = shown.component(name)?;
                Ok(StateComponent {
                    name: name.to_owned(),
                    tasks: shown.view().tasks(name).unwrap_or_default(),
                    keys: component.table.len() as u64,
                    bytes: component.table.bytes() as u64,
                    format: component.schema().map(ToString::to_string).unwrap_or_default(),
                })
            });
            Ok(StateFound::Components(all.collect::<Result<_, ReplicaError>>()?))
        }
        StateQuestion::Get { component, keys } => {
            if keys.len() > caps::BATCH_KEYS_MAX {
                let (n, max) = (keys.len(), caps::BATCH_KEYS_MAX);
                return Ok(wrong(format!("{n} keys are over the limit of {max}: ask more often")));
            }
            let component = shown.component(&component)?;
            let mut room = Room::default();
            let mut entries = Vec::with_capacity(keys.len());
            for word in &keys {
                let key = component.key_of_word(word)?;
                let held = component.table.get(&key);
                let value = held.map(|held| component.state_json(held).to_string());
                let entry = StateEntry { key: component.key_json(&key).to_string(), value };
                if !room.has(&entry) {
                    let (n, max) = (entries.len(), caps::RPC_ANSWER_BYTES);
                    return Ok(wrong(format!(
                        "the states of the first {n} keys are all that fits into an answer of {max} bytes: ask for fewer"
                    )));
                }
                entries.push(entry);
            }
            Ok(StateFound::Entries { entries, next: None })
        }
        StateQuestion::Scan { component, prefix, from, limit } => {
            let limit = if limit == 0 { caps::SCAN_KEYS } else { limit as usize };
            let limit = limit.min(caps::SCAN_KEYS_MAX);
            let range = Range { from, prefix, limit, bytes: usize::MAX };
            let (mut room, mut entries) = (Room::default(), Vec::new());
            let next = shown.scan_each(&component, &range, |found| {
                let value = Some(found.value().to_string());
                let entry = StateEntry { key: found.key().to_string(), value };
                let fits = room.has(&entry);
                if fits {
                    entries.push(entry);
                }
                fits
            })?;
            Ok(StateFound::Entries { entries, next })
        }
    }
}

/// What an answer takes.
#[derive(Default)]
struct Room {
    bytes: usize,
}

impl Room {
    /// Whether there is room for one more; there always is for the first.
    fn has(&mut self, entry: &StateEntry) -> bool {
        let more = entry.key.len() + entry.value.as_ref().map_or(0, String::len);
        let first = self.bytes == 0;
        self.bytes += more;
        first || self.bytes <= caps::RPC_ANSWER_BYTES
    }
}
