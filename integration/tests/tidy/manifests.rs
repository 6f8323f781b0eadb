//! Manifests: every package inherits the lints, and the engine is pinned exactly.

use crate::finding::Finding;
use crate::tree::File;

/// What is wrong with one manifest.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let name = file.path.rsplit('/').next().expect("a path has a last part");
    let Some(text) = file.text.as_deref().filter(|_| name == "Cargo.toml") else {
        return Vec::new();
    };
    let find = |rule: &str, remedy: &str| Finding::new(&file.path, 0, rule, remedy);
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![find("a manifest is TOML", &error.to_string())],
    };
    let mut found = Vec::new();
    let inherits = |m: &toml::Table| m.get("lints")?.get("workspace")?.as_bool();
    // One that is a workspace itself cannot inherit: what cargo-fuzz builds.
    let is_member = !manifest.contains_key("workspace");
    if manifest.contains_key("package") && is_member && inherits(&manifest) != Some(true) {
        found.push(find("every package has the workspace's lints", "add [lints] workspace = true"));
    }
    let shared = manifest.get("workspace").and_then(|w| w.get("dependencies"));
    for table in [shared, manifest.get("dependencies"), manifest.get("dev-dependencies")] {
        for engine in ["timely", "differential-dataflow"] {
            let version = table.and_then(|t| t.get(engine)).and_then(version_of);
            if version.is_some_and(|v| !v.starts_with('=')) {
                let rule = format!("`{engine}` is pinned exactly");
                let remedy = "write \"=x.y.z\": its API moves between versions";
                found.push(Finding::new(&file.path, 0, rule, remedy));
            }
        }
    }
    found
}

fn version_of(dependency: &toml::Value) -> Option<&str> {
    dependency.as_str().or_else(|| dependency.get("version")?.as_str())
}

#[test]
fn a_package_without_lints_and_a_loose_engine_are_found() {
    let text = "[package]\nname = \"a\"\n[dependencies]\ntimely = \"0.32\"\ndifferential-dataflow = { version = \"0.26\" }\n";
    assert_eq!(check(&File::snippet("log/Cargo.toml", text)).len(), 3);
    let text = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n[dependencies]\ntimely.workspace = true\n";
    assert_eq!(check(&File::snippet("log/Cargo.toml", text)), []);
    let apart = "[package]\nname = \"a\"\n[workspace]\n";
    assert_eq!(check(&File::snippet("integration/fuzz/libfuzzer/Cargo.toml", apart)), []);
    assert_eq!(check(&File::snippet("log/other.toml", "not toml")), []);
}
