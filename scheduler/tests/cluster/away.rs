//! Bookies that are away, and an operator whom none lets in: nothing is said to be empty, gone or lost that is
//! not.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use super::{Bookie, append, configure, egret, eventually, orders, run, server};

/// Standard output, standard error and the exit code.
fn told(dir: &Path, args: &[&str]) -> (String, String, Option<i32>) {
    let output = egret(dir, args).output().expect("egret runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

fn lines(dir: &Path, stream: &[&str]) -> usize {
    run(dir, &[&["stream", "cat"][..], stream].concat()).lines().count()
}

/// Appends to a stream, or one partition, and is killed before it closes the ledger.
fn append_and_die(dir: &Path, stream: &[&str], numbers: std::ops::Range<u32>) {
    let before = lines(dir, stream);
    let mut writer = egret(dir, &[&["stream", "append"][..], stream].concat())
        .stdin(Stdio::piped())
        .spawn()
        .expect("egret starts");
    let mut piped = writer.stdin.take().expect("it is piped");
    numbers.clone().for_each(|number| writeln!(piped, "{number}").expect("it reads"));
    piped.flush().expect("it reads");
    eventually("it is all there", || lines(dir, stream) == before + numbers.len());
    drop(writer.kill());
    drop(writer.wait());
}

fn ledgers(dir: &Path, state: &str) -> Vec<String> {
    let listed = run(dir, &["ledger", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let rows = listed.as_array().expect("a list").iter().filter(|row| row["state"] == state);
    rows.map(|row| row["ledger"].as_str().expect("a name").to_owned()).collect()
}

/// One bookie was away when the last ledger was made, and now it alone is there: once, `cat` wrote nothing of
/// what the others have, and ended with 0.
#[test]
fn what_bookies_that_are_away_have_is_not_said_to_be_nothing() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    append(dir, 0..100);
    run(dir, &["stream", "create", "two", "--partitions", "2"]);
    let mut writer = egret(dir, &["stream", "append", "two", "--partition", "1"]);
    let mut writer = writer.stdin(Stdio::piped()).spawn().expect("egret starts");
    drop(writer.stdin.take().map(|mut lines| writeln!(lines, "whole")));
    assert!(writer.wait().expect("it ends").success());
    // Its lease is not over: it is among the bookies of the next ledger.
    drop(bookies.remove(0));
    append_and_die(dir, &["orders"], 100..300);
    let [ledger] = &ledgers(dir, "open")[..] else { panic!("one partition, one open ledger") };
    append_and_die(dir, &["two", "--partition", "0"], 0..5);
    bookies.clear();
    bookies.push(Bookie::start(dir, 1));

    let (out, why, code) = told(dir, &["stream", "cat", "orders"]);
    assert_eq!(out.lines().count(), 100, "what can be read is written: {why}");
    let parts = [
        &format!("how far {ledger} may be read is not known"),
        "B1 says: the ledger was never created on this bookie",
        "and B2 at 127.0.0.1:",
        "and B3 at 127.0.0.1:",
        "start or mend what does not answer",
        &format!("`egret ledger accept-loss {ledger}`"),
        "all before it was written, go on there with `--from S",
    ];
    assert!(code == Some(1) && parts.iter().all(|part| why.contains(part)), "{code:?}: {why}");
    let from = why.trim_end().trim_end_matches('`').rsplit(' ').next().expect("a position");
    let (out, again, code) = told(dir, &["stream", "cat", "orders", "--from", from]);
    assert_eq!((&*out, code), ("", Some(1)), "{again}");
    // Once, it ended at the first partition that could not be read, and said nothing of the others.
    let (out, why, code) = told(dir, &["stream", "cat", "two"]);
    assert_eq!((&*out, code), ("whole\n", Some(1)), "{why}");
    assert!(why.contains("egret: warning: partition 0: "), "{why}");
    assert!(why.ends_with("of 2 partitions these were not written to their end: 0\n"), "{why}");
    let describe = ["stream", "describe", "orders"];
    let read = ["ledger", "read", ledger, "5"];
    for args in [&describe[..], &read] {
        let (out, why, code) = told(dir, args);
        assert_eq!((&*out, code), ("", Some(1)), "{args:?}: {why}");
        assert!(why.contains("B3 at 127.0.0.1:") && why.contains("start or mend"), "{why}");
    }
    // The record is shown, and what it does not say.
    let (out, why, code) = told(dir, &["ledger", "describe", ledger]);
    assert!(code == Some(1) && out.contains(&format!("{ledger}: open at T")), "{code:?}: {out}");
    assert!(why.contains("B3 at 127.0.0.1:") && why.contains("start or mend"), "{why}");
    let mut writer = egret(dir, &["stream", "append", "orders"]);
    let mut writer = writer.stdin(Stdio::piped()).spawn().expect("egret starts");
    drop(writer.stdin.take().map(|mut lines| writeln!(lines, "300")));
    let output = writer.wait_with_output().expect("it ends");
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{why}");
    assert!(why.contains(&format!("`egret ledger accept-loss {ledger}`")), "{why}");

    bookies.push(Bookie::start(dir, 2));
    let rest = run(dir, &["stream", "cat", "orders", "--from", from]);
    assert_eq!(rest.lines().count(), 200);
    assert_eq!(orders(dir), (0..300).collect::<Vec<u32>>());
}

/// Its certificate is of another authority: once, every bookie was taken for gone.
#[test]
fn an_operator_whom_no_bookie_lets_in_loses_nothing() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    for certs in ["certs", "others"] {
        run(dir, &["init", "--cluster", "blue", "--dir", certs]);
    }
    let issue_in = |certs: &str, role, name: &str| {
        let host = ["--host", "127.0.0.1", "--dir", certs];
        run(dir, &[&["init", "cert", "--role", role, "--name", name][..], &host].concat());
        format!(
            "tls = {{ cert = \"{certs}/{name}.pem\", key = \"{certs}/{name}.key\", ca = \"{certs}/ca.pem\" }}\n"
        )
    };
    let issue = |role, name: &str| issue_in("certs", role, name);
    let prepend = |file: &str, to: &str, line: &str| {
        let text = std::fs::read_to_string(dir.join(file)).expect("a file");
        std::fs::write(dir.join(to), line.to_owned() + &text).expect("a file");
    };
    for number in 1..=3 {
        let (file, name) = (format!("b{number}.toml"), format!("b{number}"));
        prepend(&file, &file, &issue("bookie", &name));
    }
    prepend("blue.toml", "operator.toml", &issue_in("others", "client", "ann"));
    prepend("blue.toml", "admin.toml", &issue("admin", "bob"));
    prepend("blue.toml", "blue.toml", &issue("client", "shell"));
    let mut bookies: Vec<Bookie> = (1..=3).map(|number| Bookie::start(dir, number)).collect();
    run(dir, &["stream", "create", "orders"]);
    append(dir, 0..100);
    append_and_die(dir, &["orders"], 100..200);
    let (closed, open) = (&ledgers(dir, "closed")[0], &ledgers(dir, "open")[0]);

    let operator = ["--cluster", "operator.toml"];
    let (out, why, code) = told(dir, &[&["ledger", "repair", closed][..], &operator].concat());
    assert!(
        code == Some(1) && out.contains("there as the metadata has it or by what was"),
        "{code:?}: {out}{why}"
    );
    assert!(out.contains("does not let this process in: invalid peer certificate"), "{out}");
    assert!(!out.contains("--gone"), "nobody is to be called gone: {out}");
    let gone = ["--gone", "B1", "--gone", "B2", "--gone", "B3", "--reason", "burnt", "--yes"];
    for ledger in [closed, open] {
        let args = [&["ledger", "accept-loss", ledger][..], &gone, &operator].concat();
        let (_, why, code) = told(dir, &args);
        let refused = format!("B1 is not gone, what it has of {ledger} counts");
        assert!(code == Some(3) && why.contains(&refused), "{code:?}: {why}");
        assert!(why.contains("invalid peer certificate"), "{why}");
        // Whoever may not write is let in, and answered.
        let admin = ["--cluster", "admin.toml"];
        let args = [&["ledger", "accept-loss", ledger][..], &gone, &admin].concat();
        let (_, why, code) = told(dir, &args);
        let answers = format!("B1 answers for {ledger}: it is not gone");
        assert!(code == Some(3) && why.contains(&answers), "{code:?}: {why}");
    }
    // Killed just now, two of them still hold their leases.
    bookies.truncate(1);
    let gone = ["ledger", "accept-loss", closed, "--gone", "B2", "--gone", "B3"];
    let (_, why, code) = told(dir, &gone);
    assert!(code == Some(3) && why.contains("the metadata has it as there"), "{code:?}: {why}");
    assert!(why.contains("if it was stopped just now, try again in 10 s"), "{why}");
    // And when those are over, the third has everything all the same.
    eventually("their leases are over", || !told(dir, &gone).1.contains("as there"));
    let (_, why, code) = told(dir, &gone);
    assert!(code == Some(3) && why.contains("has lost nothing"), "{code:?}: {why}");
    assert_eq!(run(dir, &["ledger", "losses", "-o", "json"]).matches("ledger").count(), 0);
}
