//! What can be kept for a key, and how it becomes bytes.
//!
//! A state is written in one of two [`Form`]s. A *plain* state is one serde value: whenever it changed, it
//! is written whole. A state of [*cells*](super::cell) knows which of its parts changed and writes only those, so that
//! a list of a thousand elements that got one more costs one element.

use egret_schemas::bytes::DecodeError;

use super::format::{Format, StateFormat};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How a state is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As one value.
    Plain,
    /// As a set of cells, of which the changed ones can be written alone.
    Cells,
}

/// How much of a state to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What changed since it was last written, read or made. A plain state is written whole all the same.
    Changes,
}

/// Bytes that are no state of the expected type, or a state that has no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

impl From<postcard::Error> for StateError {
    fn from(why: postcard::Error) -> StateError {
        StateError(why.to_string())
    }
}

impl From<DecodeError> for StateError {
    fn from(why: DecodeError) -> StateError {
        StateError(why.to_string())
    }
}

/// What is kept for a key; `default` is the state of a key that never came.
///
/// Every type that serde can write and read, and that has a default, is one. What `write` wrote, `read` or
/// `apply` takes back to an equal state.
pub trait State: Default + Send + 'static {
    /// How it is written.
    const FORM: Form;

    /// What takes one attempt at changing it back.
    type Mark;

    /// Appends the whole state or what changed; from then on nothing counts as changed. A state of cells
    /// appends to `undo` the cells that take those changes back; a plain one leaves it alone, for its
    /// [`write`](Self::write) before the change is what takes it back.
    ///
    /// # Errors
    /// When a value cannot be serialized.
    fn write(
        &mut self,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError>;

    /// Reads a whole state.
    ///
    /// # Errors
    /// When the bytes are not one of this type.
    fn read(body: &[u8]) -> Result<Self, StateError>;

    /// Applies changed cells to this state; they do not count as changed then.
    ///
    /// # Errors
    /// When the bytes are not such changes. The state may have taken some.
    fn apply(&mut self, body: &[u8]) -> Result<(), StateError>;

    /// Begins an attempt at changing it, which [`keep`](Self::keep) or [`take_back`](Self::take_back) ends. It is not
    /// written, read or marked again meanwhile.
    ///
    /// # Errors
    /// When a value cannot be serialized.
    fn mark(&mut self) -> Result<Self::Mark, StateError>;

    /// The attempt stands.
    fn keep(&mut self, mark: Self::Mark);

    /// The state is as it was when the attempt began. What had changed before that counts as changed still.
    ///
    /// # Errors
    /// When a value does not decode that was encoded for this.
    fn take_back(&mut self, mark: Self::Mark) -> Result<(), StateError>;

    /// What its bytes are, for those who have not the type, and to tell older bytes from its own.
    fn format() -> StateFormat;

    /// Bytes the whole state has when written, or nearly, if that is known without writing it. A plain
    /// state's are those written last.
    fn bytes(&self) -> Option<usize>;
}

impl<S: Serialize + DeserializeOwned + Default + Send + 'static> State for S {
    const FORM: Form = Form::Plain;
    type Mark = Vec<u8>;

    fn write(
        &mut self,
        _: Extent,
        out: &mut Vec<u8>,
        _: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        write_value(self, out)
    }

    fn read(body: &[u8]) -> Result<S, StateError> {
        read_value(body)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        *self = read_value(body)?;
        Ok(())
    }

    fn mark(&mut self) -> Result<Vec<u8>, StateError> {
        let mut mark = Vec::new();
        write_value(self, &mut mark)?;
        Ok(mark)
    }

    fn keep(&mut self, _: Vec<u8>) {}

    fn take_back(&mut self, mark: Vec<u8>) -> Result<(), StateError> {
        *self = read_value(&mark)?;
        Ok(())
    }

    fn format() -> StateFormat {
        StateFormat::Plain(Format::of::<S>())
    }

    fn bytes(&self) -> Option<usize> {
        None
    }
}

/// Appends a value as `postcard` writes it.
///
/// # Errors
/// When it cannot be serialized.
pub fn write_value<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), StateError> {
    Ok(postcard::serialize_with_flavor(value, Into(out))?)
}

/// Reads a value that [`write_value`] wrote, all of the bytes.
///
/// # Errors
/// When they are no such value, or more.
pub fn read_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(StateError(format!("{} bytes are left over", rest.len()))),
    }
}

/// Lets postcard append to a buffer that is used again.
struct Into<'a>(&'a mut Vec<u8>);

impl Flavor for Into<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
