//! Components without a wiring: which of them take from which is said by a file.
//!
//! ```text
//! cargo run --release --example wired -- examples/wired/words.yaml
//! cat counts/part-*                       # ["rose",4] …
//! cargo run --release --example wired -- examples/wired/words.yaml --property text=README.md --property to=others
//! egret topology explain examples/wired/words.yaml -o dot | dot -Tsvg > plan.svg
//! ```
//! The same program runs any file that speaks of these components and of those in the box. Try what it says of a
//! `parallelism: 0`, of an `input` in place of `inputs`, or of a key of another type.

use egret::{ComponentResult, Context, Emitter, KeyedBolt};
use egret_yaml::Registry;

/// What a file may say of `split`.
#[derive(serde::Deserialize)]
struct Split {
    /// Words of fewer letters are left out.
    #[serde(default)]
    shortest: usize,
}

struct Count;

impl KeyedBolt<str, String, (String, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &str,
        n: &mut u64,
        _: String,
        _: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &str,
        n: &mut u64,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((word.to_owned(), *n));
        Ok(())
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.bolt("split", |Split { shortest }| {
        move || {
            move |line: String, out: &mut Emitter<String>| {
                let words = line.split_whitespace().filter(|word| word.len() >= shortest);
                words.for_each(|word| out.emit(word.to_owned()));
            }
        }
    });
    registry.keyed("count", |()| || Count);
    registry
}

fn main() -> std::process::ExitCode {
    egret_yaml::main(&registry())
}
