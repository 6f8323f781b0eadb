//! The word count as a user runs it: against coreutils, on odd files, with wrong arguments.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it skips"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Cargo builds examples before the tests of their package, beside them.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().unwrap().parent().unwrap().join("examples/word_count");
    assert!(path.is_file(), "{} is built with the tests", path.display());
    path
}

fn run(data: &Path, args: &[&OsStr]) -> Output {
    Command::new(binary())
        .arg("--data")
        .arg(data)
        .args(args)
        .env_remove("EGRET_DATA")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn all(data: &Path, files: &[&Path]) -> Output {
    let mut args = vec![OsStr::new("--all")];
    args.extend(files.iter().map(|file| file.as_os_str()));
    run(data, &args)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What coreutils count.
fn reference(files: &[&Path]) -> Vec<u8> {
    let script = r#"for f; do cat "$f"; echo; done | LC_ALL=C tr -s ' \t\n\v\f\r' '\n' \
        | grep -av '^$' | LC_ALL=C sort | uniq -c | LC_ALL=C sed 's/^ *\([0-9]*\) /\1\t/'"#;
    let out = Command::new("sh").arg("-c").arg(script).arg("sh").args(files).output().unwrap();
    assert!(out.status.success());
    out.stdout
}

fn assert_counts(data: &Path, files: &[&Path]) {
    let out = all(data, files);
    assert!(out.status.success(), "{}", said(&out));
    let want = reference(files);
    assert!(
        out.stdout == want,
        "{} differs from coreutils:\n{}\n--- want\n{}",
        files[0].display(),
        String::from_utf8_lossy(&out.stdout[..out.stdout.len().min(2000)]),
        String::from_utf8_lossy(&want[..want.len().min(2000)]),
    );
}

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn counts_equal_coreutils_on_text_and_on_the_programs_own_source() {
    let world = World::new();
    let a = world.file("a.txt", b"the quick brown fox\njumps over the lazy dog\nthe end");
    let b = Path::new(env!("CARGO_MANIFEST_DIR")).join("word_count/main.rs");
    assert_counts(&world.data(), &[&a, &b]);
}

#[test]
fn white_space_of_every_kind_parts_words_and_the_end_of_a_file_ends_one() {
    let world = World::new();
    let a = world.file("a", b"a\tb\x0bc\x0cd\re  f\n\n\n  g");
    let b = world.file("b", b"h\xc2\xa0i j");
    assert_counts(&world.data(), &[&a, &b]);
}

#[test]
fn empty_and_binary_files_count_like_any_other() {
    let world = World::new();
    let empty = world.file("empty", b"");
    let mut bytes = Vec::new();
    let mut x = 7u32;
    for _ in 0..300_000 {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // No NUL: coreutils' own tools do not all carry it through.
        bytes.push(u8::try_from(x >> 24).unwrap().max(1));
    }
    let binary = world.file("binary", &bytes);
    assert_counts(&world.data(), &[&empty, &binary]);
    let out = all(&World::new().data(), &[&empty]);
    assert!(out.status.success() && out.stdout.is_empty(), "{}", said(&out));
}

/// Opening a pipe waits for who writes into it: it once hung there, holding the data directory.
#[test]
fn a_pipe_is_refused_at_once_with_what_to_do() {
    let world = World::new();
    let pipe = world.dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let out = all(&world.data(), &[&pipe]);
    assert!(
        !out.status.success() && said(&out).contains("pipe it in and name `-`"),
        "{}",
        said(&out)
    );
}

#[test]
fn a_nul_byte_is_part_of_a_word() {
    let world = World::new();
    let file = world.file("nul", b"a\0b a\0b c");
    let out = all(&world.data(), &[&file]);
    assert_eq!(out.stdout, b"2\ta\0b\n1\tc\n");
}

#[test]
fn a_line_of_64_mib_is_counted() {
    let world = World::new();
    let mut long = b"word ".repeat((64 << 20) / 5);
    long.extend_from_slice(b" and more words beyond it\nnext line\n");
    let long = world.file("long", &long);
    let out = all(&world.data(), &[&long]);
    assert!(out.status.success(), "{}", said(&out));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains(&format!("{}\tword\n", (64 << 20) / 5)), "{text}");
    assert!(text.contains("1\tbeyond\n") && text.contains("1\tline\n"), "{text}");
}

#[test]
fn a_second_run_adds_nothing_and_says_so() {
    let world = World::new();
    let file = world.file("a", b"one two\ntwo\n");
    assert_counts(&world.data(), &[&file]);
    let out = all(&world.data(), &[&file]);
    assert_eq!(out.stdout, b"1\tone\n2\ttwo\n");
    assert!(said(&out).contains("nothing new"), "{}", said(&out));
    let other = world.file("b", b"two three");
    let out = all(&world.data(), &[&file, &other]);
    assert_eq!(out.stdout, b"1\tone\n1\tthree\n3\ttwo\n");
}

#[test]
fn a_file_that_changed_is_refused_with_what_to_do() {
    let world = World::new();
    let file = world.file("a", b"one two\nthree\n");
    assert_counts(&world.data(), &[&file]);
    for changed in [&b"one two\nthree\nfour\n"[..], b"one too\nthree\n", b"one\n"] {
        fs::write(&file, changed).unwrap();
        let out = all(&world.data(), &[&file]);
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        let said = said(&out);
        assert!(said.contains("changed since it was loaded") && said.contains("--data"), "{said}");
    }
}

#[test]
fn missing_files_and_directories_are_named() {
    let world = World::new();
    let out = all(&world.data(), &[Path::new("/no/such/file")]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("/no/such/file"), "{}", said(&out));
    let out = all(&world.data(), &[world.dir.path()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("is a directory"), "{}", said(&out));
}

#[test]
fn standard_input_is_counted_and_said_not_to_resume() {
    let world = World::new();
    let mut child = Command::new(binary())
        .arg("--data")
        .arg(world.data())
        .args(["--all", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"x y\nx").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.stdout, b"2\tx\n1\ty\n");
    assert!(said(&out).contains("cannot be resumed"), "{}", said(&out));
}

#[test]
fn the_top_words_come_by_count_and_then_by_word() {
    let world = World::new();
    let file = world.file("a", b"b b a a c d d d");
    let out = run(&world.data(), &[OsStr::new("--top"), OsStr::new("3"), file.as_os_str()]);
    assert_eq!(out.stdout, b"3\td\n2\ta\n2\tb\n");
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let world = World::new();
    let file = world.file("a", b"a");
    let with = |args: &[&str]| {
        let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        all.push(file.as_os_str());
        run(&world.data(), &all)
    };
    for wrong in [
        &["--workers", "0"][..],
        &["--workers", "many"],
        &["--commit-ms", "0"],
        &["--guarantee", "exactly-once"],
        &["--top", "3", "--all"],
        &["--unknown"],
    ] {
        let out = with(wrong);
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {}", said(&out));
    }
    assert_eq!(run(&world.data(), &[]).status.code(), Some(2), "no file at all");
    assert!(!world.data().exists(), "nothing was made for a usage error");
}

#[test]
fn a_directory_that_cannot_be_one_is_an_error_not_a_panic() {
    let world = World::new();
    let file = world.file("a", b"a");
    for bad in [file.join("data"), PathBuf::from("/proc/egret-data")] {
        let out = all(&bad, &[&file]);
        assert_eq!(out.status.code(), Some(1), "{}", said(&out));
        assert!(said(&out).starts_with("error: "), "{}", said(&out));
        assert!(!said(&out).contains("panicked"), "{}", said(&out));
    }
}

#[test]
fn a_directory_counted_under_one_guarantee_is_refused_under_another() {
    let world = World::new();
    let file = world.file("a", b"a b");
    assert_counts(&world.data(), &[&file]);
    let args = [OsStr::new("--guarantee"), OsStr::new("at-least-once"), file.as_os_str()];
    let out = run(&world.data(), &args);
    assert_eq!(out.status.code(), Some(3), "nothing was done: {}", said(&out));
    assert!(said(&out).contains("counts"), "{}", said(&out));
    let more = world.file("b", b"c");
    let out = run(&world.data(), &[&args[..2], &[more.as_os_str()]].concat());
    assert_eq!(out.status.code(), Some(1), "a file was loaded: {}", said(&out));
}

/// They failed here and were refused there.
#[test]
fn it_ends_with_the_codes_of_the_command() {
    let world = World::new();
    let file = world.file("a", b"a b");
    let none = [OsStr::new("--cluster"), OsStr::new("/no/such.toml"), file.as_os_str()];
    let mut command = Command::new(binary());
    let out = command.args(none).env_remove("EGRET_DATA").output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("name a readable file"), "{}", said(&out));
    let held = egret_log::Log::open(&world.data(), egret_log::LogConfig::default()).unwrap();
    let out = all(&world.data(), &[&file]);
    assert_eq!(out.status.code(), Some(3), "{}", said(&out));
    assert!(said(&out).contains("is in use by process"), "{}", said(&out));
    held.close().unwrap();
    assert_counts(&world.data(), &[&file]);
}

/// Once, at-most-once loaded a second file and then began at the end of the stream: it counted nothing.
/// And once it printed the counts before the last of them were written.
#[test]
fn at_most_once_counts_what_each_run_loads() {
    let world = World::new();
    let (one, two) = (world.file("one", b"a b\n"), world.file("two", b"c d\n"));
    let (first, both) = ([one.as_path()], [one.as_path(), two.as_path()]);
    for (file, lines, counted) in [(&one, 1, &first[..]), (&two, 1, &both), (&two, 0, &both)] {
        let args = ["--all", "--guarantee", "at-most-once"].map(OsStr::new);
        let out = run(&world.data(), &[&args[..], &[file.as_os_str()]].concat());
        let want = match lines {
            0 => "nothing new".to_owned(),
            n => format!("counted {n} lines"),
        };
        assert!(out.status.success() && said(&out).contains(&want), "{}", said(&out));
        assert_eq!(out.stdout, reference(counted), "{}", String::from_utf8_lossy(&out.stdout));
    }
}

#[test]
fn the_number_of_workers_may_change_between_runs() {
    let world = World::new();
    let a = world.file("a", &b"lorem ipsum dolor\n".repeat(500));
    let b = world.file("b", &b"dolor sit amet\n".repeat(500));
    assert_counts(&world.data(), &[&a]);
    let args = [
        OsStr::new("--workers"),
        OsStr::new("2"),
        OsStr::new("--all"),
        a.as_os_str(),
        b.as_os_str(),
    ];
    let out = run(&world.data(), &args);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(out.stdout, reference(&[&a, &b]));
}

/// Once, a word as large as a record was loaded, and then its count had no room beside it.
#[test]
fn the_longest_word_counts_and_a_longer_one_is_refused() {
    let world = World::new();
    let max = egret_log::caps::RECORD_BYTES_MAX - (1 << 10);
    let longest = world.file("longest", &b"w".repeat(max - 1));
    let out = all(&world.data(), &[&longest]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(out.stdout.starts_with(b"1\tww") && out.stdout.len() == max + 2, "{}", said(&out));
    let longer = world.file("longer", &[b"a b\n".to_vec(), b"w".repeat(max)].concat());
    let out = all(&world.data(), &[&longer]);
    assert_eq!(out.status.code(), Some(1));
    assert!(said(&out).contains("the line at byte 4 has no white space"), "{}", said(&out));
}

/// Once, a standard error that took nothing was a panic.
#[test]
fn standard_error_may_be_full() {
    let world = World::new();
    let file = world.file("a", b"one two\n");
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for (file, code) in [(&file, 0), (&world.dir.path().join("none"), 1)] {
        let mut command = Command::new(binary());
        let out = command.arg("--data").arg(world.data()).arg("--all").arg(file);
        let out = out.stderr(full()).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{}", file.display());
    }
}

#[test]
fn a_file_named_twice_counts_once() {
    let world = World::new();
    let file = world.file("a", b"one two\n");
    let out = all(&world.data(), &[&file, &file]);
    assert_eq!(out.stdout, b"1\tone\n1\ttwo\n", "{}", said(&out));
}

/// Mounts a small file system, if this user may.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, megabytes: u32) -> Option<Small> {
        fs::create_dir(at).unwrap();
        let size = format!("size={megabytes}m");
        let args = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = Command::new("mount").args(args).arg(at).output().ok()?.status.success();
        mounted.then(|| Small(at.to_owned()))
    }

    fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "the small disk grows");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk is unmounted");
    }
}

#[test]
fn a_full_disk_refuses_and_nothing_acknowledged_is_lost() {
    let world = World::new();
    let Some(small) = Small::mount(&world.dir.path().join("small"), 220) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let first = world.file("first", b"one two two\n");
    let data = small.0.join("data");
    assert_counts(&data, &[&first]);
    // Long words: many bytes, little to count.
    let line = [&b"w".repeat(1000), &b" end\n"[..]].concat();
    let large = world.file("large", &line.repeat(270_000));
    let out = all(&data, &[&first, &large]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let text = said(&out);
    assert!(text.contains("free some space"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    // What was loaded is there and is counted once there is space; what was not is loaded then.
    small.resize(600);
    assert_counts(&data, &[&first, &large]);
}

/// Once, every small file went to the first partition, which remembers only so many.
#[test]
fn small_files_spread_over_the_partitions_and_are_known_when_loaded_again() {
    let world = World::new();
    let files: Vec<PathBuf> =
        (0..40).map(|n| world.file(&format!("{n}.txt"), b"a line\n")).collect();
    let names: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for _ in 0..2 {
        assert_counts(&world.data(), &names);
        let log = egret_log::Log::open(&world.data(), egret_log::LogConfig::default()).unwrap();
        let lines = log.describe("lines").unwrap().partitions;
        let records: Vec<u64> = lines.iter().map(|partition| partition.records).collect();
        assert_eq!(records.iter().sum::<u64>(), 40, "{records:?}");
        assert!(records.iter().all(|&n| n > 0), "{records:?}");
        log.close().unwrap();
    }
}
