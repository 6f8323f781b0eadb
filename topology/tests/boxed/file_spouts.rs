//! Files read: once, to the end or followed, and refused when they are not what was read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use egret::testing::TopologyTest;
use egret::{Emitter, FileSpout, Guarantee, LogSink, TopologyBuilder};

use super::read;

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn lines_of(path: PathBuf, follows: bool) -> impl Fn(&mut TopologyBuilder) -> egret::Result<()> {
    move |t| {
        let spout = FileSpout::lines(&path).record_bytes_max(64);
        let spout = if follows { spout.follow() } else { spout };
        t.spout("in", 2, spout)?.sink("out", LogSink::to_stream("lines"))
    }
}

fn text(lines: std::ops::Range<u32>) -> String {
    lines.map(|n| format!("line {n:04}\n")).collect()
}

fn wanted(lines: std::ops::Range<u32>) -> Vec<String> {
    text(lines).lines().map(str::to_owned).collect()
}

#[test]
fn each_line_is_read_once_wherever_the_process_is_killed() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        for file in 0..5 {
            let lines = file * 40..(file + 1) * 40;
            fs::write(dir.path().join(format!("{file}.txt")), text(lines)).unwrap();
        }
        let build = lines_of(dir.path().join("*.txt"), false);
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.options(|options| options.epoch_bytes_max = 200).kill_anywhere();
        t.run_until_idle().unwrap();
        assert!(t.is_finished());
        assert_eq!(read(&mut t, "lines"), wanted(0..200), "seed {seed}");
    }
}

#[test]
fn files_that_grow_and_come_and_go_are_followed_by_any_number_of_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    append(&file("a"), &text(0..10));
    let mut t = TopologyTest::new(lines_of(dir.path().to_owned(), true)).unwrap();
    t.run_until_idle().unwrap();
    append(&file("a"), &text(10..20));
    append(&file("b"), "line 00");
    t.tasks("in", 3).restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(read(&mut t, "lines"), wanted(0..20), "a line counts when its end is there");
    append(&file("b"), "20\n");
    fs::rename(file("a"), dir.path().join(".done")).unwrap();
    t.run_until_idle().unwrap();
    append(&file("a"), &text(21..25));
    t.tasks("in", 1).restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(read(&mut t, "lines"), wanted(0..25), "a name that was forgotten is a new file");
}

#[test]
fn a_run_to_the_end_goes_on_where_the_one_before_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "line 0000\r\nline 0001").unwrap();
    let mut t = TopologyTest::new(lines_of(path.clone(), false)).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(read(&mut t, "lines"), wanted(0..2), "a last line needs no end");
    append(&path, &format!("\n{}", text(2..4)));
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(read(&mut t, "lines"), wanted(0..4), "its end came, and is no line of its own");
}

/// It was cut in two: what was read of it, and the rest as a line of its own.
#[test]
fn a_line_that_was_read_without_its_end_and_goes_on_is_refused_with_or_without_a_kill() {
    for (format, first, more) in [("lines", "line 00", "01\n"), ("csv", "name,cents\na,1", "2\n")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        fs::write(&path, first).unwrap();
        let of = path.clone();
        let mut t = TopologyTest::new(move |t| match format {
            "lines" => lines_of(of.clone(), false)(t),
            _ => {
                let orders = t.spout("in", 1, FileSpout::<Order>::csv(&of))?;
                let text = || |order: Order, out: &mut Emitter<String>| out.emit(order.name);
                orders.shuffle().bolt("text", 1, text)?.sink("out", LogSink::to_stream("lines"))
            }
        })
        .unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(t.output::<String>("lines").unwrap().len(), 1, "a last line needs no end");
        append(&path, more);
        for _ in 0..2 {
            let why = t.restore().and_then(|()| t.run_until_idle()).unwrap_err().to_string();
            let said = format!(
                "log.txt: its line {} had no end at byte {}",
                if format == "csv" { 2 } else { 1 },
                first.len()
            );
            assert!(why.contains(&said) && why.contains("cut in two"), "{why}");
            assert!(why.contains("in/"), "the component is named: {why}");
        }
        // As it was, it is gone on with.
        fs::write(&path, first).unwrap();
        t.restore().unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(t.output::<String>("lines").unwrap().len(), 1);
    }
}

/// It ended in order, with nothing read.
#[test]
fn a_path_to_nothing_is_refused_unless_it_is_followed_or_was_read_before() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["*.txt", ""] {
        let path = dir.path().join(path);
        let mut t = TopologyTest::new(lines_of(path.clone(), false)).unwrap();
        let why = t.run_until_idle().unwrap_err().to_string();
        assert!(why.contains("there is no such file") && why.contains("in/"), "{why}");
        let mut t = TopologyTest::new(lines_of(path, true)).unwrap();
        t.run_until_idle().unwrap();
    }
    append(&dir.path().join("a.txt"), &text(0..2));
    let mut t = TopologyTest::new(lines_of(dir.path().join("*.txt"), false)).unwrap();
    t.run_until_idle().unwrap();
    fs::remove_file(dir.path().join("a.txt")).unwrap();
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert!(t.is_finished(), "what was read may be moved away");
    assert_eq!(read(&mut t, "lines"), wanted(0..2));
}

#[test]
fn what_names_no_files_is_refused_before_anything_runs_with_the_component() {
    let dir = tempfile::tempdir().unwrap();
    let _held = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    for (path, said) in [
        ("*/a.txt", "a `*` stands for a part of a file's name"),
        ("a*b*c", "a name has one `*`"),
        ("s", "is no file but a socket"),
        ("/dev/null", "is no file but a device"),
    ] {
        let mut t = TopologyTest::new(lines_of(dir.path().join(path), true)).unwrap();
        let why = t.run_until_idle().unwrap_err().to_string();
        assert!(why.contains(said) && why.contains("component `in`"), "{path}: {why}");
    }
}

/// How a topology that has read two lines of a file ends when that was done to it.
fn after(change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.txt");
    fs::write(&path, text(0..2)).unwrap();
    let build = lines_of(dir.path().join("*.txt"), true);
    let mut t = TopologyTest::new(build).unwrap();
    t.run_until_idle().unwrap();
    change(&path);
    let in_one_run = t.run_until_idle().err().map(|why| why.to_string());
    t.restore().and_then(|()| t.run_until_idle()).err().map(|why| why.to_string()).inspect(|why| {
        let told = in_one_run.as_ref().is_none_or(|first| first == why);
        assert!(told, "it is said alike while it runs and when it starts: {in_one_run:?}, {why}");
    });
    let why = in_one_run.unwrap_or_default();
    assert!(why.is_empty() || why.contains("log.txt"), "{why}");
    why
}

#[test]
fn a_file_that_is_not_the_one_that_was_read_is_refused() {
    let why = after(|path| fs::write(path, "line 0000\n").unwrap());
    assert!(why.contains("has 10 bytes, and 20 were read of it: it was truncated"), "{why}");
    let why = after(|path| fs::write(path, text(1..4)).unwrap());
    assert!(why.contains("is not the file that was read up to byte 20"), "{why}");
    let why = after(|path| {
        append(path, "line");
        // Its line never ends.
    });
    assert_eq!(why, "", "half a line is waited for");
    assert_eq!(after(|path| fs::remove_file(path).unwrap()), "", "it was read to its end");
}

#[test]
fn a_file_that_goes_before_it_is_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.txt");
    fs::write(&path, text(0..2) + "half").unwrap();
    let mut t = TopologyTest::new(lines_of(dir.path().to_owned(), true)).unwrap();
    t.run_until_idle().unwrap();
    fs::remove_file(&path).unwrap();
    let why = t.run_until_idle().unwrap_err().to_string();
    assert!(why.contains("is gone, and was read up to byte 20 only"), "{why}");
}

#[test]
fn a_record_that_is_none_is_told_by_file_line_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.txt");
    let ends = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let mut t = TopologyTest::new(lines_of(path.clone(), false)).unwrap();
        t.run_until_idle().unwrap_err().to_string()
    };
    let why = ends(b"a\nb\n\xff\n");
    assert!(why.contains("log.txt: the record at line 3, byte 4: is not UTF-8"), "{why}");
    assert!(why.contains("1 time(s)"), "trying again cannot help: {why}");
    let why = ends(format!("a\n{}\n", "b".repeat(100)).as_bytes());
    assert!(why.contains("log.txt: the record at line 2, byte 2, is over 64 bytes"), "{why}");
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Order {
    name: String,
    cents: u64,
}
impl egret::Tuple for Order {}

#[test]
fn rows_of_csv_are_read_under_the_header_of_their_file_after_a_restart_too() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.csv"), "name,cents\n\"two\nlines\",1\nb,2\n").unwrap();
        fs::write(dir.path().join("b.csv"), "cents,more,name\n3,,c\n4,x,d\n").unwrap();
        let path = dir.path().join("*.csv");
        let build = move |t: &mut TopologyBuilder| {
            let orders = t.spout("in", 1, FileSpout::<Order>::csv(&path))?;
            let texts = orders.shuffle().bolt("text", 1, || {
                |order: Order, out: &mut Emitter<String>| {
                    out.emit(format!("{:?} {}", order.name, order.cents));
                }
            })?;
            texts.sink("out", LogSink::to_stream("orders"))
        };
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.options(|options| options.epoch_bytes_max = 1).kill_anywhere();
        t.run_until_idle().unwrap();
        let told = read(&mut t, "orders");
        assert_eq!(told, ["\"b\" 2", "\"c\" 3", "\"d\" 4", "\"two\\nlines\" 1"], "seed {seed}");
    }
}

#[test]
fn at_most_once_never_reads_a_line_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.txt");
    fs::write(&path, text(0..3)).unwrap();
    let build = lines_of(path.clone(), true);
    let build = move |t: &mut TopologyBuilder| build(t.guarantee(Guarantee::AtMostOnce));
    let mut t = TopologyTest::new(build).unwrap();
    t.run_until_idle().unwrap();
    append(&path, "line 00");
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    append(&path, &format!("03\n{}", text(4..6)));
    t.run_until_idle().unwrap();
    assert_eq!(read(&mut t, "lines"), [wanted(0..3), wanted(4..6)].concat());
}

#[test]
fn what_is_not_there_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut t = TopologyTest::new(lines_of(dir.path().join("none.txt"), false)).unwrap();
    let why = t.run_until_idle().unwrap_err().to_string();
    assert!(why.contains("none.txt"), "{why}");
}
