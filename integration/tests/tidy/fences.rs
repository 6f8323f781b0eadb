//! Who may use what. Each fence is a row: the rooms it holds for, what may not stand there, what to do.

use crate::finding::Finding;
use crate::paths::Path;
use crate::tree::File;

/// One fence over product code, tests excepted.
struct Fence {
    rule: &'static str,
    remedy: &'static str,
    holds_in: fn(&str) -> bool,
    /// A path under one of these is over the fence.
    under: &'static [&'static str],
    /// A path ending in one of these is over the fence.
    ends_in: &'static [&'static str],
}

/// Rooms whose code is `step(now, input) → effects`.
const PURE: [&str; 9] = [
    "log/src/ledger",
    "state/src/commit",
    "state/src/keyed",
    "state/src/view",
    "scheduler/src/packing",
    "topology/src/plan",
    "topology/src/window",
    "topology/src/cep",
    "topology/src/streamlet/join",
];

const FENCES: &[Fence] = &[
    Fence {
        rule: "a pure room takes facts and gives effects",
        remedy: "take what you need as an argument, and let the driver outside ask for it",
        holds_in: is_pure,
        under: &[
            "std::fs",
            "std::net",
            "std::os",
            "std::process",
            "std::thread",
            "std::time",
            "std::sync::mpsc",
            "std::sync::Condvar",
            "tokio",
            "rand",
            "fastrand",
            "getrandom",
            "rustix",
            "crate::clock",
            "crate::disk",
            "egret_log::clock",
            "egret_log::disk",
        ],
        ends_in: &["sync::mpsc", "sync::Condvar"],
    },
    Fence {
        rule: "a pure room replays the same every time, and this map iterates in random order",
        remedy: "use BTreeMap or BTreeSet, or hashbrown with a fixed hasher where order reaches no effect",
        holds_in: is_pure,
        under: &[
            "std::collections::HashMap",
            "std::collections::HashSet",
            "std::collections::hash_map",
            "std::collections::hash_set",
            "std::hash::RandomState",
        ],
        ends_in: &["collections::HashMap", "collections::HashSet"],
    },
    Fence {
        rule: "only topology/src/dataflow knows timely",
        remedy: "say it in the plan and compile it there: timely's API moves, and a move touches one directory",
        holds_in: |path| !in_room(path, "topology/src/dataflow"),
        under: &[
            "timely",
            "timely_communication",
            "timely_container",
            "timely_bytes",
            "timely_logging",
            "differential_dataflow",
        ],
        ends_in: &[],
    },
    Fence {
        rule: "only */src/rpc knows capnp_rpc",
        remedy: "it is Rc-based: keep it on its thread in rpc/, joined by bounded channels",
        holds_in: |path| !path.contains("/src/rpc"),
        under: &["capnp_rpc"],
        ends_in: &[],
    },
    Fence {
        rule: "a schema reader stays in schemas",
        remedy: "convert it there to a typed value, and pass that on",
        holds_in: |path| !path.starts_with("schemas/") && !path.contains("/src/rpc"),
        under: &["capnp"],
        ends_in: &[],
    },
    Fence {
        rule: "only log/src/disk opens the log's files",
        remedy: "go through the Disk trait, so that the faulty disk can fail it",
        // The socket's name is no file of the log: it says nothing after the process is gone.
        holds_in: |path| {
            path.starts_with("log/src/")
                && !in_room(path, "log/src/disk")
                && path != "log/src/rpc/socket.rs"
        },
        under: &["std::fs", "std::os::unix::fs", "rustix::fs", "tokio::fs"],
        ends_in: &["File::open", "File::create", "OpenOptions::new"],
    },
    Fence {
        rule: "only scheduler/src/backend and topology/src/runtime/local start processes",
        remedy: "ask one of them to place it",
        holds_in: |path| {
            !in_room(path, "scheduler/src/backend")
                && !path.starts_with("topology/src/runtime/local")
        },
        under: &["std::process::Command", "tokio::process"],
        ends_in: &["process::Command", "Command::spawn"],
    },
    Fence {
        rule: "only topology/src/runtime/probe.rs and scheduler/src/health ask the host for figures",
        remedy: "take the figures from them",
        holds_in: |path| {
            path != "topology/src/runtime/probe.rs" && !in_room(path, "scheduler/src/health")
        },
        under: &["sysinfo"],
        ends_in: &[],
    },
    Fence {
        rule: "bytes that cross a disk or a trust line are never bincode, abomonation or raw memory",
        remedy: "write a codec with egret_schemas::bytes, or use postcard for what users define",
        holds_in: |path| !path.starts_with("topology/abomonation/"),
        under: &["bincode", "abomonation"],
        ends_in: &["mem::transmute", "slice::from_raw_parts"],
    },
    Fence {
        rule: "only a clock.rs reads the clock",
        remedy: "take the time as an argument, or call egret_log::clock::now in a driver",
        holds_in: |path| !path.ends_with("/clock.rs"),
        under: &["std::time::UNIX_EPOCH"],
        ends_in: &["Instant::now", "SystemTime::now", "time::SystemTime"],
    },
];

/// A number with a unit, and no clock.
const HARMLESS: [&str; 1] = ["std::time::Duration"];

/// Every fence this file crosses outside its tests.
pub(crate) fn check(file: &File) -> Vec<Finding> {
    let mut found = Vec::new();
    for path in file.product_paths() {
        for fence in FENCES.iter().filter(|fence| (fence.holds_in)(&file.path)) {
            if fence.is_crossed_by(path) {
                let rule = format!("`{}`: {}", path.text, fence.rule);
                found.push(Finding::new(&file.path, path.line, rule, fence.remedy));
            }
        }
        if has_no_bound(path) {
            let rule = format!("`{}`: no channel without a bound", path.text);
            let remedy = "use sync_channel with a capacity from caps.rs, and say who waits";
            found.push(Finding::new(&file.path, path.line, rule, remedy));
        }
    }
    if is_pure(&file.path) {
        found.extend(waits(file));
    }
    found
}

impl Fence {
    fn is_crossed_by(&self, path: &Path) -> bool {
        let hit = self.under.iter().any(|p| path.is_under(p))
            || self.ends_in.iter().any(|p| path.ends_in(p));
        hit && !HARMLESS.iter().any(|p| path.is_under(p))
    }
}

/// `async` and `.await` in a pure room.
fn waits(file: &File) -> Vec<Finding> {
    let is_word = |w: &str| matches!(w, "async" | "await");
    let words =
        |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(is_word);
    let hit = |(line, _)| {
        let rule = "a pure room waits for nothing";
        Finding::new(&file.path, line, rule, "return an effect, and let the driver wait")
    };
    file.product_lines().filter(|(_, text)| words(text)).map(hit).collect()
}

/// `mpsc::channel()`, however it was imported, and everybody's `unbounded`.
fn has_no_bound(path: &Path) -> bool {
    let last = path.text.rsplit("::").next().expect("a path has a last segment");
    let then = match path.then.strip_prefix("::<") {
        Some(rest) => rest.rsplit_once(">(").map_or("", |(_, args)| args),
        None => path.then.strip_prefix('(').unwrap_or("-"),
    };
    match last {
        "channel" if path.text == "std::sync::mpsc::channel" => true,
        "channel" => path.ends_in("mpsc::channel") && then.starts_with(')'),
        "unbounded" | "unbounded_channel" => true,
        _ => false,
    }
}

fn is_pure(path: &str) -> bool {
    PURE.iter().any(|room| in_room(path, room))
}

/// `log/src/disk` holds `log/src/disk.rs` and all below `log/src/disk/`.
fn in_room(path: &str, room: &str) -> bool {
    let rest = path.strip_prefix(room);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<String> {
        let file = File::snippet(path, text);
        check(&file).into_iter().map(|f| format!("{} {}", f.line, f.rule)).collect()
    }

    /// Every fence: a place where it holds, code that crosses it, and a place where that code may be.
    #[test]
    fn each_fence_can_be_seen_to_hold() {
        let cases = [
            ("log/src/ledger/writer.rs", "use std::{fs, io};", "log/src/disk/real.rs"),
            (
                "log/src/ledger/writer.rs",
                "let s = std::net::TcpStream::connect(a);",
                "log/src/rpc/client.rs",
            ),
            ("state/src/commit/step.rs", "use std::thread;", "state/src/trim.rs"),
            ("state/src/commit.rs", "use std::time;", "state/src/trim.rs"),
            ("state/src/commit.rs", "static C: sync::Condvar = c;", "state/src/trim.rs"),
            ("scheduler/src/packing.rs", "use tokio::sync::Mutex;", "scheduler/src/api.rs"),
            ("topology/src/plan/pack.rs", "let r = rand::random();", "topology/src/local.rs"),
            (
                "topology/src/window/slide.rs",
                "use std::collections::HashMap;",
                "topology/src/local.rs",
            ),
            ("topology/src/cep/run.rs", "async fn run() {}", "topology/src/local.rs"),
            (
                "topology/src/runtime/mesh.rs",
                "use timely::communication;",
                "topology/src/dataflow/exchange.rs",
            ),
            (
                "state/src/keyed.rs",
                "fn f(s: differential_dataflow::Collection) {}",
                "topology/src/dataflow.rs",
            ),
            ("scheduler/src/api.rs", "use capnp_rpc::RpcSystem;", "scheduler/src/rpc/serve.rs"),
            ("log/src/stream/writer.rs", "use capnp::message::Reader;", "schemas/src/stream.rs"),
            ("log/src/bookie/journal.rs", "use std::fs::File;", "log/src/disk/real.rs"),
            ("log/src/bookie/journal.rs", "let f = rustix::fs::open(p);", "log/src/disk.rs"),
            ("log/src/rpc/server.rs", "rustix::fs::unlink(p);", "log/src/rpc/socket.rs"),
            (
                "topology/src/main_fn.rs",
                "use std::process::{self, Command};",
                "topology/src/runtime/local.rs",
            ),
            (
                "topology/src/runtime/mesh.rs",
                "use sysinfo::System;",
                "topology/src/runtime/probe.rs",
            ),
            (
                "log/src/bookie/index.rs",
                "let b = bincode::serialize(&v);",
                "topology/abomonation/src/lib.rs",
            ),
            ("log/src/bookie/index.rs", "let t = Instant::now();", "log/src/clock.rs"),
            ("log/src/bookie/index.rs", "use std::time::SystemTime;", "log/src/clock.rs"),
        ];
        for (bad, code, good) in cases {
            assert_ne!(rules(bad, code), Vec::<String>::new(), "{code} may not stand in {bad}");
            assert_eq!(rules(good, code), Vec::<String>::new(), "{code} may stand in {good}");
        }
    }

    #[test]
    fn a_channel_needs_a_bound() {
        let place = "log/src/client/driver.rs";
        for bad in [
            "use std::sync::mpsc::{channel, Sender};",
            "let (a, b) = mpsc::channel();",
            "let (a, b) = mpsc::channel::<(u8, Vec<u8>)>();",
            "let (a, b) = crossbeam::channel::unbounded();",
            "let (a, b) = tokio::sync::mpsc::unbounded_channel();",
        ] {
            assert_eq!(rules(place, bad).len(), 1, "{bad}");
        }
        for good in ["let (a, b) = mpsc::sync_channel(8);", "let (a, b) = mpsc::channel(8);"] {
            assert_eq!(rules(place, good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn tests_comments_and_durations_are_let_through() {
        let text = "//! Not std::fs.\nuse std::time::Duration;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
        assert_eq!(rules("log/src/ledger/writer.rs", text), Vec::<String>::new());
        assert_eq!(rules("log/tests/ledger.rs", "use std::fs;"), Vec::<String>::new());
    }

    #[test]
    fn a_finding_names_line_rule_and_remedy() {
        let file = File::snippet("log/src/ledger/a.rs", "//! A.\n\nuse std::fs;\n");
        let found = check(&file);
        let said = found[0].to_string();
        assert!(said.starts_with("log/src/ledger/a.rs:3: `std::fs`: a pure room"), "{said}");
        assert!(said.contains("let the driver outside ask"), "{said}");
    }
}
