//! The one-way arrow: `schemas ← log ← state ← topology ← scheduler ← examples, integration`.

use crate::finding::Finding;

/// One package and the packages of this workspace that it needs, each by its directory.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its directory from the root: `log`, `log/etcd`.
    pub(crate) dir: String,
    /// Directories of its dependencies, of every kind.
    pub(crate) needs: Vec<String>,
}

/// Packages below a directory inherit its place.
const ORDER: [(&str, u8); 7] = [
    ("schemas", 0),
    ("log", 1),
    ("state", 2),
    ("topology", 3),
    ("scheduler", 4),
    ("examples", 5),
    ("integration", 5),
];

/// Every arrow that points right.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages {
        let manifest = format!("{}/Cargo.toml", package.dir);
        let mut say = |rule: String, remedy| found.push(Finding::new(&manifest, 0, rule, remedy));
        let Some((room, place)) = place_of(&package.dir) else {
            let remedy = "put it into the directory it belongs to, or give it a place in ORDER";
            say(format!("`{}` has no place in the order of packages", package.dir), remedy);
            continue;
        };
        for need in &package.needs {
            let allowed = match place_of(need) {
                Some((other, at)) => at < place || other == room,
                None => false,
            };
            if !allowed {
                let remedy = "move what is needed to the left, or pass it in from the right";
                say(format!("`{}` may not depend on `{need}`", package.dir), remedy);
            }
        }
    }
    found
}

fn place_of(dir: &str) -> Option<(&'static str, u8)> {
    let room = dir.split('/').next().expect("split gives at least one part");
    ORDER.into_iter().find(|(name, _)| *name == room)
}

/// The workspace as cargo sees it.
pub(crate) fn workspace() -> Vec<Package> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo describes this workspace");
    let dir_of = |path: &cargo_metadata::camino::Utf8Path| {
        path.strip_prefix(&metadata.workspace_root).ok().map(|dir| dir.to_string())
    };
    let packages: Vec<Package> = metadata
        .packages
        .iter()
        .map(|package| Package {
            dir: package.manifest_path.parent().and_then(dir_of).expect("a member is inside"),
            needs: package
                .dependencies
                .iter()
                .filter_map(|need| dir_of(need.path.as_deref()?))
                .collect(),
        })
        .collect();
    assert!(packages.len() >= ORDER.len(), "only {} packages were found", packages.len());
    assert!(packages.iter().any(|p| !p.needs.is_empty()), "no arrow at all was found");
    packages
}

#[test]
fn an_arrow_to_the_right_or_to_a_sibling_is_found() {
    let package = |dir: &str, needs: &[&str]| Package {
        dir: dir.to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
    };
    let found = check(&[
        package("log", &["schemas", "topology"]),
        package("log/etcd", &["log", "schemas"]),
        package("state", &["topology/connectors/amqp"]),
        package("examples", &["integration", "topology"]),
        package("integration", &["schemas", "log", "state", "topology", "scheduler"]),
        package("tools", &[]),
    ]);
    let rules: Vec<_> = found.iter().map(|f| f.rule.as_str()).collect();
    assert_eq!(
        rules,
        [
            "`log` may not depend on `topology`",
            "`state` may not depend on `topology/connectors/amqp`",
            "`examples` may not depend on `integration`",
            "`tools` has no place in the order of packages",
        ]
    );
}
