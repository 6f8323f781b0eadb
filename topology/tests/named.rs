//! Named commits: gone back to exactly, kept through takeovers and trims, in nobody's way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::runtime::{named, topologies};
use egret::{
    Blob, Emitter, Error, LogSink, LogSpout, Progress, RunOptions, Summary, Topology,
    TopologyBuilder,
};
use egret_log::client::{Copies, Ledgers, OneBookie};
use egret_log::message::{Reply, ReplyTo, Request, Transport, Unknown, Wake};
use egret_log::metadata::conformance::lossy::Lossy;
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use egret_log::stream::{Record, StreamConfig, User};
use egret_log::{Log, clock};
use egret_schemas::{EntryId, Incarnation, LedgerId, Position};
use egret_state::commit::TopologyRecord;

use counting::{Count, open, rows};

fn topology(tasks: u32, bounded: bool) -> Topology {
    let mut t = TopologyBuilder::new("words");
    let spout = LogSpout::<Blob>::from_stream("lines");
    let spout = if bounded { spout.bounded() } else { spout };
    let lines = t.spout("lines", tasks, spout).unwrap();
    let counts = lines.fields(|w| w.as_bytes()).keyed("count", tasks, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    t.finish().unwrap()
}

/// Words `from..to`, of which some come again and again.
fn words(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("w{}", n * n % 23)).collect()
}

fn write(log: &Log, words: &[String]) {
    if log.stream("lines").is_err() {
        let config =
            StreamConfig { partitions: 3, segment_bytes_max: 400, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
    }
    for (n, word) in (0u32..).zip(words) {
        log.writer("lines", n % 3).unwrap().append_wait(&[Record::of(word.clone())]).unwrap();
    }
}

fn run_with(log: &Log, tasks: u32, restore: Option<&str>) -> Result<Summary, Error> {
    let restore = restore.map(str::to_owned);
    let options = RunOptions { workers: tasks, commit_ms: 5, restore, ..RunOptions::default() };
    topology(tasks, true).run(log, &options, &Arc::new(Progress::default()))
}

fn run(log: &Log) -> Summary {
    run_with(log, 1, None).unwrap()
}

fn counted(words: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    words.iter().for_each(|word| *counts.entry(word.clone()).or_insert(0) += 1);
    counts
}

/// Every record of `counts`, partition by partition, in order.
fn output(log: &Log) -> Vec<Vec<(String, u64)>> {
    let text = |(word, count)| (String::from_utf8(word).unwrap(), count);
    let of = |rows: Vec<_>| rows.into_iter().map(text).collect();
    rows(log, "counts").into_iter().map(of).collect()
}

fn last_of(rows: &[Vec<(String, u64)>]) -> BTreeMap<String, u64> {
    rows.iter().flatten().cloned().collect()
}

fn record(log: &Log) -> TopologyRecord {
    let held: Versioned = log.metadata().get("/topology/words").unwrap().unwrap();
    TopologyRecord::decode(&held.value).unwrap()
}

fn kept_by_names(log: &Log) -> Option<BTreeMap<u32, Position>> {
    let user = User { topology: "words".to_owned(), component: "lines@checkpoints".to_owned() };
    log.users("lines").unwrap().consumers.get(&user).cloned()
}

/// Each name has what it needs, and nothing is kept for no name.
fn check_names(log: &Log) {
    let record = record(log);
    let kept = kept_by_names(log);
    assert_eq!(kept.is_some(), !record.names.commits.is_empty(), "{kept:?}");
    for commit in named::list(log, "words").unwrap() {
        assert_eq!(commit.lost, None, "{}", commit.name);
        let kept = kept.as_ref().unwrap();
        for (partition, at) in &commit.positions["lines"] {
            let at: Position = at.split('@').next().unwrap().parse().unwrap();
            assert!(kept[&partition.parse().unwrap()] <= at, "{}", commit.name);
        }
    }
}

#[test]
fn a_restored_topology_has_exactly_the_state_of_the_named_commit() {
    for (tasks, then) in [(1, 1), (1, 3), (3, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (first, second) = (words(0, 100), words(100, 250));
        write(&log, &first);
        run_with(&log, tasks, None).unwrap();
        let made = named::create(&log, "words", "hundred").unwrap();
        assert_eq!(made.positions["lines"].len(), 3);
        write(&log, &second);
        run_with(&log, tasks, None).unwrap();
        let before = output(&log);
        let all = counted(&[first.clone(), second.clone()].concat());
        assert_eq!(last_of(&before), all);

        // What was read since is read again, on top of the state of then and of nothing else.
        let summary = run_with(&log, then, Some("hundred")).unwrap();
        assert_eq!(summary.tuples, 150, "it goes on right after the named commit");
        let after = output(&log);
        assert_eq!(last_of(&after), all, "{tasks} tasks, then {then}");
        let since: Vec<_> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| {
                assert_eq!(after[..before.len()], before[..], "what readers saw stays");
                after[before.len()..].to_vec()
            })
            .collect();
        let again: BTreeMap<_, _> = all.iter().filter(|(word, _)| second.contains(word)).collect();
        assert_eq!(last_of(&since).iter().collect::<BTreeMap<_, _>>(), again, "results come again");

        // It goes on from there, and the name is there to be gone back to again.
        let third = words(250, 260);
        write(&log, &third);
        assert_eq!(run_with(&log, tasks, None).unwrap().tuples, 10);
        let all = counted(&[first.clone(), second.clone(), third].concat());
        assert_eq!(last_of(&output(&log)), all);
        assert_eq!(run_with(&log, tasks, Some("hundred")).unwrap().tuples, 160);
        assert_eq!(last_of(&output(&log)), all);
        check_names(&log);
        log.close().unwrap();
    }
}

#[test]
fn the_command_goes_back_without_the_topologys_program() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 50));
    run(&log);
    named::create(&log, "words", "fifty").unwrap();
    write(&log, &words(50, 90));
    run(&log);
    let before = record(&log);
    let restored = named::restore(&log, "words", "fifty").unwrap();
    assert_eq!(restored.generation, before.generation.0 + 1);
    log.close().unwrap();
    // Another process, or this one later.
    let log = open(dir.path());
    assert_eq!(run(&log).tuples, 40);
    assert_eq!(last_of(&output(&log)), counted(&words(0, 90)));
    log.close().unwrap();
}

#[test]
fn a_name_survives_takeovers_and_trims_and_a_deletion_frees_what_only_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 30));
    run(&log);
    let made = named::create(&log, "words", "early").unwrap();
    assert!(!made.state.is_empty());
    // Each run begins a ledger; past sixteen they are written anew as one, and the old ones trimmed.
    let trim = |from: usize| {
        for n in from..from + 20 {
            write(&log, &words(n, n + 1));
            run(&log);
        }
    };
    trim(30);
    let newest: Vec<LedgerId> = made.state.keys().copied().collect();
    assert_eq!(named::list(&log, "words").unwrap()[0].only_named, newest, "trims went by");
    assert!(record(&log).generation.0 > 20);
    check_names(&log);

    let freed = named::delete(&log, "words", "early").unwrap();
    assert_eq!(freed.only_named, newest);
    for ledger in &newest {
        log.ledgers().describe(*ledger).unwrap();
    }
    trim(50);
    for ledger in &newest {
        assert!(log.ledgers().describe(*ledger).is_err(), "{ledger} is there still");
    }
    check_names(&log);
    assert_eq!(last_of(&output(&log)), counted(&words(0, 70)));
    log.close().unwrap();
}

/// Waits until something holds.
type Waits<'a> = dyn Fn(&dyn Fn() -> bool) + 'a;

/// Runs until what `seen` waits for of the output is there, which is after a commit.
fn run_until(
    log: &Log,
    topology: &Topology,
    restore: Option<&str>,
    seen: &dyn Fn(&Waits<'_>),
) -> Summary {
    let restore = restore.map(str::to_owned);
    let options = RunOptions { commit_ms: 2, restore, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| topology.run(log, &options, &progress));
        let until = clock::now() + Duration::from_secs(60);
        seen(&|so| {
            while log.stream("counts").is_err() || !so() {
                assert!(clock::now() < until && !runner.is_finished(), "it does not go on");
                std::thread::yield_now();
            }
        });
        progress.stop();
        runner.join().unwrap().unwrap()
    })
}

/// The ledgers of such a commit are closed behind it, by the takeover that goes back: later ones, that read
/// no further than it says, took that for damage.
#[test]
fn a_commit_in_the_middle_of_its_ledgers_is_gone_back_to_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 20));
    let all = || last_of(&output(&log));
    run_until(&log, &topology(1, false), None, &|wait| {
        wait(&|| all() == counted(&words(0, 20)));
        named::create(&log, "words", "middle").unwrap();
        write(&log, &words(20, 60));
        wait(&|| all() == counted(&words(0, 60)));
    });
    let newest = &named::create(&log, "words", "end").unwrap();
    let middle = &named::list(&log, "words").unwrap()[1];
    assert_eq!(middle.name, "middle");
    let further = |(ledger, n): (&LedgerId, &u64)| newest.state[ledger] > *n;
    assert!(middle.state.iter().any(further), "{middle:?}, {newest:?}");
    for _ in 0..2 {
        assert_eq!(run_with(&log, 1, Some("middle")).unwrap().tuples, 40);
        assert_eq!(all(), counted(&words(0, 60)));
        // Before anything is committed after it, too.
        named::restore(&log, "words", "middle").unwrap();
        assert_eq!(run(&log).tuples, 40);
        assert_eq!(run(&log).tuples, 0);
        assert_eq!(run_with(&log, 1, Some("end")).unwrap().tuples, 0);
    }
    check_names(&log);
    log.close().unwrap();
}

/// Going back is asked for once: a generation that fails afterwards is followed by one from its own commit.
#[test]
fn a_generation_that_fails_after_a_restore_does_not_go_back_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 20));
    let trap = Arc::new(AtomicU32::new(1));
    let mut t = TopologyBuilder::new("words");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    let sprung = Arc::clone(&trap);
    let checked = lines.shuffle().bolt("trap", 1, move || {
        let sprung = Arc::clone(&sprung);
        move |word: Blob, out: &mut Emitter<Blob>| {
            let now = word.as_bytes() == b"trap" && sprung.swap(0, Ordering::Relaxed) == 1;
            assert!(!now, "the trap is sprung");
            out.emit(word);
        }
    });
    let counts = checked.unwrap().fields(|w| w.as_bytes()).keyed("count", 1, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    let topology = t.finish().unwrap();
    let run = |restore, seen: &dyn Fn(&Waits<'_>)| run_until(&log, &topology, restore, seen);
    let all = || last_of(&output(&log));
    run(None, &|wait| wait(&|| all() == counted(&words(0, 20))));
    named::create(&log, "words", "twenty").unwrap();
    write(&log, &words(20, 60));
    run(None, &|wait| wait(&|| all() == counted(&words(0, 60))));
    let before: Vec<usize> = output(&log).iter().map(Vec::len).collect();
    let since = || {
        let rows = output(&log).into_iter().zip(&before).map(|(rows, n)| rows[*n..].to_vec());
        last_of(&rows.collect::<Vec<_>>())
    };
    let mut again = counted(&words(0, 60));
    again.retain(|word, _| words(20, 60).contains(word));
    // The forty words again; then the trap, and the trap again.
    let summary = run(Some("twenty"), &|wait| {
        wait(&|| since() == again);
        write(&log, &["trap".to_owned()]);
        wait(&|| since().contains_key("trap"));
    });
    assert_eq!((summary.tuples, summary.restarts), (42, 1));
    assert_eq!(all().values().sum::<u64>(), 61);
    log.close().unwrap();
}

/// A topology that runs was ended as taken over when anyone else wrote its record.
#[test]
fn names_are_given_and_taken_away_while_the_topology_runs_and_do_not_disturb_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 20));
    let progress = Arc::new(Progress::default());
    let options = RunOptions { commit_ms: 2, ..RunOptions::default() };
    let end = std::thread::scope(|scope| {
        let runner = scope.spawn(|| topology(1, false).run(&log, &options, &progress));
        let until = clock::now() + Duration::from_secs(60);
        let wait = |commits: u64| {
            while progress.commits() < commits && !runner.is_finished() {
                assert!(clock::now() < until, "the topology does not commit");
                std::thread::yield_now();
            }
        };
        wait(1);
        for n in 0..30 {
            let before = progress.commits();
            write(&log, &words(20 + n, 21 + n));
            wait(before + 1);
            named::create(&log, "words", &format!("n{}", n % 3)).unwrap();
            check_names(&log);
            if n >= 1 {
                named::delete(&log, "words", &format!("n{}", (n + 2) % 3)).unwrap();
            }
        }
        check_names(&log);
        progress.stop();
        runner.join().unwrap().unwrap()
    });
    assert_eq!((end.restarts, end.generation.0), (0, 1));
    assert_eq!(last_of(&output(&log)), counted(&words(0, 50)));
    log.close().unwrap();
}

#[test]
fn history_that_a_named_commit_reads_again_is_kept_and_force_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 60));
    run(&log);
    named::create(&log, "words", "sixty").unwrap();
    write(&log, &words(60, 200));
    run(&log);
    run(&log);
    let end = log.ends("lines").unwrap()[&0];
    let last = Position { segment: end.segment, entry: EntryId(0), slot: 0 };
    let error = log.truncate("lines", 0, last, false).unwrap_err().to_string();
    assert!(
        error.contains("by named commits of words/lines (`egret checkpoint delete`)"),
        "{error}"
    );
    let error = log.delete_stream("lines", false).unwrap_err().to_string();
    assert!(error.contains("named commits of words/lines"), "{error}");

    log.truncate("lines", 0, last, true).unwrap();
    let lost = named::list(&log, "words").unwrap()[0].lost.clone().unwrap();
    assert!(
        lost.starts_with("stream `lines` was truncated by force: its partition 0 begins at"),
        "{lost}"
    );
    let before = record(&log);
    for error in [
        run_with(&log, 1, Some("sixty")).unwrap_err().to_string(),
        named::restore(&log, "words", "sixty").unwrap_err().to_string(),
    ] {
        assert!(error.contains("`sixty`, "), "{error}");
        assert!(
            error.contains(&format!("cannot be restored: {lost}; nothing was changed")),
            "{error}"
        );
    }
    assert_eq!(record(&log), before);
    named::delete(&log, "words", "sixty").unwrap();
    run(&log);
    assert_eq!(last_of(&output(&log)), counted(&words(0, 200)));
    log.close().unwrap();
}

#[test]
fn deleting_a_name_lets_its_history_be_truncated() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 60));
    run(&log);
    named::create(&log, "words", "sixty").unwrap();
    write(&log, &words(60, 200));
    run(&log);
    named::create(&log, "words", "later").unwrap();
    named::delete(&log, "words", "sixty").unwrap();
    check_names(&log);
    let later = kept_by_names(&log).unwrap()[&0];
    // What the spout itself needs moves on when it begins.
    run(&log);
    log.truncate("lines", 0, later, false).unwrap();
    let end = log.ends("lines").unwrap()[&0];
    run(&log);
    named::delete(&log, "words", "later").unwrap();
    run(&log);
    log.truncate("lines", 0, end, false).unwrap();
    log.close().unwrap();
}

/// After going back, what is read again was only kept by the name: a truncation could take it away.
#[test]
fn what_is_read_again_after_going_back_is_kept_without_the_name_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 60));
    run(&log);
    named::create(&log, "words", "sixty").unwrap();
    write(&log, &words(60, 200));
    run(&log);
    // It begins behind them: without the name it needs none of them.
    run(&log);
    named::restore(&log, "words", "sixty").unwrap();
    named::delete(&log, "words", "sixty").unwrap();
    let end = log.ends("lines").unwrap()[&0];
    let last = Position { segment: end.segment, entry: EntryId(0), slot: 0 };
    let error = log.truncate("lines", 0, last, false).unwrap_err().to_string();
    assert!(error.contains("by words/lines: "), "{error}");
    assert_eq!(run(&log).tuples, 140);
    log.close().unwrap();
}

#[test]
fn what_cannot_be_named_or_found_is_told_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let error = named::list(&log, "words").unwrap_err().to_string();
    assert_eq!(error, "there is no topology `words` here: none ran in this place yet");
    write(&log, &words(0, 10));
    run(&log);
    let error = named::create(&log, "word", "n").unwrap_err().to_string();
    assert_eq!(error, "there is no topology `word` here: there are `words`");
    let error = named::create(&log, "words", "a b").unwrap_err().to_string();
    assert!(error.starts_with("`a b` cannot name a commit: give 1 to 64 letters"), "{error}");
    named::create(&log, "words", "n").unwrap();
    let error = named::create(&log, "words", "n").unwrap_err().to_string();
    assert!(error.starts_with("`n` names a commit already, "), "{error}");
    let before = record(&log);
    for error in [
        named::delete(&log, "words", "m").unwrap_err().to_string(),
        named::restore(&log, "words", "m").unwrap_err().to_string(),
        run_with(&log, 1, Some("m")).unwrap_err().to_string(),
    ] {
        assert!(error.ends_with("no commit is named `m`: there is `n`"), "{error}");
    }
    assert_eq!(record(&log), before, "nothing was changed");
    log.close().unwrap();
}

/// A third of all transactions get no answer, and half of those were carried out.
#[test]
fn a_lost_answer_leaves_no_name_half_given() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 10));
    run(&log);
    for seed in 0..10 {
        let lossy: Arc<dyn MetaStore> = Arc::new(Lossy::new(Arc::clone(log.metadata()), seed));
        let bookies = Arc::clone(log.ledgers().bookies());
        let over = Log::on(Ledgers::new(bookies, Copies::ONE, lossy)).unwrap();
        for n in 0..4 {
            let name = format!("n{n}");
            named::create(&over, "words", &name)
                .unwrap_or_else(|e| panic!("seed {seed}, {n}: {e}"));
            check_names(&log);
        }
        for n in 0..4 {
            let name = format!("n{n}");
            named::delete(&over, "words", &name)
                .unwrap_or_else(|e| panic!("seed {seed}, {n}: {e}"));
            check_names(&log);
        }
    }
    log.close().unwrap();
}

/// A metadata store that ends, as its process does, after so many transactions.
#[derive(Debug)]
struct Dying {
    inner: Arc<dyn MetaStore>,
    left: AtomicU32,
}

impl Dying {
    fn over(log: &Log, left: u32) -> Log {
        let meta = Dying { inner: Arc::clone(log.metadata()), left: AtomicU32::new(left) };
        let bookies = Arc::clone(log.ledgers().bookies());
        Log::on(Ledgers::new(bookies, Copies::ONE, Arc::new(meta))).unwrap()
    }
}

impl MetaStore for Dying {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.inner.list(prefix)
    }

    fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        let some = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, some) {
            Ok(_) => self.inner.txn(compares, ops),
            Err(_) => Err(MetaError::Closed),
        }
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.inner.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.inner.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.inner.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.inner.watch(prefix, from_revision)
    }
}

/// Does something in a fresh place with a topology that went on after a name, killed after more and more
/// transactions, until it is done; looks at the place each time.
fn killed_at_each_step(what: impl Fn(&Log) -> bool, look: impl Fn(&Log, bool)) -> u32 {
    for left in 0..100 {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write(&log, &words(0, 30));
        run(&log);
        named::create(&log, "words", "thirty").unwrap();
        write(&log, &words(30, 50));
        run(&log);
        let done = what(&Dying::over(&log, left));
        look(&log, done);
        log.close().unwrap();
        if done {
            return left;
        }
    }
    panic!("it is never done");
}

#[test]
fn a_restore_that_is_killed_at_any_step_happened_or_did_not() {
    let seen = Cell::new((0, 0));
    let restore = |over: &Log| named::restore(over, "words", "thirty").is_ok();
    let steps = killed_at_each_step(restore, |log, done| {
        let again = run(log).tuples;
        assert!(if done { again == 20 } else { [0, 20].contains(&again) }, "{again}");
        assert_eq!(last_of(&output(log)), counted(&words(0, 50)));
        check_names(log);
        let (not, so) = seen.get();
        seen.set(if again == 0 { (not + 1, so) } else { (not, so + 1) });
        assert_eq!(run_with(log, 1, Some("thirty")).unwrap().tuples, 20, "it can be done again");
    });
    assert!(steps > 5, "a takeover takes more steps than that");
    assert!(seen.get().0 > 0 && seen.get().1 > 0, "{seen:?}");
}

#[test]
fn a_name_given_or_taken_away_by_a_command_that_is_killed_is_whole_or_not_there() {
    let create = |over: &Log| named::create(over, "words", "fifty").is_ok();
    assert!(killed_at_each_step(create, |log, _| check_names(log)) > 0);
    let delete = |over: &Log| named::delete(over, "words", "thirty").is_ok();
    let look = |log: &Log, done| {
        check_names(log);
        assert_eq!(kept_by_names(log).is_none(), done);
    };
    assert!(killed_at_each_step(delete, look) > 0);
}

/// The way to a bookie whose medium lost the newest commit record.
#[derive(Debug)]
struct Damaged(Arc<dyn Transport>, LedgerId, EntryId);

impl Damaged {
    fn answer(&self, request: &Request) -> Option<Reply> {
        let Damaged(_, at, which) = self;
        let hit = matches!(request, Request::Read { ledger, entry, .. } if (ledger, entry) == (at, which));
        hit.then(|| {
            Reply::Unknown(Unknown::Unreachable {
                to: "B1".to_owned(),
                why: "its medium holds something else".to_owned(),
            })
        })
    }
}

impl Transport for Damaged {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        match self.answer(&request) {
            Some(damaged) => reply(damaged),
            None => self.0.send(to, request, reply),
        }
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        self.answer(&request).unwrap_or_else(|| self.0.call(to, request))
    }

    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.0.watch_lac(ledger, beyond, wake);
    }
}

#[test]
fn an_unreadable_newest_commit_stops_the_topology_with_what_can_be_restored() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 40));
    run(&log);
    let commits = record(&log).commit_ledgers;
    named::create(&log, "words", "forty").unwrap();
    write(&log, &words(40, 60));
    run(&log);
    let (ledger, entry) = {
        let ledger = *record(&log).commit_ledgers.last().unwrap();
        let end = log.ledgers().end(ledger).unwrap().readable().unwrap();
        (ledger, end)
    };
    assert!(!commits.contains(&ledger));
    let before = output(&log);
    let member = log.ledgers().bookies().candidates()[0].member;
    let damaged = Damaged(log.ledgers().bookies().transport(member), ledger, entry);
    let bookies = Arc::new(OneBookie::new(Arc::new(damaged)));
    let over = Log::on(Ledgers::new(bookies, Copies::ONE, Arc::clone(log.metadata()))).unwrap();

    for _ in 0..2 {
        let error = run_with(&over, 1, None).unwrap_err().to_string();
        assert!(
            error.contains(&format!("the newest commit record, {ledger}:{entry}, cannot be read")),
            "{error}"
        );
        assert!(error.contains("the topology is not started empty"), "{error}");
        assert!(error.contains("(`--restore NAME`, or `egret checkpoint restore`)"), "{error}");
        assert!(error.contains("`egret checkpoint list` has `forty`"), "{error}");
    }
    assert_eq!(output(&log), before, "nothing was written");
    assert_eq!(named::list(&over, "words").unwrap()[0].lost, None, "and the names are told");
    // It was listed as one that never committed anything.
    let listed = &topologies::list(&over).unwrap()[0];
    let why = listed.unreadable.as_deref().expect("it says that the commit cannot be read");
    assert!(why.contains(&format!("{ledger}:{entry}")), "{why}");
    assert_eq!(topologies::list(&log).unwrap()[0].unreadable, None);

    assert_eq!(run_with(&over, 1, Some("forty")).unwrap().tuples, 20);
    let after = output(&log);
    assert!(after.iter().zip(&before).all(|(after, before)| after.starts_with(before)));
    assert_eq!(last_of(&after), counted(&words(0, 60)));
    assert_eq!(run(&log).tuples, 0, "and it goes on from there");
    log.close().unwrap();
}
