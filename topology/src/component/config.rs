//! What a topology's owner sets of a component: values by name, each of which has a type and a default.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The values of one component, as [`Context::config`](super::Context::config) has them.
///
/// They are given with the component, by [`Stream::config`](crate::Stream::config), and another value may be given to
/// each when the topology is started: `--set COMPONENT.KEY=VALUE` of [`egret::main`](crate::main).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    /// Whether another text may take its place.
    check: fn(&str) -> Result<(), String>,
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.text == other.text
    }
}

impl Eq for Value {}

/// Why a value is not there, or cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is not said which value of what.
    #[error("`{text}` sets nothing: say it as COMPONENT.KEY=VALUE")]
    Form {
        /// What was said.
        text: String,
    },
    /// There is no such component.
    #[error("there is no component `{component}`: there are {}", words(.components))]
    NoComponent {
        /// Which one was meant.
        component: String,
        /// Those there are.
        components: Vec<String>,
    },
    /// The component has no such value.
    #[error("`{key}` is nothing that can be set: there {}", there_are(.keys))]
    NoKey {
        /// Which one was meant.
        key: String,
        /// Those there are.
        keys: Vec<String>,
    },
    /// The value is of another type.
    #[error("`{key}` cannot be `{text}` ({why}): give it another value")]
    Wrong {
        /// Which one.
        key: String,
        /// What it was to be.
        text: String,
        /// Why it cannot be that.
        why: String,
    },
}

fn words(all: &[String]) -> String {
    let all: Vec<_> = all.iter().map(|word| format!("`{word}`")).collect();
    all.join(", ")
}

fn there_are(keys: &[String]) -> String {
    if keys.is_empty() {
        "is nothing of this component".to_owned()
    } else {
        format!("are {}", words(keys))
    }
}

fn check<V: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<V>().map(drop).map_err(|why| why.to_string())
}

impl Config {
    /// The value under `key`, in the type it is asked for.
    ///
    /// ```
    /// use egret::{Bolt, ComponentResult, Context, Emitter};
    ///
    /// struct Longer { than: usize }
    /// impl Bolt<String, String> for Longer {
    ///     fn open(&mut self, cx: &Context) -> ComponentResult {
    ///         self.than = cx.config().get("than")?;
    ///         Ok(())
    ///     }
    /// #   fn execute(&mut self, line: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
    /// #       if line.len() > self.than { out.emit(line) }
    /// #       Ok(())
    /// #   }
    ///     // ...
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::NoKey`] when the component was given no such value, [`ConfigError::Wrong`] when it is none of
    /// this type.
    pub fn get<V: FromStr<Err: Display>>(&self, key: &str) -> Result<V, ConfigError> {
        let text = self.text(key)?;
        text.parse().map_err(|why: V::Err| ConfigError::Wrong {
            key: key.to_owned(),
            text: text.to_owned(),
            why: why.to_string(),
        })
    }

    /// The text of the value under `key`.
    ///
    /// # Errors
    /// [`ConfigError::NoKey`] when the component was given no such value.
    pub fn text(&self, key: &str) -> Result<&str, ConfigError> {
        let value = self.values.get(key).ok_or_else(|| self.no_key(key))?;
        Ok(&value.text)
    }

    /// All values, as texts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.text.as_str()))
    }

    fn no_key(&self, key: &str) -> ConfigError {
        let keys = self.values.keys().cloned().collect();
        ConfigError::NoKey { key: key.to_owned(), keys }
    }

    pub(crate) fn give<V: FromStr<Err: Display>>(&mut self, key: &str, text: String) {
        self.values.insert(key.to_owned(), Value { text, check: check::<V> });
    }

    /// Gives a value another text, of the type it has.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
        let no_key = self.no_key(key);
        let value = self.values.get_mut(key).ok_or(no_key)?;
        (value.check)(text).map_err(|why| ConfigError::Wrong {
            key: key.to_owned(),
            text: text.to_owned(),
            why,
        })?;
        text.clone_into(&mut value.text);
        Ok(())
    }
}

/// Takes `COMPONENT.KEY=VALUE` apart. A component's name may have dots, a key has none.
pub(crate) fn parted(text: &str) -> Result<(&str, &str, &str), ConfigError> {
    let parts = text.split_once('=').and_then(|(what, value)| {
        let (component, key) = what.rsplit_once('.')?;
        Some((component, key, value))
    });
    parts.ok_or_else(|| ConfigError::Form { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_there_and_of_its_type() {
        let mut config = Config::default();
        config.give::<u32>("limit", "10".to_owned());
        config.give::<String>("word", "heron".to_owned());
        assert_eq!(config.set("limit", "12"), Ok(()));
        assert_eq!((config.get("limit"), config.text("word")), (Ok(12u64), Ok("heron")));
        let told = |error: ConfigError| error.to_string();
        assert_eq!(
            told(config.set("limit", "many").unwrap_err()),
            "`limit` cannot be `many` (invalid digit found in string): give it another value"
        );
        assert_eq!(
            told(config.set("limt", "1").unwrap_err()),
            "`limt` is nothing that can be set: there are `limit`, `word`"
        );
        assert!(config.get::<u32>("word").is_err());
        assert_eq!(config.get("limit"), Ok(12u8), "what was refused changed nothing");
    }

    #[test]
    fn a_component_may_have_dots() {
        assert_eq!(parted("a.b.key=x=y"), Ok(("a.b", "key", "x=y")));
        for wrong in ["a.key", "key=1", ""] {
            assert!(parted(wrong).is_err(), "{wrong}");
        }
    }
}
