//! The journal: every change a bookie answers for, on the medium before the answer.
//!
//! Fixed-size files `J<number>` in one directory, written in whole batches, one sync each. A batch's
//! number is its LSN; LSNs run without a gap over all files.
//!
//! * [`format`] is the bytes, [`files`] makes files ready before they get a name, [`writer`] appends,
//!   [`replay`] reads back and tells a torn tail from lost durable data.
//! * A file that is listed has a good header: it is filled, headed and synced under another name first.
//! * A file that another follows ends with an empty batch that says so. A missing last file is noticed.

pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod replay;
pub(crate) mod writer;

pub(crate) use format::{Lsn, Record};
