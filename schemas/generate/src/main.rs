//! Makes `../src/generated` from `../schema/*.capnp`; with `--check` only says whether it would change.
//!
//! Run by whoever changes a schema, and by CI. Needs the `capnp` compiler (Debian: `capnproto`); a
//! build does not, because what it makes is committed. It is a package of its own, so that it builds
//! while the one it writes into does not yet.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to run")]
fn main() -> Result<ExitCode, Box<dyn Error>> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => return Err(format!("`{other}` is no option: give --check, or none").into()),
    };
    let package = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let committed = package.join("src/generated");
    let made = make(package, &package.join("schema"))?;
    let mut stale = false;
    for (name, text) in made {
        let path = committed.join(&name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            eprintln!("{} is not what its schema says: run `just schemas`", path.display());
            stale = true;
        } else {
            fs::create_dir_all(&committed)?;
            fs::write(&path, text)?;
            println!("{} written", path.display());
        }
    }
    Ok(if stale { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// File names and texts, one for each schema.
fn make(package: &Path, schemas: &Path) -> Result<Vec<(PathBuf, String)>, Box<dyn Error>> {
    let out = std::env::temp_dir().join(format!("egret-schemas-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let mut command = capnpc::CompilerCommand::new();
    command.src_prefix(schemas).output_path(&out);
    command.default_parent_module(vec!["generated".to_owned()]);
    for entry in fs::read_dir(schemas)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "capnp") {
            command.file(&path);
        }
    }
    command.run().map_err(|e| format!("{}: the capnp compiler: {e}", package.display()))?;
    let mut made = Vec::new();
    for entry in fs::read_dir(&out)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        // The compiler leaves white space at line ends; the repository does not. Which version of it
        // ran is nobody's business: the same schema makes the same code.
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.starts_with("// capnp binary version:"))
            .collect();
        let name = path.file_name().expect("a listed file has a name").into();
        made.push((name, lines.join("\n").trim_end().to_owned() + "\n"));
    }
    fs::remove_dir_all(&out)?;
    Ok(made)
}
