//! Partitions that a topology owns, and streams that one uses.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use egret_schemas::{EntryId, Epoch, Generation, Position, SegmentId};

use super::catalog::{decode_partition, encode_partition};
use super::error::{AppendError, OpenWriterError, TruncateError};
use super::partition::partition_key;
use super::tests::{all, strings, text, world};
use super::*;
use crate::caps;
use crate::metadata::{MetaStore, Op};

fn owner(generation: u32) -> Owner {
    Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 0,
        generation: Generation(generation),
    }
}

fn epoch(generation: u32, commit: u32) -> Epoch {
    Epoch::new(Generation(generation), commit, 0)
}

fn append(
    writer: &mut TransactionalWriter,
    epoch: Epoch,
    records: &[&str],
) -> (SegmentId, EntryId) {
    let records: Vec<Record> = records.iter().map(|s| text(s)).collect();
    let (sender, receiver) = sync_channel(1);
    writer.append(epoch, &records, Box::new(move |done| sender.send(done).unwrap()));
    receiver.recv().unwrap().unwrap()
}

fn open(log: &Log, generation: u32, committed: Option<Committed>) -> TransactionalWriter {
    log.transactional_writer("t", 0, &owner(generation), committed).unwrap()
}

#[test]
fn what_is_committed_is_visible_and_the_rest_never() {
    let world = world();
    world.owned(1 << 20);
    let mut writer = open(&world.log, 1, None);
    let c = append(&mut writer, epoch(1, 0), &["0", "1"]);
    append(&mut writer, epoch(1, 1), &["lost"]);
    assert_eq!(all(&world.log, "t"), Vec::<String>::new());
    writer.publish(c).unwrap();
    assert_eq!(all(&world.log, "t"), strings(0..2));

    let log = world.again();
    let mut next = open(&log, 2, Some((c.0, Some(c.1))));
    assert_eq!(all(&log, "t"), strings(0..2));
    let d = append(&mut next, epoch(2, 0), &["2"]);
    next.publish(d).unwrap();
    assert_eq!(all(&log, "t"), strings(0..3), "and numbers stay dense");

    let (sender, receiver) = sync_channel(1);
    writer.append(epoch(1, 2), &[text("zombie")], Box::new(move |d| sender.send(d).unwrap()));
    assert!(receiver.recv().unwrap().is_err());
    assert!(matches!(
        log.transactional_writer("t", 0, &owner(1), None),
        Err(OpenWriterError::Superseded { .. })
    ));
}

/// Whatever of the commits is published before the crash: a restart at a commit shows exactly it.
#[test]
fn recovery_at_any_commit_over_rolls_drops_exactly_the_rest() {
    for committed in 0..8u32 {
        for published in 0..=committed {
            let world = world();
            world.owned(if committed % 2 == 0 { 1 } else { 60 });
            let mut writer = open(&world.log, 1, None);
            let first = writer.segment();
            let at: Vec<_> =
                (0..8u32).map(|n| append(&mut writer, epoch(1, n), &[&n.to_string()])).collect();
            if published > 0 {
                writer.publish(at[published as usize - 1]).unwrap();
            }
            assert_eq!(all(&world.log, "t"), strings(0..u64::from(published)));
            let log = world.again();
            let c = match committed {
                0 => (first, None),
                n => (at[n as usize - 1].0, Some(at[n as usize - 1].1)),
            };
            let mut writer = open(&log, 2, Some(c));
            assert_eq!(all(&log, "t"), strings(0..u64::from(committed)), "at {c:?}");
            let d = append(&mut writer, epoch(2, 0), &[&committed.to_string()]);
            writer.publish(d).unwrap();
            assert_eq!(all(&log, "t"), strings(0..u64::from(committed) + 1));
            // And once more at the old position: nothing after it was committed, it says.
            let stale = world.again().transactional_writer("t", 0, &owner(3), Some(c));
            assert!(stale.is_err(), "{d:?} was published");
        }
    }
}

/// A partition of another process is cut first, and opened there later: as if it had been opened at once,
/// and nothing is begun in between.
#[test]
fn a_partition_that_is_cut_is_opened_elsewhere_at_the_same_commit() {
    for committed in 0..8u32 {
        for published in 0..=committed {
            let world = world();
            world.owned(if committed % 2 == 0 { 1 } else { 60 });
            let mut writer = open(&world.log, 1, None);
            let first = writer.segment();
            let at: Vec<_> =
                (0..8u32).map(|n| append(&mut writer, epoch(1, n), &[&n.to_string()])).collect();
            if published > 0 {
                writer.publish(at[published as usize - 1]).unwrap();
            }
            let c = match committed {
                0 => (first, None),
                n => (at[n as usize - 1].0, Some(at[n as usize - 1].1)),
            };
            let log = world.again();
            let segments = || log.describe("t").unwrap().partitions[0].segments.clone();
            // However often: whoever cuts may die, and be followed by another.
            for generation in [2, 2, 3] {
                log.cut_partition("t", 0, &owner(generation), Some(c)).unwrap();
                assert_eq!(all(&log, "t"), strings(0..u64::from(committed)), "at {c:?}");
                assert_eq!(segments().last().unwrap().id, c.0, "what lay beyond is gone");
            }
            let (sender, receiver) = sync_channel(1);
            let zombie = Box::new(move |done| sender.send(done).unwrap());
            writer.append(epoch(1, 9), &[text("zombie")], zombie);
            assert!(receiver.recv().unwrap().is_err(), "whoever wrote is shut out");
            let late = log.cut_partition("t", 0, &owner(2), Some(c));
            assert!(matches!(late, Err(OpenWriterError::Superseded { .. })), "{late:?}");
            let mut writer = open(&world.again(), 3, Some(c));
            let d = append(&mut writer, epoch(3, 0), &[&committed.to_string()]);
            writer.publish(d).unwrap();
            assert_eq!(
                all(&log, "t"),
                strings(0..u64::from(committed) + 1),
                "and numbers are dense"
            );
        }
    }
}

#[test]
fn a_partition_of_which_nothing_was_committed_is_cut_to_nothing() {
    let world = world();
    world.owned(60);
    let mut writer = open(&world.log, 1, None);
    append(&mut writer, epoch(1, 0), &["lost"]);
    let log = world.again();
    log.cut_partition("t", 0, &owner(2), None).unwrap();
    assert!(log.describe("t").unwrap().partitions[0].segments.is_empty());
    let mut writer = open(&log, 2, None);
    let d = append(&mut writer, epoch(2, 0), &["0"]);
    writer.publish(d).unwrap();
    assert_eq!(all(&log, "t"), strings(0..1));
}

/// Segments rolled behind an open one are open, too: none of them is the end for readers.
#[test]
fn the_visible_end_is_in_the_first_open_segment() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    let at: Vec<_> =
        (0..4u32).map(|n| append(&mut writer, epoch(1, n), &[&n.to_string()])).collect();
    let end = || world.log.describe("t").unwrap().partitions[0].clone();
    assert_eq!((end().end, end().records), (Position::START, 0));
    let latest = world.log.reader("t", 0, ReadFrom::Latest).unwrap();
    assert_eq!(latest.position(), Position::START);
    writer.publish(at[1]).unwrap();
    assert_eq!((end().end.to_string().as_str(), end().records), ("S3:0:0", 2));
    assert!(world.log.truncate("t", 0, "S3:1:0".parse().unwrap(), false).is_err());
    world.log.truncate("t", 0, "S3:0:0".parse().unwrap(), false).unwrap();
    writer.publish(at[3]).unwrap();
    assert_eq!(all(&world.log, "t"), strings(2..4));
}

#[test]
fn a_restart_without_new_commits_repeats() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    let c = append(&mut writer, epoch(1, 0), &["0"]);
    for generation in 2..6 {
        let mut writer = open(&world.again(), generation, Some((c.0, Some(c.1))));
        append(&mut writer, epoch(generation, 0), &["lost"]);
    }
    let log = world.again();
    let writer = open(&log, 9, Some((c.0, Some(c.1))));
    assert_eq!(all(&log, "t"), ["0"]);
    let segments = &log.describe("t").unwrap().partitions[0].segments;
    assert_eq!(segments.len(), 2, "those that were dropped do not pile up: {segments:?}");
    writer.close(None).unwrap();
    open(&log, 10, Some((c.0, Some(c.1))));
    assert_eq!(all(&log, "t"), ["0"]);
}

#[test]
fn a_clean_stop_closes_at_the_last_commit() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    let at: Vec<_> =
        (0..4u32).map(|n| append(&mut writer, epoch(1, n), &[&n.to_string()])).collect();
    writer.close(Some(at[1])).unwrap();
    assert_eq!(all(&world.log, "t"), strings(0..2));
    open(&world.log, 2, Some((at[1].0, Some(at[1].1))));
    assert_eq!(all(&world.log, "t"), strings(0..2));
}

#[test]
fn epochs_never_go_down_nor_leave_the_generation() {
    let world = world();
    world.owned(1 << 20);
    let mut writer = open(&world.log, 1, None);
    append(&mut writer, epoch(1, 3), &["a"]);
    for wrong in [epoch(1, 2), epoch(2, 0)] {
        let (sender, receiver) = sync_channel(1);
        writer.append(wrong, &[text("b")], Box::new(move |done| sender.send(done).unwrap()));
        let error = receiver.recv().unwrap().unwrap_err();
        assert!(matches!(error, AppendError::EpochWentBack { .. }), "{error}");
    }
    append(&mut writer, epoch(1, 3), &["c"]);
}

#[test]
fn a_cut_through_a_commit_is_refused() {
    let world = world();
    world.owned(1 << 20);
    let mut writer = open(&world.log, 1, None);
    let c = append(&mut writer, epoch(1, 3), &["a"]);
    append(&mut writer, Epoch::new(Generation(1), 3, 1), &["b"]);
    let error = world.again().transactional_writer("t", 0, &owner(2), Some((c.0, Some(c.1))));
    assert!(matches!(error, Err(OpenWriterError::CutInsideCommit { .. })), "{error:?}");
}

#[test]
fn a_missing_committed_entry_is_damage() {
    let world = world();
    world.owned(1 << 20);
    let mut writer = open(&world.log, 1, None);
    append(&mut writer, epoch(1, 0), &["a"]);
    let c = append(&mut writer, epoch(1, 1), &["b"]);
    let ledger = world.log.describe("t").unwrap().partitions[0].segments[0].ledger;
    world.bookie.lose(ledger, EntryId(0));
    let error = world.again().transactional_writer("t", 0, &owner(2), Some((c.0, Some(c.1))));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("entry 0 was committed and is gone"), "{error}");
}

/// What a later commit closed has entries that readers saw, so whoever comes with an earlier one is told that.
#[test]
fn a_commit_before_the_last_closed_segment_is_refused_as_too_old() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    let at: Vec<_> =
        (0..3u32).map(|n| append(&mut writer, epoch(1, n), &[&n.to_string()])).collect();
    writer.publish(at[2]).unwrap();
    let opened = |n: usize| {
        let c = Some((at[n].0, Some(at[n].1)));
        world.again().transactional_writer("t", 0, &owner(2), c)
    };
    let error = opened(0).unwrap_err();
    let second = at[1].0;
    assert!(
        matches!(error, OpenWriterError::CommitTooOld { segment } if segment == second),
        "{error}"
    );
    opened(2).unwrap();
    assert_eq!(all(&world.again(), "t"), strings(0..3));
}

/// A roll leaves its segment open and notes where that one ends. Without the note an end would be a guess, and what
/// was committed would go with it.
#[test]
fn a_segment_before_the_commits_of_which_nobody_noted_the_end_is_not_closed() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    append(&mut writer, epoch(1, 0), &["0"]);
    let c = append(&mut writer, epoch(1, 1), &["1"]);
    let key = partition_key("t", 0);
    let held = world.meta.get(&key).unwrap().unwrap();
    let noted = decode_partition(&held.value).unwrap();
    let mut record = noted.clone();
    assert!(record.segments[1].rolled_at.take().is_some());
    let put = |record| world.meta.txn(&[], &[Op::Put(key.clone(), encode_partition(record))]);
    put(&record).unwrap();
    let opened = || world.again().transactional_writer("t", 0, &owner(2), Some((c.0, Some(c.1))));
    let error = opened().unwrap_err();
    let first = noted.segments[0].id;
    assert!(
        matches!(error, OpenWriterError::EndUnknown { segment } if segment == first),
        "{error}"
    );
    // Nothing was lost by that.
    put(&noted).unwrap();
    opened().unwrap();
    assert_eq!(all(&world.again(), "t"), strings(0..2));
}

#[test]
fn only_the_owner_writes() {
    let world = world();
    world.owned(1 << 20);
    let plain = world.log.writer("t", 0).unwrap_err().to_string();
    assert!(plain.contains("topology `words` alone"), "{plain}");
    let other = Owner { topology: "other".to_owned(), ..owner(1) };
    let error = world.log.transactional_writer("t", 0, &other, None).unwrap_err();
    assert!(matches!(error, OpenWriterError::Owned { .. }));
    world.plain(1);
    let error = world.log.transactional_writer("s", 0, &owner(1), None).unwrap_err();
    assert!(matches!(error, OpenWriterError::NotTransactional { .. }));
    let never = world.log.transactional_writer("t", 0, &owner(1), Some((SegmentId(7), None)));
    let never = never.unwrap_err();
    assert!(matches!(never, OpenWriterError::UnknownSegment { .. }));
    assert!(never.to_string().contains("S7, which partition 0 of stream `t` never had"), "{never}");
}

#[test]
fn readers_of_a_transactional_stream_wait_for_the_commit() {
    let world = world();
    world.owned(1);
    let mut writer = open(&world.log, 1, None);
    let log = world.log.clone();
    let reading = std::thread::spawn(move || {
        let mut reader = log.reader("t", 0, ReadFrom::Earliest).unwrap();
        let mut found = Vec::new();
        while found.len() < 50 {
            let batch = reader.next_wait(Duration::from_secs(20)).unwrap().expect("in time");
            found
                .extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
        }
        found
    });
    for n in 0..50u32 {
        let at = append(&mut writer, epoch(1, n), &[&n.to_string()]);
        if n % 3 == 1 || n == 49 {
            writer.publish(at).unwrap();
        }
    }
    assert_eq!(reading.join().unwrap(), strings(0..50));
}

fn user(component: &str) -> User {
    User { topology: "words".to_owned(), component: component.to_owned() }
}

#[test]
fn a_stream_in_use_is_neither_deleted_nor_truncated_past_its_readers_unless_by_force() {
    let world = world();
    let writer = world.plain(40);
    let positions: Vec<_> =
        (0..20).map(|n| writer.append_wait(&[text(&n.to_string())]).unwrap().position).collect();
    let at = |n: usize| [(0, positions[n])].into();
    world.log.consume("s", &user("in"), &at(5)).unwrap();
    world.log.consume("s", &user("in"), &at(3)).unwrap();
    world.log.consume("s", &user("late"), &at(9)).unwrap();
    world.log.produce("s", &user("out")).unwrap();
    let needed = TruncateError::Needed {
        stream: "s".to_owned(),
        partition: 0,
        user: user("in"),
        needed: positions[5],
    };
    assert_eq!(world.log.truncate("s", 0, positions[6], false), Err(needed));
    world.log.truncate("s", 0, positions[5], false).unwrap();
    let error = world.log.delete_stream("s", false).unwrap_err().to_string();
    assert!(
        error.contains("read by words/in, read by words/late, written by words/out"),
        "{error}"
    );
    assert_eq!(writer.append_wait(&[text("20")]).unwrap().records, 1, "its writer is left alone");
    world.log.truncate("s", 0, positions[8], true).unwrap();
    let users = world.again().users("s").unwrap();
    assert_eq!(users.consumers.into_keys().collect::<Vec<_>>(), [user("late")]);
    world.log.delete_stream("s", true).unwrap();
    assert!(world.log.consume("s", &user("in"), &at(5)).is_err());
    world.plain(40);
    assert!(world.log.users("s").unwrap().is_empty(), "it is another stream");
    world.log.delete_stream("s", false).unwrap();
}

#[test]
fn a_stream_that_a_topology_owns_is_deleted_only_by_force() {
    let world = world();
    world.owned(1000);
    let error = world.log.delete_stream("t", false).unwrap_err().to_string();
    assert!(error.contains("owned by words"), "{error}");
    world.log.delete_stream("t", true).unwrap();
}

#[test]
fn the_users_of_a_stream_are_bounded() {
    let world = world();
    world.plain(1000);
    for n in 0..caps::STREAM_USERS_MAX {
        world.log.produce("s", &user(&n.to_string())).unwrap();
    }
    world.log.produce("s", &user("0")).unwrap();
    let error = world.log.produce("s", &user("one more")).unwrap_err().to_string();
    assert!(error.contains("no more are kept"), "{error}");
}
