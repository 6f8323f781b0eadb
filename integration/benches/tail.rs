//! How soon a tail sees what another process appended: from the append's start and its acknowledgement.
//!
//! ```text
//! cargo bench -p egret-integration --bench tail -- [--rounds 5] [--appends 1000] [--every-us 1000]
//! ```
//! Two arrangements, in turn: the tail's own process holds the directory, and a third one does. The
//! appends go through the socket in both. The goal is 10 ms from the acknowledgement, at the 99th
//! percentile and beyond; a negative time is a tail that saw the record before its writer was told.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use egret_integration::measure::median;
use egret_log::directory::Directory;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{AppendHead, NewStream, Place, ReadFrom, ReadHead, Route};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 1000)]
    appends: u64,
    /// Time between two appends; each waits for the one before.
    #[arg(long, default_value_t = 1000)]
    every_us: u64,
    /// What a child of this program does: `hold` or `append`.
    #[arg(long, hide = true)]
    role: Option<String>,
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Nanoseconds on a clock that all processes of this host share.
fn now_ns() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// This program again, in another role.
fn child(role: &str, dir: &Path, options: &Options) -> Child {
    Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--role", role, "--dir"])
        .arg(dir)
        .arg(format!("--appends={}", options.appends))
        .arg(format!("--every-us={}", options.every_us))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts")
}

/// Holds the directory until standard input ends.
fn hold(dir: &Path) {
    let directory = Directory::open(dir).expect("nobody else holds it");
    assert!(directory.is_held(), "somebody else holds it");
    println!("held");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("a pipe can be read");
    directory.close().expect("it closes");
}

/// Appends numbers and says, in order, when each was sent and acknowledged.
fn append(dir: &Path, options: &Options) {
    let mut directory = Directory::open(dir).expect("somebody holds it");
    assert!(!directory.is_held(), "nobody else holds it");
    let mut times = Vec::new();
    for number in 0..options.appends {
        let mut payload = Vec::new();
        RecordRef { value: &number.to_le_bytes(), ..RecordRef::default() }.put(&mut payload);
        let head = AppendHead {
            stream: "s".to_owned(),
            route: Route::ByKey,
            records: 1,
            producer: Vec::new(),
            note: Vec::new(),
        };
        let sent = now_ns();
        let appended = directory.append(head, payload.into()).expect("an append");
        assert_eq!(appended.failure, None);
        times.push((sent, now_ns()));
        std::thread::park_timeout(Duration::from_micros(options.every_us));
    }
    let mut out = std::io::stdout().lock();
    for (sent, acked) in times {
        writeln!(out, "{sent} {acked}").expect("a pipe can be written");
    }
}

/// When each number was seen.
fn tail(directory: &mut Directory, appends: u64) -> Vec<i64> {
    let mut from = Place { partition: 0, from: ReadFrom::Latest };
    let mut seen = Vec::new();
    while (seen.len() as u64) < appends {
        let read = directory
            .read(ReadHead {
                stream: "s".to_owned(),
                from: vec![from],
                bytes_max: 1 << 20,
                wait_ms: 30_000,
            })
            .expect("a read");
        let now = now_ns();
        from.from = ReadFrom::At(read.next[0].next);
        let mut records = Reader::new(&read.payload);
        for _ in 0..read.batches.iter().map(|batch| batch.records).sum::<u32>() {
            let record = RecordRef::take(&mut records).expect("a record");
            assert_eq!(record.value, (seen.len() as u64).to_le_bytes(), "in order");
            seen.push(now);
        }
    }
    seen
}

/// Microseconds from send and from acknowledgement: p50, p99 and maximum of each.
fn round(third: bool, options: &Options) -> [f64; 6] {
    let root = tempfile::tempdir_in(egret_integration::scratch()).expect("a directory");
    let dir = root.path();
    let holder = third.then(|| {
        let mut holder = child("hold", dir, options);
        let said = BufReader::new(holder.stdout.as_mut().expect("piped")).lines().next();
        assert_eq!(said.expect("it speaks").expect("a line"), "held");
        holder
    });
    let mut directory = Directory::open(dir).expect("a directory");
    assert_eq!(directory.is_held(), !third);
    let new = NewStream {
        name: "s".into(),
        partitions: 1,
        format: "bytes".into(),
        ..NewStream::default()
    };
    directory.create_stream(new).expect("a new stream");
    let appender = child("append", dir, options);
    let seen = tail(&mut directory, options.appends);
    let output = appender.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the appender failed");
    let (mut from_sent, mut from_acked) = (Vec::new(), Vec::new());
    for (line, seen) in String::from_utf8_lossy(&output.stdout).lines().zip(seen) {
        let (sent, acked) = line.split_once(' ').expect("two numbers");
        let micros = |then: &str| (seen - then.parse::<i64>().expect("a number")) as f64 / 1e3;
        from_sent.push(micros(sent));
        from_acked.push(micros(acked));
    }
    directory.close().expect("it closes");
    if let Some(mut holder) = holder {
        drop(holder.stdin.take());
        assert!(holder.wait().expect("it ends").success(), "the holder failed");
    }
    let [a, b, c] = summary(from_sent);
    let [d, e, f] = summary(from_acked);
    [a, b, c, d, e, f]
}

fn summary(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[values.len() * 99 / 100], values[values.len() - 1]]
}

fn main() {
    let options = Options::parse();
    match (options.role.as_deref(), &options.dir) {
        (Some("hold"), Some(dir)) => return hold(dir),
        (Some("append"), Some(dir)) => return append(dir, &options),
        _ => {}
    }
    let mut rows = [("the tail holds it", false, vec![]), ("a third one holds it", true, vec![])];
    for _ in 0..options.rounds {
        for (_, third, samples) in &mut rows {
            samples.push(round(*third, &options));
        }
    }
    println!("{} appends, {} us apart", options.appends, options.every_us);
    println!(
        "| directory | sent → seen p50 us | p99 | max | acknowledged → seen p50 us | p99 | max |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, _, samples) in &rows {
        let column = |i: usize| median(samples.iter().map(|row| row[i]).collect());
        let worst = |i: usize| samples.iter().map(|row| row[i]).fold(f64::MIN, f64::max);
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            column(0),
            column(1),
            worst(2),
            column(3),
            column(4),
            worst(5)
        );
    }
}
