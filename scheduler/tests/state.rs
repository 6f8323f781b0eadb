//! `egret state`, run as people run it, and what every command does that is to make nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod words;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use egret_log::clock;
use serde_json::Value;

use words::run;

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command.args(args).env("EGRET_DATA", dir).env_remove("EGRET_CLUSTER").stdin(Stdio::null());
    command
}

fn egret(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().unwrap()
}

/// Exit code and standard error of a command that must not do.
fn not_done(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = egret(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), err)
}

/// `egret state serve words`, ended when it is dropped.
struct Serving {
    child: Child,
    /// Where it says it listens.
    address: String,
}

impl Serving {
    fn start(dir: &Path, more: &[&str]) -> Serving {
        let args = ["state", "serve", "words", "--listen", "127.0.0.1:0"];
        let mut command = command(dir, &[&args, more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|at| at.split('/').next());
        let address = address.unwrap_or_else(|| panic!("no address: {line}")).to_owned();
        Serving { child, address }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let body = serde_json::from_str(body);
        (status, body.unwrap_or_else(|_| panic!("{path} is answered by no JSON: {answer}")))
    }

    /// Asks for its health until that is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let until = clock::now() + WAIT;
        loop {
            let (_, health) = self.get("/v1/health");
            if wanted(&health) {
                return;
            }
            assert!(clock::now() < until, "{what}: {health}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Ends it; what it said on standard error.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each made a data directory in whatever directory it was asked in, and answered that nothing is there.
#[test]
fn what_does_not_create_makes_no_data_directory() {
    let root = tempfile::tempdir().unwrap();
    let (empty, file) = (root.path().join("empty"), root.path().join("file"));
    fs::create_dir(&empty).unwrap();
    fs::write(&file, "no directory").unwrap();
    let all: [&[&str]; 15] = [
        &["state", "list", "words"],
        &["state", "get", "words", "count", "a"],
        &["state", "scan", "words", "count"],
        &["state", "serve", "words", "--listen", "127.0.0.1:0"],
        &["checkpoint", "list", "words"],
        &["checkpoint", "create", "words", "n"],
        &["checkpoint", "delete", "words", "n"],
        &["checkpoint", "restore", "words", "n", "--yes"],
        &["stream", "list"],
        &["stream", "describe", "lines"],
        &["stream", "append", "lines"],
        &["stream", "cat", "lines"],
        &["stream", "tail", "lines"],
        &["stream", "truncate", "lines", "--partition", "0", "--before", "S1:0:0"],
        &["stream", "delete", "lines", "--yes"],
    ];
    for args in all {
        for dir in [&empty, &root.path().join("none"), &file] {
            let (code, err) = not_done(dir, args);
            assert_eq!(code, 3, "{args:?}: {err}");
            let at = dir.display();
            assert!(err.contains(&format!("{at}: there is no data directory: ")), "{err}");
        }
        let made: Vec<_> = fs::read_dir(&empty).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(made.is_empty(), "{args:?} made {made:?}");
        assert!(!root.path().join("none").exists(), "{args:?} made a directory");
    }
}

/// It made a new one in its place and warned of it every half second, for ever.
#[test]
fn a_server_whose_directory_is_moved_away_says_so_once_and_is_there_when_it_is_back() {
    let root = tempfile::tempdir().unwrap();
    let (dir, away) = (root.path().join("data"), root.path().join("away"));
    run(&dir, &["a", "b", "a"]);
    let serving = Serving::start(&dir, &[]);
    fs::rename(&dir, &away).unwrap();
    let gone = |health: &Value| {
        health["error"].as_str().is_some_and(|why| why.contains("there is no data directory"))
    };
    serving.until("it does not say that the directory is gone", gone);
    assert_eq!(serving.get("/v1/state/count/a").1["value"], 2, "what is held is answered");
    fs::rename(&away, &dir).unwrap();
    serving.until("it does not see that it is back", |health| health["error"].is_null());
    assert!(!away.exists());
    let said = serving.end();
    assert_eq!(said.matches("there is no data directory").count(), 1, "{said}");
}

/// The flag was not looked at, or was a usage error.
#[test]
fn a_flag_beats_a_variable() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    run(&dir, &["a", "b", "a"]);
    let flag = dir.to_str().unwrap();
    let ask = |flags: &[&str], variable: (&str, &str)| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
        command.args(["state", "get", "words", "count", "a"]).args(flags).stdin(Stdio::null());
        command.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").env(variable.0, variable.1);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = ask(&["--data", flag], ("EGRET_CLUSTER", "none.toml"));
    assert_eq!((code, &*out), (0, "2\n"), "{err}");
    // The answer for people said nothing of the commit it is of.
    assert!(err.contains("as of commit 0 of generation 1"), "{err}");
    let (code, _, err) = ask(&["--cluster", "none.toml"], ("EGRET_DATA", flag));
    assert!(code == 2 && err.contains("none.toml"), "it goes to the cluster: {code} {err}");
    let (code, out, err) = ask(&[], ("EGRET_DATA", flag));
    assert_eq!((code, &*out), (0, "2\n"), "{err}");
    let (code, _, err) = ask(&["--cluster", "none.toml", "--data", flag], ("X", "x"));
    assert!(code == 2 && err.contains("cannot be used with"), "{code} {err}");
}

/// It was an answer of no keys, where HTTP has it that this cannot be asked.
#[test]
fn a_scan_of_no_keys_is_wrong_usage_here_and_over_http() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    run(&dir, &["a", "b", "a"]);
    let scan = ["state", "scan", "words", "count", "--limit"];
    let (code, err) = not_done(&dir, &[&scan[..], &["0"]].concat());
    assert!(code == 2 && err.contains("'--limit <N>'"), "{code} {err}");
    assert_eq!(egret(&dir, &[&scan[..], &["1"]].concat()).status.code(), Some(0));
    let (status, said) = Serving::start(&dir, &[]).get("/v1/state/count?limit=0");
    assert_eq!((status, &said["code"]), (400, &"bad-request".into()));
}

/// Each ended with 1, or with 3 where it may go better later.
#[test]
fn what_cannot_be_served_ends_with_the_code_it_has_everywhere() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    run(&dir, &["a", "b", "a"]);
    let (code, err) = not_done(&dir, &["state", "serve", "nosuch", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 3, "{err}");
    let none = "egret: there is no topology `nosuch` here: there are `words`\n";
    assert_eq!(err, none, "it is said once");
    for verb in [&["list", "words"][..], &["get", "words", "count", "a"], &["serve", "words"]] {
        let (code, err) = not_done(&dir, &[&["state"], verb, &["--memory-mb", "0"]].concat());
        assert_eq!(code, 2, "{verb:?}: {err}");
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let (code, err) = not_done(&dir, &["state", "serve", "words", "--listen", &taken]);
    assert_eq!(code, 1, "it may be free later: {err}");
    assert!(err.contains("cannot be listened on"), "{err}");
    drop(held);
    let open = ["state", "serve", "words", "--listen", "0.0.0.0:0"];
    let (code, err) = not_done(&dir, &open);
    assert_eq!(code, 3, "{err}");
    // What is advised is there.
    let help = egret(&dir, &["state", "scan", "--help"]).stdout;
    let help = String::from_utf8(help).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("as a text or in hexadecimal with 0x before"), "{help}");
}

/// A reader could not tell a commit that was gone back to from a stale answer.
#[test]
fn answers_say_which_generation_wrote_what_they_are_of() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let done = |args: &[&str]| {
        let output = egret(&dir, args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    let get = ["state", "get", "words", "count", "a", "-o", "json"];
    run(&dir, &["a"]);
    done(&["checkpoint", "create", "words", "one"]);
    run(&dir, &["a", "a"]);
    let number = |of: &Value, name: &str| of["epoch"][name].as_u64().unwrap();
    let before = done(&get);
    assert_eq!(before["value"], 3);
    let serving = Serving::start(&dir, &[]);
    done(&["checkpoint", "restore", "words", "one", "--yes"]);
    let after = done(&get);
    assert_eq!(after["value"], 1);
    let commit = |of: &Value| (number(of, "generation"), number(of, "commit"));
    assert!(commit(&after) < commit(&before), "it went back: {after}");
    assert!(number(&after, "written_by") > number(&before, "written_by"), "and says so: {after}");
    serving.until("it does not go back", |health| health["epoch"] == after["epoch"]);
}
