//! A position in a header, both ways.

use crate::generated::stream_capnp::position;
use crate::ids::{EntryId, Position, SegmentId};

pub(super) fn write_position(mut to: position::Builder<'_>, position: Position) {
    to.set_segment(position.segment.0);
    to.set_entry(position.entry.0);
    to.set_slot(position.slot);
}

pub(super) fn read_position(from: position::Reader<'_>) -> Position {
    Position {
        segment: SegmentId(from.get_segment()),
        entry: EntryId(from.get_entry()),
        slot: from.get_slot(),
    }
}
