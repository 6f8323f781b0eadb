//! Rust source with comments and literals blanked, so that rules see code and nothing else.
//!
//! Blanking keeps every byte's place: line numbers and offsets stay those of the source.

/// Replaces what stands in comments, strings and character literals by spaces; newlines stay.
pub(crate) fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !inside_word(bytes, at) => match raw_end(bytes, at) {
                Some(end) => end,
                None => at + 1,
            },
            b'\'' => char_end(bytes, at).unwrap_or(at + 1),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters were replaced")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"…"`, `r#"…"#`; a raw identifier `r#type` is none.
fn raw_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = start + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let found = bytes[open + 1..].windows(close.len()).position(|w| w == close);
    Some(found.map_or(bytes.len(), |n| open + 1 + n + close.len()))
}

/// `'a'` and `'\n'`, not the lifetime `'a`.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start + 1) == Some(&b'\\') {
        let close = bytes[start + 3..].iter().take(12).position(|&b| b == b'\'')?;
        return Some(start + 3 + close + 1);
    }
    let width = match *bytes.get(start + 1)? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    };
    (bytes.get(start + 1 + width) == Some(&b'\'')).then_some(start + 2 + width)
}

fn inside_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` and `cr"…"` begin one byte earlier; blanking from the `r` on is enough.
    let Some(before) = at.checked_sub(1).map(|i| bytes[i]) else { return false };
    if matches!(before, b'b' | b'c') {
        return at >= 2 && is_word(bytes[at - 2]);
    }
    is_word(before)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// For each line, whether it belongs to an item under `#[cfg(test)]`. Takes blanked code.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut mask = vec![false; code.lines().count() + 1];
    let lines = Lines::of(code);
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let end = item_end(code, start);
        let first = lines.line_of(start);
        let last = lines.line_of(end.saturating_sub(1).max(start));
        mask[first - 1..last].fill(true);
        from = end;
    }
    mask
}

/// Where the item after the attribute at `start` ends: behind its braces, or behind its `;`.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0i32;
    let mut brackets = 0i32;
    for (offset, byte) in code[start..].bytes().enumerate() {
        match byte {
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets -= 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 && brackets == 0 {
                    return start + offset + 1;
                }
            }
            b';' if depth == 0 && brackets == 0 => return start + offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    /// Of this text.
    pub(crate) fn of(text: &str) -> Lines {
        Lines([0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The line, from 1, that holds this offset.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|&start| start <= offset)
    }
}

#[test]
fn comments_and_literals_are_blanked_and_code_is_not() {
    let source = "let a = \"std::fs\"; // std::fs\nlet b = r#\"std::\"fs\"#; /* std /* fs */ */ c('\\n', '\"', 'x');\nfn f<'a>(r#type: &'a str) {}";
    let code = blank(source);
    assert_eq!(code.len(), source.len());
    assert!(!code.contains("std") && !code.contains("fs"), "{code}");
    assert!(code.contains("fn f<'a>(r#type: &'a str) {}"), "{code}");
}

#[test]
fn a_test_module_ends_at_its_brace() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nuse x::y;\nfn d() {}\n";
    let mask = test_lines(code);
    assert_eq!(mask[..9], [false, true, true, true, true, false, true, true, false]);
}
