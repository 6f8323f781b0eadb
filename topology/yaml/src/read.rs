//! From text to a [`Node`]: YAML without what a wiring has no use for.
//!
//! Aliases, tags and more than one document are refused, so a document is never larger than its text; so are keys that
//! are said twice. How large and how deep it may be is limited.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use crate::fault::Fault;
use crate::node::{At, Node, Said, Value};

/// A wiring of thousands of components is a fraction of it.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Lists and maps within each other.
const DEPTH_MAX: usize = 64;

impl From<Marker> for At {
    fn from(marker: Marker) -> At {
        At { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// A list or map of which the end did not come yet.
enum Open {
    List { at: At, items: Vec<Node> },
    Map { at: At, entries: Vec<(Said, Node)>, keys: BTreeMap<String, At>, key: Option<Said> },
}

/// What is said of a file that is longer than any topology.
pub(crate) fn too_large() -> Fault {
    Fault::new(At::START, format!("the file is over {BYTES_MAX} bytes: a topology takes fewer"))
}

/// Reads one document.
///
/// # Errors
/// What is no YAML, or more than is taken here.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > BYTES_MAX {
        return Err(too_large());
    }
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, Span { start, .. }) = event.map_err(|error| {
            let at = At::from(*error.marker());
            Fault::new(at, format!("this is no YAML: {}", error.info()))
        })?;
        let at = At::from(start);
        let tag = match &event {
            Event::Scalar(.., tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => {
                tag.is_some()
            }
            _ => false,
        };
        if tag {
            return Err(Fault::new(at, "a tag (`!…`) says nothing here: take it away"));
        }
        let done = match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    let message =
                        "a second document begins: put each topology into a file of its own";
                    return Err(Fault::new(at, message));
                }
                continue;
            }
            Event::Alias(_) => {
                let message = "an alias (`*…`) is not followed: write out what it stands for, or say it once under \
                               `properties` and as `${NAME}` here";
                return Err(Fault::new(at, message));
            }
            Event::Scalar(text, style, ..) => {
                let is_plain = style == ScalarStyle::Plain;
                Node { at, value: Value::Text { text: text.into_owned(), is_plain } }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == DEPTH_MAX {
                    let message = format!("this is over {DEPTH_MAX} lists and maps deep");
                    return Err(Fault::new(at, message));
                }
                check_key_is_text(&open, at)?;
                open.push(match event {
                    Event::SequenceStart(..) => Open::List { at, items: Vec::new() },
                    _ => {
                        let (entries, keys) = (Vec::new(), BTreeMap::new());
                        Open::Map { at, entries, keys, key: None }
                    }
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List { at, items }) => Node { at, value: Value::List(items) },
                Some(Open::Map { at, entries, .. }) => Node { at, value: Value::Map(entries) },
                None => continue,
            },
        };
        put(done, &mut open, &mut root)?;
    }
    root.ok_or_else(|| Fault::new(At::START, "the file is empty: begin with `name: …`"))
}

/// Refuses a list or map where a key of a map is due.
fn check_key_is_text(open: &[Open], at: At) -> Result<(), Fault> {
    match open.last() {
        Some(Open::Map { key: None, .. }) => {
            Err(Fault::new(at, "a key is a word, and this is a list or a map: is a quote missing?"))
        }
        _ => Ok(()),
    }
}

/// Puts what is whole to where it belongs.
fn put(node: Node, open: &mut [Open], root: &mut Option<Node>) -> Result<(), Fault> {
    match open.last_mut() {
        None => *root = Some(node),
        Some(Open::List { items, .. }) => items.push(node),
        Some(Open::Map { entries, keys, key, .. }) => match key.take() {
            Some(key) => entries.push((key, node)),
            None => {
                let Node { at, value: Value::Text { text, .. } } = node else {
                    return Err(Fault::new(node.at, "a key is a word"));
                };
                if let Some(first) = keys.insert(text.clone(), at) {
                    let message =
                        format!("`{text}` is said twice, first at {first}: take one of them away");
                    return Err(Fault::new(at, message));
                }
                *key = Some(Said { at, text });
            }
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn wrong(text: &str) -> String {
        let Fault { line, column, message } = read(text).unwrap_err();
        format!("{line}:{column}: {message}")
    }

    #[test]
    fn a_document_is_read_with_its_places() {
        let root = read("name: t\nspouts:\n  - id: 'a'\n    n: 3\n").unwrap();
        assert_eq!(root.at, At::START);
        let Value::List(spouts) = &root.get("spouts").unwrap().value else { panic!() };
        let n = spouts[0].get("n").unwrap();
        assert_eq!((n.at.line, n.at.column), (4, 8));
        let id = Value::Text { text: "a".into(), is_plain: false };
        assert_eq!(spouts[0].get("id").unwrap().value, id);
    }

    #[test]
    fn what_has_no_use_here_is_refused_where_it_stands() {
        assert!(wrong("a: &x 1\nb: *x\n").starts_with("2:4: an alias"));
        assert!(wrong("a: !!str 1\n").starts_with("1:"));
        assert!(wrong("a: 1\n---\nb: 2\n").starts_with("2:1: a second document"));
        assert!(wrong("a: 1\nb: 2\na: 3\n").starts_with("3:1: `a` is said twice, first at 1:1"));
        assert!(wrong("").starts_with("1:1: the file is empty"));
        assert!(wrong("? [a]\n: b\n").contains("a key is a word"));
        assert!(wrong(&"[".repeat(100)).contains("deep"));
        assert!(wrong("a: [1, 2\nb: 3\n").contains("this is no YAML"));
    }
}
