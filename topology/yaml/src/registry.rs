//! Components under names: what a file may speak of.

mod registered;

use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;

use egret::builder::SpoutSource;
use egret::grouping::CustomGrouping;
use egret::{Bolt, DeadLetter, Either, KeyedBolt, Sink, StatefulBolt, Stream, ToRecord, Tuple};
use egret_state::keyed::Key;
use serde::de::DeserializeOwned;

pub use registered::Registered;

use crate::any::{GroupBy, Of, TimeBy, custom, letters, typed};
use crate::args::value_of;
use crate::entry::{
    Args, Attach, Entry, Function, KeyEntry, LEFT, Letters, RIGHT, ReadArgs, Takes, TakesOf,
};
use crate::put::{Put, Puts};
use crate::spec::Role;

/// What a topology file may name: components of your own, beside those in the box, and the functions that find keys,
/// times and tasks.
///
/// ```
/// use egret::{ComponentResult, Context, Emitter, KeyedBolt};
/// use egret_yaml::{Properties, Registry, TopologyFile};
///
/// #[derive(serde::Deserialize)]
/// struct Split {
///     /// Words shorter than this are left out.
///     #[serde(default)]
///     shortest: usize,
/// }
///
/// struct Count;
/// impl KeyedBolt<str, String, (String, u64)> for Count {
///     type State = u64;
///     fn execute(
///         &mut self, _: &str, n: &mut u64, _: String, _: &mut Emitter<(String, u64)>, _: &Context,
///     ) -> ComponentResult {
///         *n += 1;
///         Ok(())
///     }
///     fn flush(
///         &mut self, word: &str, n: &mut u64, out: &mut Emitter<(String, u64)>, _: &Context,
///     ) -> ComponentResult {
///         out.emit((word.to_owned(), *n));
///         Ok(())
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.bolt("split", |args: Split| {
///     move || {
///         let shortest = args.shortest;
///         move |line: String, out: &mut Emitter<String>| {
///             let words = line.split_whitespace().filter(|word| word.len() >= shortest);
///             words.for_each(|word| out.emit(word.to_owned()));
///         }
///     }
/// });
/// registry.keyed("count", |()| || Count).by("text");
///
/// let file = TopologyFile::parse(
///     "words.yaml",
///     "
/// name: words
/// spouts:
///   - {id: lines, type: stream, parallelism: 2, args: {stream: lines}}
/// bolts:
///   - {id: split, type: split, parallelism: 2, inputs: [lines], args: {shortest: 3}}
///   - {id: count, type: count, parallelism: 2, inputs: [split]}
/// sinks:
///   - {id: out, type: stream, inputs: [count], args: {stream: counts}}
/// ",
///     &Properties::new(),
/// )?;
/// let topology = file.topology(&registry)?;
/// assert!(topology.explain(2).contains("u64 per str"));
/// # Ok::<(), egret_yaml::WiringError>(())
/// ```
pub struct Registry {
    pub(crate) entries: BTreeMap<(Role, String), Entry>,
    pub(crate) keys: Vec<KeyEntry>,
    pub(crate) tasks: Vec<Function>,
    pub(crate) times: Vec<Function>,
    pub(crate) groupings: Vec<Function>,
    pub(crate) puts: HashMap<TypeId, Box<dyn Put>>,
    pub(crate) faults: Vec<String>,
    pub(crate) is_boxing: bool,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.entries.keys().map(|(_, name)| name).collect();
        write!(f, "Registry({names:?})")
    }
}

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

/// Reads arguments of one type.
fn read<A: DeserializeOwned + 'static>() -> ReadArgs {
    Box::new(|node| Ok(Box::new(value_of::<A>(node)?)))
}

/// The arguments, as they were read.
fn args<A: 'static>(args: Args) -> A {
    *args.downcast().expect("arguments are read by the entry that they are for")
}

impl Registry {
    /// The components in the box: spouts `stream`, `file`, `generator` and `socket`, which emit lines of text; sinks
    /// `stream`, `file`, `stdout` and `socket`, which take what is registered here; and key `text`, a line as a whole.
    pub fn new() -> Registry {
        let mut registry = Registry {
            entries: BTreeMap::new(),
            keys: Vec::new(),
            tasks: Vec::new(),
            times: Vec::new(),
            groupings: Vec::new(),
            puts: HashMap::new(),
            faults: Vec::new(),
            is_boxing: true,
        };
        crate::boxed::fill(&mut registry);
        registry.is_boxing = false;
        registry
    }

    pub(crate) fn add(&mut self, name: &str, entry: Entry) {
        let key = (entry.role, name.to_owned());
        if let Some(there) = self.entries.get(&key) {
            let whose = if there.is_in_the_box { "is in the box" } else { "was registered before" };
            let role = entry.role;
            let fault = format!(
                "{role} `{name}` is registered, and one of this name {whose}: give it another name"
            );
            self.faults.push(fault);
            return;
        }
        self.entries.insert(key, entry);
    }

    /// Knows a type, so that tuples of it can be put out.
    pub(crate) fn knows<T: Tuple>(&mut self) {
        self.puts.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(Puts::<T>::plain()));
    }

    pub(crate) fn key_of(&self, of: Of, name: &str) -> Option<&KeyEntry> {
        self.keys.iter().find(|key| key.of == of && key.name == name)
    }

    pub(crate) fn function_of<'a>(all: &'a [Function], of: Of, name: &str) -> Option<&'a Function> {
        all.iter().find(|function| function.of == of && function.name == name)
    }

    fn registered<O>(&mut self, role: Role, name: &str) -> Registered<'_, O> {
        Registered { registry: self, name: (role, name.to_owned()), of: PhantomData }
    }

    /// A spout: `make` makes what [`TopologyBuilder::spout`](egret::TopologyBuilder::spout) takes, out of arguments.
    ///
    /// ```
    /// # let mut registry = egret_yaml::Registry::new();
    /// #[derive(serde::Deserialize)]
    /// struct Squares { count: u64 }
    ///
    /// registry.spout("squares", |args: Squares| egret::Generator::new(|n| n * n).count(args.count));
    /// ```
    pub fn spout<T, A, S, F>(&mut self, name: &str, make: F) -> Registered<'_, T>
    where
        T: Tuple,
        A: DeserializeOwned + 'static,
        S: SpoutSource<T>,
        F: Fn(A) -> S + 'static,
    {
        self.knows::<T>();
        let attach = Attach::Spout(Box::new(move |t, at, given| {
            Ok(Box::new(t.spout(at.name, at.parallelism, make(args(given)))?))
        }));
        let mut entry = self.entry::<A>(Role::Spout, Vec::new(), Some(Of::named::<T>()), attach);
        entry.say_time = Some(|by, stream, config| match by.function.downcast_ref::<TimeBy<T>>() {
            Some(by) => by(typed::<T>(stream)?, config),
            None => Err(egret::Error::Usage(format!("`{}` finds no time of it", by.name))),
        });
        self.add(name, entry);
        self.registered(Role::Spout, name)
    }

    fn entry<A: DeserializeOwned + 'static>(
        &self,
        role: Role,
        takes: Vec<Takes>,
        emits: Option<Of>,
        attach: Attach,
    ) -> Entry {
        Entry {
            role,
            takes,
            places: false,
            emits,
            outputs: Vec::new(),
            letters: None,
            key: None,
            read: read::<A>(),
            attach,
            say_time: None,
            is_in_the_box: self.is_boxing,
        }
    }

    /// A bolt of tuples `I` that emits tuples `O`, and its dead letters.
    fn add_bolt<I: Tuple, O: Tuple, A: DeserializeOwned + 'static>(
        &mut self,
        name: &str,
        takes: Vec<Takes>,
        attach: Attach,
    ) -> Registered<'_, O> {
        self.knows::<I>();
        self.knows::<O>();
        self.records::<DeadLetter<I>>();
        let mut entry = self.entry::<A>(Role::Bolt, takes, Some(Of::named::<O>()), attach);
        let of = Of::named::<DeadLetter<I>>();
        entry.letters = Some(Letters { of, take: letters::<I, O> });
        self.add(name, entry);
        self.registered(Role::Bolt, name)
    }

    /// A bolt without state: `make` makes, of arguments, what makes one for each task.
    ///
    /// ```
    /// # let mut registry = egret_yaml::Registry::new();
    /// use egret::Emitter;
    ///
    /// registry.bolt("lengths", |()| || |line: String, out: &mut Emitter<u64>| out.emit(line.len() as u64));
    /// ```
    pub fn bolt<I, O, A, B, M, F>(&mut self, name: &str, make: F) -> Registered<'_, O>
    where
        I: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        B: Bolt<I, O>,
        M: Fn() -> B + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let bolt =
                inputs.grouped::<I>(None)?.bolt(at.name, at.parallelism, make(args(given)))?;
            Ok(Box::new(bolt))
        }));
        self.add_bolt::<I, O, A>(name, one::<I>(), attach)
    }

    /// A bolt with state per task.
    pub fn stateful<I, O, A, B, M, F>(&mut self, name: &str, make: F) -> Registered<'_, O>
    where
        I: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        B: StatefulBolt<I, O>,
        M: Fn() -> B + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let grouped = inputs.grouped::<I>(None)?;
            Ok(Box::new(grouped.stateful(at.name, at.parallelism, make(args(given)))?))
        }));
        self.add_bolt::<I, O, A>(name, one::<I>(), attach)
    }

    /// A bolt with state per key. The file says by which key, of the type that the bolt has, or it is the one that
    /// [`by`](Registered::by) says.
    pub fn keyed<K, I, O, A, B, M, F>(&mut self, name: &str, make: F) -> Registered<'_, O>
    where
        K: Key + ?Sized + 'static,
        I: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        B: KeyedBolt<K, I, O>,
        M: Fn() -> B + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let (stream, key) = inputs.keyed::<I, K>(None)?;
            let keyed = stream.fields_with(key);
            Ok(Box::new(keyed.keyed(at.name, at.parallelism, make(args(given)))?))
        }));
        let keyed = Some(Of::named::<K>());
        let takes = Takes { side: None, of: TakesOf::One(Of::named::<I>()), keyed };
        self.add_bolt::<I, O, A>(name, vec![takes], attach)
    }

    /// A bolt of two inputs, which takes [`Either`]. Each input of the file says which `side` it is: `left` or `right`.
    pub fn joining<L, R, O, A, B, M, F>(&mut self, name: &str, make: F) -> Registered<'_, O>
    where
        L: Tuple,
        R: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        B: Bolt<Either<L, R>, O>,
        M: Fn() -> B + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        self.knows::<L>();
        self.knows::<R>();
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let joined = inputs.joined::<L, R>()?;
            Ok(Box::new(joined.bolt(at.name, at.parallelism, make(args(given)))?))
        }));
        self.add_bolt::<Either<L, R>, O, A>(name, two::<L, R>(None), attach)
    }

    /// A bolt of two inputs with state per key: tuples of one key meet, whichever input they come from.
    pub fn joining_keyed<K, L, R, O, A, B, M, F>(
        &mut self,
        name: &str,
        make: F,
    ) -> Registered<'_, O>
    where
        K: Key + ?Sized + 'static,
        L: Tuple,
        R: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        B: KeyedBolt<K, Either<L, R>, O>,
        M: Fn() -> B + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        self.knows::<L>();
        self.knows::<R>();
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let (left, by_left) = inputs.keyed::<L, K>(Some(LEFT))?;
            let (right, by_right) = inputs.keyed::<R, K>(Some(RIGHT))?;
            let joined = left.fields_with(by_left).join(right.fields_with(by_right))?;
            Ok(Box::new(joined.keyed(at.name, at.parallelism, make(args(given)))?))
        }));
        let keyed = Some(Of::named::<K>());
        self.add_bolt::<Either<L, R>, O, A>(name, two::<L, R>(keyed), attach)
    }

    /// A step that attaches itself: `attach` is given its arguments, what it is called, its tasks, and the stream; it says
    /// the grouping. So windows are registered, and whatever is more than one bolt.
    ///
    /// ```
    /// # let mut registry = egret_yaml::Registry::new();
    /// use egret::Stream;
    /// use egret::window::CountTumbling;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Every { tuples: u32 }
    ///
    /// registry.step("every", |args: Every, name, tasks, words: &Stream<String>| {
    ///     let windows = words.fields(|word| word.as_str()).window(CountTumbling(args.tuples));
    ///     windows.contents(name, tasks, |word: &str, _, seen: Vec<String>| {
    ///         [format!("{word} {}", seen.len())]
    ///     })
    /// });
    /// ```
    pub fn step<I, O, A, F>(&mut self, name: &str, attach: F) -> Registered<'_, O>
    where
        I: Tuple,
        O: Tuple,
        A: DeserializeOwned + 'static,
        F: Fn(A, &str, u32, &Stream<I>) -> egret::Result<Stream<O>> + 'static,
    {
        self.knows::<I>();
        self.knows::<O>();
        let attach = Attach::Bolt(Box::new(move |inputs, at, given| {
            let stream = inputs.stream::<I>(None)?;
            Ok(Box::new(attach(args(given), at.name, at.parallelism, &stream)?))
        }));
        let mut entry = self.entry::<A>(Role::Bolt, one::<I>(), Some(Of::named::<O>()), attach);
        entry.places = true;
        self.add(name, entry);
        self.registered(Role::Bolt, name)
    }

    /// A sink of your own, which sees tuples at least once.
    pub fn sink<T, A, S, M, F>(&mut self, name: &str, make: F)
    where
        T: Tuple,
        A: DeserializeOwned + 'static,
        S: Sink<T>,
        M: Fn() -> S + Send + Sync + 'static,
        F: Fn(A) -> M + 'static,
    {
        self.knows::<T>();
        let attach = Attach::Sink(Box::new(move |inputs, at, given| {
            inputs.grouped::<T>(None)?.sink(at.name, at.parallelism, make(args(given)))
        }));
        let entry = self.entry::<A>(Role::Sink, one::<T>(), None, attach);
        self.add(name, entry);
    }

    /// A key inside tuples of a type, for `fields` and `partial-key`.
    ///
    /// ```
    /// # let mut registry = egret_yaml::Registry::new();
    /// registry.key("word", |(word, _): &(String, u64)| word.as_str());
    /// registry.key_by("length", |line: &String| line.len() as u64);
    /// ```
    pub fn key<T, K, F>(&mut self, name: &str, key: F)
    where
        T: Tuple,
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        self.add_key(KeyEntry::borrowed(name, key));
    }

    /// A key computed from tuples of a type.
    pub fn key_by<T, K, F>(&mut self, name: &str, key: F)
    where
        T: Tuple,
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        self.add_key(KeyEntry::computed(name, key));
    }

    fn add_key(&mut self, key: KeyEntry) {
        match self.key_of(key.of, &key.name) {
            Some(_) => self.twice("key", &key.name, key.of),
            None => self.keys.push(key),
        }
    }

    fn twice(&mut self, what: &str, name: &str, of: Of) {
        let fault =
            format!("{what} `{name}` of {of} is registered twice: give one of them another name");
        self.faults.push(fault);
    }

    /// The task that a tuple is meant for, for grouping `direct`.
    pub fn task<T, F>(&mut self, name: &str, task_of: F)
    where
        T: Tuple,
        F: Fn(&T) -> u32 + Clone + Send + Sync + 'static,
    {
        let by: GroupBy<T> = Box::new(move |stream| stream.direct(task_of.clone()));
        let function =
            Function { name: name.to_owned(), of: Of::named::<T>(), function: Box::new(by) };
        match Registry::function_of(&self.tasks, function.of, name) {
            Some(_) => self.twice("task", name, function.of),
            None => self.tasks.push(function),
        }
    }

    /// A grouping of your own, for `custom`; `make` makes one for each task that emits.
    pub fn grouping<T, G, M>(&mut self, name: &str, make: M)
    where
        T: Tuple,
        G: CustomGrouping<T>,
        M: Fn() -> G + Clone + Send + Sync + 'static,
    {
        let by = custom::<T, G, M>(make);
        let function =
            Function { name: name.to_owned(), of: Of::named::<T>(), function: Box::new(by) };
        match Registry::function_of(&self.groupings, function.of, name) {
            Some(_) => self.twice("grouping", name, function.of),
            None => self.groupings.push(function),
        }
    }

    /// The event time of tuples, in ms, for the `event_time` of spouts.
    pub fn time<T, F>(&mut self, name: &str, time_of: F)
    where
        T: Tuple,
        F: Fn(&T) -> i64 + Clone + Send + Sync + 'static,
    {
        let by: TimeBy<T> = Box::new(move |stream, config| {
            stream.event_time_with(config, time_of.clone()).map(drop)
        });
        let function =
            Function { name: name.to_owned(), of: Of::named::<T>(), function: Box::new(by) };
        match Registry::function_of(&self.times, function.of, name) {
            Some(_) => self.twice("event time", name, function.of),
            None => self.times.push(function),
        }
    }

    /// Tuples of this type are records: sink `stream` takes them.
    pub fn records<T: ToRecord + Tuple>(&mut self) {
        self.puts.insert(TypeId::of::<T>(), Box::new(Puts::<T>::records()));
    }
}

fn one<T: Tuple>() -> Vec<Takes> {
    vec![Takes { side: None, of: TakesOf::One(Of::named::<T>()), keyed: None }]
}

fn two<L: Tuple, R: Tuple>(keyed: Option<Of>) -> Vec<Takes> {
    vec![
        Takes { side: Some(LEFT), of: TakesOf::One(Of::named::<L>()), keyed },
        Takes { side: Some(RIGHT), of: TakesOf::One(Of::named::<R>()), keyed },
    ]
}
