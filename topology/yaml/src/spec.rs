//! What a file says, before anything of it is looked up: names, components, and how they are wired.
//!
//! Everything that is wrong is noted, and what is left of it is still read, so that one look shows all of it.

use std::time::Duration;

use egret::{EventTime, Guarantee, OnError, Then};

use crate::fault::Fault;
use crate::meant::meant;
use crate::node::{At, Node, Plain, Said, Value, plain};
use crate::reader::Reader;

/// The most tasks a component may have, as the builder has it.
const TASKS: std::ops::RangeInclusive<u64> = 1..=egret::builder::PARALLELISM_MAX as u64;

/// A whole file.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: Option<Said>,
    pub(crate) program: Option<Said>,
    pub(crate) config: Config,
    pub(crate) components: Vec<Component>,
}

/// How the topology runs, unless its command line says otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) key_groups: Option<u32>,
    pub(crate) commit: Option<Duration>,
    pub(crate) commit_max: Option<Duration>,
    pub(crate) workers: Option<u32>,
    pub(crate) processes: Option<u32>,
    pub(crate) state_mb: Option<u32>,
}

/// Which of the three a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Spout,
    Bolt,
    Sink,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Spout => "spout",
            Role::Bolt => "bolt",
            Role::Sink => "sink",
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) role: Role,
    pub(crate) id: Said,
    pub(crate) of: Option<Said>,
    pub(crate) parallelism: Option<u32>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) args: Node,
    /// Values that `--set` may change, with their types.
    pub(crate) settings: Vec<(Said, Setting)>,
    pub(crate) rate: Option<(At, f64)>,
    pub(crate) tick: Option<Duration>,
    pub(crate) on_error: Option<OnError>,
    pub(crate) event_time: Option<(Said, EventTime)>,
}

/// A value of a component.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Setting {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) from: Said,
    pub(crate) output: Option<Said>,
    pub(crate) side: Option<Said>,
    pub(crate) grouping: Option<Grouped>,
}

#[derive(Debug, Clone)]
pub(crate) struct Grouped {
    pub(crate) at: At,
    pub(crate) by: By,
    /// The registered function that says more: a key, a task, or a grouping.
    pub(crate) with: Option<Said>,
}

/// The groupings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Shuffle,
    Rebalance,
    Fields,
    PartialKey,
    All,
    Global,
    LocalOrShuffle,
    Direct,
    Custom,
}

impl By {
    const ALL: [(&'static str, By); 10] = [
        ("all", By::All),
        ("custom", By::Custom),
        ("direct", By::Direct),
        ("fields", By::Fields),
        ("global", By::Global),
        ("local-or-shuffle", By::LocalOrShuffle),
        ("none", By::Shuffle),
        ("partial-key", By::PartialKey),
        ("rebalance", By::Rebalance),
        ("shuffle", By::Shuffle),
    ];

    fn of(name: &str) -> Option<By> {
        // ECO's files have them in capitals, Storm's with underscores.
        let name = name.to_ascii_lowercase().replace('_', "-");
        By::ALL.iter().find(|(own, _)| *own == name).map(|(_, by)| *by)
    }

    /// The key of the file under which a function is named.
    pub(crate) fn with(self) -> Option<&'static str> {
        match self {
            By::Fields | By::PartialKey => Some("key"),
            By::Direct => Some("task"),
            By::Custom => Some("by"),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        By::ALL.iter().rev().find(|(_, by)| *by == self).map_or("shuffle", |(name, _)| name)
    }
}

const FILE: [&str; 7] = ["bolts", "config", "name", "program", "properties", "sinks", "spouts"];

/// Words of other systems' files, and what is said here instead.
const ELSEWHERE: [(&str, &str); 9] = [
    ("streams", "say the `inputs` of each bolt and sink there"),
    ("components", "a component's `args` are read as its own type: say what it needs there"),
    ("className", "say `type`, the name it was registered under"),
    ("constructorArgs", "say `args`, by name"),
    ("to", "say `inputs` of the one that takes them"),
    ("streamId", "say `output`"),
    ("topology.workers", "say `workers`"),
    ("input", "say `inputs`, a list"),
    ("tasks", "say `parallelism`"),
];

/// What is said of a word that is not taken.
pub(crate) fn unknown(word: &str, there: &[&str]) -> String {
    match ELSEWHERE.iter().find(|(other, _)| *other == word) {
        Some((_, instead)) => (*instead).to_owned(),
        None => meant(word, there.iter().copied()),
    }
}

/// Reads a whole file.
pub(crate) fn spec(root: &Node, faults: &mut Vec<Fault>) -> Spec {
    let mut read = Reader::new(faults);
    let mut spec =
        Spec { name: None, program: None, config: Config::default(), components: Vec::new() };
    if !read.keys(root, "a topology file", &FILE) {
        return spec;
    }
    spec.name = read.text(root, "name");
    spec.program = read.text(root, "program");
    if root.get("name").is_none() {
        read.fault(
            root.at,
            "the topology has no name: begin with `name: …`; its state is found under it",
        );
    }
    if let Some(node) = root.get("config") {
        spec.config = config(node, &mut read);
    }
    for (role, key) in [(Role::Spout, "spouts"), (Role::Bolt, "bolts"), (Role::Sink, "sinks")] {
        for node in read.list(root, key) {
            if read.is_enough() {
                break;
            }
            spec.components.extend(component(role, node, &mut read));
        }
    }
    spec
}

fn config(node: &Node, read: &mut Reader<'_>) -> Config {
    const KEYS: [&str; 7] = [
        "commit_interval",
        "commit_interval_max",
        "guarantee",
        "key_groups",
        "processes",
        "state_mb",
        "workers",
    ];
    let mut config = Config::default();
    if !read.keys(node, "`config`", &KEYS) {
        return config;
    }
    if let Some(said) = read.text(node, "guarantee") {
        match said.text.parse() {
            Ok(guarantee) => config.guarantee = Some(guarantee),
            Err(_) => {
                let all = ["at-least-once", "at-most-once", "effectively-once"];
                let meant = meant(&said.text, all);
                read.fault(said.at, format!("there is no guarantee `{}`: {meant}", said.text));
            }
        }
    }
    config.commit = read.span(node, "commit_interval");
    config.commit_max = read.span(node, "commit_interval_max");
    config.key_groups = read.number(node, "key_groups", 1..=1 << 16, "`key_groups`");
    config.workers = read.number(node, "workers", 1..=256, "`workers`");
    config.processes = read.number(node, "processes", 1..=64, "`processes`");
    config.state_mb = read.number(node, "state_mb", 1..=u64::from(u32::MAX), "`state_mb`");
    config
}

fn component(role: Role, node: &Node, read: &mut Reader<'_>) -> Option<Component> {
    let keys: &[&str] = match role {
        Role::Spout => &["args", "event_time", "id", "parallelism", "rate", "settings", "type"],
        Role::Bolt => {
            &["args", "id", "inputs", "on_error", "parallelism", "settings", "tick", "type"]
        }
        Role::Sink => &["args", "id", "inputs", "parallelism", "type"],
    };
    let what = match node.get("id").map(|id| &id.value) {
        Some(Value::Text { text, .. }) => format!("{role} `{text}`"),
        _ => format!("a {role}"),
    };
    if !read.keys(node, &what, keys) {
        return None;
    }
    let id = read.text(node, "id");
    if node.get("id").is_none() {
        read.fault(node.at, format!("a {role} has no name: give it an `id`"));
    }
    let of = read.text(node, "type");
    if node.get("type").is_none() {
        let message = format!("{what} has no type: give it the `type` it was registered under");
        read.fault(node.at, message);
    }
    let parallelism =
        read.number(node, "parallelism", TASKS, &format!("the parallelism of {what}"));
    let mut inputs = Vec::new();
    if role != Role::Spout {
        if node.get("inputs").is_none() {
            let message = format!("{what} takes nothing: give it `inputs`, such as [{{from: …}}]");
            read.fault(node.at, message);
        }
        for input in read.list(node, "inputs") {
            if read.is_enough() {
                break;
            }
            inputs.extend(self::input(input, &what, read));
        }
    }
    let args = node.get("args").filter(|args| !args.is_nothing()).cloned();
    let args = args.unwrap_or_else(|| Node::empty(node.at));
    if args.entries().is_none() {
        let message = format!("the `args` of {what} are {}: give them by name", args.kind());
        read.fault(args.at, message);
    }
    Some(Component {
        role,
        id: id?,
        of,
        parallelism,
        inputs,
        args,
        settings: settings(node, read),
        rate: read.float(node, "rate", &what),
        tick: read.span(node, "tick"),
        on_error: node.get("on_error").and_then(|node| on_error(node, &what, read)),
        event_time: node.get("event_time").and_then(|node| event_time(node, &what, read)),
    })
}

fn settings(node: &Node, read: &mut Reader<'_>) -> Vec<(Said, Setting)> {
    let mut settings = Vec::new();
    let Some(node) = node.get("settings") else { return settings };
    let Some(entries) = node.entries() else {
        read.fault(node.at, format!("`settings` is {}: give it values by name", node.kind()));
        return settings;
    };
    for (key, node) in entries {
        if read.is_enough() {
            break;
        }
        let setting = match &node.value {
            Value::Text { text, is_plain: false } => Setting::Text(text.clone()),
            Value::Text { text, is_plain: true } => match plain(text) {
                Plain::Bool(value) => Setting::Bool(value),
                Plain::Unsigned(value) => Setting::Unsigned(value),
                Plain::Signed(value) => Setting::Signed(value),
                Plain::Float(value) => Setting::Float(value),
                Plain::Text(text) => Setting::Text(text.to_owned()),
                Plain::Nothing => Setting::Text(String::new()),
            },
            _ => {
                let message =
                    format!("setting `{}` is {}: give it one value", key.text, node.kind());
                read.fault(node.at, message);
                continue;
            }
        };
        settings.push((key.clone(), setting));
    }
    settings
}

fn input(node: &Node, what: &str, read: &mut Reader<'_>) -> Option<Input> {
    if let Value::Text { text, .. } = &node.value {
        let from = Said { at: node.at, text: text.clone() };
        return Some(Input { from, output: None, side: None, grouping: None });
    }
    let of = format!("an input of {what}");
    if !read.keys(node, &of, &["from", "grouping", "output", "side"]) {
        return None;
    }
    if node.get("from").is_none() {
        read.fault(node.at, format!("{of} comes from nowhere: say `from: COMPONENT`"));
    }
    let grouping = node.get("grouping").and_then(|node| grouping(node, &of, read));
    let (output, side) = (read.text(node, "output"), read.text(node, "side"));
    Some(Input { from: read.text(node, "from")?, output, side, grouping })
}

fn grouping(node: &Node, of: &str, read: &mut Reader<'_>) -> Option<Grouped> {
    let said = match &node.value {
        Value::Text { text, .. } => Said { at: node.at, text: text.clone() },
        _ => {
            if !read.keys(node, &format!("the grouping of {of}"), &["by", "key", "task", "type"]) {
                return None;
            }
            if node.get("type").is_none() {
                read.fault(node.at, format!("the grouping of {of} has no `type`: say one"));
            }
            read.text(node, "type")?
        }
    };
    let Some(by) = By::of(&said.text) else {
        let meant = meant(&said.text, By::ALL.map(|(name, _)| name));
        read.fault(said.at, format!("there is no grouping `{}`: {meant}", said.text));
        return None;
    };
    for (key, node) in node.entries().into_iter().flatten() {
        if key.text != "type" && Some(key.text.as_str()) != by.with() {
            let (name, key) = (by.name(), &key.text);
            read.fault(node.at, format!("grouping {name} takes no `{key}`: take it away"));
        }
    }
    let with = by.with().and_then(|key| read.text(node, key));
    Some(Grouped { at: said.at, by, with })
}

fn on_error(node: &Node, what: &str, read: &mut Reader<'_>) -> Option<OnError> {
    const WAYS: [&str; 3] = ["dead-letter", "fail", "retry"];
    let way = |said: &Said| said.text.replace('_', "-");
    if let Value::Text { text, .. } = &node.value {
        let said = Said { at: node.at, text: text.clone() };
        return match way(&said).as_str() {
            "fail" => Some(OnError::Fail),
            "dead-letter" => Some(OnError::DeadLetter),
            "retry" => {
                let message = "say how often: {retry: {times: 3, backoff: 10ms, then: fail}}";
                read.fault(said.at, message);
                None
            }
            _ => {
                let meant = meant(text, WAYS);
                read.fault(said.at, format!("`on_error` of {what} cannot be `{text}`: {meant}"));
                None
            }
        };
    }
    if !read.keys(node, &format!("`on_error` of {what}"), &["retry"]) {
        return None;
    }
    let retry = node.get("retry")?;
    if !read.keys(retry, "`retry`", &["backoff", "then", "times"]) {
        return None;
    }
    let times = read.number(retry, "times", 1..=u64::from(u32::MAX), "`times`");
    if retry.get("times").is_none() {
        read.fault(retry.at, "`retry` needs `times`: say how often it is tried again");
    }
    let then = match read.text(retry, "then") {
        None => Then::Fail,
        Some(said) => match way(&said).as_str() {
            "fail" => Then::Fail,
            "dead-letter" => Then::DeadLetter,
            other => {
                let meant = meant(other, ["dead-letter", "fail"]);
                read.fault(said.at, format!("`then` cannot be `{other}`: {meant}"));
                return None;
            }
        },
    };
    let backoff = read.span(retry, "backoff").unwrap_or_default();
    Some(OnError::Retry { times: times?, backoff, then })
}

fn event_time(node: &Node, what: &str, read: &mut Reader<'_>) -> Option<(Said, EventTime)> {
    let mut config = EventTime::default();
    if let Value::Text { text, .. } = &node.value {
        return Some((Said { at: node.at, text: text.clone() }, config));
    }
    let of = format!("`event_time` of {what}");
    if !read.keys(node, &of, &["idle", "of", "out_of_order"]) {
        return None;
    }
    if node.get("of").is_none() {
        read.fault(node.at, format!("{of} needs `of`, the registered function that finds it"));
    }
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if let Some(span) = read.span(node, "out_of_order") {
        config.out_of_order_ms = ms(span);
    }
    if let Some(span) = read.span(node, "idle") {
        config.idle_ms = ms(span);
    }
    Some((read.text(node, "of")?, config))
}
