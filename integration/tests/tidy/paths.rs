//! The paths a source names: `use` trees spelled out, and `a::b::c` wherever else it stands.

use std::ops::Range;

use crate::blank::Lines;

/// One path and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// `std::fs::File`, without a leading `::`; `use` trees are spelled out, `as` is dropped.
    pub(crate) text: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// What follows, `use` paths excepted: up to 40 bytes of code without white space.
    pub(crate) then: String,
}

impl Path {
    /// Whether this path is `prefix` or lies below it.
    pub(crate) fn is_under(&self, prefix: &str) -> bool {
        self.text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Whether this path ends in these segments.
    pub(crate) fn ends_in(&self, suffix: &str) -> bool {
        self.text.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with("::"))
    }
}

/// Every path of two segments or more in blanked code, and every leaf of its `use` items.
pub(crate) fn paths(code: &str) -> Vec<Path> {
    let lines = Lines::of(code);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next_word(code, at) {
        at = end;
        if &code[start..end] == "use" && code[end..].starts_with(char::is_whitespace) {
            let stop = code[end..].find(';').map_or(code.len(), |n| end + n);
            spell_out(code, &lines, end..stop, "", &mut found);
            at = stop;
            continue;
        }
        let mut text = code[start..end].to_owned();
        while let Some((word_start, word_end)) = segment_after(code, at) {
            text.push_str("::");
            text.push_str(&code[word_start..word_end]);
            at = word_end;
        }
        if text.contains("::") {
            let then = code[at..].chars().filter(|c| !c.is_whitespace()).take(40).collect();
            found.push(Path { text, line: lines.line_of(start), then });
        }
    }
    found
}

/// Spells out the `use` tree in `code[tree]` below `prefix`.
fn spell_out(code: &str, lines: &Lines, tree: Range<usize>, prefix: &str, found: &mut Vec<Path>) {
    let mut from = tree.start;
    for end in split_ends(&code[tree.clone()]).into_iter().map(|n| tree.start + n) {
        let part = &code[from..end];
        let at = from + (part.len() - part.trim_start().len());
        let part = part.trim();
        from = end + 1;
        if part.is_empty() {
            continue;
        }
        let line = lines.line_of(at);
        let join = |tail: &str| {
            let tail = tail.trim().trim_start_matches("::").replace(char::is_whitespace, "");
            let text = if prefix.is_empty() { tail } else { format!("{prefix}::{tail}") };
            text.trim_end_matches("::").to_owned()
        };
        match part.find('{') {
            Some(open) => {
                let close = part.rfind('}').unwrap_or(part.len());
                let inner = join(&part[..open]);
                spell_out(code, lines, at + open + 1..at + close, &inner, found);
            }
            None => {
                let name = part.split(" as ").next().expect("split gives at least one part");
                let text = join(name).trim_end_matches("::self").to_owned();
                found.push(Path { text, line, then: String::new() });
            }
        }
    }
}

/// Where the comma-separated parts end, braces respected.
fn split_ends(tree: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut ends = Vec::new();
    for (at, byte) in tree.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => ends.push(at),
            _ => {}
        }
    }
    ends.push(tree.len());
    ends
}

fn next_word(code: &str, from: usize) -> Option<(usize, usize)> {
    let is_start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let start = from + code.as_bytes()[from..].iter().position(|&b| is_start(b))?;
    Some((start, word_end(code, start)))
}

fn word_end(code: &str, start: usize) -> usize {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    code.as_bytes()[start..].iter().position(|&b| !is_word(b)).map_or(code.len(), |n| start + n)
}

/// The segment behind a `::` that stands at `at`, white space respected.
fn segment_after(code: &str, at: usize) -> Option<(usize, usize)> {
    let rest = code[at..].trim_start().strip_prefix("::")?.trim_start();
    let start = code.len() - rest.len();
    let first = rest.as_bytes().first()?;
    (first.is_ascii_alphabetic() || *first == b'_').then(|| (start, word_end(code, start)))
}

#[test]
fn use_trees_are_spelled_out_with_their_lines() {
    let code = "use std::{\n    fs::{self, File as F},\n    net,\n};\nfn f() { ::std::thread::spawn::<u8>(g) }\n";
    let found: Vec<_> = paths(code).into_iter().map(|p| (p.line, p.text)).collect();
    let expected =
        [(2, "std::fs"), (2, "std::fs::File"), (3, "std::net"), (5, "std::thread::spawn")];
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let path = Path { text: "std::fsx::Y".into(), line: 1, then: String::new() };
    assert!(!path.is_under("std::fs") && path.is_under("std") && path.ends_in("fsx::Y"));
}
