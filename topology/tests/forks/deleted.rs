//! Topologies that are deleted: what they held of others is let go of, what others hold of them is not, and whatever
//! ends the process that deletes one, the next goes on.

use egret::Emitter;
use egret::replica::{Replica, ReplicaError, ReplicaOptions};
use egret::runtime::named::NamedError;
use egret::runtime::topologies::{self, OwnStreams, TopologyError};
use egret_log::client::ReadError;

use super::*;

/// Forks `trial` from `words:forty`, and ends before it has written anything of its own.
fn fork_that_only_begins(log: &Log) {
    for left in 1.. {
        if log.metadata().get("/topology/trial").unwrap().is_some() {
            assert!(record(log, "trial").fork.is_some_and(|fork| fork.held), "it needs its parent");
            return;
        }
        let dying = Dying::over(log, left);
        run(&dying, "trial", Some("words:forty")).unwrap_err();
    }
}

/// What the metadata has of a topology.
fn traces(log: &Log, topology: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        log.metadata().list("/").unwrap().into_iter().map(|(k, _)| k).collect();
    keys.retain(|key| {
        key.split('/').any(|part| part == topology || part == format!("{topology}-counts"))
    });
    let users = log.users("lines").unwrap();
    let of = |user: &egret_log::stream::User| user.topology == topology;
    assert!(!users.consumers.keys().any(of) || !keys.is_empty(), "{topology} holds `lines`");
    keys
}

/// Whoever runs a topology says so; neither it nor a fork of it is disturbed by who would delete it.
pub(crate) fn is_refused_while_it_runs(log: &Log, topology: &str) {
    let refused = topologies::delete(log, topology, OwnStreams::Delete).unwrap_err();
    let runs = matches!(&refused, TopologyError::Runs { .. }) && refused.is_refusal();
    assert!(runs && refused.to_string().contains("is run by a process: end that"), "{refused}");
    assert!(!record(log, topology).deleting);
}

/// Once, a fork that was never run again held its parent's name for ever.
#[test]
fn a_fork_that_is_deleted_lets_go_of_what_it_was_forked_from() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    fork_that_only_begins(&log);
    let held = named::delete(&log, "words", "forty").unwrap_err().to_string();
    assert!(held.contains("`forty` is kept for what was forked from it, `trial`"), "{held}");

    let refused = topologies::delete(&log, "words", OwnStreams::Delete).unwrap_err();
    assert!(matches!(&refused, TopologyError::Forked { .. }) && refused.is_refusal(), "{refused}");
    assert!(refused.to_string().contains("what was forked from it, `trial`"), "{refused}");
    let refused = topologies::delete(&log, "word", OwnStreams::Delete).unwrap_err();
    assert!(refused.to_string().contains("there are `trial`, `words`"), "{refused}");
    let refused = topologies::delete(&log, "words", OwnStreams::Refuse).unwrap_err();
    assert!(matches!(&refused, TopologyError::Owns { .. }) && refused.is_refusal(), "{refused}");
    assert!(!record(&log, "words").deleting, "nothing was changed");

    let list = topologies::list(&log).unwrap();
    assert_eq!(list.iter().map(|info| &*info.name).collect::<Vec<_>>(), ["trial", "words"]);
    assert_eq!(list[0].origin.as_ref().map(ToString::to_string).as_deref(), Some("words:forty"));
    assert!(list[0].holds_origin && list[1].forks == ["trial".to_owned()].into());
    assert_eq!((&list[1].names[..], list[1].streams.len()), (&["forty".to_owned()][..], 1));

    let deleted = topologies::delete(&log, "trial", OwnStreams::Delete).unwrap();
    assert_eq!(deleted.released, Some("words:forty".parse().unwrap()));
    assert!(traces(&log, "trial").is_empty(), "{:?}", traces(&log, "trial"));
    named::delete(&log, "words", "forty").unwrap();
    write(&log, &words(70, 90));
    run(&log, "words", None).unwrap();
    goes_on(&log, "words", &[], &words(0, 90));
    log.close().unwrap();
}

#[test]
fn a_stream_that_others_read_keeps_its_topology() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    let mut t = TopologyBuilder::new("reads");
    let spout = LogSpout::<Blob>::from_stream("words-counts").bounded();
    let counts = t.spout("counts", 1, spout).unwrap();
    counts
        .shuffle()
        .bolt("nothing", 1, || |_: Blob, _: &mut Emitter<Blob>| {})
        .unwrap()
        .sink("out", LogSink::to_stream("out"))
        .unwrap();
    t.finish().unwrap().run(&log, &options(None), &Arc::default()).unwrap();
    let refused = topologies::delete(&log, "words", OwnStreams::Delete).unwrap_err();
    assert!(matches!(&refused, TopologyError::Read { .. }) && refused.is_refusal(), "{refused}");
    assert!(
        refused.to_string().contains("`words-counts` is read by topology `reads`"),
        "{refused}"
    );
    topologies::delete(&log, "reads", OwnStreams::Delete).unwrap();
    topologies::delete(&log, "words", OwnStreams::Delete).unwrap();
    assert_eq!(topologies::list(&log).unwrap(), []);
    log.close().unwrap();
}

#[test]
fn a_deletion_that_is_killed_anywhere_is_gone_on_with_and_the_topology_not_run_between() {
    let mut marked = 0;
    for left in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write(&log, &words(0, 6));
        run(&log, "words", None).unwrap();
        named::create(&log, "words", "forty").unwrap();
        write(&log, &words(6, 12));
        run(&log, "words", None).unwrap();
        let before = record(&log, "words");
        let ledgers: Vec<LedgerId> =
            before.state_ledgers.iter().chain(&before.commit_ledgers).copied().collect();
        let dying = Dying::over(&log, left);
        let ended = topologies::delete(&dying, "words", OwnStreams::Delete);
        drop(dying);
        let done = ended.is_ok();
        if !done && record(&log, "words").deleting {
            marked += 1;
            let refused = run(&log, "words", None).unwrap_err().to_string();
            assert!(refused.contains("is being deleted"), "{left}: {refused}");
            let refused = named::create(&log, "words", "late").unwrap_err();
            assert!(matches!(refused, NamedError::Deleting { .. }), "{left}: {refused}");
            assert!(run(&log, "trial", Some("words:forty")).is_err(), "{left}: it was forked");
            let mut replica = Replica::new("words", ReplicaOptions::default());
            let refused = replica.catch_up(&log).unwrap_err();
            assert!(matches!(refused, ReplicaError::Deleting { .. }), "{left}: {refused}");
            assert!(topologies::list(&log).unwrap()[0].deleting, "{left}");
        }
        if !done {
            // Half of its streams may be gone: that is asked for again, too.
            topologies::delete(&log, "words", OwnStreams::Delete)
                .unwrap_or_else(|e| panic!("{left}: {e}"));
        }
        assert!(traces(&log, "words").is_empty(), "{left}: {:?}", traces(&log, "words"));
        for ledger in ledgers {
            let there = log.ledgers().end(ledger);
            assert!(
                matches!(there, Err(ReadError::Record(_))),
                "{left}: {ledger} is there: {there:?}"
            );
        }
        log.close().unwrap();
        if left % 5 == 0 || done {
            // Its name is free: what runs under it begins with nothing, and reads everything.
            let log = open(dir.path());
            run(&log, "words", None).unwrap();
            goes_on(&log, "words", &[], &words(0, 12));
            log.close().unwrap();
        }
        if done {
            break;
        }
    }
    assert!(marked > 10, "it was killed only {marked} times in the middle");
}
