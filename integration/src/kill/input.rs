//! Real text for the word count, and the answer coreutils give.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Collects about `bytes` of real text into `files` files under `dir`: Rust sources of the registry, and of
/// this workspace where there is no registry.
pub fn collect(dir: &Path, bytes: u64, files: usize) -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|h| Path::new(&h).join(".cargo")));
    let registry = home.map(|home| home.join("registry/src")).filter(|dir| dir.is_dir());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    walk(&registry.unwrap_or(workspace), &mut sources)?;
    sources.sort();
    ensure!(!sources.is_empty(), "there is no Rust source to count words of");
    let paths: Vec<PathBuf> = (0..files).map(|i| dir.join(format!("text{i}.txt"))).collect();
    for (i, path) in paths.iter().enumerate() {
        let mut out = std::io::BufWriter::new(fs::File::create(path)?);
        let share = bytes / files as u64;
        let mut written = 0;
        for source in sources.iter().cycle().skip(i * sources.len() / files) {
            let text = fs::read(source)?;
            out.write_all(&text)?;
            written += text.len() as u64;
            if written >= share {
                break;
            }
        }
        out.flush()?;
    }
    Ok(paths)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != "target" {
            walk(&entry.path(), found)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|e| e == "rs") {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// What coreutils count, as `count<TAB>word` ordered by word bytes.
pub fn reference(files: &[PathBuf]) -> Result<Vec<u8>> {
    let script = r#"for f; do cat "$f"; echo; done | LC_ALL=C tr -s ' \t\n\v\f\r' '\n' \
        | grep -av '^$' | LC_ALL=C sort | uniq -c | LC_ALL=C sed 's/^ *\([0-9]*\) /\1\t/'"#;
    let out = Command::new("sh").arg("-c").arg(script).arg("sh").args(files).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}
