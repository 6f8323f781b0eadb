//! File names that say nothing, and files that must not exist.

use crate::finding::Finding;
use crate::tree::{File, Tree};

/// What everything could be called.
const MUTE: [&str; 8] = ["utils", "util", "common", "helpers", "helper", "misc", "core", "stuff"];

/// Every wrongly named file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.files.iter().filter_map(judge).collect()
}

fn judge(file: &File) -> Option<Finding> {
    let find = |rule: &str, remedy: &str| Some(Finding::new(&file.path, 0, rule, remedy));
    let parts: Vec<&str> = file.path.split('/').collect();
    let name = *parts.last().expect("a path has a last part");
    if matches!(name, "rust-toolchain" | "rust-toolchain.toml") {
        return find("no toolchain is pinned", "`rust-version` in Cargo.toml is the promise");
    }
    if matches!(name, "clippy.toml" | ".clippy.toml") && parts.len() > 1 {
        let remedy = "a second one replaces the first altogether: use #[expect(.., reason)]";
        return find("one clippy.toml", remedy);
    }
    let stem = name.strip_suffix(".rs")?;
    let above = parts.iter().rev().nth(1).copied().unwrap_or_default();
    let module = if stem == "mod" { above } else { stem };
    if MUTE.contains(&module) || MUTE.contains(&above) {
        return find("a module is named for what it holds", "name it after its noun or verb");
    }
    if stem == above {
        return find("no foo/foo.rs", "move it to foo.rs, or name it after what it holds");
    }
    None
}

#[test]
fn mute_names_doubled_names_and_pins_are_found() {
    let bad = [
        "log/src/utils.rs",
        "log/src/common/mod.rs",
        "log/src/helpers/read.rs",
        "log/src/bookie/bookie.rs",
        "rust-toolchain.toml",
        "log/clippy.toml",
    ];
    let good = ["log/src/bookie.rs", "log/src/bookie/journal.rs", "clippy.toml", "docs/misc.md"];
    let file = |path: &&str| File::snippet(path, "//! A.\n");
    let tree = Tree::new(bad.iter().chain(&good).map(file).collect());
    let mut found: Vec<_> = check(&tree).into_iter().map(|f| f.path).collect();
    found.sort();
    let mut expected = bad.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}
