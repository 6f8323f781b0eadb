//! Who runs a topology, as metadata has it beside the topology's record.
//!
//! Whoever runs it keeps this record on a lease, so that it goes when the process does; who ends in order leaves
//! one that stays. So a process that stands by tells a topology that is to be taken over from one that is done.
//!
//! ```text
//! "EGRN" | version u16 | state u8 (1: runs, 2: ended in order) | generation u32 | process u128 | run u64
//! crc32c of everything before u32
//! ```
//! Little-endian. It decides nothing: generations and terms keep two processes apart that both believe to run it.

use egret_schemas::Generation;
use egret_schemas::bytes::{DecodeError, Reader, Writer as _};

use super::record::{RecordError, seal, unseal};

const MAGIC: &[u8; 4] = b"EGRN";
const VERSION: u16 = 1;
const WHAT: &str = "run record";

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// How it stands.
    pub state: RunState,
    /// The process, as it signs what it proposes.
    pub process: u128,
    /// Which run of that process: no two records are alike that are not of the same one.
    pub run: u64,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs, for as long as its lease does.
    Runs,
    /// It ended in order, in this generation: its input did, or somebody asked it to.
    Ended(Generation),
}

impl RunRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (state, generation) = match self.state {
            RunState::Runs => (1, 0),
            RunState::Ended(generation) => (2, generation.0),
        };
        let mut out = Vec::with_capacity(39);
        out.extend_from_slice(MAGIC);
        out.put_u16(VERSION);
        out.put_u8(state);
        out.put_u32(generation);
        out.put_u128(self.process);
        out.put_u64(self.run);
        seal(&mut out);
        out
    }

    /// Reads a record back.
    ///
    /// # Errors
    /// When the bytes are none that this build can read.
    pub fn decode(bytes: &[u8]) -> Result<RunRecord, RecordError> {
        let body = unseal(bytes, WHAT, MAGIC, VERSION)?;
        RunRecord::of_body(body).map_err(|why| RecordError::Content { what: WHAT, why })
    }

    fn of_body(body: &[u8]) -> Result<RunRecord, DecodeError> {
        let mut r = Reader::new(body);
        let state = r.u8("state")?;
        let generation = r.u32("generation")?;
        let state = match (state, generation) {
            (1, 0) => RunState::Runs,
            (2, generation @ 1..) => RunState::Ended(Generation(generation)),
            _ => return Err(r.wrong("state", "neither runs nor ended in a generation")),
        };
        let record = RunRecord { state, process: r.u128("process")?, run: r.u64("run")? };
        r.end("run record")?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_its_bytes_are_frozen() {
        let ended = RunState::Ended(Generation(3));
        for state in [RunState::Runs, ended] {
            let record = RunRecord { state, process: 5, run: 7 };
            assert_eq!(RunRecord::decode(&record.encode()), Ok(record));
        }
        let bytes = RunRecord { state: ended, process: 5, run: 7 }.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let frozen = "4547524e0100020300000005000000000000000000000000000000070000000000000";
        assert!(hex.starts_with(frozen), "{hex}");
    }

    #[test]
    fn bytes_of_anything_else_are_refused() {
        let mut bytes = RunRecord { state: RunState::Runs, process: 5, run: 7 }.encode();
        let end = bytes.len() - 4;
        bytes[6] = 3;
        bytes.truncate(end);
        seal(&mut bytes);
        assert!(matches!(RunRecord::decode(&bytes), Err(RecordError::Content { .. })));
        bytes[8] ^= 1;
        assert!(matches!(RunRecord::decode(&bytes), Err(RecordError::Checksum { .. })));
        assert!(matches!(RunRecord::decode(b"EGR"), Err(RecordError::Foreign { .. })));
    }
}
