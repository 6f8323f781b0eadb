//! No bytes make the reader of topology files panic: files that are right are changed in every way, and read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;

use egret_yaml::{Properties, TopologyFile};
use parts::registry;
use proptest::prelude::*;

const FILES: [&str; 2] = [include_str!("files/orders.yaml"), include_str!("files/words.yaml")];

/// What has a meaning to YAML, or to this reader.
const PIECES: [&str; 32] = [
    "- ",
    ": ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "'",
    "\"",
    "#",
    "&a ",
    "*a",
    "!t ",
    "|\n",
    ">-\n",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "${",
    "}",
    "$${x}",
    "\t",
    "\u{feff}",
    "\r",
    "\u{85}",
    "ä",
    "\0",
    "<<: ",
    "0",
    "~",
];

#[derive(Debug, Clone)]
enum Change {
    Put(usize, usize),
    Take(usize, usize),
    Copy(usize, usize, usize),
    Byte(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4000usize;
    prop_oneof![
        (at.clone(), 0..PIECES.len()).prop_map(|(at, piece)| Change::Put(at, piece)),
        (at.clone(), 1..60usize).prop_map(|(at, len)| Change::Take(at, len)),
        (at.clone(), at.clone(), 1..200usize).prop_map(|(at, to, len)| Change::Copy(at, to, len)),
        (at, any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ]
}

fn changed(file: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = file.as_bytes().to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match *change {
            Change::Put(at, piece) => {
                let at = at % len;
                bytes.splice(at..at, PIECES[piece].bytes());
            }
            Change::Take(at, count) => {
                let at = at % len;
                bytes.drain(at..(at + count).min(len));
            }
            Change::Copy(at, to, count) => {
                let at = at % len;
                let copied = bytes[at..(at + count).min(len)].to_vec();
                bytes.splice(to % len..to % len, copied);
            }
            Change::Byte(at, byte) => bytes[at % len] = byte,
        }
    }
    bytes
}

/// Reads it as a file is read, and makes a topology of it if it can.
fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let properties = Properties::new().with_env("HOME", "/").with("given", "a: [b");
    match TopologyFile::parse("any.yaml", &text, &properties) {
        Ok(file) => match file.topology(&registry()) {
            Ok(topology) => assert!(!topology.explain(2).is_empty()),
            Err(error) => assert!(error.to_string().contains("any.yaml:"), "{error}"),
        },
        Err(error) => assert!(error.to_string().starts_with("any.yaml:"), "{error}"),
    }
}

#[test]
fn the_files_are_right() {
    for file in FILES {
        let read = TopologyFile::parse("t.yaml", file, &Properties::new().with_env("HOME", "/"));
        read.and_then(|file| file.topology(&registry())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_was_changed_is_read_or_refused(
        file in 0..FILES.len(), changes in prop::collection::vec(change(), 1..12),
    ) {
        read(&changed(FILES[file], &changes));
    }

    #[test]
    fn any_pieces_are_read_or_refused(pieces in prop::collection::vec(0..PIECES.len(), 0..80)) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        read(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes);
    }
}
