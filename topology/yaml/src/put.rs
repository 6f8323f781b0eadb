//! How tuples of a type are put out: to streams, files, sockets, and standard output.

use std::any::Any;
use std::path::PathBuf;
use std::time::Duration;

use egret::{FileSink, LogSink, SocketSink, StdoutSink, Stream, ToRecord, Tuple};
use serde::Deserialize;

use crate::any::Of;
use crate::entry::{At, Inputs};
use crate::span::span;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// The text itself.
    Text,
    Json,
    Csv,
}

/// Arguments of sink `stream`.
#[derive(Debug, Deserialize)]
pub(crate) struct ToStream {
    pub(crate) stream: String,
    pub(crate) partitions: Option<u32>,
}

/// Arguments of sink `file`.
#[derive(Debug, Deserialize)]
pub(crate) struct ToFile {
    dir: PathBuf,
    format: Option<Format>,
    roll_bytes: Option<u64>,
    roll_every: Option<Span>,
}

/// Arguments of sink `stdout`.
#[derive(Debug, Deserialize)]
pub(crate) struct ToStdout {
    format: Option<Format>,
}

/// Arguments of sink `socket`.
#[derive(Debug, Deserialize)]
pub(crate) struct ToSocket {
    address: String,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        let none = || format!("`{text}` is no time: give it with its unit: 250ms, 5s, 1m or 2h");
        span(&text).map(Span).ok_or_else(none)
    }
}

/// See the [module](self).
pub(crate) trait Put {
    fn stream(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToStream) -> egret::Result<()>;
    fn file(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToFile) -> egret::Result<()>;
    fn stdout(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToStdout) -> egret::Result<()>;
    fn socket(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToSocket) -> egret::Result<()>;
    /// Whether it can be written to a stream.
    fn is_record(&self) -> bool;
}

/// Writes a stream's tuples to a stream of the log.
type WriteTo<T> = fn(&Stream<T>, At<'_>, ToStream) -> egret::Result<()>;

/// Of tuples of one type.
pub(crate) struct Puts<T> {
    to_stream: Option<WriteTo<T>>,
}

impl<T: Tuple> Puts<T> {
    pub(crate) fn plain() -> Puts<T> {
        Puts { to_stream: None }
    }
}

impl<T: ToRecord + Tuple> Puts<T> {
    pub(crate) fn records() -> Puts<T> {
        Puts {
            to_stream: Some(|stream, at, to| {
                let sink = LogSink::to_stream(&to.stream);
                let sink = match to.partitions {
                    Some(partitions) => sink.partitions(partitions),
                    None => sink,
                };
                stream.sink(at.name, sink)
            }),
        }
    }
}

/// The same value, if it is one of this type.
fn same<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut value = Some(value);
    let found = (&mut value as &mut dyn Any).downcast_mut::<Option<B>>().and_then(Option::take);
    match (found, value) {
        (Some(same), _) => Ok(same),
        (None, Some(value)) => Err(value),
        (None, None) => unreachable!("it was taken as what it is"),
    }
}

/// The format tuples of `T` have: the text itself only where it is one.
fn format<T: 'static>(asked: Option<Format>) -> egret::Result<Format> {
    let is_text = Of::named::<T>() == Of::named::<String>();
    match asked {
        None if is_text => Ok(Format::Text),
        None => Ok(Format::Json),
        Some(Format::Text) if !is_text => {
            let why = format!(
                "its input is of {}, which is no text: give it `format: json`",
                Of::named::<T>()
            );
            Err(egret::Error::Usage(why))
        }
        Some(format) => Ok(format),
    }
}

fn no_csv() -> egret::Error {
    egret::Error::Usage("rows of CSV are written to files only: give it `format: json`".to_owned())
}

impl<T: Tuple> Put for Puts<T> {
    fn stream(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToStream) -> egret::Result<()> {
        match self.to_stream {
            Some(put) => put(&inputs.stream::<T>(None)?, at, to),
            None => Err(egret::Error::Usage(format!("{} is no record", Of::named::<T>()))),
        }
    }

    fn file(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToFile) -> egret::Result<()> {
        let stream = inputs.stream::<T>(None)?;
        let format = format::<T>(to.format)?;
        if format == Format::Text
            && let Ok(texts) = same::<_, Stream<String>>(stream.clone())
        {
            return texts.sink(at.name, rolled(FileSink::lines(&to.dir), at, &to));
        }
        match format {
            Format::Csv => stream.sink(at.name, rolled(FileSink::csv(&to.dir), at, &to)),
            _ => stream.sink(at.name, rolled(FileSink::json_lines(&to.dir), at, &to)),
        }
    }

    fn stdout(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToStdout) -> egret::Result<()> {
        let grouped = inputs.grouped::<T>(None)?;
        match format::<T>(to.format)? {
            Format::Csv => Err(no_csv()),
            Format::Json => grouped.sink(at.name, at.parallelism, StdoutSink::json_lines),
            Format::Text => match same::<_, egret::Grouped<String>>(grouped) {
                Ok(texts) => texts.sink(at.name, at.parallelism, StdoutSink::lines),
                Err(grouped) => grouped.sink(at.name, at.parallelism, StdoutSink::json_lines),
            },
        }
    }

    fn socket(&self, inputs: &Inputs<'_>, at: At<'_>, to: ToSocket) -> egret::Result<()> {
        let grouped = inputs.grouped::<T>(None)?;
        let ToSocket { address, format: asked } = to;
        let json = {
            let address = address.clone();
            move || SocketSink::json_lines(&address)
        };
        match format::<T>(asked)? {
            Format::Csv => Err(no_csv()),
            Format::Json => grouped.sink(at.name, at.parallelism, json),
            Format::Text => match same::<_, egret::Grouped<String>>(grouped) {
                Ok(texts) => {
                    texts.sink(at.name, at.parallelism, move || SocketSink::lines(&address))
                }
                Err(grouped) => grouped.sink(at.name, at.parallelism, json),
            },
        }
    }

    fn is_record(&self) -> bool {
        self.to_stream.is_some()
    }
}

fn rolled<T>(sink: FileSink<T>, at: At<'_>, to: &ToFile) -> FileSink<T> {
    let sink = sink.tasks(at.parallelism);
    let sink = match to.roll_bytes {
        Some(bytes) => sink.roll_bytes(bytes),
        None => sink,
    };
    match to.roll_every {
        Some(Span(every)) => sink.roll_every(every),
        None => sink,
    }
}
