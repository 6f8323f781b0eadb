//! Questions about a topology's state, and answers, over Cap'n Proto RPC: as typed values, and the interface
//! behind which they are given and asked.

use capnp::capability::{DynClientHook, FromClientHook, FromServer, Rc};
use capnp::private::capability::ClientHook;

use crate::generated::state_capnp::{answer, state};

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateQuestion {
    /// What there is.
    Components,
    /// The states of some keys.
    Get {
        /// The component.
        component: String,
        /// Keys, in words.
        keys: Vec<String>,
    },
    /// Keys and states in order.
    Scan {
        /// The component.
        component: String,
        /// Only keys that begin so.
        prefix: Option<String>,
        /// From this key on.
        from: Option<String>,
        /// So many at most; 0 for what the server is used to.
        limit: u32,
    },
}

/// An answer, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAnswer {
    /// The topology.
    pub topology: String,
    /// The generation of the commit.
    pub generation: u32,
    /// Its number in the generation.
    pub commit: u32,
    /// The generation that made it the last commit, or found it so: above that of the commit after a restart, and
    /// after a commit that was gone back to.
    pub written_by: u32,
    /// For how long it has not been known to be the newest.
    pub age_ms: u64,
    /// What was found.
    pub found: StateFound,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateFound {
    /// Nothing, and why.
    Failure {
        /// For programs.
        code: String,
        /// For people.
        error: String,
    },
    /// Components.
    Components(Vec<StateComponent>),
    /// Keys and states.
    Entries {
        /// In the order of the question, or of the keys.
        entries: Vec<StateEntry>,
        /// Where a scan goes on.
        next: Option<String>,
    },
}

/// A component that keeps state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateComponent {
    /// Its name.
    pub name: String,
    /// How many tasks it had.
    pub tasks: u32,
    /// How many keys have state.
    pub keys: u64,
    /// Bytes they take, nearly.
    pub bytes: u64,
    /// The format of keys and states; empty when it is not known.
    pub format: String,
}

/// A key and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// The key, as JSON.
    pub key: String,
    /// The state, as JSON; `None` when there is none.
    pub value: Option<String>,
}

/// Who answers.
pub trait AnswersState: 'static {
    /// One question.
    fn answer(&self, question: StateQuestion) -> StateAnswer;
}

/// Somebody who answers, behind the interface.
#[derive(Debug)]
pub struct StateService<A>(pub A);

impl<A: AnswersState> StateService<A> {
    fn write(&self, question: StateQuestion, out: answer::Builder<'_>) {
        self.0.answer(question).write(out);
    }
}

impl<A: AnswersState> state::Server for StateService<A> {
    async fn components(
        self: Rc<Self>,
        _: state::ComponentsParams,
        mut results: state::ComponentsResults,
    ) -> Result<(), capnp::Error> {
        self.write(StateQuestion::Components, results.get().init_answer());
        Ok(())
    }

    async fn get(
        self: Rc<Self>,
        params: state::GetParams,
        mut results: state::GetResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let component = params.get_component()?.to_string()?;
        let keys = params.get_keys()?.iter();
        let keys = keys.map(|key| Ok(key?.to_string()?)).collect::<Result<_, capnp::Error>>()?;
        self.write(StateQuestion::Get { component, keys }, results.get().init_answer());
        Ok(())
    }

    async fn scan(
        self: Rc<Self>,
        params: state::ScanParams,
        mut results: state::ScanResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        let component = params.get_component()?.to_string()?;
        let prefix = match params.has_prefix() {
            true => Some(params.get_prefix()?.to_string()?),
            false => None,
        };
        let from = match params.has_from() {
            true => Some(params.get_from()?.to_string()?),
            false => None,
        };
        let question = StateQuestion::Scan { component, prefix, from, limit: params.get_limit() };
        self.write(question, results.get().init_answer());
        Ok(())
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("answers are bounded far below 4 Gi entries")
}

impl StateAnswer {
    fn write(&self, mut out: answer::Builder<'_>) {
        out.set_topology(&self.topology);
        out.set_generation(self.generation);
        out.set_commit(self.commit);
        out.set_written_by(self.written_by);
        out.set_age_ms(self.age_ms);
        match &self.found {
            StateFound::Failure { code, error } => {
                let mut failure = out.init_failure();
                failure.set_code(code);
                failure.set_error(error);
            }
            StateFound::Components(all) => {
                let mut list = out.init_components(count(all.len()));
                for (at, component) in (0..).zip(all) {
                    let mut out = list.reborrow().get(at);
                    out.set_name(&component.name);
                    out.set_tasks(component.tasks);
                    out.set_keys(component.keys);
                    out.set_bytes(component.bytes);
                    out.set_format(&component.format);
                }
            }
            StateFound::Entries { entries, next } => {
                let mut out = out.init_entries();
                if let Some(next) = next {
                    out.set_next(next);
                }
                let mut list = out.init_entries(count(entries.len()));
                for (at, entry) in (0..).zip(entries) {
                    let mut out = list.reborrow().get(at);
                    out.set_key(&entry.key);
                    if let Some(value) = &entry.value {
                        out.set_found(true);
                        out.set_value(value);
                    }
                }
            }
        }
    }

    fn read(answer: answer::Reader<'_>) -> Result<StateAnswer, capnp::Error> {
        let found = match answer.which()? {
            answer::Failure(failure) => {
                let failure = failure?;
                let (code, error) = (failure.get_code()?, failure.get_error()?);
                StateFound::Failure { code: code.to_string()?, error: error.to_string()? }
            }
            answer::Components(list) => {
                let all = list?.iter().map(|component| {
                    Ok(StateComponent {
                        name: component.get_name()?.to_string()?,
                        tasks: component.get_tasks(),
                        keys: component.get_keys(),
                        bytes: component.get_bytes(),
                        format: component.get_format()?.to_string()?,
                    })
                });
                StateFound::Components(all.collect::<Result<_, capnp::Error>>()?)
            }
            answer::Entries(entries) => {
                let entries = entries?;
                let next = match entries.has_next() {
                    true => Some(entries.get_next()?.to_string()?),
                    false => None,
                };
                let all = entries.get_entries()?.iter().map(|entry| {
                    let value = match entry.get_found() {
                        true => Some(entry.get_value()?.to_string()?),
                        false => None,
                    };
                    Ok(StateEntry { key: entry.get_key()?.to_string()?, value })
                });
                let entries = all.collect::<Result<_, capnp::Error>>()?;
                StateFound::Entries { entries, next }
            }
        };
        Ok(StateAnswer {
            topology: answer.get_topology()?.to_string()?,
            generation: answer.get_generation(),
            commit: answer.get_commit(),
            written_by: answer.get_written_by(),
            age_ms: answer.get_age_ms(),
            found,
        })
    }
}

/// Whoever answers, wherever it is.
#[derive(Clone)]
pub struct StateClient(state::Client);

impl std::fmt::Debug for StateClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateClient")
    }
}

impl StateClient {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When there is none: the connection ended, or what came is none.
    pub async fn ask(&self, question: &StateQuestion) -> Result<StateAnswer, capnp::Error> {
        match question {
            StateQuestion::Components => {
                let response = self.0.components_request().send().promise.await?;
                StateAnswer::read(response.get()?.get_answer()?)
            }
            StateQuestion::Get { component, keys } => {
                let mut request = self.0.get_request();
                request.get().set_component(component);
                let mut list = request.get().init_keys(count(keys.len()));
                for (at, key) in (0..).zip(keys) {
                    list.set(at, key);
                }
                StateAnswer::read(request.send().promise.await?.get()?.get_answer()?)
            }
            StateQuestion::Scan { component, prefix, from, limit } => {
                let mut request = self.0.scan_request();
                let mut params = request.get();
                params.set_component(component);
                if let Some(prefix) = prefix {
                    params.set_prefix(prefix);
                }
                if let Some(from) = from {
                    params.set_from(from);
                }
                params.set_limit(*limit);
                StateAnswer::read(request.send().promise.await?.get()?.get_answer()?)
            }
        }
    }
}

impl FromClientHook for StateClient {
    fn new(hook: Box<DynClientHook>) -> StateClient {
        StateClient(state::Client::new(hook))
    }
    fn into_client_hook(self) -> Box<DynClientHook> {
        self.0.into_client_hook()
    }
    fn as_client_hook(&self) -> &dyn ClientHook {
        self.0.as_client_hook()
    }
}

impl<A: AnswersState> FromServer<StateService<A>> for StateClient {
    type Dispatch = state::ServerDispatch<StateService<A>>;

    fn from_server(service: Rc<StateService<A>>) -> Self::Dispatch {
        <state::Client as FromServer<StateService<A>>>::from_server(service)
    }
}
