//! Reads the parts of maps, and notes what is wrong with them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::fault::{Fault, is_enough};
use crate::node::{At, Node, Plain, Said, Value, plain};
use crate::span::span;
use crate::spec::unknown;

/// See the [module](self).
pub(crate) struct Reader<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    pub(crate) fn new(faults: &mut Vec<Fault>) -> Reader<'_> {
        Reader { faults }
    }

    pub(crate) fn fault(&mut self, at: At, message: impl Into<String>) {
        self.faults.push(Fault::new(at, message));
    }

    /// Whether so much is wrong that no more is looked for.
    pub(crate) fn is_enough(&self) -> bool {
        is_enough(self.faults)
    }

    /// Whether it is a map; words that are none of `keys` are faults.
    pub(crate) fn keys(&mut self, node: &Node, what: &str, keys: &[&str]) -> bool {
        let Some(entries) = node.entries() else {
            self.fault(node.at, format!("{what} is {}, and has to be a map", node.kind()));
            return false;
        };
        for (key, _) in entries {
            if self.is_enough() {
                break;
            }
            if !keys.contains(&key.text.as_str()) {
                let message = format!("{what} has no `{}`: {}", key.text, unknown(&key.text, keys));
                self.fault(key.at, message);
            }
        }
        true
    }

    /// The text under a key, if there is one.
    pub(crate) fn text(&mut self, node: &Node, key: &str) -> Option<Said> {
        let node = node.get(key)?;
        match &node.value {
            Value::Text { text, .. } if !node.is_nothing() => {
                Some(Said { at: node.at, text: text.clone() })
            }
            _ => {
                self.fault(node.at, format!("`{key}` is {}: give it a text", node.kind()));
                None
            }
        }
    }

    /// The list under a key; what is there and nothing is an empty one.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, key: &str) -> &'n [Node] {
        let Some(node) = node.get(key) else { return &[] };
        match &node.value {
            Value::List(items) => items,
            _ if node.is_nothing() => &[],
            _ => {
                self.fault(node.at, format!("`{key}` is {}: give it a list", node.kind()));
                &[]
            }
        }
    }

    /// A whole number under a key.
    pub(crate) fn number(
        &mut self,
        node: &Node,
        key: &str,
        allowed: RangeInclusive<u64>,
        what: &str,
    ) -> Option<u32> {
        let node = node.get(key)?;
        let number = match &node.value {
            Value::Text { text, is_plain: true } => match plain(text) {
                Plain::Unsigned(number) => Some(number),
                _ => None,
            },
            _ => None,
        };
        if let Some(number) = number.filter(|number| allowed.contains(number)) {
            return u32::try_from(number).ok();
        }
        let is = match &node.value {
            Value::Text { text, .. } if !node.is_nothing() => format!("`{text}`"),
            _ => node.kind().to_owned(),
        };
        let (least, most) = (allowed.start(), allowed.end());
        self.fault(node.at, format!("{what} is {is}: give it {least} to {most}"));
        None
    }

    /// A number of any kind under a key.
    pub(crate) fn float(&mut self, node: &Node, key: &str, what: &str) -> Option<(At, f64)> {
        let node = node.get(key)?;
        let number = match &node.value {
            Value::Text { text, is_plain: true } => match plain(text) {
                Plain::Unsigned(number) => Some(number as f64),
                Plain::Signed(number) => Some(number as f64),
                Plain::Float(number) => Some(number),
                _ => None,
            },
            _ => None,
        };
        if number.is_none() {
            let message = format!("`{key}` of {what} is {}: give it a number", node.kind());
            self.fault(node.at, message);
        }
        number.map(|number| (node.at, number))
    }

    /// A length of time under a key.
    pub(crate) fn span(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let said = self.text(node, key)?;
        let span = span(&said.text).filter(|span| !span.is_zero());
        if span.is_none() {
            let message = format!(
                "`{key}` cannot be `{}`: give it a time with its unit: 250ms, 5s, 1m or 2h",
                said.text
            );
            self.fault(said.at, message);
        }
        span
    }
}
