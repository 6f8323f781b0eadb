//! One file while it is read.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::decode::{Decode, Format};
use super::error::FileError;
use super::files::{Place, tail};
use crate::Tuple;
use crate::component::{ComponentError, Emitter};
use crate::connect::frame::Frame;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// See the [module](self).
pub(super) struct Reading<T> {
    pub(super) name: String,
    path: PathBuf,
    file: File,
    format: Format<T>,
    decoder: Box<dyn Decode<T>>,
    frame: Frame,
    /// Bytes of the file that were read and not yet taken, from `from` on.
    held: Vec<u8>,
    from: usize,
    place: Place,
    /// Up to where it is read now.
    upto: u64,
    /// Whether what ends there without a line end is a record.
    is_whole: bool,
    record_bytes_max: usize,
    /// Whether the decoder knows the header.
    knows_header: bool,
    /// Whether the first record begins before `place`: the rest of it is none.
    in_record: bool,
}

/// How a file is gone on with.
pub(super) struct From {
    pub(super) place: Place,
    pub(super) upto: u64,
    pub(super) is_whole: bool,
    pub(super) record_bytes_max: usize,
    pub(super) in_record: bool,
}

impl<T: Tuple> Reading<T> {
    /// Opens a file where it was left.
    pub(super) fn open(
        name: String,
        path: PathBuf,
        format: &Format<T>,
        from: From,
    ) -> Result<Reading<T>, FileError> {
        let io = |source| FileError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        from.place.check(&file, &path, len)?;
        let From { place, upto, is_whole, record_bytes_max, in_record } = from;
        let mut reading = Reading {
            name,
            file,
            format: format.clone(),
            decoder: format.make(),
            frame: Frame::new(format.framing),
            held: Vec::new(),
            from: 0,
            place,
            upto,
            is_whole,
            record_bytes_max,
            knows_header: false,
            in_record,
            path,
        };
        if place.at > 0 {
            reading.read_header()?;
        }
        Ok(reading)
    }

    /// Takes the first record of a file that is gone on with, for what it says of the others.
    fn read_header(&mut self) -> Result<(), FileError> {
        let place = std::mem::replace(&mut self.place, Place::START);
        let upto = std::mem::replace(&mut self.upto, place.at);
        if let Some(record) = self.record()? {
            let known = self.decoder.header(&self.held[record]);
            known.map_err(|why| self.wrong(Place::START, why))?;
        }
        (self.place, self.upto) = (place, upto);
        (self.held, self.from) = (Vec::new(), 0);
        self.frame = Frame::new(self.format.framing);
        self.knows_header = true;
        Ok(())
    }

    fn wrong(&self, at: Place, why: ComponentError) -> FileError {
        FileError::Record { path: self.path.clone(), line: at.line, at: at.at, why }
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> Result<bool, FileError> {
        let end = self.place.at + (self.held.len() - self.from) as u64;
        let want = usize::try_from(self.upto - end).unwrap_or(usize::MAX).min(READ_BYTES);
        if want == 0 {
            return Ok(false);
        }
        self.held.drain(..std::mem::take(&mut self.from));
        let held = self.held.len();
        self.held.resize(held + want, 0);
        let read = loop {
            match self.file.read_at(&mut self.held[held..], end) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        self.held.truncate(held + read);
        if read == 0 {
            // It was longer a moment ago.
            return Err(FileError::Truncated { path: self.path.clone(), len: end, at: self.upto });
        }
        Ok(true)
    }

    /// Where the next record is held, its end included; `None` when there is none up to where it is read.
    fn record(&mut self) -> Result<Option<Range<usize>>, FileError> {
        loop {
            let held = &self.held[self.from..];
            let end = self.frame.end(held);
            let bytes = end.unwrap_or(held.len());
            if bytes > self.record_bytes_max {
                let Place { at, line, .. } = self.place;
                let (path, max) = (self.path.clone(), self.record_bytes_max);
                return Err(FileError::TooLong { path, line, at, max });
            }
            if end.is_none() && self.fill()? {
                continue;
            }
            let held = &self.held[self.from..];
            let is_cut = end.is_none();
            let end = end.or_else(|| (self.is_whole && !held.is_empty()).then_some(held.len()));
            let Some(end) = end else { return Ok(None) };
            self.place.is_cut = is_cut;
            self.frame = Frame::new(self.format.framing);
            let lines = held[..end].iter().filter(|byte| **byte == b'\n').count();
            let record = self.from..self.from + end;
            self.from = record.end;
            self.place.at += end as u64;
            self.place.line += lines as u64;
            return Ok(Some(record));
        }
    }

    /// Emits about so many bytes; whether there is more up to where it is read.
    pub(super) fn emit(&mut self, bytes: usize, out: &mut Emitter<T>) -> Result<bool, FileError> {
        let (until, start) = (out.bytes() + bytes, self.place.at);
        while out.bytes() < until && self.place.at - start < bytes.max(READ_BYTES) as u64 {
            let at = self.place;
            let Some(record) = self.record()? else { return Ok(false) };
            let record = &self.held[record];
            if !std::mem::replace(&mut self.knows_header, true) {
                match self.decoder.header(record) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(why) => return Err(self.wrong(at, why)),
                }
            }
            if std::mem::take(&mut self.in_record) {
                continue;
            }
            match self.decoder.decode(record) {
                Ok(decoded) => decoded.into_iter().for_each(|tuple| out.emit(tuple)),
                Err(why) => return Err(self.wrong(at, why)),
            }
        }
        Ok(true)
    }

    /// Where it is gone on with, and how it is known again there.
    pub(super) fn place(&self) -> Result<Place, FileError> {
        let tail = tail(&self.file, &self.path, self.place.at)?;
        Ok(Place { tail, is_end: self.place.at == self.upto, ..self.place })
    }
}
