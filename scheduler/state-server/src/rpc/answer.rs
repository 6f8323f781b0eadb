//! What is answered, from what a replica holds.

use std::sync::{Arc, PoisonError};

use egret::replica::shown::{Held, Range};
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
        StateAnswer {
            topology: shown.topology().to_owned(),
            generation: last.map_or(0, |last| last.generation().0),
            commit: last.map_or(0, |last| last.commit()),
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
            let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
            for word in &keys {
                let key = component.key_of_word(word)?;
                let held = component.table.get(&key);
                bytes += held.map_or(0, Held::len);
                if bytes > caps::ANSWER_BYTES && !entries.is_empty() {
                    let (n, max) = (entries.len(), caps::ANSWER_BYTES);
                    return Ok(wrong(format!(
                        "the states of the first {n} keys are all that fits into an answer of {max} bytes: ask for fewer"
                    )));
                }
                let value = held.map(|held| component.state_json(held).to_string());
                entries.push(StateEntry { key: component.key_json(&key).to_string(), value });
            }
            Ok(StateFound::Entries { entries, next: None })
        }
        StateQuestion::Scan { component, prefix, from, limit } => {
            let limit = if limit == 0 { caps::SCAN_KEYS } else { limit as usize };
            let limit = limit.min(caps::SCAN_KEYS_MAX);
            let range = Range { from, prefix, limit, bytes: caps::ANSWER_BYTES };
            let page = shown.scan(&component, &range)?;
            let entries = page.entries.into_iter().map(|(key, value)| StateEntry {
                key: key.to_string(),
                value: Some(value.to_string()),
            });
            Ok(StateFound::Entries { entries: entries.collect(), next: page.next })
        }
    }
}
