//! What a process that stands by has to say.

use std::fmt;

use egret_state::view::Mark;
use serde::Serialize;

/// What a process that stands by has to say. Its text is for people; serialized it is an object with the name of the event as `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StandbyEvent {
    /// Nobody runs the topology, and nobody is to be taken over from.
    Waits {
        /// The topology.
        topology: String,
    },
    /// What this process holds is as of the newest commit: told when it first is, and after each change of
    /// generation.
    Follows {
        /// The topology.
        topology: String,
        /// The generation that runs.
        running: u32,
        /// The generation that made the commit.
        generation: u32,
        /// The commit.
        commit: u32,
        /// Tasks whose state is held.
        warm: usize,
        /// Tasks with state.
        tasks: usize,
        /// Bytes of memory it takes.
        bytes: usize,
    },
    /// The state of a task is not held any more, and will be read when the topology is taken over.
    Cold {
        /// The topology.
        topology: String,
        /// The task.
        task: String,
        /// Why.
        why: String,
    },
    /// The newest commit cannot be read; it is tried again.
    Trouble {
        /// The topology.
        topology: String,
        /// Why.
        why: String,
    },
    /// Whoever ran the topology is gone.
    TakesOver {
        /// The topology.
        topology: String,
        /// How long ago it was last seen running, in milliseconds; `None` when it never was.
        seen_ms: Option<u64>,
    },
    /// It is this process's.
    TookOver {
        /// The topology.
        topology: String,
        /// The generation that begins.
        generation: u32,
        /// Tasks that go on with what was held.
        warm: usize,
        /// Tasks with state.
        tasks: usize,
        /// How long it took since [`TakesOver`](StandbyEvent::TakesOver), in milliseconds.
        took_ms: u64,
    },
    /// Another process took the topology over from this one, which stands by again.
    TakenOver {
        /// The topology.
        topology: String,
    },
    /// The topology ended in order, and standing by with it.
    Ended {
        /// The topology.
        topology: String,
    },
}

impl StandbyEvent {
    pub(crate) fn follows(
        topology: &str,
        mark: Mark,
        (warm, tasks): (usize, usize),
        bytes: usize,
    ) -> StandbyEvent {
        let (generation, commit) = (mark.last.generation().0, mark.last.commit());
        let (topology, running) = (topology.to_owned(), mark.written_by.0);
        StandbyEvent::Follows { topology, running, generation, commit, warm, tasks, bytes }
    }
}

impl fmt::Display for StandbyEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StandbyEvent::Waits { topology } => {
                write!(f, "nobody runs topology `{topology}`: standing by until somebody does")
            }
            StandbyEvent::Follows { topology, running, generation, commit, warm, tasks, bytes } => {
                let mib = bytes.div_ceil(1 << 20);
                write!(
                    f,
                    "standing by for topology `{topology}` in generation {running}: holding the state of {warm} of \
                     {tasks} task(s), {mib} MiB, as of commit {commit} of generation {generation}"
                )
            }
            StandbyEvent::Cold { topology, task, why } => write!(
                f,
                "standing by for topology `{topology}`: the state of task {task} is not held, and is read at a \
                 takeover: {why}"
            ),
            StandbyEvent::Trouble { topology, why } => {
                write!(
                    f,
                    "standing by for topology `{topology}`: its newest commit cannot be read: {why}"
                )
            }
            StandbyEvent::TakesOver { topology, seen_ms } => {
                write!(f, "topology `{topology}` is run by nobody")?;
                if let Some(ms) = seen_ms {
                    write!(f, ", and was {ms} ms ago")?;
                }
                f.write_str(": taking it over")
            }
            StandbyEvent::TookOver { topology, generation, warm, tasks, took_ms } => write!(
                f,
                "took over topology `{topology}` as generation {generation}, {warm} of {tasks} task(s) warm, in \
                 {took_ms} ms"
            ),
            StandbyEvent::TakenOver { topology } => {
                write!(
                    f,
                    "topology `{topology}` was taken over by another process: standing by again"
                )
            }
            StandbyEvent::Ended { topology } => {
                write!(f, "topology `{topology}` ended in order: there is nothing to stand by for")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_for_people_and_an_object_for_programs() {
        let topology = "words".to_owned();
        let event =
            StandbyEvent::TookOver { topology, generation: 3, warm: 1, tasks: 2, took_ms: 40 };
        let said = "took over topology `words` as generation 3, 1 of 2 task(s) warm, in 40 ms";
        assert_eq!(event.to_string(), said);
        let object = serde_json::to_value(&event).unwrap();
        assert_eq!((&object["event"], &object["warm"]), (&"took_over".into(), &1.into()));
    }
}
