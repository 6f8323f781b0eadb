//! Module heads, file endings, sizes, and markers of unfinished work.

use crate::finding::Finding;
use crate::tree::File;

const BYTES_MAX: usize = 500_000;

/// Snapshots and recorded outputs are compared byte for byte, white space included.
const EXACT: [&str; 2] = [".snap", ".golden"];

/// Inputs of decoders: bytes, some of which happen to be texts.
const BYTES: &str = "integration/fuzz/corpus/";

/// Everything wrong with one file as a text.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |line, rule: &str, remedy: &str| {
        found.push(Finding::new(&file.path, line, rule, remedy));
    };
    if file.bytes > BYTES_MAX {
        say(
            0,
            "no file over 500 kB",
            "make it where it is needed, or keep it out of the repository",
        );
    }
    let Some(text) = file.text.as_ref().filter(|_| !file.path.starts_with(BYTES)) else {
        return found;
    };
    if file.rust.is_some() && !file.is_generated() {
        let head = text.lines().next().unwrap_or_default();
        if !head.starts_with("//! ") {
            let remedy = "say in the first line what the file holds and what always holds in it";
            say(1, "a source opens with `//!`", remedy);
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        say(text.lines().count(), "a file ends with a newline", "add it");
    }
    let exact = EXACT.iter().any(|ending| file.path.ends_with(ending));
    for (at, line) in text.split('\n').enumerate() {
        if line.ends_with('\r') {
            say(at + 1, "lines end in LF", "remove the CR");
        } else if !exact && line.ends_with([' ', '\t']) {
            say(at + 1, "no white space at the end of a line", "remove it, or run `just fix`");
        }
    }
    if !file.path.starts_with("integration/tests/tidy/") {
        found.extend(unfinished(&file.path, text));
    }
    found
}

fn unfinished(path: &str, text: &str) -> Vec<Finding> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '!';
    let marker = |line: &str| {
        line.split(|c| !is_word(c))
            .find(|w| matches!(*w, "todo!" | "FIXME" | "XXX" | "TODO"))
            .map(str::to_owned)
    };
    let hit = |(at, line): (usize, &str)| {
        let rule = format!("`{}` marks unfinished work", marker(line)?);
        Some(Finding::new(path, at + 1, rule, "finish it, or return a typed error that says so"))
    };
    text.lines().enumerate().filter_map(hit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&File::snippet(path, text)).into_iter().map(|f| (f.line, f.rule)).collect()
    }

    #[test]
    fn a_source_without_a_head_is_found_and_a_generated_one_is_not() {
        let found = rules("log/src/a.rs", "use b::c;\n");
        assert_eq!(found, [(1, "a source opens with `//!`".to_owned())]);
        assert_eq!(rules("schemas/src/generated/a.rs", "use b::c;\n"), []);
    }

    #[test]
    fn endings_are_checked_line_by_line() {
        let found = rules("README.md", "a \nb\r\nc");
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 1, 2], "{found:?}");
        assert_eq!(rules("a/b.snap", "a \n"), []);
        assert_eq!(rules("integration/fuzz/corpus/names/ledger", "L42"), []);
    }

    #[test]
    fn size_and_unfinished_work_are_found() {
        assert_eq!(rules("a.txt", &"a\n".repeat(250_001))[0].1, "no file over 500 kB");
        let found = rules("log/src/a.rs", "//! A.\nfn f() {\n    todo!()\n} // FIXME later\n");
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [3, 4]);
    }
}
