//! The wording of errors: what was wrong and what to do, in lower case, without "failed to".

use crate::blank::Lines;
use crate::finding::Finding;
use crate::tree::File;

/// Where the first literal is a message for people.
const SITES: [&str; 5] =
    ["#[error(", "bail!(", "anyhow!(", ".context(", ".with_context(|| format!("];

/// Every badly worded message of one source, tests excepted.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let (Some(rust), Some(text)) = (&file.rust, &file.text) else { return Vec::new() };
    if !file.is_product() {
        return Vec::new();
    }
    let lines = Lines::of(text);
    let mut found = Vec::new();
    for site in SITES {
        for (at, _) in rust.code.match_indices(site) {
            let line = lines.line_of(at);
            let Some(message) = literal(&text[at + site.len()..]) else { continue };
            if rust.tests[line - 1] {
                continue;
            }
            if let Some(remedy) = judge(&message) {
                let rule = format!("error message `{message}`");
                found.push(Finding::new(&file.path, line, rule, remedy));
            }
        }
    }
    found
}

/// The string literal this text begins with; lines continued with `\` are joined.
fn literal(text: &str) -> Option<String> {
    let body = text.trim_start().strip_prefix('"')?;
    let mut message = String::new();
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(message),
            '\\' => match chars.next()? {
                '\n' => {
                    let rest = chars.as_str().trim_start();
                    chars = rest.chars();
                }
                escaped => message.push(escaped),
            },
            c => message.push(c),
        }
    }
    None
}

fn judge(message: &str) -> Option<&'static str> {
    let lower = message.to_lowercase();
    if lower.contains("failed to") || lower.contains("unable to") {
        return Some("say what was wrong and what to do, not that it failed");
    }
    let mut first = message.chars();
    let (a, b) = (first.next(), first.next());
    // `CRC`, `UTF-8`: an upper-case name stays one.
    if a.is_some_and(char::is_uppercase) && b.is_some_and(char::is_lowercase) {
        return Some("begin in lower case: it is read in the middle of a line");
    }
    if message.ends_with('.') {
        return Some("end without a full stop: it is read in the middle of a line");
    }
    None
}

#[test]
fn wording_is_judged_at_every_site() {
    let bad = r#"//! A.
#[error("Wrong name")]
#[error("failed to open {path}")]
#[error(
    "{what} is wrong."
)]
fn f() { bail!("Unable to go on"); x.context("Reading")?; }
#[cfg(test)]
mod tests {
    #[error("Anything.")]
}
"#;
    let mut lines: Vec<_> =
        check(&File::snippet("log/src/a.rs", bad)).into_iter().map(|f| f.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 7, 7]);
    let good =
        "//! A.\n#[error(\"CRC of {0} differs: restore it from a copy\")]\n#[error(transparent)]\n";
    assert_eq!(check(&File::snippet("log/src/a.rs", good)), []);
}
