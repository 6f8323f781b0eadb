//! `${NAME}` and `${ENV-NAME}` in the texts of a document.
//!
//! What stands for a name is put into the text it is in, after the document was read: it is never read as YAML itself,
//! so it cannot become a list or a component. All that is put in together is no longer than a file may be: one long value
//! that is named often is a document of any size else.

use std::collections::BTreeMap;

use crate::fault::{Fault, is_enough};
use crate::meant::meant;
use crate::node::{At, Node, Value};
use crate::read::BYTES_MAX;

/// What names in a topology file stand for, beside what the file says under `properties`.
///
/// ```
/// use egret_yaml::Properties;
///
/// let properties = Properties::new().with("lines", "web-lines");
/// let error = Properties::new().with_text("lines").unwrap_err();
/// assert_eq!(error, "`lines` gives no property a value: say it as NAME=VALUE");
/// # let _ = properties;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Properties {
    given: BTreeMap<String, String>,
    /// In place of the environment, for tests.
    env: Option<BTreeMap<String, String>>,
}

impl Properties {
    /// None; `${ENV-NAME}` stands for variable `NAME` of the environment.
    pub fn new() -> Properties {
        Properties::default()
    }

    /// One more; it goes before what the file says.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Properties {
        self.given.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same, as `NAME=VALUE`.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn with_text(self, text: &str) -> Result<Properties, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(self.with(name, value)),
            _ => Err(format!("`{text}` gives no property a value: say it as NAME=VALUE")),
        }
    }

    /// Variables in place of those of the environment.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Properties {
        self.env.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        self
    }

    fn env(&self, name: &str) -> Option<String> {
        match &self.env {
            Some(env) => env.get(name).cloned(),
            None => std::env::var(name).ok(),
        }
    }
}

/// Puts values in the place of names; those that stand for nothing are faults.
pub(crate) fn substitute(root: &mut Node, properties: &Properties, faults: &mut Vec<Fault>) {
    let mut known = BTreeMap::new();
    if let Value::Map(entries) = &mut root.value
        && let Some((_, own)) = entries.iter_mut().find(|(key, _)| key.text == "properties")
    {
        // These may name variables of the environment, and what was given.
        walk(
            own,
            &mut Names { properties, known: &BTreeMap::new(), left: Some(BYTES_MAX) },
            faults,
        );
        for (key, node) in own.entries().into_iter().flatten() {
            match &node.value {
                Value::Text { text, .. } => {
                    known.insert(key.text.clone(), text.clone());
                }
                _ => {
                    let message =
                        format!("property `{}` is {}: give it a text", key.text, node.kind());
                    faults.push(Fault::new(node.at, message));
                }
            }
        }
    }
    if let Value::Map(entries) = &mut root.value {
        let mut names = Names { properties, known: &known, left: Some(BYTES_MAX) };
        for (key, node) in entries {
            if key.text != "properties" {
                walk(node, &mut names, faults);
            }
        }
    }
}

struct Names<'a> {
    properties: &'a Properties,
    known: &'a BTreeMap<String, String>,
    /// How many bytes may be put in still; `None` once it was said that this is too much.
    left: Option<usize>,
}

impl Names<'_> {
    /// What stands for a name, as long as there is room for it.
    fn take(&mut self, name: &str) -> Result<String, String> {
        let value = self.value(name)?;
        self.left = self.left.and_then(|left| left.checked_sub(value.len()));
        if self.left.is_none() {
            return Err(format!(
                "with `${{{name}}}` the values that are put in are over {BYTES_MAX} bytes: a topology takes fewer"
            ));
        }
        Ok(value)
    }

    fn value(&self, name: &str) -> Result<String, String> {
        if let Some(variable) = name.strip_prefix("ENV-") {
            let none = || format!("`${{{name}}}`: there is no variable `{variable}`: set it");
            return self.properties.env(variable).ok_or_else(none);
        }
        if let Some(value) = self.properties.given.get(name).or_else(|| self.known.get(name)) {
            return Ok(value.clone());
        }
        let there = self.properties.given.keys().chain(self.known.keys()).map(String::as_str);
        Err(format!(
            "`${{{name}}}` stands for nothing ({}): say it under `properties`, or give --property {name}=VALUE",
            meant(name, there)
        ))
    }
}

fn walk(node: &mut Node, names: &mut Names<'_>, faults: &mut Vec<Fault>) {
    if names.left.is_none() || is_enough(faults) {
        return;
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| walk(item, names, faults)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| walk(node, names, faults)),
        Value::Text { text, .. } if text.contains("${") => {
            *text = replaced(text, node.at, names, faults)
        }
        Value::Text { .. } => {}
    }
}

/// `$${` is `${` itself.
fn replaced(text: &str, at: At, names: &mut Names<'_>, faults: &mut Vec<Fault>) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(begin) = rest.find("${").filter(|_| names.left.is_some() && !is_enough(faults)) {
        if let Some(before) = rest[..begin].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[begin + 2..];
            continue;
        }
        out.push_str(&rest[..begin]);
        let Some(end) = rest[begin..].find('}') else {
            let message = "`${` without its `}`: close it, or write `$${` if that is meant";
            faults.push(Fault::new(at, message));
            return text.to_owned();
        };
        match names.take(&rest[begin + 2..begin + end]) {
            Ok(value) => out.push_str(&value),
            Err(message) => faults.push(Fault::new(at, message)),
        }
        rest = &rest[begin + end + 1..];
    }
    out.push_str(rest);
    out
}
