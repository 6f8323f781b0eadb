//! The repository as the rules see it: every file that is ours, with its code apart from its words.

use std::fs;
use std::path::Path as FsPath;

use crate::blank::{blank, test_lines};
use crate::paths::{Path, paths};

/// One file.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the root, with `/`.
    pub(crate) path: String,
    /// Its size.
    pub(crate) bytes: usize,
    /// Its text, `None` when it is not UTF-8.
    pub(crate) text: Option<String>,
    /// Blanked code and paths, of Rust sources.
    pub(crate) rust: Option<Rust>,
    /// Declared under `#[cfg(test)]` by the module above it.
    pub(crate) declared_for_tests: bool,
}

/// What the rules need of a Rust source.
#[derive(Debug)]
pub(crate) struct Rust {
    /// The source with comments and literals blanked.
    pub(crate) code: String,
    /// Its paths.
    pub(crate) paths: Vec<Path>,
    /// Lines under `#[cfg(test)]`.
    pub(crate) tests: Vec<bool>,
}

/// The directories of product code.
pub(crate) const PRODUCT: [&str; 5] = ["schemas/", "log/", "state/", "topology/", "scheduler/"];

impl File {
    /// A file from its path and bytes.
    pub(crate) fn new(path: &str, bytes: Vec<u8>) -> File {
        let size = bytes.len();
        let text = String::from_utf8(bytes).ok();
        let rust = text.as_deref().filter(|_| path.ends_with(".rs")).map(|text| {
            let code = blank(text);
            Rust { paths: paths(&code), tests: test_lines(&code), code }
        });
        File { path: path.to_owned(), bytes: size, text, rust, declared_for_tests: false }
    }

    /// A Rust source from a snippet, for the rules' own tests.
    pub(crate) fn snippet(path: &str, text: &str) -> File {
        File::new(path, text.as_bytes().to_vec())
    }

    /// Made by a program: nobody edits it, so most rules leave it alone.
    pub(crate) fn is_generated(&self) -> bool {
        self.path.contains("/src/generated/")
    }

    /// Linked into what users run, tests excepted.
    pub(crate) fn is_product(&self) -> bool {
        let in_src = self.path.contains("/src/");
        let in_tests = self.path.contains("/tests/") || self.path.ends_with("/tests.rs");
        PRODUCT.iter().any(|room| self.path.starts_with(room))
            && in_src
            && !in_tests
            && !self.declared_for_tests
            && !self.is_generated()
    }

    /// The paths this file names outside its tests.
    pub(crate) fn product_paths(&self) -> impl Iterator<Item = &Path> {
        let rust = self.rust.as_ref().filter(|_| self.is_product());
        rust.into_iter().flat_map(|r| r.paths.iter().filter(|p| !r.tests[p.line - 1]))
    }

    /// The blanked lines of this file outside its tests, with their numbers.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let rust = self.rust.as_ref().filter(|_| self.is_product());
        rust.into_iter().flat_map(|r| {
            r.code.lines().enumerate().filter(|(n, _)| !r.tests[*n]).map(|(n, line)| (n + 1, line))
        })
    }
}

/// Every file of the repository that is ours.
#[derive(Debug)]
pub(crate) struct Tree {
    /// In order of path.
    pub(crate) files: Vec<File>,
}

impl Tree {
    /// Reads the repository this test was built from.
    pub(crate) fn load() -> Tree {
        let root =
            FsPath::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package has a parent");
        let mut files = Vec::new();
        walk(root, "", &mut files);
        let tree = Tree::new(files);
        let sources = tree.rust().count();
        assert!(sources >= 10, "only {sources} sources were found under {}", root.display());
        tree
    }

    /// A tree of given files.
    pub(crate) fn new(mut files: Vec<File>) -> Tree {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let for_tests: Vec<String> = files.iter().flat_map(modules_for_tests).collect();
        for file in &mut files {
            let stem = file.path.strip_suffix(".rs").unwrap_or(&file.path);
            file.declared_for_tests =
                for_tests.iter().any(|m| stem == m || stem.starts_with(&format!("{m}/")));
        }
        Tree { files }
    }

    /// The Rust sources.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|f| f.rust.is_some())
    }
}

/// `#[cfg(test)] mod model;` names `…/model`, without its ending.
fn modules_for_tests(file: &File) -> Vec<String> {
    let Some(rust) = &file.rust else { return Vec::new() };
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let below = match name {
        "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
        _ => format!("{dir}/{}", name.trim_end_matches(".rs")),
    };
    let declared = |line: &str| -> Option<String> {
        let rest = line.trim().trim_start_matches("#[cfg(test)]").trim().strip_suffix(';')?;
        let name = rest.rsplit_once("mod ").map(|(_, name)| name.trim())?;
        Some(format!("{below}/{name}"))
    };
    rust.code
        .lines()
        .enumerate()
        .filter(|(n, _)| rust.tests[*n])
        .filter_map(|(_, line)| declared(line))
        .collect()
}

fn walk(dir: &FsPath, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in entries {
        let entry = entry.expect("a directory can be listed to its end");
        let name = entry.file_name().into_string().expect("file names here are UTF-8");
        let kind = entry.file_type().expect("an entry has a type");
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if kind.is_dir() {
            let hidden = name.starts_with('.') && ![".ci", ".cargo", ".config"].contains(&&*name);
            if !hidden && name != "target" && name != "egret-data" {
                walk(&entry.path(), &path, files);
            }
        } else if kind.is_file() && name != ".git" {
            let bytes = fs::read(entry.path()).unwrap_or_else(|e| panic!("{path}: {e}"));
            files.push(File::new(&path, bytes));
        }
    }
}

#[test]
fn a_module_declared_for_tests_is_no_product_code() {
    let tree = Tree::new(vec![
        File::snippet("log/src/bookie.rs", "//! B.\n#[cfg(test)]\nmod model;\nmod shard;\n"),
        File::snippet("log/src/bookie/model.rs", "//! M.\nuse std::fs;\n"),
        File::snippet(
            "log/src/bookie/shard.rs",
            "//! S.\nuse std::fs;\n#[cfg(test)]\nmod tests {\n    use std::net;\n}\n",
        ),
    ]);
    let product: Vec<_> = tree.rust().flat_map(File::product_paths).map(|p| &*p.text).collect();
    assert_eq!(product, ["std::fs"]);
}
