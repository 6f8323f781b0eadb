//! A document as a tree of which every part knows where it stands.

use std::fmt;

/// Where something stands in a file; both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl At {
    pub(crate) const START: At = At { line: 1, column: 1 };
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A text, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) at: At,
    pub(crate) text: String,
}

/// A part of the document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `is_plain` is a text without quotes, which may be a number, a truth value, or nothing.
    Text {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Said, Node)>),
}

/// What a text without quotes is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plain<'a> {
    Nothing,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Node {
    /// An empty map.
    pub(crate) fn empty(at: At) -> Node {
        Node { at, value: Value::Map(Vec::new()) }
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> Option<&[(Said, Node)]> {
        if let Value::Map(entries) = &self.value { Some(entries) } else { None }
    }

    /// What stands under a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(said, _)| said.text == key).map(|(_, node)| node)
    }

    /// Whether nothing stands there.
    pub(crate) fn is_nothing(&self) -> bool {
        match &self.value {
            Value::Text { text, is_plain: true } => matches!(plain(text), Plain::Nothing),
            _ => false,
        }
    }

    /// What kind of thing it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_nothing() => "nothing",
            Value::Text { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// What a text without quotes is, as YAML's core schema has it.
pub(crate) fn plain(text: &str) -> Plain<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Nothing,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && let Ok(number) = u64::from_str_radix(digits, radix)
            && !digits.starts_with(['+', '-'])
        {
            return Plain::Unsigned(number);
        }
    }
    if let Ok(number) = text.parse() {
        return Plain::Unsigned(number);
    }
    if let Ok(number) = text.parse() {
        return Plain::Signed(number);
    }
    // `inf` and `nan` are numbers to Rust, and words in YAML.
    let is_number = text.contains(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    match text.parse() {
        Ok(number) if is_number => Plain::Float(number),
        _ => Plain::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_quotes_is_what_the_core_schema_says() {
        assert_eq!(plain("17"), Plain::Unsigned(17));
        assert_eq!(plain("-17"), Plain::Signed(-17));
        assert_eq!(plain("0x1f"), Plain::Unsigned(31));
        assert_eq!(plain("1.5e3"), Plain::Float(1500.0));
        assert_eq!(plain("true"), Plain::Bool(true));
        assert_eq!(plain("~"), Plain::Nothing);
        for word in ["no", "on", "inf", "nan", "1_000", "0x", "0x-1", "e", "1.2.3", "10ms", "-"] {
            assert_eq!(plain(word), Plain::Text(word), "{word}");
        }
    }
}
