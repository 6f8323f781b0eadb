//! The inputs kept in the repository, a directory for each target.
//!
//! A file named as a sample holds what the real encoder writes: it is made again by
//! `UPDATE=1 cargo test -p egret-fuzz`, and a test tells when the encoder writes something else. A file
//! named `found-…` once broke a promise, and one named `former-…` is of a format that is read and no
//! longer written; nobody makes those again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// The directory of a target's inputs.
pub fn dir(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Name and bytes of every input of a target, in order of names.
///
/// # Errors
/// When they cannot be read; there must be some.
pub fn inputs(target: &Target) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for file in fs::read_dir(dir(target))? {
        let file = file?;
        all.push((file.file_name().to_string_lossy().into_owned(), fs::read(file.path())?));
    }
    all.sort();
    Ok(all)
}

/// Whether a file is kept as it is, whatever the encoders write.
fn is_kept(name: &str) -> bool {
    name.starts_with("found-") || name.starts_with("former-")
}

/// What differs between the samples of a target and its directory, one line for each.
pub fn drift(target: &Target) -> Vec<String> {
    let held = inputs(target).unwrap_or_default();
    let samples = (target.samples)();
    let mut lines = Vec::new();
    for (name, bytes) in &samples {
        let place = format!("{}/{name}", target.name);
        match held.iter().find(|(held, _)| held == name) {
            None => lines.push(format!("{place} is missing")),
            Some((_, held)) if held != bytes => lines.push(format!(
                "{place}: {} bytes are kept, {} are written now, differing from byte {}",
                held.len(),
                bytes.len(),
                held.iter().zip(bytes).take_while(|(a, b)| a == b).count()
            )),
            Some(_) => {}
        }
    }
    for (name, _) in held.iter().filter(|(name, _)| !is_kept(name)) {
        if !samples.iter().any(|(sample, _)| sample == name) {
            lines.push(format!("{}/{name} is no sample any more", target.name));
        }
    }
    lines
}

/// Makes the directory of a target hold its samples.
///
/// # Errors
/// When it cannot be written.
pub fn update(target: &Target) -> io::Result<()> {
    let dir = dir(target);
    fs::create_dir_all(&dir)?;
    let samples = (target.samples)();
    for (name, _) in inputs(target)? {
        if !is_kept(&name) && !samples.iter().any(|(sample, _)| *sample == name) {
            fs::remove_file(dir.join(name))?;
        }
    }
    samples.iter().try_for_each(|(name, bytes)| fs::write(dir.join(name), bytes))
}
