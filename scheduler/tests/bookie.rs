//! `egret bookie` and `egret init`, run as people run them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use egret_log::message::{Reply, Request, Transport, entry_crc};
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientConfig, ClientTls, IoThread, TcpTransport};
use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};
use rustix::process::{Pid, Signal, kill_process};

const LEDGER: LedgerId = LedgerId(1);
const TERM: Term = Term(1);

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egret"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end. One that goes on and on, as a bookie that should have been refused, is killed.
fn egret(dir: &Path, args: &[&str]) -> Output {
    let child = command(dir, args).spawn().expect("egret starts");
    let pid = Pid::from_child(&child);
    let (over, watched) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It may just have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("it ended");
    drop(over);
    watch.join().expect("the watch does not panic");
    output
}

/// Standard output of a command that must do.
fn done(dir: &Path, args: &[&str]) -> String {
    let output = egret(dir, args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?} ended with {}: {err}", output.status);
    String::from_utf8(output.stdout).expect("egret says text")
}

/// Exit code and standard error of a command that must not do.
fn not_done(dir: &Path, args: &[&str]) -> (i32, String) {
    let output = egret(dir, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("it ended by itself"), err)
}

/// A bookie's process; killed when the test is over, however that ends.
struct Running {
    child: Child,
    incarnation: Incarnation,
    address: String,
}

impl Running {
    fn start(dir: &Path, args: &[&str]) -> Running {
        let ready = dir.join("ready.json");
        // Of the life before, perhaps.
        let _ = std::fs::remove_file(&ready);
        let args =
            [&["bookie", "--config", "b1.toml", "--ready-file", "ready.json"], args].concat();
        let mut child = command(dir, &args).spawn().expect("egret starts");
        let mut said = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut said).expect("it says text");
        let Ok(text) = wait_for(&ready, &mut child) else {
            let output = child.wait_with_output().expect("it ended");
            panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        };
        let ready: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let address = ready["address"].as_str().expect("an address").to_owned();
        let incarnation = ready["incarnation"].as_str().expect("an incarnation");
        assert!(said.starts_with(&format!("B1 of blue listens on {address}, ")), "{said}");
        let incarnation = u128::from_str_radix(incarnation, 16).expect("a number");
        Running { child, incarnation: Incarnation(incarnation), address }
    }

    fn client(&self, tls: Option<ClientTls>) -> TcpTransport {
        let io = Arc::new(IoThread::start("test-io").expect("there are threads"));
        let config = ClientConfig::new(
            self.address.clone(),
            BookieId(1),
            self.incarnation,
            "blue".to_owned(),
            Role::Client,
            tls,
        );
        TcpTransport::new(io, config)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits");
        kill_process(Pid::from_raw(pid).expect("not zero"), signal).expect("it runs");
    }

    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line is said before the file is there, a moment later.
fn wait_for(path: &Path, child: &mut Child) -> Result<String, ()> {
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return Ok(text);
        }
        if child.try_wait().expect("it can be asked").is_some() {
            return Err(());
        }
        std::thread::yield_now();
    }
}

fn ask(client: &TcpTransport, request: Request) -> Reply {
    client.call(client.incarnation(), request)
}

fn create(client: &TcpTransport) {
    let create =
        Request::Create { ledger: LEDGER, term: TERM, transactional: false, replicated: true };
    let reply = ask(client, create);
    assert!(matches!(reply, Reply::Done), "{reply:?}");
}

fn add(entry: u64) -> Request {
    let payload = Bytes::from(format!("entry {entry}"));
    let entry = EntryId(entry);
    let crc = entry_crc(LEDGER, entry, &payload);
    Request::Add { ledger: LEDGER, entry, term: TERM, lac: None, crc, copy: false, payload }
}

fn is_there(client: &TcpTransport, entry: u64) -> bool {
    let request = Request::Read { ledger: LEDGER, entry: EntryId(entry), fence: None };
    match ask(client, request) {
        Reply::Entry { payload, .. } => payload == format!("entry {entry}"),
        _ => false,
    }
}

fn configure(dir: &Path, more: &str) {
    let text = format!(
        "id = 1\ncluster = \"blue\"\ndirectory = \"b1\"\nlisten = \"127.0.0.1:0\"\n\
         metadata = \"redb:meta/cluster.redb\"\njournal_file_bytes = 1048576\n{more}"
    );
    std::fs::write(dir.join("b1.toml"), text).expect("the directory is writable");
}

#[test]
fn what_a_killed_bookie_acknowledged_is_there_when_it_is_back() {
    const ADDS: u64 = 500;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let running = Running::start(dir, &[]);
    let first = running.incarnation;
    let client = running.client(None);
    create(&client);
    let (sender, replies) = mpsc::sync_channel(1000);
    for n in 0..ADDS {
        let sender = sender.clone();
        let reply = Box::new(move |reply| sender.send((n, reply)).expect("the test listens"));
        client.send(first, add(n), reply);
    }
    // Some are acknowledged, some under way, when it is killed.
    let mut acknowledged = Vec::new();
    let mut answered = 0;
    let mut running = Some(running);
    while answered < ADDS {
        let (n, reply) = replies.recv_timeout(LONG).expect("each add is answered");
        answered += 1;
        match reply {
            Reply::Done => acknowledged.push(n),
            Reply::Unknown(_) => {}
            other => panic!("an answer to an add: {other:?}"),
        }
        if acknowledged.len() == 10
            && let Some(running) = running.take()
        {
            running.kill();
        }
    }
    assert!(acknowledged.len() >= 10);
    let running = Running::start(dir, &[]);
    assert_eq!(running.incarnation, first, "it is the same directory");
    let client = running.client(None);
    for n in acknowledged {
        assert!(is_there(&client, n), "entry {n} was acknowledged");
    }
}

#[test]
fn a_bookie_that_is_asked_to_end_does_so_in_order() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let mut running = Running::start(dir, &[]);
    let client = running.client(None);
    create(&client);
    assert!(matches!(ask(&client, add(0)), Reply::Done));
    // Somebody who waits for news does not keep it.
    client.watch_lac(LEDGER, None, Arc::new(|| {}));
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    let running = Running::start(dir, &[]);
    assert!(is_there(&running.client(None), 0));
}

#[test]
fn a_directory_of_another_bookie_or_cluster_and_a_second_holder_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let mut running = Running::start(dir, &[]);
    let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("is in use by process"), "{why}");
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    let text = std::fs::read_to_string(dir.join("b1.toml")).unwrap();
    for (from, to) in [("id = 1", "id = 2"), ("\"blue\"", "\"red\"")] {
        // Metadata of its own has nothing against the other cluster.
        let other = text.replace(from, to).replace("meta/cluster.redb", "other.redb");
        std::fs::write(dir.join("other.toml"), other).unwrap();
        let (code, why) = not_done(dir, &["bookie", "--config", "other.toml"]);
        assert_eq!(code, 3, "{why}");
        assert!(why.contains("is the directory of B1 of blue"), "{why}");
    }
}

#[test]
fn a_new_directory_takes_a_registered_place_only_when_told_to() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let first = Running::start(dir, &[]);
    let lost = first.incarnation;
    first.kill();
    std::fs::rename(dir.join("b1"), dir.join("lost")).unwrap();
    let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains(&format!("registered as incarnation {lost}")), "{why}");
    let second = Running::start(dir, &["--replace"]);
    assert_ne!(second.incarnation, lost);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success());
}

/// An older copy of a directory denied what the bookie had acknowledged since, and was believed.
#[test]
fn an_older_copy_of_a_directory_or_of_the_metadata_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let (own, old, meta) = (dir.join("b1"), dir.join("old"), dir.join("meta"));
    let end = |mut running: Running| {
        running.signal(Signal::TERM);
        assert!(running.child.wait().unwrap().success());
    };
    end(Running::start(dir, &[]));
    copy(&own, &old);
    copy(&meta, &dir.join("old-meta"));
    end(Running::start(dir, &[]));
    end(Running::start(dir, &[]));

    std::fs::rename(&own, dir.join("newest")).unwrap();
    copy(&old, &own);
    let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(
        why.contains("an older copy of that of B1: it was started 1 times, and B1 was 3"),
        "{why}"
    );
    assert!(why.contains("on an empty one with --replace"), "{why}");
    std::fs::remove_dir_all(&own).unwrap();
    copy(&dir.join("newest"), &own);
    end(Running::start(dir, &[]));

    // Metadata made anew would give the numbers of ledgers away again that this directory has.
    for older in ["old-meta", "nothing"] {
        std::fs::rename(&meta, dir.join(format!("meta-for-{older}"))).unwrap();
        if dir.join(older).exists() {
            copy(&dir.join(older), &meta);
        }
        let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
        assert_eq!(code, 3, "{older}: {why}");
        assert!(
            why.contains("starts of B1, and has counted 4: it was made anew"),
            "{older}: {why}"
        );
        if meta.exists() {
            std::fs::remove_dir_all(&meta).unwrap();
        }
        std::fs::rename(dir.join(format!("meta-for-{older}")), &meta).unwrap();
    }
    end(Running::start(dir, &[]));
}

#[test]
fn a_configuration_is_printed_with_defaults_and_a_wrong_key_is_refused_with_its_line() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let printed = done(dir, &["bookie", "--config", "b1.toml", "--print-config"]);
    assert!(printed.contains("drain_wait_ms = 30000"), "{printed}");
    assert!(!dir.join("b1").exists(), "nothing was done");
    configure(dir, "lisen = 1\n");
    let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("line 7") && why.contains("lisen"), "{why}");
    configure(dir, "");
    let text = std::fs::read_to_string(dir.join("b1.toml")).unwrap();
    let open = text.replace("127.0.0.1:0\"", "0.0.0.0:0\"\nadvertise = \"here:1\"");
    std::fs::write(dir.join("open.toml"), open).unwrap();
    let (code, why) = not_done(dir, &["bookie", "--config", "open.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("give [tls], or listen on a loopback address"), "{why}");
}

#[test]
fn certificates_are_made_once_and_open_the_door() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["init", "--cluster", "blue", "--dir", "certs"]);
    let cert = ["init", "cert", "--dir", "certs", "--role"];
    let host = ["--host", "localhost", "--host", "127.0.0.1"];
    done(dir, &[&cert[..], &["bookie", "--name", "b1"], &host].concat());
    done(dir, &[&cert[..], &["client", "--name", "c1"]].concat());
    let (code, why) = not_done(dir, &["init", "--cluster", "blue", "--dir", "certs"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("is not written over"), "{why}");
    let (code, why) = not_done(dir, &[&cert[..], &["bookie", "--name", "b2"]].concat());
    assert_eq!((code, why.contains("give --host")), (2, true), "{why}");
    for (wrong, told) in [
        (["--host", "b3", "--days", "0"], "--days"),
        (["--host", "a b/c", "--days", "1"], "a host name or an IP address"),
        (["--host", "b3:7400", "--days", "1"], "without a port"),
    ] {
        let args = [&cert[..], &["bookie", "--name", "b3"], &wrong].concat();
        let (code, why) = not_done(dir, &args);
        assert_eq!((code, why.contains(told)), (2, true), "{why}");
    }
    for file in std::fs::read_dir(dir.join("certs")).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.file_name());
    }
    let files = "[tls]\ncert = \"certs/b1.pem\"\nkey = \"certs/b1.key\"\nca = \"certs/ca.pem\"\n";
    configure(dir, files);
    let running = Running::start(dir, &[]);
    let read = |name: &str| std::fs::read(dir.join("certs").join(name)).unwrap();
    let (cert, key, ca) = (read("c1.pem"), read("c1.key"), read("ca.pem"));
    let tls = ClientTls::new(Pem { cert: &cert, key: &key, ca: &ca }).unwrap();
    assert_eq!(tls.own().to_string(), "egret://blue/client/c1");
    let client = running.client(Some(tls));
    create(&client);
    assert!(matches!(ask(&client, add(0)), Reply::Done));
    assert!(is_there(&client, 0));
    assert!(matches!(ask(&running.client(None), add(1)), Reply::Unknown(_)));
}

/// It started, and every client said something about TLS.
#[test]
fn a_certificate_that_nobody_would_accept_is_refused_at_the_start() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    for certs in ["certs", "others"] {
        done(dir, &["init", "--cluster", "blue", "--dir", certs]);
    }
    let cert = ["init", "cert", "--dir", "certs", "--role", "bookie"];
    done(dir, &[&cert[..], &["--name", "b1", "--host", "elsewhere.example"]].concat());
    let start = |ca: &str| {
        let files =
            format!("[tls]\ncert = \"certs/b1.pem\"\nkey = \"certs/b1.key\"\nca = \"{ca}\"\n");
        configure(dir, &files);
        not_done(dir, &["bookie", "--config", "b1.toml"])
    };
    let (code, why) = start("certs/ca.pem");
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("certs/b1.pem: ") && why.contains("does not name 127.0.0.1"), "{why}");
    assert!(why.contains("elsewhere.example"), "{why}");
    let command = "`egret init cert --role bookie --name b1-2 --host 127.0.0.1`";
    assert!(why.contains(command), "{why}");
    let (code, why) = start("others/ca.pem");
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("the configured authority did not sign it"), "{why}");
    assert!(!dir.join("b1").exists(), "nothing was done");
    // What the message says to do is enough.
    let other = ["--name", "b1-2", "--host", "127.0.0.1"];
    done(dir, &[&cert[..], &other].concat());
    let files =
        "[tls]\ncert = \"certs/b1-2.pem\"\nkey = \"certs/b1-2.key\"\nca = \"certs/ca.pem\"\n";
    configure(dir, files);
    Running::start(dir, &[]);
}

/// The advice was to have another one issued for the role that was wrong.
#[test]
fn a_certificate_of_another_role_is_told_with_the_role_that_is_needed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    done(dir, &["init", "--cluster", "blue", "--dir", "certs"]);
    let cert = ["init", "cert", "--dir", "certs", "--role"];
    done(dir, &[&cert[..], &["client", "--name", "c1", "--host", "127.0.0.1"]].concat());
    let files = |name: &str| {
        let file = |end: &str| format!("\"certs/{name}.{end}\"");
        let (cert, key) = (file("pem"), file("key"));
        format!("tls = {{ cert = {cert}, key = {key}, ca = \"certs/ca.pem\" }}\n")
    };
    configure(dir, &files("c1"));
    for args in [
        &["bookie", "--config", "b1.toml"][..],
        &["bookie", "--config", "b1.toml", "--print-config"],
    ] {
        let (code, why) = not_done(dir, args);
        assert_eq!(code, 3, "{why}");
        assert!(
            why.contains("certs/c1.pem: this certificate names egret://blue/client/c1"),
            "{why}"
        );
        assert!(why.contains("one of role bookie in cluster blue is needed"), "{why}");
        let command = "`egret init cert --role bookie --name c1-bookie --host 127.0.0.1`";
        assert!(why.contains(command), "{why}");
    }
    // What the message says to do is enough.
    done(dir, &[&cert[..], &["bookie", "--name", "c1-bookie", "--host", "127.0.0.1"]].concat());
    configure(dir, &files("c1-bookie"));
    done(dir, &["bookie", "--config", "b1.toml", "--print-config"]);
    drop(Running::start(dir, &[]));

    let metadata = "metadata = \"redb:meta/cluster.redb\"\n";
    let list = |file: String| {
        std::fs::write(dir.join("blue.toml"), file).unwrap();
        not_done(dir, &["bookie", "list", "--cluster", "blue.toml"])
    };
    let admin = format!("cluster = \"blue\"\nrole = \"admin\"\n{metadata}{}", files("c1"));
    let (code, why) = list(admin);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("one of role admin in cluster blue is needed"), "{why}");
    assert!(why.contains("`egret init cert --role admin --name c1-admin`"), "{why}");
    let (code, why) = list(format!("cluster = \"red\"\n{metadata}{}", files("c1")));
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("one of role client in cluster red is needed"), "{why}");
    // Without a word about its role it is what it says.
    let own = format!("cluster = \"blue\"\n{metadata}{}", files("c1"));
    std::fs::write(dir.join("blue.toml"), own).unwrap();
    assert!(done(dir, &["bookie", "list", "--cluster", "blue.toml"]).contains("B1"));
}

/// It printed what no bookie could be started with, or was printed what another file would do with.
#[test]
fn what_a_start_would_refuse_is_not_printed_as_a_configuration() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let mut running = Running::start(dir, &[]);
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    let text = std::fs::read_to_string(dir.join("b1.toml")).unwrap();
    let files = "[tls]\ncert = \"no.pem\"\nkey = \"no.key\"\nca = \"no.pem\"\n";
    for (from, to, code, told) in [
        ("id = 1", "id = 0", 2, "id is 0"),
        ("id = 1", "id = 2", 3, "is the directory of B1 of blue"),
        ("\"blue\"", "\"b l\"", 2, "and `b l` is none"),
        ("\"b1\"", "\"\"", 2, "directory is empty"),
        ("redb:meta/cluster.redb", "zk://a:1/b", 2, "write redb:PATH or etcd://"),
        (
            "redb:meta/cluster.redb",
            "etcd://127.0.0.1:1/green",
            2,
            "is the metadata of cluster `green`",
        ),
        ("redb:meta/cluster.redb", "etcd://127.0.0.1:1/blue?ca=no.pem", ETCD.0, ETCD.1),
        ("127.0.0.1:0\"", "0.0.0.0:0\"\nadvertise = \"here:1\"", 3, "give [tls]"),
        ("journal_file_bytes = 1048576\n", "shards = 2\n", 3, "was formatted with 1 shards"),
        ("journal_file_bytes = 1048576\n", files, 2, "no.pem: No such file"),
        ("journal_file_bytes = 1048576\n", "[repair]\ngrace_ms = 1\n", 2, "give 20000 to 86400000"),
    ] {
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text);
        std::fs::write(dir.join("wrong.toml"), wrong).unwrap();
        let start = not_done(dir, &["bookie", "--config", "wrong.toml"]);
        let printed = not_done(dir, &["bookie", "--config", "wrong.toml", "--print-config"]);
        assert_eq!(start, printed, "{to}");
        assert_eq!(printed.0, code, "{}", printed.1);
        assert!(printed.1.contains(told), "{}", printed.1);
    }
    assert!(!dir.join("LOCK").exists(), "nothing was done");
}

/// A build with etcd looks for the certificate, one without says what it is without.
#[cfg(feature = "etcd")]
const ETCD: (i32, &str) = (2, "no.pem: No such file");
#[cfg(not(feature = "etcd"))]
const ETCD: (i32, &str) = (3, "was built without etcd");

/// It registered beside the others, and no client could reach both.
#[test]
fn a_bookie_of_another_cluster_is_refused_with_both_names() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let mut running = Running::start(dir, &[]);
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    let text = std::fs::read_to_string(dir.join("b1.toml")).unwrap();
    let other = text.replace("id = 1", "id = 2").replace("\"b1\"", "\"b2\"");
    std::fs::write(dir.join("b2.toml"), other.replace("\"blue\"", "\"red\"")).unwrap();
    let (code, why) = not_done(dir, &["bookie", "--config", "b2.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("metadata of cluster `blue`, not of `red`"), "{why}");
    // Nor is anybody else of it told about bookies that are not there.
    let metadata = "metadata = \"redb:meta/cluster.redb\"\n";
    std::fs::write(dir.join("red.toml"), format!("cluster = \"red\"\n{metadata}")).unwrap();
    let (code, why) = not_done(dir, &["bookie", "list", "--cluster", "red.toml"]);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("metadata of cluster `blue`, not of `red`"), "{why}");
    // The directory is not spoilt: under the right name it serves.
    std::fs::write(dir.join("b1.toml"), text).unwrap();
    std::fs::rename(dir.join("b2"), dir.join("unused")).unwrap();
    Running::start(dir, &[]);
    assert!(!dir.join("unused/IDENTITY").exists());
}

/// It came back active without a word.
#[test]
fn a_new_directory_does_not_undo_a_decommission() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let metadata = "metadata = \"redb:meta/cluster.redb\"\n";
    std::fs::write(dir.join("blue.toml"), format!("cluster = \"blue\"\n{metadata}")).unwrap();
    let mut running = Running::start(dir, &[]);
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    done(dir, &["bookie", "set", "B1", "read-only", "--cluster", "blue.toml"]);
    std::fs::rename(dir.join("b1"), dir.join("lost")).unwrap();
    // Asked to end, it says on standard error what it was told at its start.
    let end = |mut running: Running| {
        running.signal(Signal::TERM);
        let other = command(dir, &["--version"]).spawn().unwrap();
        let output = std::mem::replace(&mut running.child, other).wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = end(Running::start(dir, &["--replace"]));
    assert!(
        said.contains("B1 is read-only, as it was told: `egret bookie set B1 active`"),
        "{said}"
    );
    let output = egret(dir, &["bookie", "decommission", "B1", "--cluster", "blue.toml"]);
    assert!(output.status.success(), "no ledger needs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("warning: no other bookie is up and active"), "{said}");
    let active = ["bookie", "set", "B1", "active", "--cluster", "blue.toml"];
    let (code, why) = not_done(dir, &active);
    assert_eq!(code, 3, "{why}");
    assert!(why.contains("B1 is decommissioned and not up") && why.contains("--replace"), "{why}");
    std::fs::rename(dir.join("b1"), dir.join("lost2")).unwrap();
    let said = end(Running::start(dir, &["--replace"]));
    assert!(said.contains("B1 is decommissioned, as it was told"), "{said}");
    let listed = done(dir, &["bookie", "list", "--cluster", "blue.toml"]);
    assert!(listed.contains("decommissioned"), "{listed}");
}

#[test]
fn a_directory_keeps_the_number_of_shards_it_was_made_with() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "shards = 2\n");
    let mut running = Running::start(dir, &[]);
    let client = running.client(None);
    create(&client);
    assert!(matches!(ask(&client, add(0)), Reply::Done));
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());
    assert!(dir.join("b1/shard01").exists());
    for (shards, named) in [("shards = 3\n", "not with 3"), ("", "not with 1")] {
        configure(dir, shards);
        let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
        assert_eq!(code, 3, "{why}");
        assert!(why.contains("formatted with 2 shards") && why.contains(named), "{why}");
    }
    configure(dir, "shards = 2\n");
    assert!(is_there(&Running::start(dir, &[]).client(None), 0));
}

/// Damage ended with 1 in one file and 3 in another; a ledger nobody has with 1 in one command and 3 in
/// another; a configuration nobody can mean with 2 or 3.
#[test]
fn like_errors_end_alike() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    configure(dir, "");
    let metadata = "metadata = \"redb:meta/cluster.redb\"\n";
    std::fs::write(dir.join("blue.toml"), format!("cluster = \"blue\"\n{metadata}")).unwrap();
    let mut running = Running::start(dir, &[]);
    running.signal(Signal::TERM);
    assert!(running.child.wait().unwrap().success());

    for name in ["MANIFEST", "IDENTITY"] {
        let path = dir.join("b1").join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[9] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let (code, why) = not_done(dir, &["bookie", "--config", "b1.toml"]);
        assert_eq!((code, why.contains("damaged at byte")), (1, true), "{name}: {why}");
        std::fs::write(&path, whole).unwrap();
    }
    for args in [&["read", "L77", "0"][..], &["describe", "L77"], &["repair", "L77"]] {
        let args = [&["ledger", "--cluster", "blue.toml"], args].concat();
        let (code, why) = not_done(dir, &args);
        assert_eq!((code, why.contains("there is no L77")), (3, true), "{args:?}: {why}");
    }
    let text = std::fs::read_to_string(dir.join("b1.toml")).unwrap();
    for (from, to) in [("redb:meta/cluster.redb", "zk://a:1/b"), ("journal_file_bytes", "jurnal")] {
        std::fs::write(dir.join("wrong.toml"), text.replace(from, to)).unwrap();
        let (code, why) = not_done(dir, &["bookie", "--config", "wrong.toml"]);
        assert_eq!(code, 2, "{why}");
    }
    assert!(done(dir, &["--help"]).contains("3  refused"), "the table is in the help");
}
