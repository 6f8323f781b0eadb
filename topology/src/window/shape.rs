//! Kinds of windows, as they are asked for.

use std::time::Duration;

use super::error::WindowError;
use super::machine::Assign;
use super::panes::Panes;
use super::span::length_ms;

/// How many windows a tuple may be in.
pub(crate) const OVERLAP_MAX: i64 = 1 << 16;

/// A kind of windows: [`Tumbling`], [`Sliding`], [`Sessions`], [`Global`], [`CountTumbling`] or [`CountSliding`].
pub trait Windows: Spec {}

/// What the windows of a kind go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoBy {
    Time,
    Count,
    /// They never end.
    Nothing,
}

/// A kind of windows that can be.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) assign: Assign,
    pub(crate) by: GoBy,
    /// In words.
    pub(crate) text: String,
}

mod sealed {
    use super::{Shape, WindowError};

    #[expect(private_interfaces, reason = "sealed: these kinds and no others")]
    pub trait Spec {
        /// What was asked for, if it can be.
        #[doc(hidden)]
        fn shape(&self) -> Result<Shape, WindowError>;
    }
}

pub(crate) use sealed::Spec;

/// Windows of one length, one after the other: each time is in one.
#[derive(Debug, Clone, Copy)]
pub struct Tumbling {
    size_ms: i64,
    offset_ms: i64,
}

impl Tumbling {
    /// Of this length; they begin at its multiples, counted from 1970.
    pub fn of(length: Duration) -> Tumbling {
        Tumbling { size_ms: length_ms(length), offset_ms: 0 }
    }

    /// They begin so much later: days begin at other hours elsewhere.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Tumbling {
        Tumbling { offset_ms: length_ms(offset), ..self }
    }
}

/// Windows of one length that begin more often than that: each time is in several.
#[derive(Debug, Clone, Copy)]
pub struct Sliding {
    size_ms: i64,
    slide_ms: i64,
    offset_ms: i64,
}

impl Sliding {
    /// Of this length; say how often they begin with [`every`](Sliding::every).
    pub fn of(length: Duration) -> Sliding {
        let size_ms = length_ms(length);
        Sliding { size_ms, slide_ms: size_ms, offset_ms: 0 }
    }

    /// One begins at every multiple of this.
    #[must_use]
    pub fn every(self, slide: Duration) -> Sliding {
        Sliding { slide_ms: length_ms(slide), ..self }
    }

    /// They begin so much later.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Sliding {
        Sliding { offset_ms: length_ms(offset), ..self }
    }
}

/// Windows of what comes without a break: each ends when nothing came for so long.
#[derive(Debug, Clone, Copy)]
pub struct Sessions {
    gap_ms: i64,
}

impl Sessions {
    /// A break of this length ends a session. A tuple that comes late may join two.
    pub fn with_gap(gap: Duration) -> Sessions {
        Sessions { gap_ms: length_ms(gap) }
    }
}

/// One window that never ends: it is told of when its trigger says so.
#[derive(Debug, Clone, Copy)]
pub struct Global;

/// Every so many tuples of a key.
#[derive(Debug, Clone, Copy)]
pub struct CountTumbling(pub u32);

/// The last so many tuples of a key, told of after every so many; the first ones when there are fewer.
#[derive(Debug, Clone, Copy)]
pub struct CountSliding {
    size: u32,
    slide: u32,
}

impl CountSliding {
    /// The last `tuples`; say how often with [`every`](CountSliding::every).
    pub fn of(tuples: u32) -> CountSliding {
        CountSliding { size: tuples, slide: tuples }
    }

    /// After every `tuples`.
    #[must_use]
    pub fn every(self, tuples: u32) -> CountSliding {
        CountSliding { slide: tuples, ..self }
    }
}

fn panes(size: i64, slide: i64, offset: i64) -> Result<Assign, WindowError> {
    if size < 1 || slide < 1 {
        return Err(WindowError::NoLength);
    }
    if slide > size {
        return Err(WindowError::Gaps { size, slide });
    }
    let panes = Panes::new(size, slide, offset);
    if panes.overlap() > OVERLAP_MAX {
        return Err(WindowError::Overlap { windows: panes.overlap(), max: OVERLAP_MAX });
    }
    Ok(Assign::Panes(panes))
}

fn since(offset: i64) -> String {
    if offset == 0 { String::new() } else { format!(", from {offset} ms on") }
}

macro_rules! kind {
    ($kind:ty, $self:ident => $shape:expr) => {
        #[expect(private_interfaces, reason = "sealed: these kinds and no others")]
        impl Spec for $kind {
            fn shape(&$self) -> Result<Shape, WindowError> {
                $shape
            }
        }
        impl Windows for $kind {}
    };
}

kind!(Tumbling, self => {
    let assign = panes(self.size_ms, self.size_ms, self.offset_ms)?;
    let text = format!("windows of {} ms{}", self.size_ms, since(self.offset_ms));
    Ok(Shape { assign, by: GoBy::Time, text })
});
kind!(Sliding, self => {
    let assign = panes(self.size_ms, self.slide_ms, self.offset_ms)?;
    let (size, slide) = (self.size_ms, self.slide_ms);
    let text = format!("windows of {size} ms every {slide} ms{}", since(self.offset_ms));
    Ok(Shape { assign, by: GoBy::Time, text })
});
kind!(Sessions, self => {
    if self.gap_ms < 1 {
        return Err(WindowError::NoLength);
    }
    let text = format!("sessions that end after {} ms without a tuple", self.gap_ms);
    Ok(Shape { assign: Assign::Sessions(self.gap_ms), by: GoBy::Time, text })
});
kind!(Global, self => {
    let text = "one window that never ends".to_owned();
    Ok(Shape { assign: Assign::Panes(Panes::ALL), by: GoBy::Nothing, text })
});
kind!(CountTumbling, self => {
    let size = i64::from(self.0);
    let text = format!("windows of {size} tuples");
    Ok(Shape { assign: panes(size, size, 0)?, by: GoBy::Count, text })
});
kind!(CountSliding, self => {
    let (size, slide) = (i64::from(self.size), i64::from(self.slide));
    if slide == 0 {
        return Err(WindowError::NoLength);
    }
    // They end at multiples of the slide.
    let assign = panes(size, slide, -(size % slide))?;
    let text = format!("windows of {size} tuples every {slide}");
    Ok(Shape { assign, by: GoBy::Count, text })
});
