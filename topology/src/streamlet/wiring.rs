//! Steps that wait to be wired: each becomes a component when something is attached to what it gives, once.
//!
//! ```text
//! Waits ── get ──▶ Wired          the component stands in the builder, and everybody gets its stream
//!   └───── get ──▶ Refused        everybody gets the same error
//! ```
//! So a step's name and tasks can be said after it, and an error is told where the pipeline ends.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::StreamletError;
use crate::builder::{BuildError, Stream};
use crate::{Error, Result, Tuple};
use egret_log::caps::NAME_BYTES_MAX;

/// Something said of a step.
#[derive(Debug, Clone)]
pub enum Word {
    /// Its component's name.
    Name(String),
    /// How many tasks that has.
    Tasks(u32),
}

/// All that was said of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    name: Option<String>,
    pub(super) tasks: Option<u32>,
    wrong: Option<StreamletError>,
}

/// What a step is called that nobody named: the word for what it does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Called<'a> {
    word: &'a str,
    keeps_state: bool,
}

impl<'a> Called<'a> {
    /// A step without state.
    pub(super) fn plain(word: &'a str) -> Called<'a> {
        Called { word, keeps_state: false }
    }

    /// A step that finds what it kept under its name.
    pub(super) fn stateful(word: &'a str) -> Called<'a> {
        Called { word, keeps_state: true }
    }
}

/// What a component is called, and how many tasks it has.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) tasks: u32,
}

impl Place {
    pub(super) fn of(&self) -> (&str, u32) {
        (&self.name, self.tasks)
    }
}

impl Said {
    pub(super) fn take(&mut self, word: Word) {
        let wrong = match word {
            Word::Name(name) if self.name.as_ref().is_none_or(|first| *first == name) => {
                self.name = Some(name);
                return;
            }
            Word::Name(second) => StreamletError::NamedTwice { second },
            Word::Tasks(second) => match self.tasks {
                Some(first) if first != second => StreamletError::TasksTwice { first, second },
                _ => {
                    self.tasks = Some(second);
                    return;
                }
            },
        };
        self.wrong.get_or_insert(wrong);
    }

    /// Where a component stands that takes `stream`; `called` is for those nobody named, and `tasks` what else was
    /// said of them.
    pub(super) fn place<T: Tuple>(
        self,
        stream: &Stream<T>,
        called: Called<'_>,
        tasks: Option<u32>,
    ) -> Result<Place> {
        let (before, upstream) = stream.first_component().unwrap_or_default();
        let name = match self.name {
            Some(name) => name,
            None => {
                let (name, is_numbered) =
                    given_name(&before, called.word, |name| stream.is_taken(name));
                let by_order = is_numbered || stream.is_by_order(&before);
                if called.keeps_state && by_order {
                    let why = StreamletError::Unnamed;
                    return Err(BuildError::Streamlet { name, why }.into());
                }
                if name.len() > NAME_BYTES_MAX {
                    let why = StreamletError::LongName { max: NAME_BYTES_MAX };
                    return Err(BuildError::Streamlet { name, why }.into());
                }
                if by_order {
                    stream.goes_by_order(&name);
                }
                name
            }
        };
        let twice = || Some((tasks?, self.tasks?)).filter(|(first, second)| first != second);
        let twice = twice().map(|(first, second)| StreamletError::TasksTwice { first, second });
        if let Some(why) = self.wrong.or(twice) {
            return Err(BuildError::Streamlet { name, why }.into());
        }
        // Once the topology is finished there is no component before it, and attaching says so.
        Ok(Place { name, tasks: self.tasks.or(tasks).unwrap_or(upstream.max(1)) })
    }
}

/// The name of a step that was given none: that of the component before it and the step's word, with a number from 2
/// on where that is taken; and whether it has one.
fn given_name(before: &str, word: &str, is_taken: impl Fn(&str) -> bool) -> (String, bool) {
    let first = format!("{before}.{word}");
    if !is_taken(&first) {
        return (first, false);
    }
    let free = (2u32..).map(|n| format!("{first}.{n}")).find(|name| !is_taken(name));
    (free.expect("there are fewer components than numbers"), true)
}

type Attach<S> = Box<dyn FnOnce(Said) -> Result<S>>;

enum Stage<S> {
    Waits { said: Said, attach: Attach<S> },
    Busy,
    Wired(S),
    Refused(Error),
}

/// A step, wired when its streams are asked for first. See the [module](self).
pub struct Wiring<S> {
    stage: Rc<RefCell<Stage<S>>>,
    is_component: bool,
}

impl<S> Clone for Wiring<S> {
    fn clone(&self) -> Self {
        Wiring { stage: Rc::clone(&self.stage), is_component: self.is_component }
    }
}

impl<S> fmt::Debug for Wiring<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.stage.borrow() {
            Stage::Waits { .. } => "a step that waits",
            Stage::Busy => "a step that is being wired",
            Stage::Wired(_) => "a step that is wired",
            Stage::Refused(_) => "a step that was refused",
        })
    }
}

impl<S: Clone> Wiring<S> {
    /// A component that `attach` attaches.
    pub(super) fn component(attach: impl FnOnce(Said) -> Result<S> + 'static) -> Wiring<S> {
        Wiring::saying(Said::default(), attach)
    }

    /// The same, of which something was said.
    pub(super) fn saying(
        said: Said,
        attach: impl FnOnce(Said) -> Result<S> + 'static,
    ) -> Wiring<S> {
        let stage = Stage::Waits { said, attach: Box::new(attach) };
        Wiring { stage: Rc::new(RefCell::new(stage)), is_component: true }
    }

    /// What is there without a component of its own.
    pub(super) fn of_others(attach: impl FnOnce() -> Result<S> + 'static) -> Wiring<S> {
        Wiring { is_component: false, ..Wiring::component(move |_| attach()) }
    }

    pub(super) fn get(&self) -> Result<S> {
        match &*self.stage.borrow() {
            Stage::Wired(streams) => return Ok(streams.clone()),
            Stage::Refused(why) => return Err(again(why)),
            Stage::Waits { .. } | Stage::Busy => {}
        }
        let Stage::Waits { said, attach } = self.stage.replace(Stage::Busy) else {
            unreachable!("a step takes what was there before it, so it is not asked for itself")
        };
        let wired = attach(said);
        *self.stage.borrow_mut() = match &wired {
            Ok(streams) => Stage::Wired(streams.clone()),
            Err(why) => Stage::Refused(again(why)),
        };
        wired
    }

    pub(super) fn say(&self, word: Word) {
        let mut stage = self.stage.borrow_mut();
        let refuse = |name: &Word, why| {
            let name = match name {
                Word::Name(name) => name.clone(),
                Word::Tasks(tasks) => format!("{tasks} tasks"),
            };
            Stage::Refused(BuildError::Streamlet { name, why }.into())
        };
        match &mut *stage {
            Stage::Refused(_) => {}
            _ if !self.is_component => *stage = refuse(&word, StreamletError::NoComponent),
            Stage::Waits { said, .. } => said.take(word),
            Stage::Busy | Stage::Wired(_) => *stage = refuse(&word, StreamletError::Wired),
        }
    }
}

/// The same error once more.
fn again(why: &Error) -> Error {
    match why {
        Error::Build(why) => Error::Build(why.clone()),
        other => Error::usage(other.to_string()),
    }
}

/// What gives a stream once it is wired.
pub(super) trait Step<T> {
    fn stream(&self) -> Result<Stream<T>>;
    fn say(&self, word: Word);
}

impl<T> Step<T> for Wiring<Stream<T>> {
    fn stream(&self) -> Result<Stream<T>> {
        self.get()
    }

    fn say(&self, word: Word) {
        Wiring::say(self, word);
    }
}

/// One of the streams of a component.
pub(super) struct One<S, P>(pub(super) Wiring<S>, pub(super) P);

impl<S: Clone, T, P: Fn(&S) -> Stream<T>> Step<T> for One<S, P> {
    fn stream(&self) -> Result<Stream<T>> {
        self.0.get().map(|streams| (self.1)(&streams))
    }

    fn say(&self, word: Word) {
        self.0.say(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_component_before_with_a_word_and_a_number_where_it_is_taken() {
        let taken = ["lines.steps", "lines.steps.2"];
        let given = |before: &str| given_name(before, "steps", |name| taken.contains(&name));
        assert_eq!(given("lines"), ("lines.steps.3".to_owned(), true));
        assert_eq!(given("words"), ("words.steps".to_owned(), false));
    }

    #[test]
    fn a_step_is_wired_once_and_hears_what_was_said_before() {
        let times = Rc::new(RefCell::new(0));
        let counts = Rc::clone(&times);
        let step = Wiring::component(move |said: Said| {
            *counts.borrow_mut() += 1;
            Ok((said.name, said.tasks))
        });
        step.say(Word::Name("a".to_owned()));
        step.say(Word::Tasks(3));
        let wired = (Some("a".to_owned()), Some(3));
        assert_eq!(step.get().unwrap(), wired);
        assert_eq!((step.clone().get().unwrap(), *times.borrow()), (wired, 1));
        step.say(Word::Tasks(4));
        assert!(step.get().unwrap_err().to_string().contains("right after the step"));
    }

    #[test]
    fn what_was_refused_once_is_refused_again() {
        let name = "none".to_owned();
        let step: Wiring<()> =
            Wiring::component(move |_| Err(BuildError::NoEventTime { name }.into()));
        let first = step.get().unwrap_err().to_string();
        assert_eq!(step.get().unwrap_err().to_string(), first);
        let step = Wiring::of_others(|| Ok(()));
        step.say(Word::Name("a".to_owned()));
        assert!(step.get().unwrap_err().to_string().contains("no component of its own"));
    }
}
