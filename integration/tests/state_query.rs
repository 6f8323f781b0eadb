//! State read by others while the topology runs, is killed, and begins again with other numbers of workers:
//! every answer is of a commit, all of it is of the same one, and later answers are of later ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::replica::follow::{Beside, Place as _};
use egret::replica::shown::Range;
use egret::replica::{Follower, Replica, ReplicaError, ReplicaOptions};
use egret_integration::sim::dice::Dice;
use egret_log::clock;
use egret_schemas::state::{StateEntry, StateFound, StateQuestion};
use egret_state::keyed::Key as _;
use egret_state_server::rpc::client::RpcClient;
use egret_state_server::{ServerOptions, StateServer};
use serde_json::{Value, json};

const KEYS: usize = 64;
const NUMBERS: u64 = 1000;

/// The end of a run that is to be killed.
const OUT_OF_REACH: u64 = 1 << 40;
const KILLS: usize = 8;

fn start(dir: &Path, workers: u32, commit_ms: u32, numbers: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["--data".as_ref(), dir.as_os_str()])
        .args(["--workers", &workers.to_string(), "--commit-ms", &commit_ms.to_string()])
        .args([numbers.to_string(), KEYS.to_string(), "4".to_owned()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What readers saw: which count belongs to which commit.
#[derive(Default)]
struct Seen {
    counts: Mutex<BTreeMap<(u64, u64), u64>>,
}

impl Seen {
    /// All entries of one answer; the commit and the count.
    fn note(&self, answer: &Value) -> ((u64, u64), u64) {
        let number = |of: &Value| of.as_u64().unwrap_or_else(|| panic!("{answer}"));
        let epoch = (number(&answer["epoch"]["generation"]), number(&answer["epoch"]["commit"]));
        let mut count = None;
        for entry in answer["entries"].as_array().unwrap() {
            let value = &entry["value"];
            let steps = number(&value["count"]);
            assert_eq!(number(&value["last"]) + 1, steps, "{entry}");
            assert_eq!(
                *count.get_or_insert(steps),
                steps,
                "two keys of {epoch:?} differ: {answer}"
            );
        }
        let count = count.unwrap_or(0);
        let mut counts = self.counts.lock().unwrap();
        let known = *counts.entry(epoch).or_insert(count);
        assert_eq!(known, count, "two readers differ in what commit {epoch:?} had");
        let before = counts.range(..epoch).next_back();
        assert!(
            before.is_none_or(|(_, before)| *before <= count),
            "{epoch:?} had less than before"
        );
        let after = counts.range((epoch.0, epoch.1 + 1)..).next();
        assert!(after.is_none_or(|(_, after)| *after >= count), "{epoch:?} had more than after");
        (epoch, count)
    }
}

/// One connection, one request after the other.
struct Http(BufReader<TcpStream>);

impl Http {
    fn connect(address: SocketAddr) -> Http {
        Http(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(said) = line.strip_prefix("HTTP/1.1 ") {
                status = said[..3].parse().unwrap();
            } else if let Some(said) = line.strip_prefix("content-length: ") {
                length = said.trim().parse().unwrap();
            } else if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn scan_all(shown: &egret::replica::Shown) -> Value {
    let range = Range { limit: usize::MAX, bytes: usize::MAX, ..Range::default() };
    let page = shown.scan("steps", &range).unwrap();
    let entries =
        page.entries.into_iter().map(|(key, value)| json!({ "key": key, "value": value }));
    json!({ "epoch": shown.epoch(), "entries": entries.collect::<Vec<_>>() })
}

#[test]
fn no_answer_is_of_two_commits_or_of_none_while_the_topology_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    let (seen, ending) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let replica = Replica::new("lockstep", ReplicaOptions::default());
    let mut child = start(dir, 1, 20, OUT_OF_REACH);
    let follower = Follower::start(replica, Beside::new(dir)).unwrap();
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    options.rpc_listen = Some("127.0.0.1:0".parse().unwrap());
    let server = StateServer::start(follower, options).unwrap();
    let (address, rpc_address) = (server.address(), server.rpc_address().unwrap());

    let over_http = {
        let (seen, ending) = (Arc::clone(&seen), Arc::clone(&ending));
        std::thread::spawn(move || {
            let mut http = Http::connect(address);
            let keys: Vec<_> = (0..KEYS).step_by(7).map(|key| format!("key {key:03}")).collect();
            let batch = json!({ "keys": keys }).to_string();
            let (mut last, mut answers) = ((0, 0), 0);
            while !ending.load(Ordering::Relaxed) {
                let way = answers % 3;
                let (status, mut answer) = match way {
                    0 => http.ask("GET", "/v1/state/steps?limit=1000", ""),
                    1 => http.ask("POST", "/v1/state/steps", &batch),
                    _ => http.ask("GET", "/v1/state/steps/key%20007", ""),
                };
                answers += 1;
                // Before the first commit there is nothing.
                if status != 200 {
                    assert_eq!(last, (0, 0), "{status} {answer}");
                    continue;
                }
                if way == 2 {
                    answer["entries"] = json!([{ "value": answer["value"].clone() }]);
                }
                if answer["entries"].as_array().unwrap().iter().any(|e| e["value"].is_null()) {
                    assert_eq!(last, (0, 0), "a key is gone: {answer}");
                    continue;
                }
                let (epoch, _) = seen.note(&answer);
                assert!(epoch >= last, "{epoch:?} after {last:?}");
                last = epoch;
            }
            answers
        })
    };
    let over_rpc = {
        let (seen, ending) = (Arc::clone(&seen), Arc::clone(&ending));
        std::thread::spawn(move || {
            let rpc = RpcClient::connect(rpc_address, Duration::from_secs(10)).unwrap();
            let (mut last, mut answers) = ((0, 0), 0);
            while !ending.load(Ordering::Relaxed) {
                let component = "steps".to_owned();
                let question = match answers % 2 {
                    0 => StateQuestion::Scan { component, prefix: None, from: None, limit: 1000 },
                    _ => {
                        let keys = (0..KEYS).step_by(9).map(|key| format!("key {key:03}"));
                        StateQuestion::Get { component, keys: keys.collect() }
                    }
                };
                let answer = rpc.ask(&question).unwrap();
                answers += 1;
                let StateFound::Entries { entries, .. } = answer.found else {
                    assert_eq!(last, (0, 0), "{answer:?}");
                    continue;
                };
                if entries.iter().any(|entry| entry.value.is_none()) {
                    assert_eq!(last, (0, 0), "a key is gone: {entries:?}");
                    continue;
                }
                let value = |entry: StateEntry| -> Value {
                    json!({ "value": serde_json::from_str::<Value>(&entry.value.unwrap()).unwrap() })
                };
                let entries: Vec<Value> = entries.into_iter().map(value).collect();
                let epoch = json!({ "generation": answer.generation, "commit": answer.commit });
                let (epoch, _) = seen.note(&json!({ "epoch": epoch, "entries": entries }));
                assert!(epoch >= last, "{epoch:?} after {last:?}");
                last = epoch;
            }
            answers
        })
    };
    let anew = {
        let (seen, ending) = (Arc::clone(&seen), Arc::clone(&ending));
        let dir = dir.to_owned();
        std::thread::spawn(move || {
            let mut answers = 0;
            while !ending.load(Ordering::Relaxed) {
                let mut replica = Replica::new("lockstep", ReplicaOptions::default());
                let mut one = Replica::new("lockstep", ReplicaOptions::default());
                let mut place = Beside::new(&dir);
                let looked = place.look(&mut |log| {
                    one.only_key(log, "steps", "key 011")?;
                    one.catch_up(log)?;
                    replica.catch_up(log)
                });
                match looked.unwrap() {
                    Ok(_) => {}
                    // It has not begun, or whoever holds the directory was killed just now.
                    Err(
                        ReplicaError::NoTopology { .. }
                        | ReplicaError::NothingCommitted { .. }
                        | ReplicaError::NoComponent { .. }
                        | ReplicaError::Ledger(_)
                        | ReplicaError::Place(_)
                        | ReplicaError::Meta(_),
                    ) => continue,
                    Err(error) => panic!("{error}"),
                }
                seen.note(&scan_all(&replica.read()));
                let key = one.read().get("steps", "key 011").unwrap().unwrap();
                let entries = json!([{ "value": key }]);
                seen.note(&json!({ "epoch": one.read().epoch(), "entries": entries }));
                assert_eq!(one.read().component("steps").unwrap().table.len(), group_of("key 011"));
                answers += 1;
            }
            answers
        })
    };

    let mut dice = Dice::new(7, "when to kill");
    let mut killed = 0;
    for kill in 0..KILLS {
        let until = clock::now() + Duration::from_millis(dice.between(300, 800));
        while clock::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let workers = 1 + u32::try_from(kill % 3).unwrap();
        if kill + 1 < KILLS {
            child = start(dir, workers, [10, 30, 100][kill % 3], OUT_OF_REACH);
        }
    }
    assert_eq!(killed, KILLS, "it never ends by itself");
    let last_count = || {
        let mut last = Replica::new("lockstep", ReplicaOptions::default());
        Beside::new(dir).look(&mut |log| last.catch_up(log)).unwrap().unwrap();
        let (epoch, count) = seen.note(&scan_all(&last.read()));
        (last, epoch, count)
    };
    let numbers = last_count().2 + NUMBERS;
    let mut child = start(dir, 2, 30, numbers);
    assert!(child.wait().unwrap().success());

    // Nobody holds the directory any more: what is answered is the last commit.
    let (last, epoch, count) = last_count();
    assert_eq!(count, numbers);
    let deadline = clock::now() + Duration::from_secs(60);
    while !seen.counts.lock().unwrap().contains_key(&epoch)
        || server.follower().shown().read().unwrap().mark() != last.read().mark()
    {
        assert!(clock::now() < deadline, "the server does not come to the last commit");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    ending.store(true, Ordering::Relaxed);
    let (http, anew) = (over_http.join().unwrap(), anew.join().unwrap());
    let rpc = over_rpc.join().unwrap();
    assert!(rpc > 100, "{rpc} answers over RPC");
    let commits = seen.counts.lock().unwrap().len();
    assert!(
        http > 100 && anew > 5 && commits > 20,
        "{http} answers, {anew} reads, {commits} commits"
    );

    // Questions that are none.
    let mut http = Http::connect(address);
    let (status, answer) = http.ask("GET", "/v1/state/nope/x", "");
    assert_eq!((status, &answer["components"]), (404, &json!(["steps"])));
    let (status, answer) = http.ask("GET", "/v1/state/steps/nobody", "");
    assert_eq!((status, &answer["code"]), (404, &json!("no-state")));
    let (status, _) = http.ask("POST", "/v1/state/steps", "{}");
    assert_eq!(status, 400);
    let (status, answer) = http.ask("GET", "/v1/state", "");
    let format = "key text\nstate { count: u64, last: option<u64> }\n";
    assert_eq!((status, &answer["components"][0]["format"]), (200, &json!(format)));
    let rpc = RpcClient::connect(rpc_address, Duration::from_secs(10)).unwrap();
    let StateFound::Components(all) = rpc.ask(&StateQuestion::Components).unwrap().found else {
        panic!("components were asked for");
    };
    assert_eq!((all.len(), all[0].keys, all[0].format.as_str()), (1, KEYS as u64, format));
    let nobody = StateQuestion::Get { component: "nope".into(), keys: Vec::new() };
    let StateFound::Failure { code, .. } = rpc.ask(&nobody).unwrap().found else {
        panic!("there is no such component");
    };
    assert_eq!(code, "no-component");
    drop(http);
    drop(server);
    assert!(TcpStream::connect(address).is_err(), "it serves although it ended");
    assert!(rpc.ask(&nobody).is_err(), "it answers although it ended");
}

/// How many of the keys are in the key group of this one.
fn group_of(word: &str) -> usize {
    let group = |word: &str| egret_schemas::key::key_group(word.hash64(), 4096);
    (0..KEYS).filter(|key| group(&format!("key {key:03}")) == group(word)).count()
}

#[test]
fn an_address_others_can_reach_is_not_served_in_the_open_unless_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let follow = || {
        let replica = Replica::new("nobody", ReplicaOptions::default());
        Follower::start(replica, Beside::new(scratch.path())).unwrap()
    };
    let options = ServerOptions::new("0.0.0.0:0".parse().unwrap());
    let error = StateServer::start(follow(), options.clone()).unwrap_err();
    assert!(error.to_string().contains("--in-the-open"), "{error}");
    let server =
        StateServer::start(follow(), ServerOptions { in_the_open: true, ..options }).unwrap();
    let mut http = Http::connect(SocketAddr::from(([127, 0, 0, 1], server.address().port())));
    let (status, answer) = http.ask("GET", "/v1/state", "");
    assert_eq!((status, &answer["code"]), (503, &json!("nothing-held")));
}
