//! Streams with their type put away, and the types they are of.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::time::Duration;

use egret::builder::Grouped;
use egret::grouping::CustomGrouping;
use egret::{DeadLetter, EventTime, OnError, Stream, Tuple};

use crate::spec::Setting;

/// A type, as itself and by name.
#[derive(Clone, Copy)]
pub(crate) struct Of {
    pub(crate) id: TypeId,
    name: &'static str,
}

impl Of {
    pub(crate) fn named<T: ?Sized + 'static>() -> Of {
        Of { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

impl PartialEq for Of {
    fn eq(&self, other: &Of) -> bool {
        self.id == other.id
    }
}

impl fmt::Display for Of {
    /// Without its paths: `(Blob, u64)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let mut rest = self.name;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, more) = rest.split_at(end);
            f.write_str(word.rsplit("::").next().unwrap_or_default())?;
            let end = more.find(is_word).unwrap_or(more.len());
            f.write_str(&more[..end])?;
            rest = &more[end..];
        }
        Ok(())
    }
}

impl fmt::Debug for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A [`Stream`] of some type.
pub(crate) trait AnyStream {
    fn as_any(&self) -> &dyn Any;
    fn boxed(&self) -> Box<dyn AnyStream>;
    fn on_error(&self, on_error: OnError) -> egret::Result<()>;
    fn tick_every(&self, every: Duration) -> egret::Result<()>;
    fn rate(&self, tuples_per_second: f64) -> egret::Result<()>;
    fn setting(&self, key: &str, setting: &Setting) -> egret::Result<()>;
}

/// A stream of another type than it was checked to be: a fault of this crate.
pub(crate) fn typed<T: Tuple>(stream: &dyn AnyStream) -> egret::Result<&Stream<T>> {
    let of = || egret::Error::Usage(format!("this is no stream of {}", Of::named::<T>()));
    stream.as_any().downcast_ref().ok_or_else(of)
}

impl<T: Tuple> AnyStream for Stream<T> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed(&self) -> Box<dyn AnyStream> {
        Box::new(self.clone())
    }

    fn on_error(&self, on_error: OnError) -> egret::Result<()> {
        Stream::on_error(self, on_error).map(drop)
    }

    fn tick_every(&self, every: Duration) -> egret::Result<()> {
        Stream::tick_every(self, every).map(drop)
    }

    fn rate(&self, tuples_per_second: f64) -> egret::Result<()> {
        Stream::rate(self, tuples_per_second).map(drop)
    }

    fn setting(&self, key: &str, setting: &Setting) -> egret::Result<()> {
        match setting {
            Setting::Bool(value) => self.config(key, *value),
            Setting::Unsigned(value) => self.config(key, *value),
            Setting::Signed(value) => self.config(key, *value),
            Setting::Float(value) => self.config(key, *value),
            Setting::Text(value) => self.config(key, value.clone()),
        }
        .map(drop)
    }
}

/// Takes the dead letters of a bolt of tuples `I`, of which this is the stream.
pub(crate) fn letters<I: Tuple, O: Tuple>(
    stream: &dyn AnyStream,
) -> egret::Result<Box<dyn AnyStream>> {
    let letters: Stream<DeadLetter<I>> = typed::<O>(stream)?.dead_letters()?;
    Ok(Box::new(letters))
}

/// A grouping of the user's own, said of a stream.
pub(crate) type GroupBy<T> = Box<dyn Fn(&Stream<T>) -> Grouped<T>>;

pub(crate) fn custom<T, G, M>(make: M) -> GroupBy<T>
where
    T: Tuple,
    G: CustomGrouping<T>,
    M: Fn() -> G + Clone + Send + Sync + 'static,
{
    Box::new(move |stream| stream.custom(make.clone()))
}

/// Event time, said of the stream of a spout.
pub(crate) type TimeBy<T> = Box<dyn Fn(&Stream<T>, EventTime) -> egret::Result<()>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_without_its_paths() {
        assert_eq!(Of::named::<(egret::Blob, u64)>().to_string(), "(Blob, u64)");
        assert_eq!(Of::named::<DeadLetter<String>>().to_string(), "DeadLetter<String>");
        assert_eq!(Of::named::<Vec<Option<Duration>>>().to_string(), "Vec<Option<Duration>>");
        assert_eq!(Of::named::<[u8]>().to_string(), "[u8]");
    }
}
