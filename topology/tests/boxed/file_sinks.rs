//! Files written: what is shown is committed, each tuple once, whatever is killed where.

use std::fs;
use std::path::{Path, PathBuf};

use egret::testing::TopologyTest;
use egret::{FileSink, Generator, Guarantee, LogSpout, TopologyBuilder};

use super::{lines, shown};

fn followed(dir: PathBuf, tasks: u32) -> impl Fn(&mut TopologyBuilder) -> egret::Result<()> {
    move |t| {
        let lines = t.spout("in", 1, LogSpout::<String>::from_stream("lines"))?;
        lines.sink("out", FileSink::lines(&dir).tasks(tasks).roll_bytes(40))
    }
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("line {n:03}")).collect()
}

fn send(t: &mut TopologyTest, numbers: std::ops::Range<u32>) {
    for line in texts(numbers) {
        t.send("lines", [line]).unwrap();
        t.run_until_idle().unwrap();
    }
}

/// Ends the topology in order, so that the last parts are shown.
fn finish(t: &mut TopologyTest, dir: &Path, tasks: u32) {
    let dir = dir.to_owned();
    t.rebuild(move |t| {
        let lines = t.spout("in", 1, LogSpout::<String>::from_stream("lines").bounded())?;
        lines.sink("out", FileSink::lines(&dir).tasks(tasks).roll_bytes(40))
    });
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert!(t.is_finished());
}

#[test]
fn each_line_is_shown_once_wherever_the_process_is_killed() {
    for seed in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let mut t = TopologyTest::new(followed(dir.path().to_owned(), 2)).unwrap().seed(seed);
        for round in 0..4 {
            t.kill_anywhere();
            send(&mut t, round * 5..round * 5 + 5);
            let seen = lines(dir.path());
            let sent = texts(0..round * 5 + 5);
            let mut once = seen.clone();
            once.dedup();
            assert_eq!(once, seen, "seed {seed}: each at most once");
            assert!(seen.iter().all(|line| sent.contains(line)), "seed {seed}: {seen:?}");
        }
        assert!(shown(dir.path()).len() > 1, "parts are shown while it runs");
        finish(&mut t, dir.path(), 2);
        assert_eq!(lines(dir.path()), texts(0..20), "seed {seed}");
    }
}

#[test]
fn each_line_is_shown_once_with_a_kill_at_any_place() {
    let run = |at: Option<u64>| {
        let dir = tempfile::tempdir().unwrap();
        let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap().seed(2);
        t.workers(1);
        if let Some(at) = at {
            t.kill_at(at);
        }
        send(&mut t, 0..6);
        let places = t.failpoints();
        finish(&mut t, dir.path(), 1);
        assert_eq!(lines(dir.path()), texts(0..6), "killed at {at:?} of {places}");
        places
    };
    let places = run(None);
    for at in (0..places).step_by(11) {
        run(Some(at));
    }
}

#[test]
fn a_part_that_was_shown_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
    send(&mut t, 0..12);
    let before: Vec<_> = shown(dir.path());
    let content = |name: &String| fs::read_to_string(dir.path().join(name)).unwrap();
    let contents: Vec<_> = before.iter().map(content).collect();
    assert!(before.len() > 1, "{before:?}");
    t.restore().unwrap();
    send(&mut t, 12..24);
    assert_eq!(before.iter().map(content).collect::<Vec<_>>(), contents);
    assert_eq!(before[0], "part-00000-000001.txt");
}

#[test]
fn tasks_that_are_no_more_leave_their_parts_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 4)).unwrap();
    let mut sent = 0;
    for tasks in [4, 1, 3] {
        t.tasks("out", tasks).restore().unwrap();
        send(&mut t, sent..sent + 9);
        sent += 9;
        t.kill();
    }
    finish(&mut t, dir.path(), 3);
    assert_eq!(lines(dir.path()), texts(0..sent));
}

#[test]
fn whoever_takes_parts_away_is_not_in_the_way() {
    let (dir, taken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
    for round in 0..3 {
        send(&mut t, round * 8..round * 8 + 8);
        for name in shown(dir.path()) {
            fs::rename(dir.path().join(&name), taken.path().join(&name)).unwrap();
        }
        t.restore().unwrap();
    }
    finish(&mut t, dir.path(), 1);
    let mut all = [lines(dir.path()), lines(taken.path())].concat();
    all.sort();
    assert_eq!(all, texts(0..24));
}

/// The record of a run says of its last part that it is being written: whoever took that part away kept the topology from
/// ever starting again.
#[test]
fn the_last_part_of_a_run_may_be_taken_away_as_well() {
    let (dir, taken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 2)).unwrap();
    let notes = || {
        let entries = fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".shown-")).count()
    };
    for round in 0..4 {
        send(&mut t, round * 3..round * 3 + 3);
        finish(&mut t, dir.path(), 2);
        assert!(notes() <= 2, "one of each task, and none of parts before");
        // One end in order without anything new changes nothing.
        finish(&mut t, dir.path(), 2);
        for name in shown(dir.path()) {
            fs::rename(dir.path().join(&name), taken.path().join(&name)).unwrap();
        }
        t.rebuild(followed(dir.path().to_owned(), 2));
        t.restore().unwrap();
    }
    assert_eq!(lines(taken.path()), texts(0..12));
    // What was not shown is missed as ever.
    send(&mut t, 12..13);
    t.kill();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with(".part-") {
            fs::remove_file(path).unwrap();
        }
    }
    let why = t.restore().and_then(|()| t.run_until_idle()).unwrap_err().to_string();
    assert!(why.contains("is gone, and"), "{why}");
}

#[test]
fn copies_that_a_crash_left_are_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 2)).unwrap();
    send(&mut t, 0..2);
    t.kill();
    for name in
        [".part-00000-000001.g1.copy", ".part-00001-000009.g1.copy", ".part-00005-000001.g1.copy"]
    {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    // Of a process that took the topology over and that this one does not know of yet.
    let later = dir.path().join(".part-00000-000001.g4000000.copy");
    fs::write(&later, "half").unwrap();
    fs::write(dir.path().join(".other.copy"), "of somebody else").unwrap();
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    let entries = fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut copies: Vec<_> = names.filter(|name| name.ends_with(".copy")).collect();
    copies.sort();
    assert_eq!(copies, [".other.copy", ".part-00000-000001.g4000000.copy"]);
    fs::remove_file(later).unwrap();
    finish(&mut t, dir.path(), 2);
    assert_eq!(lines(dir.path()), texts(0..2));
}

/// A process that was taken over and does not know goes on with files of its generation.
#[test]
fn what_a_process_writes_that_was_taken_over_is_never_shown() {
    let (dir, taken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
    send(&mut t, 0..8);
    t.restore().unwrap();
    send(&mut t, 8..16);
    for name in shown(dir.path()) {
        fs::rename(dir.path().join(&name), taken.path().join(&name)).unwrap();
    }
    for number in 1..9 {
        let path = dir.path().join(format!(".part-00000-{number:06}.g1"));
        fs::write(path, "of nobody, and longer than anything that was committed\n").unwrap();
    }
    t.restore().unwrap();
    send(&mut t, 16..20);
    finish(&mut t, dir.path(), 1);
    let mut all = [lines(dir.path()), lines(taken.path())].concat();
    all.sort();
    assert_eq!(all, texts(0..20));
}

#[test]
fn a_directory_that_does_not_hold_what_was_committed_is_refused() {
    let why = |change: fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
        send(&mut t, 0..2);
        t.kill();
        change(dir.path());
        t.restore().and_then(|()| t.run_until_idle()).unwrap_err().to_string()
    };
    let gone = why(|dir| {
        for entry in fs::read_dir(dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    });
    assert!(
        gone.contains("part-00000-000001.txt: is gone, and 18 bytes of it were committed"),
        "{gone}"
    );
    let foreign = why(|dir| fs::write(dir.join("part-00000-000009.txt"), "x").unwrap());
    assert!(foreign.contains("no commit of this topology made it"), "{foreign}");
}

#[test]
fn a_directory_of_an_earlier_life_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
    send(&mut t, 0..2);
    finish(&mut t, dir.path(), 1);
    drop(t);
    let mut t = TopologyTest::new(followed(dir.path().to_owned(), 1)).unwrap();
    let why = t.run_until_idle().unwrap_err().to_string();
    assert!(why.contains("no commit of this topology made it"), "{why}");
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Row {
    number: u64,
    text: String,
}
impl egret::Tuple for Row {}

#[test]
fn formats_are_what_they_are_called_under_every_guarantee() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::EffectivelyOnce] {
        let (csv, json) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (into_csv, into_json) = (csv.path().to_owned(), json.path().to_owned());
        let mut t = TopologyTest::new(move |t| {
            t.guarantee(guarantee);
            let row = |number| Row { number, text: format!("a, {number}") };
            let rows = t.spout("rows", 1, Generator::new(row).count(2))?;
            rows.sink("csv", FileSink::csv(&into_csv))?;
            rows.sink("json", FileSink::json_lines(&into_json))
        })
        .unwrap();
        t.run_until_idle().unwrap();
        let part = |dir: &Path, name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let rows = part(csv.path(), "part-00000-000001.csv");
        assert_eq!(rows, "number,text\n0,\"a, 0\"\n1,\"a, 1\"\n", "{guarantee}");
        let values = part(json.path(), "part-00000-000001.jsonl");
        let wanted = "{\"number\":0,\"text\":\"a, 0\"}\n{\"number\":1,\"text\":\"a, 1\"}\n";
        assert_eq!(values, wanted, "{guarantee}");
    }
}
