//! Keys and states in the order of the keys' encodings.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::keyed::cell::CellSet;
use crate::keyed::record::{Record, What};
use crate::keyed::schedule::Schedule;

/// What a key takes beside its bytes: its place in the map, and what allocations cost.
const KEY_BYTES: usize = 80;
/// What a cell takes beside its bytes.
const CELL_BYTES: usize = 80;

/// The state of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The schema it was written under.
    schema: u32,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Plain(Box<[u8]>),
    Cells(CellSet),
}

/// The states of a component's keys.
#[derive(Clone, Debug, Default)]
pub struct Table {
    schemas: Vec<u64>,
    keys: BTreeMap<Box<[u8]>, Held>,
    bytes: usize,
}

impl Held {
    /// The value of a plain state; `None` when it consists of cells.
    pub fn plain(&self) -> Option<&[u8]> {
        match &self.state {
            State::Plain(value) => Some(value),
            State::Cells(_) => None,
        }
    }

    /// The cells of a state, in the order of part and subkey; none when it is a plain one.
    pub fn cells(&self) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
        let cells = match &self.state {
            State::Plain(_) => None,
            State::Cells(cells) => Some(cells),
        };
        cells.into_iter().flat_map(CellSet::iter)
    }

    /// Bytes of its value, or of its cells.
    pub fn len(&self) -> usize {
        match &self.state {
            State::Plain(value) => value.len(),
            State::Cells(cells) => cells.bytes(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Plain(value) => value.len(),
            State::Cells(cells) => cells.len() * CELL_BYTES + self.len(),
        }
    }
}

impl Table {
    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key has.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes that keys and states take, nearly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The schemas its states were written under, in the order in which they were met.
    pub fn schemas(&self) -> &[u64] {
        &self.schemas
    }

    /// The schema a state was written under.
    pub fn schema_of(&self, held: &Held) -> u64 {
        self.schemas.get(held.schema as usize).copied().unwrap_or_default()
    }

    /// The state of a key, by the key's encoding.
    pub fn get(&self, key: &[u8]) -> Option<&Held> {
        self.keys.get(key)
    }

    /// Keys and states from a key on, in the order of the keys' encodings.
    pub fn range(&self, from: Bound<&[u8]>) -> impl Iterator<Item = (&[u8], &Held)> {
        self.keys.range::<[u8], _>((from, Bound::Unbounded)).map(|(key, held)| (&**key, held))
    }

    /// Applies a record whose cells were checked.
    pub(super) fn apply(&mut self, schema: u64, record: &Record<'_>) {
        if Schedule::has(record) {
            // Timers and the like, beside a key's own state.
            return;
        }
        let schema = self.schema(schema);
        let before = self.keys.get(record.key).map(Held::bytes);
        if before.is_some() {
            self.bytes -= before.unwrap_or_default();
        }
        let key = record.key;
        match record.what {
            What::Removed => {
                if self.keys.remove(key).is_some() {
                    self.bytes -= key.len() + KEY_BYTES;
                }
                return;
            }
            What::Plain(value) => {
                let state = State::Plain(value.into());
                self.insert(key, before.is_some(), Held { schema, state });
            }
            What::Whole(body) => {
                let cells = applied(CellSet::default(), body);
                self.insert(key, before.is_some(), Held { schema, state: State::Cells(cells) });
            }
            What::Changes(body) => match self.keys.get_mut(key) {
                Some(held @ Held { state: State::Cells(_), .. }) => {
                    held.schema = schema;
                    if let State::Cells(cells) = &mut held.state {
                        *cells = applied(std::mem::take(cells), body);
                    }
                }
                _ => {
                    let cells = applied(CellSet::default(), body);
                    let state = State::Cells(cells);
                    self.insert(key, before.is_some(), Held { schema, state });
                }
            },
        }
        self.bytes += self.keys.get(key).map_or(0, Held::bytes);
    }

    fn insert(&mut self, key: &[u8], there: bool, held: Held) {
        if !there {
            self.bytes += key.len() + KEY_BYTES;
        }
        match self.keys.get_mut(key) {
            Some(place) => *place = held,
            None => {
                self.keys.insert(key.into(), held);
            }
        }
    }

    /// The place of a schema; there are as many as a component ever had.
    fn schema(&mut self, id: u64) -> u32 {
        let place = self.schemas.iter().rposition(|known| *known == id).unwrap_or_else(|| {
            self.schemas.push(id);
            self.schemas.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

/// The cells with a body applied, which was checked before.
fn applied(mut cells: CellSet, body: &[u8]) -> CellSet {
    cells.apply(body).unwrap_or_default();
    cells
}
