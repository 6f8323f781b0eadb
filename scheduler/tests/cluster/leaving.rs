//! Bookies that go, and others that take their places: what is refused, and what is said.

use super::{Bookie, append, configure, orders, run, said, server};

fn bookies(dir: &std::path::Path) -> Vec<(String, String)> {
    let listed = run(dir, &["bookie", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let text = |bookie: &serde_json::Value, key| bookie[key].as_str().expect(key).to_owned();
    let rows = listed.as_array().expect("a list").iter();
    rows.map(|bookie| (text(bookie, "state"), text(bookie, "incarnation"))).collect()
}

/// It took the place of one that served: what that had acknowledged counted for nothing.
#[test]
fn a_bookie_that_is_up_is_not_replaced() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let text = std::fs::read_to_string(dir.join("b1.toml")).expect("a file");
    let other = text.replace("directory = \"b1\"", "directory = \"other\"");
    std::fs::write(dir.join("other.toml"), other).expect("a file");
    let first = Bookie::start(dir, 1);
    let before = bookies(dir);
    let replace = ["bookie", "--config", "other.toml", "--replace"];
    let (code, why) = said(dir, &replace);
    assert_eq!(code, Some(3), "{why}");
    let up = format!("egret: B1 is up as incarnation {} at 127.0.0.1:", before[0].1);
    assert!(why.starts_with(&up) && why.contains("end that process first"), "{why}");
    assert_eq!(bookies(dir), before);
    // On its own directory nothing is replaced, and the directory has a holder.
    let (code, why) = said(dir, &["bookie", "--config", "b1.toml", "--replace"]);
    assert_eq!((code, why.contains("is in use by process")), (Some(3), true), "{why}");
    // What the message says to do is enough.
    first.end();
    std::fs::rename(dir.join("other.toml"), dir.join("b1.toml")).expect("a file");
    let second = Bookie::start_with(dir, 1, &["--replace"]);
    assert_ne!(bookies(dir)[0].1, before[0].1);
    drop(second);
}

/// It began, made no copy, and said that the others were still written; called back, it was active with a
/// directory nobody knew anything of.
#[test]
fn a_bookie_goes_only_where_others_can_take_what_it_has() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut up: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders", "--partitions", "2"]);
    append(dir, 0..100);
    let state = || bookies(dir)[0].0.clone();

    let decommission = ["bookie", "decommission", "B1"];
    let (code, why) = said(dir, &decommission);
    assert_eq!(code, Some(3), "{why}");
    assert!(why.starts_with("egret: too few bookies for B1 to go, which stays active"), "{why}");
    assert!(why.contains("2 are up and active (B2, B3)"), "{why}");
    assert!(why.contains("start at least one more"), "{why}");
    assert_eq!(state(), "active");
    let (code, why) = said(dir, &["bookie", "decommission", "B9"]);
    assert_eq!((code, why.contains("B9 is not registered")), (Some(3), true), "{why}");

    // Marked all the same, and called back.
    let (code, why) = said(dir, &[&decommission[..], &["--no-wait"]].concat());
    assert_eq!(code, Some(0), "{why}");
    assert!(why.contains("warning: its copies stay for now") && why.contains("(B2, B3)"), "{why}");
    assert_eq!(state(), "draining");
    let out = run(dir, &["bookie", "set", "B1", "active"]);
    assert_eq!(out, "B1 is active, and no longer to go: what was copied elsewhere stays there\n");

    // What the message says to do is enough.
    up.push(Bookie::start(dir, 4));
    let out = run(dir, &decommission);
    assert!(
        out.ends_with("B1 is decommissioned: no ledger needs it, it may be stopped\n"),
        "{out}"
    );
    assert_eq!(run(dir, &decommission), "B1 is decommissioned already\n");
    assert_eq!(orders(dir), (0..100).collect::<Vec<u32>>());

    // Up, it can be called back; once it is not, nobody knows what it still has.
    let out = run(dir, &["bookie", "set", "B1", "active"]);
    assert!(out.contains("it begins with nothing, for no ledger names it"), "{out}");
    run(dir, &decommission);
    up.remove(0).end();
    let (code, why) = said(dir, &["bookie", "set", "B1", "active"]);
    assert_eq!(code, Some(3), "{why}");
    assert!(why.contains("B1 is decommissioned and not up") && why.contains("--replace"), "{why}");
    assert_eq!(state(), "decommissioned");
    std::fs::remove_dir_all(dir.join("b1")).expect("its directory");
    up.push(Bookie::start_with(dir, 1, &["--replace"]));
    assert_eq!(state(), "decommissioned", "a new directory undoes nothing");
    run(dir, &["bookie", "set", "B1", "active"]);
    assert_eq!(state(), "active");
    append(dir, 100..200);
    assert_eq!(orders(dir), (0..200).collect::<Vec<u32>>());
}
