//! The components in the box, under their names.

use std::path::PathBuf;

use egret::{Blob, FileSpout, Generator, LogSpout, SocketSpout};
use serde::Deserialize;

use crate::args::value_of;
use crate::entry::{At, Attach, Entry, Inputs, ReadArgs, Takes, TakesOf};
use crate::put::{Put, ToFile, ToSocket, ToStdout, ToStream};
use crate::registry::Registry;
use crate::spec::Role;

/// The sink that takes records only.
pub(crate) const STREAM: &str = "stream";

#[derive(Debug, Deserialize)]
struct FromStream {
    stream: String,
    /// Stops where the stream ends when the topology starts.
    #[serde(default)]
    bounded: bool,
}

#[derive(Debug, Deserialize)]
struct FromFile {
    path: PathBuf,
    #[serde(default)]
    follow: bool,
    record_bytes_max: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct FromNumbers {
    /// `{n}` in it is the number.
    line: String,
    count: Option<u64>,
    per_second: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct FromSocket {
    address: String,
}

/// Registers them.
pub(crate) fn fill(registry: &mut Registry) {
    registry.spout("stream", |args: FromStream| {
        let spout = LogSpout::<String>::from_stream(&args.stream);
        if args.bounded { spout.bounded() } else { spout }
    });
    registry.spout("file", |args: FromFile| {
        let spout = FileSpout::lines(&args.path);
        let spout = if args.follow { spout.follow() } else { spout };
        match args.record_bytes_max {
            Some(bytes) => spout.record_bytes_max(bytes),
            None => spout,
        }
    });
    registry.spout("generator", |args: FromNumbers| {
        let line = args.line;
        let lines = Generator::new(move |n| line.replace("{n}", &n.to_string()));
        let lines = match args.count {
            Some(count) => lines.count(count),
            None => lines,
        };
        match args.per_second {
            Some(rate) => lines.per_second(rate),
            None => lines,
        }
    });
    registry.spout("socket", |args: FromSocket| SocketSpout::lines(&args.address));
    sink::<ToStream>(registry, STREAM, true, |put, inputs, at, to| put.stream(inputs, at, to));
    sink::<ToFile>(registry, "file", true, |put, inputs, at, to| put.file(inputs, at, to));
    sink::<ToStdout>(registry, "stdout", false, |put, inputs, at, to| put.stdout(inputs, at, to));
    sink::<ToSocket>(registry, "socket", false, |put, inputs, at, to| put.socket(inputs, at, to));
    registry.key("text", |line: &String| line.as_str());
    registry.records::<String>();
    registry.records::<Blob>();
    records_of_pairs(registry);
}

/// A word and what is said of it: the word is the record's key.
fn records_of_pairs(registry: &mut Registry) {
    registry.records::<(String, String)>();
    registry.records::<(String, u64)>();
    registry.records::<(String, i64)>();
    registry.records::<(Blob, u64)>();
    registry.records::<(Blob, i64)>();
}

type PutOut<A> = fn(&dyn Put, &Inputs<'_>, At<'_>, A) -> egret::Result<()>;

fn sink<A: serde::de::DeserializeOwned + 'static>(
    registry: &mut Registry,
    name: &str,
    places: bool,
    put: PutOut<A>,
) {
    let attach = Attach::Sink(Box::new(move |inputs: &Inputs<'_>, at, given| {
        let args =
            *given.downcast::<A>().expect("arguments are read by the entry that they are for");
        let of = inputs.any();
        match of.and_then(|(id, _)| inputs.registry.puts.get(&id)) {
            Some(puts) => put(&**puts, inputs, at, args),
            None => {
                Err(egret::Error::Usage("its input is of a type that is not registered".to_owned()))
            }
        }
    }));
    let read: ReadArgs = Box::new(|node| Ok(Box::new(value_of::<A>(node)?)));
    let entry = Entry {
        role: Role::Sink,
        takes: vec![Takes { side: None, of: TakesOf::Any, keyed: None }],
        places,
        emits: None,
        outputs: Vec::new(),
        letters: None,
        key: None,
        read,
        attach,
        say_time: None,
        is_in_the_box: true,
    };
    registry.add(name, entry);
}
